"""Every command, snippet and file in the pages for users is run."""

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.product.driving import ROOT, Machine

from remuda import spec

PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in (ROOT / "README.md", ROOT / "benchmarks" / "README.md", *(ROOT / "docs").rglob("*.md"))
    if "designs" not in path.parts  # a record tells what was true when it was written
)
MENTIONED_IN = [*PAGES, "CHANGELOG.md", *(f"examples/{path.name}" for path in (ROOT / "examples").iterdir())]
FENCE = re.compile(r"^```(\w+)\n(.*?)^```", re.MULTILINE | re.DOTALL)
MENTION = re.compile(r"(?<!`)`((?:make|remuda|python -m) [^`]+)`(?!`)")
"""A command inside a sentence or a table."""
INSTEAD = {"up": ("--dry-run",), "down": ("--help",)}
"""A fleet of its own for these two is started and stopped in test_lifecycle.py."""
PLACEHOLDERS = {"FILE", "MODEL", "…"}


def blocks(*languages: str) -> Iterator[tuple[str, str]]:
    for page in PAGES:
        for found in FENCE.finditer((ROOT / page).read_text()):
            if found[1] in languages:
                yield page, found[2]


def read_commands(text: str) -> Iterator[list[str]]:
    """The commands of a block: continued lines joined, comments dropped; with prompts, only the lines behind one."""
    lines = text.replace("\\\n", " ").splitlines()
    prompts = [line.removeprefix("$ ") for line in lines if line.startswith("$ ")]
    for line in prompts or lines:
        if words := shlex.split(line, comments=True):
            yield words


def commands() -> list[pytest.param]:
    """Each command of the blocks for a shell, once."""
    seen = {}
    for page, text in blocks("sh", "console"):
        for words in read_commands(text):
            seen.setdefault(tuple(words), f"{page}: {shlex.join(words)[:60]}")
    return [pytest.param(words, id=name) for words, name in seen.items()]


def mentions(program: str) -> list[pytest.param]:
    """Each command of a program that stands inside a sentence, once."""
    seen = {}
    for page in MENTIONED_IN:
        for text in MENTION.findall((ROOT / page).read_text()):
            if text.startswith(f"{program} ") and not PLACEHOLDERS & set(text.split()):
                seen.setdefault(tuple(shlex.split(text)), f"{page}: {text}")
    return [pytest.param(words, id=name) for words, name in seen.items()]


def snippets(language: str) -> list[pytest.param]:
    return [pytest.param(text, id=f"{page}-{i}") for i, (page, text) in enumerate(blocks(language))]


def run(words: list[str], machine: Machine) -> subprocess.CompletedProcess[str]:
    path = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    env = {**machine.env, "PATH": path}
    return subprocess.run(words, cwd=ROOT, env=env, text=True, capture_output=True, timeout=60, check=False)


@pytest.mark.req("A1.snippets", level="run", on="vLLM")
@pytest.mark.parametrize("words", [p for p in commands() if p.values[0][0] == "curl"])
def test_each_documented_curl_answers(words, busy_machine, url):
    words = [word.replace("http://127.0.0.1:8080", url) for word in words]
    done = run([*words, "-sS", "--fail-with-body"], busy_machine)
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    assert done.stdout


@pytest.mark.parametrize("words", [p for p in commands() if p.values[0][0] == "remuda"])
def test_each_documented_remuda_command_works(words, busy_machine, machine):
    # A key that is made on the shared machine would close it to the other tests.
    where = machine if words[1] == "tenant" else busy_machine
    if words[:3] == ("remuda", "tenant", "list"):
        run(["remuda", "tenant", "create", "someone"], where)
    done = run([*words, *INSTEAD.get(words[1], ())], where)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", [p for p in commands() if p.values[0][0] == "make"] + mentions("make"))
def test_each_documented_make_target_exists(words):
    done = subprocess.run([*words, "-n"], cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize("words", mentions("remuda"))
def test_each_mentioned_command_has_its_options(words):
    names = [word for word in words[1:] if re.fullmatch(r"[a-z]+", word)]
    command = [sys.executable, "-m", "remuda", *names, "--help"]
    done = subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    options = {word.partition("=")[0] for word in words if word.startswith("-")}
    assert options <= set(re.findall(r"(?<![\w-])--?[a-z][a-z-]*", done.stdout))


def test_no_page_runs_a_module_with_a_python_that_may_not_have_the_project():
    assert mentions("python -m") == []


def test_no_documented_command_is_left_out():
    known = {"curl", "remuda", "make"}
    assert [p.id for p in commands() if p.values[0][0] not in known] == []


@pytest.mark.req("A1.snippets", level="run", on="vLLM")
@pytest.mark.parametrize("text", snippets("python"))
def test_each_documented_python_snippet_runs(text, busy_machine, url):
    done = run([sys.executable, "-c", text.replace("http://127.0.0.1:8080", url)], busy_machine)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip()


@pytest.mark.parametrize("text", snippets("yaml"))
def test_each_documented_file_loads(text):
    assert spec.load_text(text)


def test_every_link_between_the_pages_leads_somewhere():
    pages = [ROOT / "README.md", ROOT / "CHANGELOG.md", *sorted((ROOT / "docs").rglob("*.md"))]
    links = [(page, target) for page in pages for target in re.findall(r"\]\(([^)#\s]+)", page.read_text())]
    broken = [(page.name, link) for page, link in links if "://" not in link and not (page.parent / link).exists()]
    assert broken == []
