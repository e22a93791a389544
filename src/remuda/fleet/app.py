"""The composition root of `remuda up`: builds the fleet out of real parts and hands it the process's signals.

`serve` runs a fleet in this process. SIGINT, SIGTERM and SIGHUP (the terminal was closed) drain it, a second one
cuts. Called by `cli.up` (in front of a terminal) and by `detach` (behind one).

Of a closed terminal the kernel tells only the first process in it, which may be a `make` that waits for us (ssh -t host
make up). So the terminal itself is looked at, too.
"""

import asyncio
import contextlib
import errno
import functools
import os
import select
import signal
from collections.abc import Callable

from remuda.fleet import events
from remuda.fleet.plan import FleetPlan
from remuda.fleet.supervisor import Supervisor
from remuda.fleet.workshop import EngineWorkshop
from remuda.machine.errors import explain_os_error
from remuda.machine.home import Home

_REASONS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal was closed"}
TERMINAL_LOOK_S = 1.0
_OURS = {errno.ENOSPC, errno.EDQUOT, errno.EACCES, errno.EPERM, errno.EROFS, errno.EMFILE, errno.ENOMEM, errno.ENOTDIR}


def serve(plan: FleetPlan, home: Home, emit: events.Emit) -> bool:
    """Run the fleet until it is told to stop; True if it had become ready by then."""
    became_ready = False

    def watch(event: events.AnyEvent) -> None:
        nonlocal became_ready
        became_ready = became_ready or isinstance(event, events.Ready)
        emit(event)

    try:
        asyncio.run(_serve(plan, home, watch))
    except OSError as error:
        if error.errno not in _OURS:
            raise
        raise explain_os_error(error) from error
    return became_ready


async def _serve(plan: FleetPlan, home: Home, emit: events.Emit) -> None:
    supervisor = Supervisor(plan, home, EngineWorkshop(home), emit)
    loop = asyncio.get_running_loop()
    for number, reason in _REASONS.items():
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup asks to outlive the terminal
            loop.add_signal_handler(number, supervisor.interrupt, reason)
    watcher = None
    terminal = _find_terminal()
    if terminal is not None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        gone = functools.partial(supervisor.request_stop, _REASONS[signal.SIGHUP])  # a signal as well must not cut
        watcher = asyncio.create_task(watch_terminal(terminal, gone))
    try:
        await supervisor.run()
    finally:
        if watcher is not None:
            watcher.cancel()


def _find_terminal() -> int | None:
    """The terminal that this process belongs to; one of another session (`setsid`) is not ours to end with."""
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.tcgetpgrp(fd)
            return fd
    return None


async def watch_terminal(fd: int, gone: Callable[[], None], look_s: float = TERMINAL_LOOK_S) -> None:
    """Call `gone` once when nobody holds the other side of the terminal `fd` any more."""
    poll = select.poll()
    poll.register(fd, 0)  # hang-ups are told without being asked for
    while not poll.poll(0):  # noqa: ASYNC110 - nothing tells of it
        await asyncio.sleep(look_s)
    gone()
