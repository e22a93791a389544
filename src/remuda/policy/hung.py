"""Whether an engine that says it is well has stopped working.

vLLM's /health answers 200 while its core is stopped, deadlocked or draining, so an engine is judged by its work. A
stall is the time without evidence of progress: a token counter that moved, a one-token probe that was answered, or
nothing to do. A stall is judged by the processor time of the core and its workers:

* no processor time for `frozen_s`: the core is stopped (SIGSTOP) or deadlocked;
* processor time: a long prefill or a compilation. This is allowed for `longest_step_s`; after that the core spins.

The same two bounds judge an idle engine that does not answer its probe, because vLLM updates `num_requests_running`
only after a step: during the first step of a long prompt an engine still reports that it is idle. A gap between two
samples (this process was stopped, the machine slept) counts as `longest_gap_s` at most.

Does not know how samples are taken.
"""

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise


@dataclass(frozen=True, slots=True)
class Sample:
    """What was seen of an engine at one moment."""

    now_at: float
    running: int
    waiting: int
    tokens_total: int
    """Prompt and generated tokens together, since the engine started."""
    core_cpu_s: float | None
    """Processor time of the core process and its workers since they started; None where it cannot be seen: then only
    `longest_step_s` judges."""
    probe_ok: bool | None = None
    """What became of the newest one-token probe: True = answered since the last sample, False = not answered so far,
    None = none was sent. Only idle engines get probes: a probe never waits behind other requests."""
    answered: bool = True
    """Whether /metrics answered; when not, `running`, `waiting` and `tokens_total` are ignored."""


@dataclass(frozen=True, slots=True)
class HungLimits:
    frozen_s: float = 20.0
    """An engine without progress and processor time for this long is hung. A live core never pauses for so long."""
    longest_step_s: float = 900.0
    """An engine without progress that uses processor time for this long is hung. A prefill of 128k tokens on a CPU
    takes minutes."""
    longest_gap_s: float = 5.0
    """The most that the time between two samples counts."""
    idle_cpu_share: float = 0.01
    """A process that uses less than this share of one core does not work."""


class Hang(enum.Enum):
    """Why an engine counts as hung."""

    FROZEN = "requests are running, but no token was produced and its core used no processor time"
    SPINNING = "requests are running, but no token was produced although its core keeps the processor busy"
    DEAF = "it is idle, but does not answer a one-token request and its core uses no processor time"
    SILENT = "it does not answer /metrics"
    STUCK = "requests are running, but no token was produced"
    MUTE = "it is idle, but does not answer a one-token request"


@dataclass(frozen=True, slots=True)
class Hung:
    hang: Hang
    stalled_s: float

    def __str__(self) -> str:
        return f"hung: {self.hang.value} for {self.stalled_s:.0f} s"


def decide_hung(samples: Sequence[Sample], limits: HungLimits = HungLimits()) -> Hung | None:
    """Whether the engine of these samples (oldest first) is hung now; None = it works, or it is too early to say."""
    stall = samples[_last_progress(samples) :]
    stalled_s = _counted_s(stall, limits)
    if stalled_s < limits.frozen_s:
        return None
    if _is_standing_still(stall, limits):
        return Hung(_name_standstill(stall[-1]), stalled_s)
    if stalled_s >= limits.longest_step_s:
        return Hung(_name_long_step(stall[-1]), stalled_s)
    return None


def keep_samples(samples: Sequence[Sample]) -> Sequence[Sample]:
    """The samples `decide_hung` still needs: from the last progress, and the counters known then, on.

    Bounds what a supervisor keeps: an engine that works keeps one or two.
    """
    first = _last_progress(samples)
    while first and not samples[first].answered:
        first -= 1
    return samples[first:]


def _last_progress(samples: Sequence[Sample]) -> int:
    """Index of the newest sample with evidence of progress; 0 when there is none, for there the watch began."""
    newest, doubted, tokens_total = 0, False, -1
    for index, sample in enumerate(samples):
        moved = sample.answered and tokens_total not in (sample.tokens_total, -1)
        if sample.answered:
            tokens_total = sample.tokens_total
        doubted = sample.probe_ok is False or (doubted and not moved and not sample.probe_ok)
        idle = sample.answered and not sample.running and not sample.waiting
        if moved or sample.probe_ok or (idle and not doubted):
            newest = index
    return newest


def _counted_s(stall: Sequence[Sample], limits: HungLimits) -> float:
    gaps = (later.now_at - earlier.now_at for earlier, later in pairwise(stall))
    return sum(min(gap, limits.longest_gap_s) for gap in gaps)


def _is_standing_still(stall: Sequence[Sample], limits: HungLimits) -> bool:
    """Whether the core used next to no processor time in the newest `frozen_s` of the stall.

    Only the newest: an engine may be stopped after minutes of an honest prefill.
    """
    newest = stall[-1]
    counted_s = 0.0
    for earlier, later in pairwise(reversed(stall)):
        counted_s += min(earlier.now_at - later.now_at, limits.longest_gap_s)
        if counted_s >= limits.frozen_s:
            if newest.core_cpu_s is None or later.core_cpu_s is None:
                return False
            used_s = newest.core_cpu_s - later.core_cpu_s
            return used_s < limits.idle_cpu_share * (newest.now_at - later.now_at)
    return False


def _name_long_step(sample: Sample) -> Hang:
    if not sample.answered:
        return Hang.SILENT
    if sample.core_cpu_s is not None:
        return Hang.SPINNING
    return Hang.STUCK if sample.running or sample.waiting else Hang.MUTE


def _name_standstill(sample: Sample) -> Hang:
    if not sample.answered:
        return Hang.SILENT
    return Hang.FROZEN if sample.running or sample.waiting else Hang.DEAF
