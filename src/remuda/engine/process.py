"""One run of an engine's processes: started in a session of their own, logged, measured, and ended completely.

The module does not know readiness or restarts. Use it from the main thread only: the kernel ties the death of the
engine to the thread that started it (machine.parent_death), and asyncio starts processes in the thread of its loop.
"""

import asyncio
import contextlib
import errno
import os
import signal
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from remuda.engine.errors import EngineError
from remuda.engine.log import EngineLog
from remuda.machine import processes
from remuda.machine.cgroups import ControlGroup
from remuda.machine.parent_death import PARENT_VARIABLE

OUTPUT_S = 2.0
"""How long the output is read after the end: a process that left the group may hold the pipe open."""
SWEEP_S = 10.0
"""How long the kernel may take to end a killed group: a process in the middle of disk I/O cannot die at once."""
_HINTS = {
    errno.ENOENT: "`remuda engine install --repair`",
    errno.EACCES: "`remuda engine install --repair`",
    errno.EAGAIN: "this user may start no more processes: raise `ulimit -u`",
    errno.ENOMEM: "free some memory, or serve fewer replicas",
    errno.EMFILE: "raise the limit of open files: `ulimit -n 65536`",
}


@dataclass(frozen=True, slots=True)
class Command:
    """The program to run."""

    argv: Sequence[str]
    env: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class ProcessEnd:
    """How a run ended."""

    status: int
    """Exit status of the API process; negative: the signal that killed it."""
    machine_oom_kills: int
    """Processes of this machine that the kernel killed for lack of memory during the run."""
    own_oom_kills: int | None
    """Those of them that belong to this run; None when the kernel does not count them."""


class EngineProcess:
    """The API process, its core and its workers."""

    def __init__(
        self, process: asyncio.subprocess.Process, output: int, log: EngineLog, group: ControlGroup | None
    ) -> None:
        self._process = process
        self._output = output
        self._output_ended = asyncio.Event()
        self._log = log
        self._group = group
        self._oom_kills_before = processes.count_oom_kills()
        self._is_gone = False
        asyncio.get_running_loop().add_reader(output, self._read)

    @classmethod
    async def start(cls, command: Command, log: EngineLog, group: ControlGroup | None = None) -> "EngineProcess":
        """Start the leader of a new session and process group, so that everything can be ended at once.

        The pipe for its output is not asyncio's, because asyncio's `wait` lasts until the pipe is closed, and a core
        that outlives its API process would keep it open.
        """
        env = {**command.env, PARENT_VARIABLE: str(os.getpid())}
        try:
            output, its_end = os.pipe()
        except OSError as error:
            raise _explain(error) from error
        os.set_blocking(output, False)
        try:
            process = await asyncio.create_subprocess_exec(
                *command.argv,
                env=env,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=its_end,
                stderr=asyncio.subprocess.STDOUT,
                start_new_session=True,
            )
        except OSError as error:
            os.close(output)
            raise _explain(error, f"{command.argv[0]}: ") from error
        except BaseException:  # cancelled: asyncio ends the process, and the pipe is ours to close
            os.close(output)
            raise
        finally:
            os.close(its_end)
        if group is not None and not group.add_tree(process.pid):
            group.remove()
            group = None
        return cls(process, output, log, group)

    @property
    def pid(self) -> int:
        """The leader: the API process."""
        return self._process.pid

    def list_pids(self) -> list[int]:
        """The API process, then its core and workers."""
        return [self.pid, *processes.find_descendants(self.pid)]

    def measure_core_cpu_s(self) -> float:
        """CPU time of core and workers: it grows while a long step computes, and not while they are stopped."""
        return processes.measure_cpu_s(self.list_pids()[1:])

    async def wait(self) -> ProcessEnd:
        """Return when the leader is gone, every process it left behind is ended, and its output is read."""
        status = await self._process.wait()
        own_oom_kills = await self._sweep()
        self._is_gone = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._output_ended.wait(), OUTPUT_S)
        self._close_output()
        machine_oom_kills = max(0, processes.count_oom_kills() - self._oom_kills_before)
        return ProcessEnd(status, machine_oom_kills, own_oom_kills)

    def terminate(self) -> None:
        """Ask the leader, and only it, to drain: vLLM ends its own children when they have finished."""
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End all processes now; SIGKILL also ends a stopped process.

        Nothing happens after the end, because the number of the process group may be another's by then.
        """
        if self._is_gone:
            return
        if self._group is not None:
            self._group.kill()
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _sweep(self) -> int | None:
        """End what the leader left behind, in its process group and its control group; the latter's OOM kills."""
        clock = asyncio.get_running_loop()
        deadline_at = clock.time() + SWEEP_S
        while processes.find_group(self.pid) and clock.time() < deadline_at:
            self.kill()
            await asyncio.sleep(0.02)
        if self._group is None:
            return None
        oom_kills = self._group.count_oom_kills()
        while not self._group.remove() and clock.time() < deadline_at:
            self.kill()
            await asyncio.sleep(0.02)
        return oom_kills

    def _read(self) -> None:
        try:
            chunk = os.read(self._output, 65536)
        except BlockingIOError:
            return
        except OSError:
            chunk = b""
        if chunk:
            self._log.write(chunk)
        else:
            self._close_output()

    def _close_output(self) -> None:
        if not self._output_ended.is_set():
            self._output_ended.set()
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)


def _explain(error: OSError, what: str = "") -> EngineError:
    return EngineError(f"the engine could not be started: {what}{error.strerror}", _HINTS.get(error.errno or 0, ""))
