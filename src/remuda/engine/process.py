"""One run of an engine's processes: started in a session of their own, logged, measured, and ended to the last one.

Does not know readiness or restarts (`supervise`). Must be used from the main thread: the kernel ties the death of the
engine to the thread that started it (see inside/launch.py), and asyncio starts processes in the thread of its loop.
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
from remuda.machine.parent_death import PARENT_VARIABLE

LAST_WORDS_S = 2.0
"""How long its output is read after its end: a stray writer outside the group must not hold us."""
SWEEP_S = 10.0
"""How long the kernel may take to end a killed group (a process in the middle of disk I/O cannot die at once)."""
_HINTS = {
    errno.ENOENT: "`remuda engine install --repair`",
    errno.EACCES: "`remuda engine install --repair`",
    errno.EAGAIN: "this user may start no more processes: raise `ulimit -u`",
    errno.ENOMEM: "free some memory, or serve fewer replicas",
    errno.EMFILE: "raise the limit of open files: `ulimit -n 65536`",
}


@dataclass(frozen=True, slots=True)
class Command:
    """What to run."""

    argv: Sequence[str]
    env: Mapping[str, str]


class EngineProcess:
    """The API process, its core and its workers."""

    def __init__(self, process: asyncio.subprocess.Process, output: int, log: EngineLog) -> None:
        self._process = process
        self._output = output
        self._output_ended = asyncio.Event()
        self._log = log
        self._oom_kills = processes.count_oom_kills()
        self._asked = False
        self._gone = False
        asyncio.get_running_loop().add_reader(output, self._read)

    @classmethod
    async def start(cls, command: Command, log: EngineLog) -> "EngineProcess":
        """Start the leader of a new session and process group, so that everything can be ended at once.

        The pipe for its output is ours, not asyncio's: asyncio's `wait` lasts until the pipe is closed, which a core
        that outlives its API process would never do.
        """
        env = {**command.env, PARENT_VARIABLE: str(os.getpid())}
        try:
            output, its_end = os.pipe()
        except OSError as error:
            hint = _HINTS.get(error.errno or 0, "")
            raise EngineError(f"the engine could not be started: {error.strerror}", hint) from error
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
            hint = _HINTS.get(error.errno or 0, "")
            raise EngineError(f"the engine could not be started: {command.argv[0]}: {error.strerror}", hint) from error
        except BaseException:  # cancelled: asyncio ends the process, the pipe is ours
            os.close(output)
            raise
        finally:
            os.close(its_end)
        return cls(process, output, log)

    @property
    def pid(self) -> int:
        """The leader: the API process."""
        return self._process.pid

    @property
    def asked_to_end(self) -> bool:
        """Somebody of ours ended it; any other end is a crash, whatever its status."""
        return self._asked

    @property
    def oom_kills(self) -> int:
        """Kills for want of memory on this machine since this engine started."""
        return max(0, processes.count_oom_kills() - self._oom_kills)

    def core_pids(self) -> list[int]:
        """Core and workers: all below the API process."""
        return list(processes.find_descendants(self.pid))

    def core_cpu_s(self) -> float:
        """Processor time of core and workers: moves while a long step computes, stands when they are stopped."""
        return processes.measure_cpu_s(self.core_pids())

    def resident_bytes(self) -> int:
        """Main memory of all its processes together (shared pages counted in each)."""
        return sum(map(processes.measure_resident_bytes, [self.pid, *self.core_pids()]))

    async def wait(self) -> int:
        """Until the leader is gone; its status. What it left behind is ended, and its last words are read."""
        status = await self._process.wait()
        await self._sweep()
        self._gone = True
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._output_ended.wait(), LAST_WORDS_S)
        self._close()
        return status

    def terminate(self) -> None:
        """Ask the leader, and only it, to drain: vLLM ends its own children when they have nothing left to do."""
        self._asked = True
        with contextlib.suppress(ProcessLookupError):
            self._process.send_signal(signal.SIGTERM)

    def kill(self, *, asked: bool = True) -> None:
        """End the whole group now. A stopped process dies of SIGKILL as well.

        Nothing is done once the group was swept: its number may be another's by then.
        """
        self._asked = self._asked or asked
        if self._gone:
            return
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self.pid, signal.SIGKILL)

    async def _sweep(self) -> None:
        deadline = asyncio.get_running_loop().time() + SWEEP_S
        while processes.find_group(self.pid) and asyncio.get_running_loop().time() < deadline:
            self.kill(asked=False)
            await asyncio.sleep(0.02)

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
            self._close()

    def _close(self) -> None:
        if not self._output_ended.is_set():
            self._output_ended.set()
            asyncio.get_running_loop().remove_reader(self._output)
            os.close(self._output)
