"""Errors of the package engine.

EngineError                 an engine cannot be installed, started or kept alive
├── InstallError            its environment cannot be built (network, disk, permissions, unsupported CPU)
└── WeightsError            its weights are missing (not found, gated, no token, interrupted)
"""

from remuda.errors import RemudaError


class EngineError(RemudaError):
    """An engine cannot be installed, started or kept alive."""


class InstallError(EngineError):
    """The engine's own environment cannot be built or repaired."""


class WeightsError(EngineError):
    """The weights that a model file names are missing."""
