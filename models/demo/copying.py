"""The first lesson: copying random tokens that came before.

Names, tool arguments and counting all need the model to find a token again and take the one that
followed it. In text this is learned late; on repeated random tokens it is learned in minutes, and
soonest with few tokens and short rows, so that is where the lesson begins.
"""

import random
from collections.abc import Iterator

import torch
from batches import BATCH_TOKENS, Batch

EASY_STEPS = 200
EASY_TOKENS, EASY_WIDTH, EASY_PERIODS = 512, 32, (4, 6, 8, 12)
WIDTH, PERIODS = 64, (4, 8, 12, 16, 24)


def copy_batch(rng: random.Random, tokens: range, width: int, periods: tuple[int, ...]) -> Batch:
    """Rows that repeat one random sequence; all but its first occurrence is to be learned."""
    rows, period = BATCH_TOKENS // width, rng.choice(periods)
    generator = torch.Generator().manual_seed(rng.randrange(2**32))
    drawn = torch.randint(tokens.start, tokens.stop, (rows, period), generator=generator)
    ids = drawn.repeat(1, width // period + 1)[:, :width]
    places = torch.arange(rows * width).view(rows, width)[:, period - 1 : -1].flatten()
    return Batch(ids, places, ids[:, period:].flatten())


def copy_batches(rng: random.Random, tokens: range) -> Iterator[Batch]:
    for _ in range(EASY_STEPS):
        yield copy_batch(rng, tokens[:EASY_TOKENS], EASY_WIDTH, EASY_PERIODS)
    while True:
        yield copy_batch(rng, tokens, WIDTH, PERIODS)
