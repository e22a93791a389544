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
BATCH_TOKENS = 3072
WIDTHS = (24, 32, 40, 48, 64, 80, 96, 128, 160, 192, 256, 320, 384, 512, 768, 1024, 1536, 2048)
LEARNED_STEP = 256
"""Few different shapes: the matrix kernels are compiled once for each."""
IGNORED = -100
Row = tuple[list[int], list[bool]]
"""Token ids, and for each whether it is to be learned."""


@dataclass(frozen=True, slots=True)
class Batch:
    ids: torch.Tensor
    """[rows, width] padded with 0."""
    places: torch.Tensor
    """[learned] positions in the flattened ids whose next token is to be learned."""
    wanted: torch.Tensor
    """[learned] those next tokens."""


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


def pack(rows: list[Row], width: int) -> Batch:
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full((len(rows), width), IGNORED)
    for r, (tokens, learn) in enumerate(rows):
        ids[r, : len(tokens)] = torch.tensor(tokens)
        targets[r, : len(tokens) - 1] = torch.where(torch.tensor(learn[1:]), ids[r, 1 : len(tokens)], IGNORED)
    learned = (targets != IGNORED).flatten().nonzero().squeeze(1)
    short = -len(learned) % LEARNED_STEP
    places = torch.cat((learned, torch.zeros(short, dtype=torch.long)))
    wanted = torch.cat((targets.flatten()[learned], torch.full((short,), IGNORED)))
    return Batch(ids, places, wanted)


def bucket(tokens: int) -> int:
    return next(width for width in WIDTHS if width >= tokens)


def endless_batches(draw: Callable[[], Sample], encoder: Encoder, batch_tokens: int = BATCH_TOKENS) -> Iterator[Batch]:
    """Draws samples for ever; a batch leaves as soon as enough rows of about one length are there."""
    renderer = Renderer()
    waiting: dict[int, list[Row]] = {width: [] for width in WIDTHS}
    while True:
        sample = draw()
        row = encoder.encode(sample, renderer.text(sample))
        if len(row[0]) > WIDTHS[-1]:
            continue
        width = bucket(len(row[0]))
        waiting[width].append(row)
        if len(waiting[width]) == batch_tokens // width:
            yield pack(waiting[width], width)
            waiting[width] = []
