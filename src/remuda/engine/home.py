"""Where Remuda keeps things on this machine.

`REMUDA_HOME` puts all of it under one folder; otherwise the XDG base directories decide. Nothing is created here:
whoever writes creates its own folder. Called by engine, fleet and cli.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Home:
    """The folders; all absolute."""

    engines: Path
    """Engine environments, one folder each; gigabytes, can be rebuilt."""
    weights: Path
    """Downloaded weights, in the hub's own cache layout; gigabytes, can be downloaded again."""
    cache: Path
    """Compile caches of engines; may be deleted at any time."""
    state: Path
    """What is running: fleet.json, control socket, the engines' sockets. Private to the user."""
    logs: Path
    """One log file (and its rotated predecessors) per engine replica and process."""

    @classmethod
    def from_environment(cls, environ: Mapping[str, str] | None = None) -> "Home":
        """Read REMUDA_HOME, or XDG_DATA_HOME, XDG_STATE_HOME and XDG_CACHE_HOME, or their defaults."""
        env = os.environ if environ is None else environ
        if root := env.get("REMUDA_HOME"):
            base = Path(root).expanduser().absolute()
            return cls(base / "engines", base / "weights", base / "cache", base / "state", base / "logs")
        data = _xdg(env, "XDG_DATA_HOME", ".local/share") / "remuda"
        state = _xdg(env, "XDG_STATE_HOME", ".local/state") / "remuda"
        cache = _xdg(env, "XDG_CACHE_HOME", ".cache") / "remuda"
        return cls(data / "engines", data / "weights", cache, state, state / "logs")


def _xdg(env: Mapping[str, str], name: str, default: str) -> Path:
    """An XDG folder; the specification says to ignore a relative value."""
    value = env.get(name, "")
    if value.startswith("/"):
        return Path(value)
    return Path(env.get("HOME") or Path.home()) / default
