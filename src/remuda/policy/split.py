"""Weights between models: which of several models takes the next request to their common name. Pure.

Smooth weighted round robin: over any 100 requests each model gets its weight, and its requests are spread evenly
instead of coming in bursts. (As nginx does it; Nginx commit 52327e0627f4, 2012.)
"""

from collections.abc import Sequence


def pick_split(weights: Sequence[int], balances: list[int]) -> int:
    """The index that takes this request. `balances`: one number per weight, kept between calls; all 0 at first.

    At least one weight must be above 0.
    """
    total = sum(weights)
    if total <= 0:
        raise ValueError("no weight is above 0")
    best = -1
    for index, weight in enumerate(weights):
        balances[index] += weight
        if weight and (best < 0 or balances[index] > balances[best]):
            best = index
    balances[best] -= total
    return best
