"""Secrets a model file names, read at the last moment; never logged, never in argv. Called by `plan` and `weights`."""

import os
from collections.abc import Mapping
from pathlib import Path

from remuda import spec
from remuda.engine.errors import EngineError


def resolve_secret(reference: spec.SecretRef, place: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret this reference names; EngineError says which reference of the file cannot be followed."""
    env = os.environ if environ is None else environ
    if reference.env is not None:
        value = env.get(reference.env, "").strip()
        if not value:
            raise EngineError(
                f"{place}: the environment variable {reference.env} is not set",
                f"export {reference.env}=… and try again",
            )
        return value
    if reference.file is not None:
        return _read(Path(reference.file), place)
    raise EngineError(
        f"{place}: a Kubernetes Secret ({reference.secret}) cannot be read on this machine",
        "use env or file for a model that runs here",
    )


def _read(path: Path, place: str) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise EngineError(f"{place}: {path} cannot be read: {reason}", "check the path and who may read it") from error
    if not value:
        raise EngineError(f"{place}: {path} is empty", "put the secret into it")
    return value
