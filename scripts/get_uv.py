"""Print the path of a usable uv; install the pinned one into .tools/ when there is none.

The Makefile runs this before anything is installed, so it uses the standard library only. It takes the first uv that
runs: $REMUDA_UV, uv on PATH, the one in .tools/. Otherwise it fetches the pinned version, by pip, which knows the
user's index and proxies, or else straight from the package index. It checks the file by its hash either way.
"""

import hashlib
import os
import platform
import re
import shutil
import subprocess
import sys
import tempfile
import urllib.error
import urllib.parse
import urllib.request
import zipfile
from pathlib import Path

VERSION = "0.13.8"
OLDEST = (0, 8)
SHA256 = {
    "x86_64": "e18a57b8b352eb7c8feb317b9f6f533c8f0ad9673fd6cf34bbe3cf1a9f6a8984",
    "aarch64": "0b3e8b1a4f5e405e31e2ff33de8af4744831e9f7338539671efbd8c3c94e791d",
}
TOOLS = Path(__file__).resolve().parent.parent / ".tools"


def say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def fail(message: str, hint: str) -> None:
    say(f"error: {message}")
    say(f"hint: {hint}")
    raise SystemExit(1)


def works(uv: str) -> bool:
    """True when `uv` runs and is new enough to read the lock file."""
    try:
        out = subprocess.run([uv, "--version"], capture_output=True, text=True, timeout=20, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return False
    found = re.match(r"uv (\d+)\.(\d+)", out)
    return found is not None and (int(found[1]), int(found[2])) >= OLDEST


def wheel_from_pip(folder: Path) -> Path | None:
    """Let pip fetch the wheel; None when pip is missing or fails."""
    digest = SHA256[platform.machine()]
    wanted = folder / "uv.txt"
    wanted.write_text(f"uv=={VERSION} --hash=sha256:{digest}\n")
    command = [
        sys.executable,
        "-m",
        "pip",
        "download",
        "-q",
        "--no-deps",
        "--only-binary=:all:",
        "--require-hashes",
    ]
    done = subprocess.run([*command, "-d", str(folder), "-r", str(wanted)], capture_output=True, check=False)
    found = sorted(folder.glob("uv-*.whl"))
    return found[0] if done.returncode == 0 and found else None


def wheel_from_index(folder: Path) -> Path:
    """Fetch the wheel with our hash from the package index; each link of its page ends with `#sha256=…` (PEP 503)."""
    index = os.environ.get("UV_DEFAULT_INDEX") or os.environ.get("PIP_INDEX_URL") or "https://pypi.org/simple"
    page = f"{index.rstrip('/')}/uv/"
    with urllib.request.urlopen(urllib.request.Request(page, headers={"Accept": "text/html"}), timeout=30) as answer:
        text = answer.read().decode()
    link = re.search(r'href="([^"#]+)#sha256=' + SHA256[platform.machine()], text)
    if link is None:
        raise ValueError(f"{page} does not list it")
    wheel = folder / f"uv-{VERSION}.whl"
    with (
        urllib.request.urlopen(urllib.parse.urljoin(page, link[1]), timeout=60) as source,
        wheel.open("wb") as target,
    ):
        shutil.copyfileobj(source, target)
    return wheel


def install() -> Path:
    """Put the pinned uv into .tools/uv-VERSION/uv. Two processes may do so at once: the last rename wins."""
    home = TOOLS / f"uv-{VERSION}"
    home.mkdir(parents=True, exist_ok=True)
    say(f"Installing uv {VERSION} (the package installer, 25 MB) into .tools/")
    with tempfile.TemporaryDirectory(dir=home) as scratch:
        folder = Path(scratch)
        wheel = wheel_from_pip(folder) or wheel_from_index(folder)
        if hashlib.sha256(wheel.read_bytes()).hexdigest() != SHA256[platform.machine()]:
            fail(
                f"the downloaded uv {VERSION} has the wrong hash",
                "a proxy may have changed it; try again, or install uv yourself",
            )
        with zipfile.ZipFile(wheel) as content:
            name = next(n for n in content.namelist() if n.endswith("/scripts/uv"))
            (folder / "uv").write_bytes(content.read(name))
        (folder / "uv").chmod(0o755)
        (folder / "uv").replace(home / "uv")
    return home / "uv"


def main() -> None:
    if sys.version_info < (3, 11):  # noqa: UP036 - an old Python runs this file and gets this message
        fail(
            f"Python {platform.python_version()} is too old",
            "install Python 3.11 or newer and put it first on PATH",
        )
    if (sys.platform, platform.machine()) not in {("linux", m) for m in SHA256}:
        fail(
            f"no engine for {sys.platform} on {platform.machine()}",
            "use Linux on x86-64 (a virtual machine or WSL 2 will do)",
        )
    asked = os.environ.get("REMUDA_UV")
    for uv in (asked, shutil.which("uv"), str(TOOLS / f"uv-{VERSION}" / "uv")):
        if uv and works(uv):
            print(uv)
            return
    try:
        print(install())
    except (urllib.error.URLError, TimeoutError, ValueError) as error:
        fail(
            f"uv {VERSION} could not be downloaded: {error}",
            "check the network or proxy, or install uv yourself and set REMUDA_UV",
        )
    except OSError as error:
        fail(
            f"uv {VERSION} could not be installed into {TOOLS}: {error.strerror}",
            "free some disk space, or make the folder writable",
        )


if __name__ == "__main__":
    main()
