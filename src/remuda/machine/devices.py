"""Reads the devices of this machine: NVIDIA GPUs with the links between them, and CPU cores.

GPUs come from `nvidia-smi -L` and `nvidia-smi topo -m`, or from /dev where that program is missing. Only GPUs that
CUDA_VISIBLE_DEVICES leaves to this process count. CPU cores are those of this process's affinity, which a cpuset of a
container restricts. The parsers are pure; they were written from recordings, not tested on the machines themselves.
"""

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from remuda.machine.cgroups import read_core_limit
from remuda.planner.devices import Core, Gpu, Machine

VISIBLE_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
SMI_TIMEOUT_S: Final = 30.0
"""Without its persistence daemon, the driver initialises eight GPUs anew for each call; that takes seconds."""
_NODES = Path("/dev")
_CPUS: Final = Path("/sys/devices/system/cpu")
_GPU: Final = re.compile(r"^GPU (\d{1,4}): (.+) \(UUID: (GPU-[0-9a-fA-F-]+)\)\s*$")
_INSTANCE: Final = re.compile(r"^\s+MIG (\S+)\s+Device\s+\d+: \(UUID: (MIG-[^)]+)\)\s*$")
_COLOUR: Final = re.compile(r"\x1b\[[0-9;]*m")
_LINKS: Final = {"SYS": 1, "NODE": 2, "PHB": 3, "PXB": 4, "PIX": 5}
"""The legend of `nvidia-smi topo -m`, slowest first. NV# is a bond of # NVLinks."""
_NVLINK: Final = 100


def read_machine(environ: Mapping[str, str] | None = None) -> Machine:
    """The devices that this process may use. It takes seconds on a machine with many GPUs."""
    env = os.environ if environ is None else environ
    gpus = select_visible(_list_gpus(), env.get(VISIBLE_VARIABLE))
    links = parse_links(_run_smi("topo", "-m")) if len(gpus) > 1 else {}
    return Machine(gpus, links, read_cores(), read_core_limit())


def has_nvidia_gpu(environ: Mapping[str, str] | None = None) -> bool:
    """Whether this process may use a GPU whose driver answers."""
    env = os.environ if environ is None else environ
    return bool(select_visible(_list_gpus(), env.get(VISIBLE_VARIABLE)))


def _list_gpus() -> tuple[Gpu, ...]:
    if not ((_NODES / "nvidiactl").exists() or (_NODES / "dxg").exists()):
        return ()
    if shutil.which("nvidia-smi") is not None:
        return parse_gpus(_run_smi("-L"))
    nodes = sorted(int(path.name[6:]) for path in _NODES.glob("nvidia[0-9]*") if path.name[6:].isdecimal())
    return tuple(Gpu(index, "", str(index)) for index in nodes)


def _run_smi(*arguments: str) -> str:
    """What nvidia-smi prints; "" when it fails."""
    try:
        done = subprocess.run(
            ["nvidia-smi", *arguments], capture_output=True, text=True, timeout=SMI_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired, UnicodeDecodeError):
        return ""
    return done.stdout if done.returncode == 0 else ""


def parse_gpus(text: str) -> tuple[Gpu, ...]:
    """The devices in the output of `nvidia-smi -L`: each GPU, or its MIG instances in place of a partitioned one."""
    found: list[list[Gpu]] = []
    for line in text.splitlines():
        if gpu := _GPU.match(line):
            found.append([Gpu(int(gpu[1]), gpu[2], gpu[1], uuid=gpu[3])])
        elif found and (instance := _INSTANCE.match(line)):
            found[-1].append(replace(found[-1][0], selector=instance[2], uuid=instance[2], instance=instance[1]))
    return tuple(device for devices in found for device in (devices[1:] or devices))


def select_visible(gpus: Sequence[Gpu], visible: str | None) -> tuple[Gpu, ...]:
    """The devices that a value of CUDA_VISIBLE_DEVICES names, by index or by the beginning of a UUID.

    As in CUDA, None leaves all of them, and an entry that names no device ends the list.
    """
    if visible is None:
        return tuple(gpus)
    chosen: dict[str, Gpu] = {}
    for entry in map(str.strip, visible.split(",")):
        named = [gpu for gpu in gpus if _is_named(gpu, entry)]
        if not named:
            break
        chosen |= {gpu.selector: gpu if entry.isdecimal() else replace(gpu, selector=gpu.uuid) for gpu in named}
    return tuple(sorted(chosen.values(), key=lambda gpu: gpu.index))


def _is_named(gpu: Gpu, entry: str) -> bool:
    if entry.isdecimal():
        return gpu.index == int(entry)
    return entry.startswith(("GPU-", "MIG-")) and gpu.uuid.startswith(entry)


def parse_links(text: str) -> dict[tuple[int, int], int]:
    """How fast the links between GPUs are, from the matrix of `nvidia-smi topo -m`: by (lower index, higher index)."""
    columns: list[int] = []
    links: dict[tuple[int, int], int] = {}
    for line in _COLOUR.sub("", text).splitlines():
        cells = line.split()
        if not columns:
            columns = [int(cell[3:]) for cell in cells if re.fullmatch(r"GPU\d{1,4}", cell)]
        elif cells and re.fullmatch(r"GPU\d{1,4}", cells[0]):
            row = int(cells[0][3:])
            for column, cell in zip(columns, cells[1:], strict=False):
                if row < column:
                    links[row, column] = _rate_link(cell)
    return links


def _rate_link(cell: str) -> int:
    if bond := re.fullmatch(r"NV(\d{1,3})", cell):
        return _NVLINK + int(bond[1])
    return _LINKS.get(cell, 0)


def read_cores(cpus: Path = _CPUS) -> tuple[Core, ...]:
    """The logical CPUs of this process's affinity, with their physical cores and NUMA nodes."""
    return tuple(_read_core(cpus / f"cpu{number}", number) for number in sorted(os.sched_getaffinity(0)))


def _read_core(folder: Path, number: int) -> Core:
    """Without the kernel's word on its topology, a logical CPU counts as a core of its own."""
    siblings = _read_first_number(folder / "topology" / "thread_siblings_list")
    nodes = [int(path.name[4:]) for path in folder.glob("node[0-9]*") if path.name[4:].isdecimal()]
    return Core(number, number if siblings is None else siblings, min(nodes, default=0))


def _read_first_number(path: Path) -> int | None:
    """The first number of a list such as "0,64" or "0-1"."""
    try:
        found = re.match(r"\d{1,6}", path.read_text(encoding="ascii"))
    except (OSError, UnicodeDecodeError):
        return None
    return int(found[0]) if found else None
