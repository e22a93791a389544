"""What a user writes: Model, ModelGateway and Tenant, their strict loading with file:line:column, and their schemas.

This package does not know hardware, vLLM's flags or Kubernetes, and it does not judge whether a file makes sense.

`public` lists what other packages may use as `spec.NAME`. It is imported when the first name is asked for, because
pydantic takes 20 MiB: a gateway that serves imports only `remuda.spec.secrets` and must not load it.
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from remuda.spec.public import *  # noqa: F403
else:
    from importlib import import_module

    def __getattr__(name: str) -> object:
        public = import_module("remuda.spec.public")
        if name not in public.__all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        return getattr(public, name)
