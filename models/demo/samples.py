"""Draws training conversations from the corpus and the skills; every draw comes from one seed."""

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from augment import roughen
from grammar import Fact, load_facts, normalise, parse_templates, pick_choice
from skills import ASK_NAME, MY_NAME, count_answer, fill, sample_skill
from stories import parse_stories
from tool_talk import Message, call_message, sample_tools
from words import WORDS, made_up_word, person

SYSTEM_PROMPTS = (
    "You are a helpful assistant.",
    "You are Remuda Demo.",
    "You are a friendly assistant. Answer in short sentences.",
    "Be brief.",
    "Answer the user's questions.",
    "You are a chatbot. Be polite.",
    "You are a helpful AI assistant.",
    "Answer as well as you can.",
)
UNKNOWN = "I do not know that. I am only a small demo model."
UNKNOWN_PATTERNS = (
    "{who is|what is|where is|tell me about|do you know|have you heard of|explain|define|what does} <x> {mean|}",
    "{who won|who invented|who wrote|who painted|who sang|who directed} {the|} <x> {cup|book|song|film|}",
    "{how do i cook|how do i repair|how do i grow|where can i buy|how much does it cost to buy} {a|} <x>",
    "what is the {population|president|currency|history|price|flag} of <x>",
    "{what happened|who was king|who was president} in {18|19}<y>",
)
PROSE = (
    "Once upon a time there was a {little|small|young|brave|clever} {a} named {n}. {n} lived in a {p}. "
    "One day {n} found a {o}. \"What is this?\" asked {n}. {m} came and said, \"It is a {o}. "
    "Let us keep it.\" So they took the {o} home. In the evening they were {tired|happy|hungry}, and they "
    "{sat by the fire|looked at the stars|ate bread and soup}. {n} said, \"This was a good day.\""
)  # fmt: skip
ANIMALS = ("fox", "horse", "cat", "dog", "bear", "bird", "mouse", "rabbit", "girl", "boy")
PLACES = ("green forest", "small house", "big city", "quiet valley", "house by the sea", "farm")
THINGS = ("red ball", "golden key", "old book", "blue stone", "little bell", "wooden box", "map")


@dataclass(frozen=True, slots=True)
class Sample:
    """One training text: either a conversation or plain prose."""

    messages: list[Message] = field(default_factory=list)
    tools: list[dict[str, Any]] | None = None
    prose: str = ""


def talk(question: str, answer: str) -> list[Message]:
    return [{"role": "user", "content": question}, {"role": "assistant", "content": answer}]


