"""What differs between versions of vLLM, in one table.

A version that is not here is refused before anything is started. Called by `arguments` and by the engine package.
"""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from remuda.errors import RemudaError


class UnknownVersionError(RemudaError):
    """Remuda does not know this version's dialect."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """One version of vLLM."""

    version: str
    entry_module: str
    """Module whose `main()` parses the arguments and serves; `python -m vllm…api_server` is deprecated in it."""
    cpu_block_multiple: int
    """CPU attention takes blocks of multiples of this many tokens."""
    cpu_batched_tokens: int
    """vLLM's own default of max-num-batched-tokens per CPU rank."""


DIALECTS: Final = MappingProxyType(
    {
        "0.32.0": Dialect(
            version="0.32.0",
            entry_module="vllm.entrypoints.launchers.api_server.entry",
            cpu_block_multiple=32,
            cpu_batched_tokens=2048,
        ),
    }
)


def pick_dialect(version: str) -> Dialect:
    """The dialect of this version; UnknownVersionError names the known ones."""
    if version in DIALECTS:
        return DIALECTS[version]
    raise UnknownVersionError(
        f"vLLM {version} is not a version this Remuda knows", f"known versions: {', '.join(DIALECTS)}"
    )
