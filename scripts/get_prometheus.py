"""Print the path of a Prometheus: the one on PATH, or Debian's, unpacked into .tools/.

apt fetches the package and dpkg-deb unpacks it. Nothing is installed, so this needs no root and starts no service. The
exit status is 3 on a machine without apt.
"""

import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

TOOLS = Path(__file__).resolve().parents[1] / ".tools"
UNPACKED = TOOLS / "prometheus"
NO_APT = 3


def find() -> Path | None:
    """The path of a Prometheus that this machine already has."""
    there = shutil.which("prometheus")
    unpacked = UNPACKED / "usr" / "bin" / "prometheus"
    return Path(there) if there else unpacked if unpacked.exists() else None


def fetch_package(folder: Path) -> Path:
    """Fetch Debian's package into `folder`, with package lists in `folder` when the system has none."""
    if _apt(["download", "prometheus"], folder) != 0:
        lists, cache = folder / "lists", folder / "cache"
        (lists / "partial").mkdir(parents=True)
        (cache / "archives" / "partial").mkdir(parents=True)
        own = ["-o", f"Dir::State::lists={lists}", "-o", f"Dir::Cache={cache}", "-o", "Debug::NoLocking=1"]
        _apt([*own, "update"], folder)
        if _apt([*own, "download", "prometheus"], folder) != 0:
            print("error: apt cannot fetch the package prometheus", file=sys.stderr)
            print("hint: its reasons are above; is a Debian mirror reachable?", file=sys.stderr)
            raise SystemExit(1)
    (package,) = folder.glob("prometheus_*.deb")
    return package


def _apt(arguments: list[str], folder: Path) -> int:
    return subprocess.run(["apt-get", "-q", *arguments], cwd=folder, stdout=sys.stderr, check=False).returncode


def main() -> int:
    found = find()
    if found is None:
        if shutil.which("apt-get") is None or shutil.which("dpkg-deb") is None:
            print("error: there is no prometheus on PATH, and no apt to fetch one with", file=sys.stderr)
            return NO_APT
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            folder.chmod(0o755)  # apt downloads as the user _apt
            package = fetch_package(folder)
            subprocess.run(["dpkg-deb", "-x", str(package), str(folder / "unpacked")], check=True)
            TOOLS.mkdir(exist_ok=True)
            shutil.rmtree(UNPACKED, ignore_errors=True)
            shutil.move(folder / "unpacked", UNPACKED)
        found = find()
    print(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())
