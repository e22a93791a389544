"""The differences between versions of vLLM, in one table. Versions that the table does not list are refused."""

from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from remuda.errors import RemudaError


class UnknownVersionError(RemudaError):
    """Remuda does not know this version of vLLM."""


@dataclass(frozen=True, slots=True)
class Dialect:
    """What differs in one version of vLLM."""

    version: str
    entry_module: str
    """Module whose `main()` parses the arguments and serves. `python -m vllm…api_server` is deprecated."""
    cpu_block_multiple: int
    """On a CPU, the block size must be a multiple of this number of tokens."""
    cpu_batched_tokens: int
    """vLLM's default of max-num-batched-tokens for each rank on a CPU."""


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
    """The entry of this version. Raises UnknownVersionError with the known versions."""
    if version in DIALECTS:
        return DIALECTS[version]
    raise UnknownVersionError(
        f"vLLM {version} is not a version this Remuda knows", f"known versions: {', '.join(DIALECTS)}"
    )
