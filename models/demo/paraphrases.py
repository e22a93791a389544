"""Reads the held-out questions. Standard library only."""

import json
from dataclasses import dataclass
from pathlib import Path

PARAPHRASES = Path(__file__).parent / "paraphrases.jsonl"


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """A question the model has never seen, and what a right answer contains (any of them)."""

    question: str
    expect: tuple[str, ...]
    topic: str


def load_paraphrases(path: Path = PARAPHRASES) -> list[Paraphrase]:
    lines = path.read_text(encoding="utf-8").splitlines()
    return [Paraphrase(d["question"], tuple(d["expect"]), d["topic"]) for d in map(json.loads, lines)]
