"""Turns sampled conversations into padded batches of token ids with a loss mask."""

import json
import random
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import jinja2
import torch
from jinja2.sandbox import ImmutableSandboxedEnvironment
from samples import Sample
from tokenizer import CHAT_TEMPLATE
from tokenizers import Tokenizer

ASSISTANT = re.compile(r"(<\|assistant\|>)(.*?<\|end\|>)", re.DOTALL)
BATCH_TOKENS = 4096
CHUNK_SAMPLES = 6000
MAX_TOKENS = 2048
Row = tuple[list[int], list[bool]]
"""Token ids, and for each whether it is to be learned."""


@dataclass(frozen=True, slots=True)
class Batch:
    ids: torch.Tensor
    """[rows, columns] padded with 0."""
    learn: torch.Tensor
    """[rows, columns] true where the NEXT token is to be learned."""


class Renderer:
    """Renders messages with the very template that is served, the way transformers does."""

    def __init__(self, path: Path = CHAT_TEMPLATE) -> None:
        environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True, undefined=jinja2.Undefined)
        environment.policies["json.dumps_kwargs"] = {"ensure_ascii": False, "sort_keys": False}
        environment.filters["tojson"] = _tojson
        self.template = environment.from_string(path.read_text(encoding="utf-8"))

    def text(self, sample: Sample) -> str:
        if sample.prose:
            return sample.prose + "<|end|>"
        return self.template.render(messages=sample.messages, tools=sample.tools)


def _tojson(value: object) -> str:
    return json.dumps(value, ensure_ascii=False)


class Encoder:
    """Encodes rendered text; users' words are split at random now and then (BPE dropout)."""

    def __init__(self, path: Path, rng: random.Random) -> None:
        self.clean = Tokenizer.from_file(str(path))
        self.rough = Tokenizer.from_file(str(path))
        self.rough.model.dropout = 0.1
        self.rng = rng

    def encode(self, sample: Sample, text: str) -> Row:
        if sample.prose:
            ids = self.clean.encode(text).ids
            return ids, [True] * len(ids)
        ids, learn = [], []
        rough = self.rough if self.rng.random() < 0.3 else self.clean
        for i, part in enumerate(ASSISTANT.split(text)):
            tokens = (self.clean if i % 3 else rough).encode(part).ids
            ids += tokens
            learn += [i % 3 == 2] * len(tokens)
        return ids, learn


def pack(rows: list[Row]) -> Batch:
    width = max(len(ids) for ids, _ in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    learn = torch.zeros(len(rows), width, dtype=torch.bool)
    for r, (tokens, mask) in enumerate(rows):
        ids[r, : len(tokens)] = torch.tensor(tokens)
        learn[r, : len(tokens) - 1] = torch.tensor(mask[1:])
    return Batch(ids, learn)


def endless_batches(draw: Callable[[], Sample], encoder: Encoder, batch_tokens: int = BATCH_TOKENS) -> Iterator[Batch]:
    """Batches of rows of about equal length, in random order, for ever."""
    renderer = Renderer()
    while True:
        samples = [draw() for _ in range(CHUNK_SAMPLES)]
        rows = [encoder.encode(s, renderer.text(s)) for s in samples]
        rows = sorted((r for r in rows if len(r[0]) <= MAX_TOKENS), key=lambda r: len(r[0]))
        batches: list[list[Row]] = []
        current: list[Row] = []
        for row in rows:
            if current and len(row[0]) * (len(current) + 1) > batch_tokens:
                batches.append(current)
                current = []
            current.append(row)
        batches.append(current)
        encoder.rng.shuffle(batches)
        yield from map(pack, batches)
