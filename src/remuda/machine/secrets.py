"""Reads the secret that a file refers to. The value is returned and never put into a message.

The module does not know what a secret is for; the caller says which field of which document refers to it.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from remuda.machine.errors import SecretError

if TYPE_CHECKING:
    from remuda import spec


def read_secret(reference: "spec.SecretRef", place: str, environ: Mapping[str, str] | None = None) -> str:
    """The secret that `reference` names; SecretError says which reference (`place`) cannot be read, and why."""
    env = os.environ if environ is None else environ
    if reference.env is not None:
        value = env.get(reference.env, "").strip()
        if not value:
            raise SecretError(
                f"{place}: the environment variable {reference.env} is not set",
                f"export {reference.env}=… and try again",
            )
        return value
    if reference.file is not None:
        return _read_file(Path(reference.file), place)
    raise SecretError(
        f"{place}: the Kubernetes Secret {reference.secret} cannot be read on this machine",
        "use env or file for a model that runs outside a cluster",
    )


def _read_file(path: Path, place: str) -> str:
    try:
        value = path.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not text"
        raise SecretError(f"{place}: {path} cannot be read: {reason}", "check the path and who may read it") from error
    if not value:
        raise SecretError(f"{place}: {path} is empty", "put the secret into it")
    return value
