"""`kind: Model`: one model, the hardware it runs on, and the number of its engines.

This module declares the fields and the rules between them. It does not know any hardware, whether a file makes sense
on it, or how an engine is started.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field
from pydantic.alias_generators import to_camel

from remuda.spec.documents.engine import EngineSettings
from remuda.spec.documents.quantity import AtLeast, AtMost, Bytes, Cores, Duration
from remuda.spec.documents.shape import (
    Document,
    Flag,
    Number,
    Rule,
    SecretRef,
    ServedName,
    Shape,
    SourceText,
    Unique,
    Unit,
    Whole,
    exactly_one,
)

Capability = Literal["chat", "completion", "code", "embedding", "rerank", "classify", "score", "transcription"]
Routing = Literal["leastTime", "roundRobin", "leastRequest"]
_ENGINE_FIELDS = ("engine", "hardware", "replicas", "scaling", "weights", "rollout", "source_token")
"""Fields that apply only to engines which Remuda starts."""
_MIN_REPLICAS, _MAX_REPLICAS = 1, 10
_MAX_SURGE, _MAX_UNAVAILABLE = 1, 0
"""Defaults that the CEL form of a rule needs too."""
ENDPOINT_URL_PATTERN = r"^https?://[A-Za-z0-9.\[\]:-]{1,253}(/[A-Za-z0-9._~/-]*)?$"


class Hardware(Shape):
    """The hardware of one engine."""

    rules: ClassVar = (
        Rule(
            "!(has(self.gpu) && self.gpu == 'none' && (has(self.gpuCount) || has(self.gpuMemory)))",
            lambda hardware: not (hardware.gpu == "none" and (hardware.has("gpu_count") or hardware.has("gpu_memory"))),
            "gpuCount and gpuMemory have no effect with gpu: none",
            hint="name a GPU, or leave them out",
            at="gpu",
        ),
    )

    gpu: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$", max_length=63)] = "auto"
    """`auto` uses a GPU of this machine (in a cluster: any GPU that fits), or the CPU where there is none. `none` uses
    the CPU. Otherwise the name of a product: T4, L4, A10G, L40S, A100-40GB, A100-80GB, H100, H200, B200, MI300X, or
    the name that the nodes of a cluster carry for it. Other products are accepted, but nothing is checked against
    them."""
    gpu_count: Annotated[Whole, Field(ge=1, le=1024), Unit("GPUs")] | None = None
    """GPUs of one engine; by default as many as `engine.parallel` needs."""
    gpu_memory: Annotated[Bytes, AtLeast("1Gi"), AtMost("4Ti")] | None = None
    """Least memory of each GPU. On one machine it is compared with the table of GPUs, not with the installed GPU."""
    cpu: Annotated[Cores, AtLeast("100m"), AtMost("1024")] | None = None
    """Processor cores of one engine."""
    memory: Annotated[Bytes, AtLeast("64Mi"), AtMost("64Ti")] | None = None
    """Main memory of one engine. On one machine it is compared with the size of the KV cache, but not enforced."""
    shm: Annotated[Bytes, AtLeast("1Mi"), AtMost("4Ti")] | None = None
    """Size of /dev/shm, through which the ranks of one engine exchange data (Kubernetes only)."""


class ScalingTargets(Shape):
    """The load that each replica should carry. The target that asks for the most replicas decides."""

    kv_cache_use: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = 0.8
    """Share of the KV cache in use."""
    pending_requests: Annotated[Whole, Field(ge=1, le=100_000), Unit("requests")] | None = 50
    """Requests waiting per replica."""
    latency_p99: Annotated[Duration, AtLeast("1ms"), AtMost("24h")] | None = Duration("10s")
    """99th percentile of the time a request takes."""
    requests_per_second: Annotated[Number, Field(gt=0, le=1_000_000), Unit("requests per second")] | None = 10.0
    """Requests per second and replica."""
    cpu: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = None
    """Share of the processor in use. Off by default: an engine keeps a CPU busy while it waits for its GPU, so this
    does not show the load."""


class ScaleUp(Shape):
    """How replicas are added."""

    window: Annotated[Duration, AtMost("1h")] = Duration("60s")
    """How long the load must be high before replicas are added."""


class ScaleDown(Shape):
    """How replicas are removed."""

    window: Annotated[Duration, AtMost("1h")] = Duration("300s")
    """How long the load must be low before replicas are removed."""


class Scaling(Shape):
    """A number of replicas that follows the load."""

    rules: ClassVar = (
        Rule(
            f"(has(self.min) ? self.min : {_MIN_REPLICAS}) <= (has(self.max) ? self.max : {_MAX_REPLICAS})",
            lambda scaling: scaling.min <= scaling.max,
            "min is larger than max",
            hint=f"min must not be larger than max (which is {_MAX_REPLICAS} unless you set it)",
            at="min",
        ),
    )

    min: Annotated[Whole, Field(ge=0, le=10_000), Unit("replicas")] = _MIN_REPLICAS
    """Fewest replicas. With 0, an idle model has no engine, and its next request waits until one has started."""
    max: Annotated[Whole, Field(ge=1, le=10_000), Unit("replicas")] = _MAX_REPLICAS
    """Most replicas; this limits what a flood of requests can cost."""
    targets: ScalingTargets = ScalingTargets.model_construct()
    """When to add replicas."""
    up: ScaleUp = ScaleUp.model_construct()
    """How replicas are added."""
    down: ScaleDown = ScaleDown.model_construct()
    """How replicas are removed."""
    idle: Annotated[Duration, AtLeast("1s"), AtMost("168h")] = Duration("30m")
    """How long a model must be without requests before its last replica is removed (only with `min: 0`)."""


class Weights(Shape):
    """How weights reach the machine that loads them."""

    delivery: Literal["auto", "download", "pvc", "gcsfuse", "streamer", "image"] = "auto"
    """`download` copies them into the local cache; `pvc` mounts a shared volume; `gcsfuse` mounts a bucket; `streamer`
    streams them into the GPU; `image` mounts an OCI image. `auto` chooses by the source."""
    cache_size: Annotated[Bytes, AtLeast("1Gi"), AtMost("64Ti")] = Bytes("50Gi")
    """Size of the cache volume (Kubernetes only)."""
    cache_class: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", max_length=253)] | None = None
    """Storage class of the cache volume; by default the cluster's (Kubernetes only)."""
    shared: Flag = False
    """Use one cache volume for all replicas. Its storage class must allow many nodes to write (Kubernetes only)."""


