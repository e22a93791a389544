"""The folders in which Remuda keeps its files on this machine.

`REMUDA_HOME` puts all of them under one folder; without it the XDG base directories decide. Nothing is created here:
each writer creates its own folder.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folders; all paths are absolute."""

    engines: Path
    """Engine environments, one folder each; gigabytes that can be built again."""
    weights: Path
    """Downloaded weights; gigabytes that can be downloaded again."""
    cache: Path
    """Compile caches of engines; they may be deleted at any time."""
    state: Path
    """What runs now: fleet.json, the control socket, the engines' sockets. Private to the user."""
    logs: Path
    """One log file, with its rotated predecessors, per engine and per process of Remuda."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Home":
        """Read REMUDA_HOME, or XDG_DATA_HOME, XDG_STATE_HOME and XDG_CACHE_HOME, or use their defaults."""
        env = os.environ if environ is None else environ
        if root := env.get("REMUDA_HOME"):
            base = Path(root).expanduser().absolute()
            return cls(base / "engines", base / "weights", base / "cache", base / "state", base / "logs")
        data = _xdg(env, "XDG_DATA_HOME", ".local/share") / "remuda"
        state = _xdg(env, "XDG_STATE_HOME", ".local/state") / "remuda"
        cache = _xdg(env, "XDG_CACHE_HOME", ".cache") / "remuda"
        return cls(data / "engines", data / "weights", cache, state, state / "logs")


def _xdg(env: Mapping[str, str], name: str, default: str) -> Path:
    """One XDG folder; the specification says that a relative value is ignored."""
    value = env.get(name, "")
    if value.startswith("/"):
        return Path(value)
    return Path(env.get("HOME") or Path.home()) / default
