"""Reads the long texts: stories, essays and plain prose. Standard library only."""

from grammar import CORPUS, parse_templates

Story = tuple[tuple[str, ...], str]
"""The patterns that ask for a text (none: it is only prose), and the text."""


def parse_stories() -> list[Story]:
    templates = parse_templates()
    stories: list[Story] = []
    for line in (CORPUS / "stories.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("["):
            stories.append(((), ""))
        elif line.startswith("q: "):
            patterns, text = stories[-1]
            stories[-1] = ((*patterns, templates.unfold(line[3:])), text)
        elif line.startswith("t: "):
            stories[-1] = (stories[-1][0], line[3:])
    return stories