class Canary(Shape):
    """A share of the requests that a new revision serves until it is judged."""

    weight: Annotated[Whole, Field(ge=1, le=99), Unit("percent")]
    """Percent of the requests that go to the new revision until it is judged."""
    requests: Annotated[Whole, Field(ge=1, le=1_000_000), Unit("requests")] = 200
    """Requests that the new revision must answer before it is judged."""


class Rollout(Shape):
    """How a changed model replaces the running one (Kubernetes only)."""

    rules: ClassVar = (
        Rule(
            f"(has(self.maxSurge) ? self.maxSurge : {_MAX_SURGE}) + "
            f"(has(self.maxUnavailable) ? self.maxUnavailable : {_MAX_UNAVAILABLE}) > 0",
            lambda rollout: rollout.max_surge + rollout.max_unavailable > 0,
            "maxSurge and maxUnavailable are both 0, so no engine could be replaced",
            hint="set one of them to 1",
            at="maxSurge",
        ),
    )

    max_surge: Annotated[Whole, Field(ge=0, le=1000), Unit("engines")] = _MAX_SURGE
    """Engines started beyond `replicas` during a change; needs free GPUs."""
    max_unavailable: Annotated[Whole, Field(ge=0, le=1000), Unit("engines")] = _MAX_UNAVAILABLE
    """Engines that may be missing during a change; 1 where there is no free GPU."""
    canary: Canary | None = None
    """Send a share of the requests to a new revision first; by default no canary."""


