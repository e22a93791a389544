"""What a running fleet has on disk: a lock, a record (`fleet.json`) and its control socket.

The lock says whether a fleet runs: the kernel frees it with the process, also after kill -9. The record only says which
process and where. Stored data is read leniently: a record that cannot be read counts as absent.
"""

import contextlib
import json
import os
import signal
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from remuda.fleet.errors import FleetError, FleetRunningError
from remuda.machine.errors import explain_os_error
from remuda.machine.files import replace_file
from remuda.machine.locks import hold_lock, is_locked
from remuda.machine.processes import ProcessId, fetch_process_id, is_alive, stop_group

RECORD_NAME = "fleet.json"
LOCK_NAME = "fleet.lock"
SOCKET_NAME = "fleet.sock"
ORPHAN_GRACE_S = 5.0  # signals at a parent's death take milliseconds, on a loaded machine longer
KILL_S = 10.0  # how long the kernel may take to end a killed process, which may be in the middle of disk I/O
GONE_S = 10.0  # a fleet that has sent its last event only has to exit
_POLL_S = 0.05


@dataclass(frozen=True, slots=True)
class FleetRecord:
    """One fleet: its process, its address, its files, its children."""

    pid: int
    start_ticks: int
    url: str
    files: tuple[str, ...]
    started_at: float
    children: Mapping[str, ProcessId] = field(default_factory=dict)

    @property
    def process(self) -> ProcessId:
        """The process of the supervisor."""
        return ProcessId(self.pid, self.start_ticks)


def write_record(folder: Path, record: FleetRecord) -> None:
    """Replace the record atomically."""
    replace_file(folder / RECORD_NAME, json.dumps(asdict(record), indent=1).encode(), durable=False)


def read_record(folder: Path) -> FleetRecord | None:
    """The record in `folder`; None when there is none that can be read."""
    try:
        stored = json.loads((folder / RECORD_NAME).read_text())
        return _parse_record(stored)
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _parse_record(stored: dict[str, Any]) -> FleetRecord:
    children = stored.get("children", {})
    return FleetRecord(
        pid=int(stored["pid"]),
        start_ticks=int(stored["start_ticks"]),
        url=str(stored.get("url", "")),
        files=tuple(map(str, stored.get("files", ()))),
        started_at=float(stored.get("started_at", 0.0)),
        children={name: ProcessId(int(c["pid"]), int(c["start_ticks"])) for name, c in children.items()},
    )


@contextlib.contextmanager
def claim_home(folder: Path) -> Iterator[None]:
    """Be the one fleet of this home while the block runs; what a killed predecessor left is removed first."""

    def refuse() -> None:
        record = read_record(folder)
        who = f": process {record.pid} at {record.url}" if record else ""
        raise FleetRunningError(
            f"a fleet is already running{who}",
            "`remuda status` shows it, `remuda down` stops it; for a second one set another REMUDA_HOME",
        )

    with contextlib.ExitStack() as held:
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(hold_lock(folder / LOCK_NAME, refuse))
        except OSError as error:
            raise explain_os_error(error) from error
        clean_leftovers(folder)
        try:
            yield
        finally:
            clean_leftovers(folder)


def clean_leftovers(folder: Path) -> None:
    """Remove what a fleet that is gone left behind: its record, its socket and, if any survived, its processes."""
    record = read_record(folder)
    if record is not None:
        _stop_orphans(record)
    for name in (RECORD_NAME, SOCKET_NAME):
        (folder / name).unlink(missing_ok=True)


def _stop_orphans(record: FleetRecord) -> None:
    for orphan in _wait_for_exits(record.children.values(), ORPHAN_GRACE_S):
        stop_group(orphan)
    _wait_for_exits(record.children.values(), KILL_S)


def _wait_for_exits(processes: Iterable[ProcessId], limit_s: float) -> list[ProcessId]:
    """Those that still live after `limit_s`."""
    deadline_at = time.monotonic() + limit_s
    while (alive := [process for process in processes if is_alive(process)]) and time.monotonic() < deadline_at:
        time.sleep(_POLL_S)
    return alive


def kill_fleet(record: FleetRecord) -> None:
    """Kill a fleet that does not respond, and its children."""
    if is_alive(record.process):
        os.kill(record.pid, signal.SIGKILL)
    for child in record.children.values():  # engines end with their parent, but the gateway would drain first
        stop_group(child)


def wait_until_gone(folder: Path, record: FleetRecord | None) -> None:
    """Wait until the fleet has released its home and all of its processes have ended. Raises FleetError."""
    processes = [record.process, *record.children.values()] if record else []
    deadline_at = time.monotonic() + GONE_S
    while is_claimed(folder) or any(is_alive(process) for process in processes):
        if time.monotonic() > deadline_at:
            raise FleetError("the fleet has not ended yet", "`remuda down --cut` kills it")
        time.sleep(_POLL_S)


def check_unclaimed(folder: Path, path: str) -> None:
    """Refuse the removal of something while a fleet runs, because the fleet may restart an engine from it."""
    if is_claimed(folder):
        raise FleetError(
            f"a fleet runs on this machine and starts engines from {path}", "stop the fleet with `remuda down` first"
        )


def is_claimed(folder: Path) -> bool:
    """Whether a fleet holds this home."""
    return is_locked(folder / LOCK_NAME)


def describe_self(url: str, files: tuple[str, ...], children: Mapping[str, ProcessId]) -> FleetRecord:
    """The record of the calling process."""
    me = fetch_process_id(os.getpid())
    if me is None:
        raise FleetError("cannot read /proc/self/stat", "Remuda needs Linux with /proc mounted")
    return FleetRecord(me.pid, me.start_ticks, url, files, time.time(), children)
