"""Chooses the build of vLLM that suits this machine.

    cuda       vLLM for NVIDIA GPUs, from PyPI
    cpu        vLLM for CPUs with PyTorch's CPU build (a tenth of the download), from PyTorch's own index or a folder
    cpu-pypi   vLLM for CPUs with PyPI's PyTorch, for machines that reach only PyPI

The module looks for GPUs, reads /proc/cpuinfo, and asks the network once. It installs nothing.
"""

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from remuda.engine.errors import InstallError
from remuda.machine.devices import has_nvidia_gpu

DEFAULT_VERSION: Final = "0.32.0"
TORCH_BY_VERSION: Final = {"0.32.0": "2.13.0"}
PYTHONS: Final = ((3, 11), (3, 12), (3, 13), (3, 14))
"""vLLM 0.32.0 declares them (Requires-Python >=3.11,<3.15)."""
PYTHON_FALLBACK: Final = "3.12"

TORCH_CPU_INDEX: Final = "https://download.pytorch.org/whl/cpu"
"""Only this index publishes torch+cpu. REMUDA_TORCH_INDEX names a mirror."""
INDEX_TIMEOUT_S: Final = 4.0
"""How long the choice may wait for that index, so that a machine without network does not wait long."""


@dataclass(frozen=True, slots=True)
class Variant:
    """One build of vLLM."""

    name: str
    download_bytes: int
    """Approximately, for the progress bar. cpu-pypi is measured; cpu and cuda are sums of the sizes of their wheels."""
    disk_bytes: int
    """Approximately, when installed and compiled to byte code."""
    device: str
    """cpu or cuda; arguments are rendered for it."""


_GIB: Final = 1024**3
VARIANTS: Final[Mapping[str, Variant]] = {
    "cuda": Variant("cuda", int(5.0 * _GIB), int(11.0 * _GIB), "cuda"),
    "cpu": Variant("cpu", int(0.7 * _GIB), int(2.4 * _GIB), "cpu"),
    "cpu-pypi": Variant("cpu-pypi", int(3.0 * _GIB), int(5.6 * _GIB), "cpu"),
}


def parse_variant(name: str) -> Variant:
    """The variant of this name; InstallError lists the names."""
    if name in VARIANTS:
        return VARIANTS[name]
    raise InstallError(f"there is no engine variant {name!r}", f"choose one of {', '.join(VARIANTS)}")


def matching_variants(asked: str | None) -> tuple[str, ...]:
    """The variants that suit a request, best first: `cpu` means any build for CPUs, None what suits the machine."""
    if asked == "cpu":
        return ("cpu", "cpu-pypi")
    if asked is not None:
        return (parse_variant(asked).name,)
    return ("cuda",) if has_nvidia_gpu() else ("cpu", "cpu-pypi")


def choose_variant(asked: str | None, environ: Mapping[str, str] | None = None) -> Variant:
    """The variant to install: for a GPU, else with PyTorch's CPU build if it can be reached, else with PyPI's."""
    env = os.environ if environ is None else environ
    names = matching_variants(asked)
    if len(names) == 1:
        return VARIANTS[names[0]]
    if find_wheel_folder(env, TORCH_BY_VERSION[DEFAULT_VERSION]) is not None or _index_answers(torch_index(env)):
        return VARIANTS["cpu"]
    return VARIANTS["cpu-pypi"]


def torch_index(environ: Mapping[str, str]) -> str:
    """The address of the index with torch+cpu."""
    return environ.get("REMUDA_TORCH_INDEX") or TORCH_CPU_INDEX


def find_wheel_folder(environ: Mapping[str, str], torch_version: str) -> Path | None:
    """A folder of wheels, named by the user, that holds torch's CPU build; None when there is none."""
    for name in ("REMUDA_WHEELS", "UV_FIND_LINKS", "PIP_FIND_LINKS"):
        for part in environ.get(name, "").replace(",", " ").split():
            folder = Path(part.removeprefix("file://"))
            if folder.is_dir() and any(folder.glob(f"torch-{torch_version}+cpu-*.whl")):
                return folder
    return None


def check_cpu(cpuinfo: str | None = None, machine: str | None = None) -> None:
    """Refuse a CPU that vLLM has no kernels for, before gigabytes are downloaded.

    The wheels have kernels for AVX2, AVX-512 and AVX-512 with bf16 (x86-64), and one set for arm64.
    """
    arch = machine or platform.machine()
    if arch in ("aarch64", "arm64"):
        return
    if arch not in ("x86_64", "AMD64"):
        raise InstallError(f"vLLM has no CPU build for {arch}", "use an x86-64 or arm64 Linux machine")
    text = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace") if cpuinfo is None else cpuinfo
    flags = next((line.split(":", 1)[1].split() for line in text.splitlines() if line.startswith("flags")), None)
    if flags is not None and "avx2" not in flags:
        raise InstallError(
            "this CPU has no AVX2, which vLLM's kernels need",
            "use a newer machine; in a virtual machine, pass the host's CPU through",
        )


def _index_answers(url: str) -> bool:
    import httpx  # it takes 0.1 s, which planning a file should not cost

    try:
        answer = httpx.head(f"{url.rstrip('/')}/torch/", timeout=INDEX_TIMEOUT_S, follow_redirects=True)
    except (httpx.HTTPError, httpx.InvalidURL, ValueError, ImportError, OSError):
        return False  # the last three: httpx cannot use a proxy or certificate of the environment (SOCKS, …)
    return answer.status_code < 400
