"""The programs that the benchmark needs: its own C tools, nginx, the rivals at pinned versions, vLLM.

The C tools are built into build/ of the tree. Each rival gets a virtual environment under the user's cache folder,
outside the tree, made once.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from scripts import compiled_env

from benchmarks.processes import BenchError

HERE = Path(__file__).parent
TREE = HERE.parent
TOOLS = HERE / "tools"
BUILD = TREE / "build" / "benchmarks"
GCC_FLAGS = ("-O2", "-Wall", "-Wextra", "-Werror")
SOURCES = {"mock_engine": ("mock_engine.c",), "load": ("load.c", "response.c")}


@dataclass(frozen=True, slots=True)
class Rival:
    """A rival as its users install it."""

    requirement: str
    """Exactly one version: the newest whose own pins could be resolved when this was written."""
    command: str


# uv resolves their dependencies; the results name the versions that were measured.
RIVALS = {
    "vllm-router": Rival("vllm-router==0.1.17", "vllm-router"),
    "sglang-router": Rival("sglang-router==0.3.2", "python"),
    "litellm": Rival("litellm[proxy]==1.106.2", "litellm"),
}


def build_tools() -> dict[str, Path]:
    """Compile the C tools when they are older than their sources."""
    BUILD.mkdir(parents=True, exist_ok=True)
    built = {name: BUILD / name for name in SOURCES}
    newest_s = max(file.stat().st_mtime for file in TOOLS.iterdir())
    if all(path.exists() and path.stat().st_mtime > newest_s for path in built.values()):
        return built
    gcc = shutil.which("gcc")
    if gcc is None:
        raise BenchError(
            "gcc is not installed: the load generator and the mock engines are C programs\n"
            "hint: apt-get install gcc libc6-dev"
        )
    for name, sources in SOURCES.items():
        made = built[name].with_suffix(f".{os.getpid()}")  # another process may run or build the same tool right now
        command = [gcc, *GCC_FLAGS, "-o", str(made), *(str(TOOLS / source) for source in sources)]
        result = subprocess.run(command, capture_output=True, text=True, check=False)
        if result.returncode:
            raise BenchError(f"{' '.join(command)} failed:\n{result.stderr}")
        made.replace(built[name])
    return built


def find_nginx() -> str:
    """Debian's nginx; /usr/sbin is not on every user's path."""
    nginx = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if nginx is None:
        raise BenchError(
            "nginx is not installed: every other row is compared with it\nhint: apt-get install nginx-light"
        )
    return nginx


def nginx_version() -> str:
    result = subprocess.run([find_nginx(), "-v"], capture_output=True, text=True, check=True)
    return result.stderr.strip().partition("/")[2]


def compiled_python() -> Path:
    """The Python of an environment with Remuda's compiled wheel, built on first use."""
    try:
        return compiled_env.make_environment()
    except (compiled_env.CannotCompileError, compiled_env.BuildFailedError) as problem:
        raise BenchError(f"Remuda could not be compiled: {problem}") from None


def install_engine(remuda: Path) -> None:
    """Install vLLM unless it is there, so that no measurement includes a download."""
    _run([str(remuda), "engine", "install"])


def install_rival(name: str) -> Path:
    """The rival's command, from an environment that is made on first use."""
    rival = RIVALS[name]
    folder = _cache() / rival.requirement.replace("==", "-").replace("[proxy]", "")
    command = folder / "bin" / rival.command
    if not (folder / "installed").exists():
        print(f"installing {rival.requirement} into {folder}", file=sys.stderr)
        beside = str(Path(sys.executable).parent)  # the locked environment brings uv
        uv = os.environ.get("REMUDA_UV") or shutil.which("uv", path=beside) or shutil.which("uv")
        if uv is None:
            raise BenchError(
                f"uv is not installed: it installs {name}\nhint: start this with `make bench`, which brings uv"
            )
        _run([uv, "venv", "--quiet", "--clear", "--python", "3.11", str(folder)])
        _run([uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), rival.requirement])
        (folder / "installed").write_text(rival.requirement + "\n")
    return command


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "remuda-bench"


def _run(command: list[str]) -> None:
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        raise BenchError(f"{' '.join(command)} failed:\n{result.stderr.strip()[-2000:]}")
