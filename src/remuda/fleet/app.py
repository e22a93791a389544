"""The composition root of `remuda up`: builds the fleet out of real parts and hands it the process's signals.

`serve` runs a fleet in this process. SIGINT, SIGTERM and SIGHUP (the terminal was closed) drain it, a second one
cuts. Called by `cli.up` (in front of a terminal) and by `detach` (behind one).
"""

import asyncio
import errno
import signal

from remuda.engine.home import Home
from remuda.fleet import events
from remuda.fleet.errors import explain_os_error
from remuda.fleet.plan import FleetPlan
from remuda.fleet.supervisor import Supervisor
from remuda.fleet.workshop import EngineWorkshop

_REASONS = {signal.SIGINT: "Ctrl-C", signal.SIGTERM: "SIGTERM", signal.SIGHUP: "the terminal was closed"}
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
    await supervisor.run()
