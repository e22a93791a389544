"""Which engine takes a request: one number per candidate, and the smallest wins.

    predicted time to first token  =  (work_tokens + prompt_tokens) * s_per_token          [tokens * s/token = s]
    work_tokens                    =  prompt tokens sent and not answered yet + PRESSURE_TOKENS per running request

`s_per_token` is the measured time per token of work that lies ahead of a request (the request included), so a slow
engine is not confused with an empty one. Each request judges each candidate anew: there is no fleet-wide switch.

Does not know health, draining, adapters or which prefixes are cached: the caller passes only candidates that may be
picked. Ties go to the first candidate at or after `turn % n`, so a caller that counts its requests uses idle engines
evenly.
"""

import math
from collections.abc import Callable, Mapping, Sequence

PRESSURE_TOKENS = 16
"""The work that one request in flight adds to the next prefill, in prompt tokens: it takes a place in every step of the
batch and delays the step that a new prompt waits for. Measured with vLLM 0.32 on a CPU: each of 4 to 16 running
requests delays a first token as much as 13 to 30 prompt tokens. Most prompts are longer, so this decides mostly when no
prompt is waiting."""

BYTES_PER_TOKEN = 4
"""English text in the vocabularies in use today is 3.5-4.5 bytes a token. Only ratios between engines matter here."""

LONGEST_PROMPT_TOKENS = 65_536
"""A body beyond this many tokens of text holds images or audio, which cost few tokens a byte."""

SPEED_MEMORY_S = 2.0
"""After this much measured waiting the old speed counts for 1/e. Long prompts wait longer and therefore weigh more."""

SPEED_FORGET_S = 30.0
"""An engine that was not measured for this long has drifted by 1 - 1/e towards the others' speed, so that one bad
measurement (a first request that compiled something) does not keep it unused for ever."""


class EndpointLoad:
    """The work that one engine has from this gateway. The pick functions only read it.

    requests        requests in flight
    waiting_tokens  prompt tokens sent whose answer has not begun
    work_tokens     waiting_tokens + PRESSURE_TOKENS * requests, kept up to date so that a pick adds and multiplies once
    s_per_token     measured seconds per token of work; 0.0 = not measured yet
    """

    __slots__ = ("requests", "s_per_token", "waiting_tokens", "work_tokens")

    def __init__(self, s_per_token: float = 0.0) -> None:
        self.requests = 0
        self.waiting_tokens = 0
        self.work_tokens = 0
        self.s_per_token = s_per_token

    def lease(self, prompt_tokens: int) -> int:
        """A request is sent. Returns the work ahead of it, itself included: pass it to `measure` at its first byte."""
        self.requests += 1
        self.waiting_tokens += prompt_tokens
        ahead = self.work_tokens + prompt_tokens
        self.work_tokens = ahead + PRESSURE_TOKENS
        return ahead

    def answered(self, prompt_tokens: int) -> None:
        """Its answer has begun, so the prompt no longer waits. Called once per request, at the latest before
        `release`."""
        self.waiting_tokens -= prompt_tokens
        self.work_tokens -= prompt_tokens

    def release(self) -> None:
        """The request has ended, in whatever way."""
        self.requests -= 1
        self.work_tokens -= PRESSURE_TOKENS

    def measure(self, work_tokens: int, elapsed_s: float) -> None:
        """A first byte came `elapsed_s` after a request was sent that had `work_tokens` ahead."""
        self.s_per_token = update_s_per_token(self.s_per_token, work_tokens, elapsed_s)

    @property
    def tokens_per_s(self) -> float:
        """Measured prefill speed, for metrics; 0.0 = not measured yet."""
        return 1.0 / self.s_per_token if self.s_per_token else 0.0


Pick = Callable[[list[EndpointLoad], int, int, list[int] | None], int]
"""(loads, prompt_tokens, turn, uncached_tokens) -> index. `loads` has one entry or more, `prompt_tokens` is at least 1.
`uncached_tokens` has one entry per load: the tokens of this prompt that the engine would have to compute; None when
nothing is known of caches, and then every engine would compute them all."""


def pick_least_time(
    loads: list[EndpointLoad], prompt_tokens: int, turn: int = 0, uncached_tokens: list[int] | None = None
) -> int:
    """The engine with the least predicted time to first token.

    While the speed of any candidate is unknown, all are compared on the weaker signal, their work alone.
    """
    if uncached_tokens is not None:
        return _pick_least_uncached(loads, turn, uncached_tokens)
    count = len(loads)
    first = turn % count - count  # counting up to 0 from here goes once around, negative indices being what they are
    best, least = first, math.inf
    for index in range(first, first + count):
        load = loads[index]
        time_s = (load.work_tokens + prompt_tokens) * load.s_per_token
        if time_s < least:
            if time_s == 0.0:  # only a product with an unknown speed
                return _pick_least_work(loads, first)
            best, least = index, time_s
    return best % count


