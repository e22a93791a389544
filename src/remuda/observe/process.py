"""The figures of this process every Prometheus client exposes: processor time, memory, file descriptors.

Read from /proc; where there is none (not Linux), nothing is reported. Called by the gateway at each scrape.
"""

import os
import resource
from pathlib import Path

from remuda.observe import metrics
from remuda.observe.metrics import Labels, Metric


def read_process(proc: Path = Path("/proc")) -> dict[Metric, dict[Labels, float]]:
    """A snapshot of this process."""
    try:
        stat = (proc / "self/stat").read_text()
        boot_s = _read_boot_s((proc / "stat").read_text())
        open_fds = _count_fds(proc / "self/fd")
    except OSError:
        return {}
    # The command name, in brackets, may hold anything; the numbered fields follow it (proc(5): utime is field 14).
    fields = stat.rpartition(")")[2].split()
    tick_s = 1.0 / os.sysconf("SC_CLK_TCK")
    values = {
        metrics.PROCESS_CPU: (int(fields[11]) + int(fields[12])) * tick_s,
        metrics.PROCESS_RESIDENT: float(int(fields[21]) * resource.getpagesize()),
        metrics.PROCESS_VIRTUAL: float(fields[20]),
        metrics.PROCESS_START: boot_s + int(fields[19]) * tick_s,
        metrics.PROCESS_OPEN_FDS: float(open_fds),
        metrics.PROCESS_MAX_FDS: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }
    return {metric: {(): value} for metric, value in values.items()}


def _read_boot_s(stat: str) -> float:
    return next((float(line.split()[1]) for line in stat.splitlines() if line.startswith("btime ")), 0.0)


def _count_fds(folder: Path) -> int:
    """Linux 6.2 and later state the count as the folder's size; listing 10,000 names would take milliseconds."""
    return folder.stat().st_size or len(list(folder.iterdir()))