class EndpointSpec(Shape):
    """One engine that already runs."""

    url: Annotated[str, Field(pattern=ENDPOINT_URL_PATTERN, max_length=2048)]
    """Address of the engine's OpenAI-compatible server, without `/v1`: `http://10.0.0.7:8000`."""
    model: ServedName | None = None
    """The name under which the engine serves the model; by default the served name."""
    api_key: SecretRef | None = None
    """Reference to the engine's API key."""


class ModelSpec(Shape):
    """The weights, the engines that serve them, and their hardware."""

    rules: ClassVar = (
        exactly_one(
            "source",
            "endpoints",
            message="a model has exactly one of source and endpoints",
            hint="source: weights that Remuda serves; endpoints: engines that already run",
        ),
        Rule(
            "!has(self.endpoints) || !(" + " || ".join(f"has(self.{to_camel(name)})" for name in _ENGINE_FIELDS) + ")",
            lambda model: not model.has("endpoints") or not any(model.has(name) for name in _ENGINE_FIELDS),
            "Remuda does not start engines that already run (endpoints), so it cannot apply engine, hardware, "
            "replicas, scaling, weights, rollout or sourceToken to them",
            hint="remove these fields, or give a source instead of endpoints",
            at="endpoints",
        ),
    )

    source: SourceText | None = None
    """Where the weights come from: `hf://organisation/name@revision`, `file:///path`, `gs://`, `s3://`, `oci://`,
    `pvc://claim/path`, or the bundled `demo://remuda-demo`. Pin a revision, because a model without one can change
    between two starts."""
    source_token: SecretRef | None = None
    """Reference to the token for gated or private weights."""
    endpoints: Annotated[tuple[EndpointSpec, ...], Field(min_length=1, max_length=256)] | None = None
    """Engines that already run, instead of `source`."""
    served_name: ServedName | None = None
    """The name that clients write in `model`; by default `metadata.name`."""
    aliases: Annotated[tuple[ServedName, ...], Field(max_length=64), Unique()] = ()
    """Further names that clients may write, for example the one they are configured with today."""
    capabilities: Annotated[tuple[Capability, ...], Field(min_length=1, max_length=8), Unique()] = (
        "chat",
        "completion",
    )
    """What the model can do. This decides which routes it serves, and which model a request gets that names none."""
    max_tokens: Annotated[Whole, Field(ge=1, le=16_777_216), Unit("tokens")] | None = None
    """Largest `max_tokens` of a request that names no model and may go to this one; by default there is no limit."""
    engine: EngineSettings = EngineSettings.model_construct()
    """How vLLM runs the model."""
    hardware: Hardware = Hardware.model_construct()
    """The hardware of one engine."""
    replicas: Annotated[Whole, Field(ge=0, le=10_000), Unit("engines")] | None = None
    """Number of engines; with `scaling`, the number to start with. By default `scaling.min`, or 1 without `scaling`."""
    scaling: Scaling | None = None
    """Let the number of engines follow the load. On one machine the number does not change after the start."""
    weights: Weights = Weights.model_construct()
    """How weights reach the machine (Kubernetes only: one machine always downloads them into its local cache)."""
    rollout: Rollout = Rollout.model_construct()
    """How a changed model replaces the running one (Kubernetes only)."""
    routing: Routing = "leastTime"
    """How the gateway chooses the engine for a request: `leastTime` takes the one that is predicted to answer first,
    `roundRobin` takes each in turn, and `leastRequest` takes the one with the fewest requests."""

    @property
    def start_replicas(self) -> int:
        """The number of engines to start: `replicas`, or `scaling.min`, or 1."""
        if self.replicas is not None:
            return self.replicas
        return self.scaling.min if self.scaling else 1


class Model(Document):
    """A model that Remuda serves."""

    kind: Literal["Model"] = "Model"
    """Always `Model`."""
    spec: ModelSpec
    """The weights, the engines that serve them, and their hardware."""

    @property
    def served_name(self) -> str:
        """The name that clients write in `model`."""
        return self.spec.served_name or self.metadata.name
