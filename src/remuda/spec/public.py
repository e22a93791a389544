"""Every name that the package `remuda.spec` offers to other packages."""

from remuda.spec.documents.engine import DEFAULT_ENGINE_VERSION, EngineSettings, Parallel, Speculative
from remuda.spec.documents.gateway import ModelGateway
from remuda.spec.documents.model import EndpointSpec, Model
from remuda.spec.documents.quantity import Bytes
from remuda.spec.documents.shape import API_VERSION, SecretRef
from remuda.spec.documents.source import Source, parse_source
from remuda.spec.documents.tenant import Tenant
from remuda.spec.loading.loaded import Loaded
from remuda.spec.loading.reading import load_bytes, load_files, load_text
from remuda.spec.problem import FieldPath, Place, Problem, SpecError

__all__ = [
    "API_VERSION",
    "DEFAULT_ENGINE_VERSION",
    "Bytes",
    "EndpointSpec",
    "EngineSettings",
    "FieldPath",
    "Loaded",
    "Model",
    "ModelGateway",
    "Parallel",
    "Place",
    "Problem",
    "SecretRef",
    "Source",
    "SpecError",
    "Speculative",
    "Tenant",
    "load_bytes",
    "load_files",
    "load_text",
    "parse_source",
]