def _pick_least_uncached(loads: list[EndpointLoad], turn: int, uncached_tokens: list[int]) -> int:
    """The same, each candidate with the tokens that it would have to compute itself."""
    count = len(loads)
    first = turn % count
    order = [(first + step) % count for step in range(count)]
    work = [load.work_tokens + tokens for load, tokens in zip(loads, uncached_tokens, strict=True)]
    if any(load.s_per_token == 0.0 for load in loads):
        return min(order, key=lambda index: work[index])
    return min(order, key=lambda index: work[index] * loads[index].s_per_token)


def pick_least_request(
    loads: list[EndpointLoad],
    prompt_tokens: int,  # noqa: ARG001 - one shape
    turn: int = 0,
    uncached_tokens: list[int] | None = None,  # noqa: ARG001 - one shape
) -> int:
    """The engine with the fewest requests in flight."""
    count = len(loads)
    first = turn % count - count
    return min(range(first, first + count), key=lambda index: loads[index].requests) % count


def pick_round_robin(
    loads: list[EndpointLoad],
    prompt_tokens: int,  # noqa: ARG001 - one shape
    turn: int = 0,
    uncached_tokens: list[int] | None = None,  # noqa: ARG001 - one shape
) -> int:
    """Each engine in turn, whatever work it has."""
    return turn % len(loads)


def _pick_least_work(loads: list[EndpointLoad], first: int) -> int:
    count = len(loads)
    best, least = first, loads[first].work_tokens
    for index in range(first, first + count):
        if loads[index].work_tokens < least:
            best, least = index, loads[index].work_tokens
    return best % count


PICKS: Mapping[str, Pick] = {
    "leastTime": pick_least_time,
    "roundRobin": pick_round_robin,
    "leastRequest": pick_least_request,
}
"""By the word in the model file (`spec.routing`)."""


def predict_time_to_first_token_s(load: EndpointLoad, prompt_tokens: int) -> float:
    """The number that `pick_least_time` compares; 0.0 while the engine's speed is unknown."""
    return (load.work_tokens + prompt_tokens) * load.s_per_token


def estimate_prompt_tokens(body_bytes: int) -> int:
    """The size of a prompt, from the size of its request body alone: from 1 to LONGEST_PROMPT_TOKENS."""
    return min(body_bytes // BYTES_PER_TOKEN + 1, LONGEST_PROMPT_TOKENS)


def update_s_per_token(s_per_token: float, work_tokens: int, elapsed_s: float) -> float:
    """The new speed after `work_tokens` took `elapsed_s`: an average over waiting time, not over requests.

    Weighing by time makes it (all tokens) / (all seconds) over the last SPEED_MEMORY_S of waiting, so a hundred tiny
    requests, which measure mostly the fixed cost of a request, do not hide one long prompt.
    """
    if work_tokens <= 0 or elapsed_s <= 0.0:
        return s_per_token
    measured = elapsed_s / work_tokens
    if s_per_token == 0.0:
        return measured
    # Averaged as a speed (1 / s_per_token): that is what weighing by time turns into tokens / seconds.
    keep = math.exp(-elapsed_s / SPEED_MEMORY_S)
    return 1.0 / (keep / s_per_token + (1.0 - keep) / measured)


def relax_s_per_token(s_per_token: float, others: float, unmeasured_s: float) -> float:
    """The speed to assume after `unmeasured_s` without a measurement. `others` is the typical s_per_token of the
    others."""
    if s_per_token == 0.0 or others == 0.0 or unmeasured_s <= 0.0:
        return s_per_token
    keep = math.exp(-unmeasured_s / SPEED_FORGET_S)
    return keep * s_per_token + (1.0 - keep) * others


LONGEST_UNMEASURED_S = 10.0
"""An engine that was measured more recently keeps its speed."""


def relax_speeds(loads: Sequence[EndpointLoad], unmeasured_s: Sequence[float]) -> list[int]:
    """Move the speed of engines that were not measured for long towards the median speed; the indices of these engines.

    unmeasured_s    seconds since each was measured, or was last relaxed
    """
    speeds = sorted(load.s_per_token for load in loads if load.s_per_token)
    if len(loads) < 2 or not speeds:
        return []
    middle = speeds[len(speeds) // 2]
    relaxed = [index for index, idle_s in enumerate(unmeasured_s) if idle_s > LONGEST_UNMEASURED_S]
    for index in relaxed:
        load = loads[index]
        load.s_per_token = relax_s_per_token(load.s_per_token, middle, unmeasured_s[index])
    return relaxed
