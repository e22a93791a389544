"""What a user writes: Model, ModelGateway and Tenant; their shape and units, strict loading with file:line:col, and
the schemas.

Does not know: hardware, vLLM's flags, Kubernetes, or whether a file makes sense (`planner` checks that).
Called by: everything above it.
"""

from remuda.spec.engine import (
    DEFAULT_ENGINE_VERSION,
    Adapter,
    EngineSettings,
    EnvVar,
    Multimodal,
    Parallel,
    Speculative,
)
from remuda.spec.gateway import GatewaySpec, ModelGateway
from remuda.spec.loading import Loaded, load_bytes, load_files, load_text
from remuda.spec.model import Capability, EndpointSpec, Hardware, Model, ModelSpec, Routing, Scaling, Traffic
from remuda.spec.problem import FieldPath, Place, Problem, SpecError
from remuda.spec.quantity import Bytes, Cores, Duration, parse_bytes, parse_cores, parse_duration
from remuda.spec.shape import API_VERSION, Metadata, SecretRef
from remuda.spec.source import SCHEMES, Source, SourceError, parse_source
from remuda.spec.tenant import KeyHash, Tenant, TenantSpec

__all__ = [
    "API_VERSION",
    "DEFAULT_ENGINE_VERSION",
    "SCHEMES",
    "Adapter",
    "Bytes",
    "Capability",
    "Cores",
    "Duration",
    "EndpointSpec",
    "EngineSettings",
    "EnvVar",
    "FieldPath",
    "GatewaySpec",
    "Hardware",
    "KeyHash",
    "Loaded",
    "Metadata",
    "Model",
    "ModelGateway",
    "ModelSpec",
    "Multimodal",
    "Parallel",
    "Place",
    "Problem",
    "Routing",
    "Scaling",
    "SecretRef",
    "Source",
    "SourceError",
    "SpecError",
    "Speculative",
    "Tenant",
    "TenantSpec",
    "Traffic",
    "load_bytes",
    "load_files",
    "load_text",
    "parse_bytes",
    "parse_cores",
    "parse_duration",
    "parse_source",
]
