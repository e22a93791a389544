"""The metrics of this process that every Prometheus client exposes: CPU time, memory and file descriptors.

They are read from /proc. Without /proc, which only Linux has, there are none.
"""

import resource
from pathlib import Path

from remuda.machine.processes import PROC, TICKS_PER_S, parse_stat
from remuda.observe import metrics
from remuda.observe.metrics import Labels, Metric


def read_process(proc: Path = PROC) -> dict[Metric, dict[Labels, float]]:
    """The current values of this process."""
    try:
        stat = parse_stat((proc / "self/stat").read_text(errors="replace"))
        boot_s = _read_boot_s((proc / "stat").read_text())
        open_fds = _count_fds(proc / "self/fd")
    except OSError:
        return {}
    values = {
        metrics.PROCESS_CPU: stat.own_cpu_s,
        metrics.PROCESS_RESIDENT: float(stat.resident_bytes),
        metrics.PROCESS_VIRTUAL: float(stat.virtual_bytes),
        metrics.PROCESS_START: boot_s + stat.started_ticks / TICKS_PER_S,
        metrics.PROCESS_OPEN_FDS: float(open_fds),
        metrics.PROCESS_MAX_FDS: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    return {metric: {(): value} for metric, value in values.items()}


def _read_boot_s(stat: str) -> float:
    return next((float(line.split()[1]) for line in stat.splitlines() if line.startswith("btime ")), 0.0)


def _count_fds(folder: Path) -> int:
    """The number of open files. Linux 6.2 and later states it as the folder's size, which is faster than a listing."""
    return folder.stat().st_size or len(list(folder.iterdir()))
