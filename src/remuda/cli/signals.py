"""How a command reacts to signals while it does something that must be undone or told to another process."""

import contextlib
import signal
from collections.abc import Callable, Iterator
from types import FrameType


@contextlib.contextmanager
def exit_on_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit, so that `finally` blocks run: an incomplete environment is deleted."""

    def leave(number: int, _frame: FrameType | None) -> None:
        for other in before:  # a second signal must not interrupt the deletion, which can take seconds
            signal.signal(other, signal.SIG_IGN)
        raise SystemExit(128 + number)

    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    for number, handler in before.items():
        if handler is not signal.SIG_IGN:  # under nohup, SIGHUP stays ignored
            signal.signal(number, leave)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


@contextlib.contextmanager
def hold_ctrl_c() -> Iterator[Callable[[], None]]:
    """Hold a Ctrl-C back until the yielded function is called.

    In between, a fleet starts in the background. A Ctrl-C must then reach it, or it would keep running.
    """
    before = signal.getsignal(signal.SIGINT)
    held: list[int] = []

    def let_go() -> None:
        signal.signal(signal.SIGINT, before)
        if held:
            signal.raise_signal(signal.SIGINT)

    signal.signal(signal.SIGINT, lambda number, _frame: held.append(number))
    try:
        yield let_go
    finally:
        signal.signal(signal.SIGINT, before)
