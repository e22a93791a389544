"""Installs an engine without blocking an event loop: the work runs in a child process.

`install` starts `python -m remuda.engine.install.worker ORDER`, passes its progress on and returns the installation.
The child ends when it is told to, or when its parent dies. The kernel ends the child's own child (uv) with it.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable
from dataclasses import asdict
from typing import Any

from remuda.engine.errors import InstallError
from remuda.engine.install.installation import Installation
from remuda.engine.install.installer import find_installation, install_engine
from remuda.engine.status import Progress
from remuda.machine import parent_death
from remuda.machine.errors import explain_os_error
from remuda.machine.home import Home

_LEAVE_S = 5.0  # from SIGTERM to SIGKILL


async def install(home: Home, version: str, variant: str | None, report: Callable[[Progress], None]) -> Installation:
    """The installation of `version`, which is made if it is missing. Cancelling the call stops the installer."""
    order = json.dumps({"version": version, "variant": variant})
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "remuda.engine.install.worker",
        order,
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, parent_death.PARENT_VARIABLE: str(os.getpid())},
        start_new_session=True,
    )
    try:
        async for message in _read(child):
            if "error" in message:
                raise InstallError(message["error"], message["hint"])
            report(Progress(**message))
        await child.wait()
    finally:
        await _end(child)
    found = find_installation(home, version, variant)
    if found is None:
        raise InstallError(
            f"the installation of vLLM {version} ended with status {child.returncode}", "run it again to see why"
        )
    return found


async def _read(child: asyncio.subprocess.Process) -> AsyncIterator[dict[str, Any]]:
    assert child.stdout is not None
    async for line in child.stdout:
        yield json.loads(line)


async def _end(child: asyncio.subprocess.Process) -> None:
    """Let the child clean up, then kill its process group. A cancellation while it cleans up kills it at once."""
    try:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.terminate()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(child.wait(), _LEAVE_S)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
        await child.wait()  # also when cancelled, so that the killed child is reaped


def main(order: dict[str, Any]) -> int:
    """The child: install, and report each step as one JSON line."""
    parent_death.die_with_parent(signal.SIGTERM)
    signal.signal(signal.SIGTERM, _stop)

    def send(message: dict[str, Any]) -> None:
        print(json.dumps(message), flush=True)

    try:
        install_engine(
            Home.from_environment(), order["version"], order["variant"], lambda progress: send(asdict(progress))
        )
    except InstallError as error:
        send({"error": error.message, "hint": error.hint})
        return 1
    except OSError as error:
        refusal = explain_os_error(error)
        send({"error": f"the engine cannot be installed: {refusal.message}", "hint": refusal.hint})
        return 1
    except KeyboardInterrupt:  # SIGTERM; what was unfinished is removed by now
        return 128 + signal.SIGTERM
    return 0


def _stop(number: int, _frame: object) -> None:
    signal.signal(number, signal.SIG_IGN)  # the signal comes again if the parent dies meanwhile
    # An exception runs the cleanup: run_uv kills uv, and the installer removes the unfinished environment.
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(json.loads(sys.argv[1])))
