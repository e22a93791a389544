"""Word lists that the generators draw from: names, places, plain words, syllables."""

import random

from grammar import CORPUS


def read_lists() -> dict[str, tuple[str, ...]]:
    lists: dict[str, tuple[str, ...]] = {}
    for block in (CORPUS / "words.txt").read_text(encoding="utf-8").split("\n[")[1:]:
        name, _, words = block.partition("]")
        lists[name] = tuple(word.strip() for word in words.replace("\n", " ").split(",") if word.strip())
    return lists


LISTS = read_lists()
NAMES, CITIES, WORDS, SYLLABLES = (LISTS[name] for name in ("names", "cities", "words", "syllables"))


def made_up_word(rng: random.Random) -> str:
    """A word that means nothing, so that the model learns to copy letters, not to know names."""
    return "".join(rng.choice(SYLLABLES) for _ in range(rng.randint(2, 3))).capitalize()


def place(rng: random.Random) -> str:
    return rng.choice(CITIES) if rng.random() < 0.6 else made_up_word(rng)


def person(rng: random.Random) -> str:
    return rng.choice(NAMES) if rng.random() < 0.6 else made_up_word(rng)
