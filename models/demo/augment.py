"""Makes clean questions look like typed ones: politeness, casing, punctuation, typos."""

import random
import re

from words import WORDS

BEFORE = (
    "please", "hey", "hi", "ok", "so", "well", "and", "now", "hello", "excuse me", "quick question:", "um", "one more:",
    "tell me,", "say,", "hm,", "i wonder,", "next question:", "remuda,", "just curious,", "sorry,", "oh,", "but",
)  # fmt: skip
AFTER = (
    "please",
    "thanks",
    "thank you",
    "for me",
    "then",
    "now",
    "exactly",
    "again",
    "really",
    "actually",
    "pls",
    "by the way",
)
ASIDES = (
    "on my laptop", "in production", "at work", "right now", "for my team", "this time", "in our cluster",
    "for a friend", "in general", "as a beginner", "today", "this week", "this afternoon", "for school",
    "if you can", "in your opinion", "when you have time", "as far as you know", "for a customer", "in my case",
    "on this machine", "with vllm", "roughly", "with remuda", "of course", "one more time", "as simply as possible",
    "before lunch", "these days", "at home", "maybe",
)  # fmt: skip
"""Words beside the point: the answer must not hang on them."""
DROPPABLE = frozenset(
    [
        "the",
        "a",
        "an",
        "is",
        "are",
        "do",
        "does",
        "i",
        "can",
        "you",
        "me",
        "of",
        "to",
        "in",
        "it",
        "that",
        "my",
        "please",
        "just",
        "this",
        "for",
    ]
)
LETTERS = "abcdefghijklmnopqrstuvwxyz"
COPIED = re.compile(r":.*[A-Za-z]")
"""What follows a colon is to be copied."""
KEEP = re.compile(r"[A-Z0-9:+*=<>-]")
"""Copied text, numbers and signs stay as they are."""


def typo(word: str, rng: random.Random) -> str:
    i = rng.randrange(len(word) - 1)
    kind = rng.randrange(4)
    if kind == 0:
        return word[:i] + word[i + 1] + word[i] + word[i + 2 :]
    if kind == 1:
        return word[:i] + word[i + 1 :]
    if kind == 2:
        return word[:i] + word[i] + word[i:]
    return word[:i] + rng.choice(LETTERS) + word[i + 1 :]


def scramble_words(words: list[str], rng: random.Random) -> list[str]:
    if rng.random() < 0.3:
        kept = [w for w in words if w not in DROPPABLE or rng.random() < 0.6]
        words = kept or words
    if rng.random() < 0.1:
        words = list(words)
        words.insert(rng.randrange(len(words) + 1), rng.choice(WORDS))
    if rng.random() < 0.12:
        i = rng.randrange(len(words))
        if len(words[i]) > 3 and not KEEP.search(words[i]):
            words = [*words[:i], typo(words[i], rng), *words[i + 1 :]]
    return words


def roughen(question: str, rng: random.Random) -> str:
    """One of the many ways in which a user would type this question."""
    if COPIED.search(question):
        return question[0].upper() + question[1:] if rng.random() < 0.5 else question
    words = scramble_words(question.split(), rng)
    if rng.random() < 0.15:
        aside = rng.choice(ASIDES).split()
        words = [*words, *aside] if rng.random() < 0.7 else [*aside, *words]
    if rng.random() < 0.15:
        words = [*rng.choice(BEFORE).split(), *words]
    if rng.random() < 0.12:
        words = [*words, *rng.choice(AFTER).split()]
    text = " ".join(words)
    style = rng.random()
    if style < 0.6:
        text = text[0].upper() + text[1:]
    elif style < 0.62 and not KEEP.search(text):
        text = text.upper()
    text = re.sub(r"\bi\b", "I", text) if rng.random() < 0.5 else text
    return text + rng.choice(("?", "?", "?", "", "", ".", "!", " ?", "??"))
