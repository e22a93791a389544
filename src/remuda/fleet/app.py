"""The composition root of `remuda up`: builds the fleet from its parts and handles the process's signals.

`serve` runs a fleet in this process. SIGINT, SIGTERM and SIGHUP drain it; a second SIGINT, SIGTERM or SIGHUP kills its
engines.

On hang-up only the session leader gets SIGHUP. That may be a `make` that waits for us (ssh -t host make up), so the
fleet also polls its terminal.
"""

import asyncio
import contextlib
import errno
import functools
import os
import select
import signal
from collections.abc import Callable

from remuda.fleet.engines import EngineFactory
from remuda.fleet.plan import FleetPlan
from remuda.fleet.reporting import events
from remuda.fleet.supervisor import FleetSupervisor
from remuda.machine.errors import explain_os_error
from remuda.machine.home import Home

_REASONS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal was closed"}
TERMINAL_POLL_S = 1.0
_EXPLAINED = {
    errno.ENOSPC,
    errno.EDQUOT,
    errno.EACCES,
    errno.EPERM,
    errno.EROFS,
    errno.EMFILE,
    errno.ENOMEM,
    errno.ENOTDIR,
}
"""Errors of the operating system that say something about the machine; any other one is a fault of ours."""


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
        if error.errno not in _EXPLAINED:
            raise
        raise explain_os_error(error) from error
    return became_ready


async def _serve(plan: FleetPlan, home: Home, emit: events.Emit) -> None:
    supervisor = FleetSupervisor(plan, home, EngineFactory(home, plan.devices), emit)
    loop = asyncio.get_running_loop()
    for number, reason in _REASONS.items():
        if signal.getsignal(number) is not signal.SIG_IGN:  # nohup ignores SIGHUP to outlive the terminal
            loop.add_signal_handler(number, supervisor.interrupt, reason)
    watcher = None
    terminal = _find_terminal()
    if terminal is not None and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:
        # not `interrupt`: the same hang-up may come as a signal too, and must not count as a second request
        on_hang_up = functools.partial(supervisor.request_stop, _REASONS[signal.SIGHUP])
        watcher = asyncio.create_task(watch_terminal(terminal, on_hang_up))
    try:
        await supervisor.run()
    finally:
        if watcher is not None:
            watcher.cancel()


def _find_terminal() -> int | None:
    """The controlling terminal of this process; a terminal of another session (`setsid`) does not count."""
    for fd in (0, 1, 2):
        with contextlib.suppress(OSError):
            os.tcgetpgrp(fd)
            return fd
    return None


async def watch_terminal(fd: int, on_hang_up: Callable[[], None], poll_s: float = TERMINAL_POLL_S) -> None:
    """Call `on_hang_up` once when the other side of the terminal `fd` is closed."""
    poll = select.poll()
    poll.register(fd, 0)  # POLLHUP is reported without being asked for
    while not poll.poll(0):  # noqa: ASYNC110 - there is no event to wait for
        await asyncio.sleep(poll_s)
    on_hang_up()
