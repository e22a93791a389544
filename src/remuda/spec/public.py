"""Everything that the package `remuda.spec` offers to other packages, in one list."""

from remuda.spec.documents.engine import (
    DEFAULT_ENGINE_VERSION,
    Adapter,
    EngineSettings,
    EnvVar,
    Multimodal,
    Parallel,
    Speculative,
)
from remuda.spec.documents.gateway import GatewaySpec, ModelGateway
from remuda.spec.documents.model import Capability, EndpointSpec, Hardware, Model, ModelSpec, Routing, Scaling
from remuda.spec.documents.quantity import Bytes, Cores, Duration, parse_bytes, parse_cores, parse_duration
from remuda.spec.documents.shape import API_VERSION, Metadata, SecretRef
from remuda.spec.documents.source import SCHEMES, Source, SourceError, parse_source
from remuda.spec.documents.tenant import KeyHash, Tenant, TenantSpec
from remuda.spec.loading.loaded import Loaded
from remuda.spec.loading.reading import load_bytes, load_files, load_text
from remuda.spec.problem import FieldPath, Place, Problem, SpecError

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
    "load_bytes",
    "load_files",
    "load_text",
    "parse_bytes",
    "parse_cores",
    "parse_duration",
    "parse_source",
]