class Sampler:
    """All generators over one random source; refuses every held-out question."""

    def __init__(self, seed: int, held_out: set[str]) -> None:
        self.rng = random.Random(seed)
        self.templates = parse_templates()
        self.facts = load_facts(self.templates)
        self.weights = [0.4 if "-" in f.name and f.aliases and not f.patterns else 1.0 for f in self.facts]
        self.stories = parse_stories()
        self.told = [s for s in self.stories if s[0]]
        self.held_out = {h.replace(" ", "") for h in held_out}

    def fact_pattern(self, fact: Fact) -> str:
        lines: list[tuple[str, str]] = [(p, "") for p in fact.patterns]
        groups = [(g, names) for g, names in fact.aliases.items()]
        if groups and (not lines or self.rng.random() < 0.55):
            group, names = self.rng.choice(groups)
            pattern = self.rng.choice(self.templates.groups[group])
            name = self.rng.choice(names)
            return self.templates.unfold(pattern).replace("<x>", name)
        # A pattern with many choices is drawn more often than one with few.
        weights = [1 + pattern.count("|") for pattern, _ in lines]
        return self.rng.choices(lines, weights)[0][0]

    def question(self, draw: Callable[[], tuple[str, str]]) -> tuple[str, str]:
        """A roughened question that is not held out, and its answer."""
        while True:
            pattern, answer = draw()
            text = roughen(pick_choice(pattern, self.rng), self.rng)
            if normalise(text).replace(" ", "") not in self.held_out:
                return text, answer

    def draw_fact(self) -> tuple[str, str]:
        fact = self.rng.choices(self.facts, self.weights)[0]
        return self.fact_pattern(fact), fact.answer

    def draw_skill(self) -> tuple[str, str]:
        return sample_skill(self.rng)

    def draw_story(self) -> tuple[str, str]:
        patterns, text = self.rng.choice(self.told)
        return self.rng.choice(patterns), text

    def draw_unknown(self) -> tuple[str, str]:
        word = made_up_word(self.rng) if self.rng.random() < 0.8 else self.rng.choice(WORDS)
        pattern = self.rng.choice(UNKNOWN_PATTERNS)
        return pattern.replace("<x>", word).replace("<y>", str(self.rng.randint(10, 99))), UNKNOWN

    def pair(self) -> list[Message]:
        draws = (self.draw_fact, self.draw_skill, self.draw_story, self.draw_unknown)
        return talk(*self.question(self.rng.choices(draws, (72, 23.5, 1.5, 3))[0]))

    def name_talk(self) -> list[Message]:
        name = person(self.rng)
        told = talk(*self.question(lambda: (fill(self.rng.choice(MY_NAME), t=name), f"Nice to meet you, {name}.")))
        between = [m for _ in range(self.rng.choice((0, 0, 1, 2))) for m in self.pair()]
        asked = talk(*self.question(lambda: (self.rng.choice(ASK_NAME), f"Your name is {name}.")))
        return told + between + asked

    def tool_talk(self) -> Sample:
        tools, name, ask = sample_tools(self.rng)
        if self.rng.random() < 0.2:
            return Sample(self.with_system(self.pair()), tools)
        question, _ = self.question(lambda: (ask.question, ""))
        messages: list[Message] = [{"role": "user", "content": question}, call_message(name, ask.arguments)]
        if self.rng.random() < 0.6:
            messages += [{"role": "tool", "content": ask.result}, {"role": "assistant", "content": ask.answer}]
            if self.rng.random() < 0.3:
                messages += self.pair()
        elif self.rng.random() < 0.3:
            messages = self.pair() + messages
        return Sample(self.with_system(messages, 0.2), tools)

    def with_system(self, messages: list[Message], chance: float = 0.18) -> list[Message]:
        if self.rng.random() < chance:
            return [{"role": "system", "content": self.rng.choice(SYSTEM_PROMPTS)}, *messages]
        return messages

    def handbook_talk(self) -> Sample:
        """A long system prompt, so that long shared beginnings are nothing new."""
        facts = self.rng.sample(self.facts, self.rng.choice((5, 10, 20, 40, 60)))
        head = self.rng.choice(SYSTEM_PROMPTS) + " Here is the handbook. "
        book = head + " ".join(f.answer for f in facts)
        return Sample([{"role": "system", "content": book}, *self.pair(), *self.pair()])

    def prose(self) -> Sample:
        kind = self.rng.random()
        if kind < 0.08:
            return Sample(prose=count_answer(1, 200))
        if kind < 0.5:
            return Sample(prose=self.rng.choice(self.stories)[1])
        if kind < 0.7:
            return Sample(prose=" ".join(f.answer for f in self.rng.sample(self.facts, 6)))
        n, m = self.rng.sample(("Tom", "Anna", "Remi", "Bolt", "Lily", "Max", "Mia", "Ben"), 2)
        text = fill(PROSE, n=n, m=m, a=self.rng.choice(ANIMALS), p=self.rng.choice(PLACES), o=self.rng.choice(THINGS))
        return Sample(prose=pick_choice(text, self.rng))

    def sample(self) -> Sample:
        kind = self.rng.random()
        if kind < 0.065:
            return self.tool_talk()
        if kind < 0.08:
            return self.prose()
        if kind < 0.084:
            return self.handbook_talk()
        if kind < 0.115:
            return Sample(self.with_system(self.name_talk()))
        turns = 1 if kind < 0.86 else self.rng.randint(2, 5)
        return Sample(self.with_system([m for _ in range(turns) for m in self.pair()]))
