"""`kind: Model`: one model, what it runs on, and how many of it.

Does: declare the fields and the rules between them.
Does not know: hardware facts (`catalog`), whether it makes sense (`planner`), how it is started (`engine`, `kube`).
Called by: everything; this is what a user writes.
"""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal

from pydantic import Field

from remuda.spec.documents.engine import EngineSettings
from remuda.spec.documents.quantity import AtLeast, AtMost, Bytes, Cores, Duration
from remuda.spec.documents.shape import (
    Document,
    Flag,
    Name,
    Number,
    Rule,
    SecretRef,
    ServedName,
    Shape,
    SourceText,
    Unique,
    Unit,
    Whole,
    at_most_one,
    exactly_one,
)

Capability = Literal["chat", "completion", "code", "embedding", "rerank", "classify", "score", "transcription"]
Routing = Literal["leastTime", "roundRobin", "leastRequest"]
ENDPOINT_URL_PATTERN = r"^https?://[A-Za-z0-9.\[\]:-]{1,253}(/[A-Za-z0-9._~/-]*)?$"


class Hardware(Shape):
    """What one engine runs on."""

    rules: ClassVar = (
        Rule(
            "!(has(self.gpu) && self.gpu == 'none' && (has(self.gpuCount) || has(self.gpuMemory)))",
            lambda hardware: not (hardware.gpu == "none" and (hardware.has("gpu_count") or hardware.has("gpu_memory"))),
            "gpuCount and gpuMemory have no meaning with gpu: none",
            hint="name a GPU, or leave them out",
            at="gpu",
        ),
    )

    gpu: Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9 ._-]{0,62}$", max_length=63)] = "auto"
    """`auto` takes the GPU that is there (in a cluster: any that fits) and else the CPU; `none` means the CPU;
    otherwise a product: T4, L4, A10G, L40S, A100-40GB, A100-80GB, H100, H200, B200, MI300X, or the name a cluster's
    nodes carry for it. Other products are taken, but nothing is checked against them."""
    gpu_count: Annotated[Whole, Field(ge=1, le=1024), Unit("GPUs")] | None = None
    """GPUs of one engine; by default what `engine.parallel` needs."""
    gpu_memory: Annotated[Bytes, AtLeast("1Gi"), AtMost("4Ti")] | None = None
    """Least memory of each GPU. On one machine it is compared with the table of GPUs, not with the one there is."""
    cpu: Annotated[Cores, AtLeast("100m"), AtMost("1024")] | None = None
    """Processor cores of one engine."""
    memory: Annotated[Bytes, AtLeast("64Mi"), AtMost("64Ti")] | None = None
    """Main memory of one engine. On one machine it is compared with the cache's size, and not enforced."""
    shm: Annotated[Bytes, AtLeast("1Mi"), AtMost("4Ti")] | None = None
    """Size of /dev/shm, through which the ranks of one engine talk (Kubernetes only)."""


class ScalingTargets(Shape):
    """What each replica should carry; the target that asks for the most replicas wins."""

    kv_cache_use: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = 0.8
    """Share of the KV cache in use."""
    pending_requests: Annotated[Whole, Field(ge=1, le=100_000), Unit("requests")] | None = 50
    """Requests waiting per replica."""
    latency_p99: Annotated[Duration, AtLeast("1ms"), AtMost("24h")] | None = Duration("10s")
    """99th percentile of the time a request takes."""
    requests_per_second: Annotated[Number, Field(gt=0, le=1_000_000), Unit("requests per second")] | None = 10.0
    """Requests per second and replica."""
    cpu: Annotated[Number, Field(gt=0, le=1), Unit("share")] | None = None
    """Share of the processor in use. Off by default: an engine waits for its GPU with a busy CPU, so this says
    little."""


class Scaling(Shape):
    """Replicas that follow the load."""

    rules: ClassVar = (
        Rule(
            "(has(self.min) ? self.min : 1) <= (has(self.max) ? self.max : 10)",
            lambda scaling: scaling.min <= scaling.max,
            "min is larger than max",
            hint="min must not be larger than max (which is 10 unless you set it)",
            at="min",
        ),
    )

    min: Annotated[Whole, Field(ge=0, le=10_000), Unit("replicas")] = 1
    """Fewest replicas; 0 lets the model go to sleep, and the first request then waits for a start."""
    max: Annotated[Whole, Field(ge=1, le=10_000), Unit("replicas")] = 10
    """Most replicas, so that a flood of requests has a price limit."""
    targets: ScalingTargets = ScalingTargets.model_construct()
    """When to add replicas."""
    up_window: Annotated[Duration, AtMost("1h")] = Duration("60s")
    """How long the load must be high before replicas are added."""
    down_window: Annotated[Duration, AtMost("1h")] = Duration("300s")
    """How long the load must be low before replicas are removed."""
    idle: Annotated[Duration, AtLeast("1s"), AtMost("168h")] = Duration("30m")
    """How long without a request before the last replica goes (only with `min: 0`)."""


class Weights(Shape):
    """How weights reach the machine that runs them."""

    delivery: Literal["auto", "download", "pvc", "gcsfuse", "streamer", "image"] = "auto"
    """`download` into the local cache, a shared `pvc`, a bucket mounted by `gcsfuse`, streamed into the GPU by
    `streamer`, or an OCI `image` volume. `auto` follows the source."""
    cache_size: Annotated[Bytes, AtLeast("1Gi"), AtMost("64Ti")] = Bytes("50Gi")
    """Size of the cache volume (Kubernetes only)."""
    cache_class: Annotated[str, Field(pattern=r"^[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?$", max_length=253)] | None = None
    """Storage class of the cache volume; by default the cluster's (Kubernetes only)."""
    shared: Flag = False
    """One cache volume for all replicas; needs a class that many nodes can write (Kubernetes only)."""


class Rollout(Shape):
    """How a changed model replaces the running one (Kubernetes only)."""

    rules: ClassVar = (
        Rule(
            "(has(self.maxSurge) ? self.maxSurge : 1) + (has(self.maxUnavailable) ? self.maxUnavailable : 0) > 0",
            lambda rollout: rollout.max_surge + rollout.max_unavailable > 0,
            "maxSurge and maxUnavailable are both 0, so nothing could ever be replaced",
            hint="set one of them to 1",
            at="maxSurge",
        ),
    )

    max_surge: Annotated[Whole, Field(ge=0, le=1000), Unit("engines")] = 1
    """Engines started beyond `replicas` during a change; needs free GPUs."""
    max_unavailable: Annotated[Whole, Field(ge=0, le=1000), Unit("engines")] = 0
    """Engines that may be missing during a change; 1 where there is no free GPU."""
    canary_weight: Annotated[Whole, Field(ge=1, le=99), Unit("percent")] | None = None
    """Percent of requests a new revision gets until it has proven itself; by default no canary."""
    canary_requests: Annotated[Whole, Field(ge=1, le=1_000_000), Unit("requests")] = 200
    """Requests a canary must answer before it is judged."""


class Traffic(Shape):
    """This model takes a share of another model's requests."""

    of: Name
    """`metadata.name` of the model whose requests are shared."""
    weight: Annotated[Whole, Field(ge=0, le=100), Unit("percent")]
    """Percent of its requests that come here."""


class EndpointSpec(Shape):
    """An engine that already runs."""

    url: Annotated[str, Field(pattern=ENDPOINT_URL_PATTERN, max_length=2048)]
    """Address of the engine's OpenAI-compatible server, without `/v1`: `http://10.0.0.7:8000`."""
    model: ServedName | None = None
    """The name the engine knows the model by; by default the served name."""
    api_key: SecretRef | None = None
    """Where the engine's API key is kept."""


_ENGINE_FIELDS = ("engine", "hardware", "replicas", "scaling", "weights", "rollout", "source_token")


class ModelSpec(Shape):
    """What is served, by how many engines, on what."""

    rules: ClassVar = (
        exactly_one(
            "source",
            "endpoints",
            message="a model has exactly one of source and endpoints",
            hint="source: weights that Remuda serves; endpoints: engines that already run",
        ),
        at_most_one(
            "replicas",
            "scaling",
            message="replicas and scaling exclude each other",
            hint="for a fixed number keep replicas",
        ),
        Rule(
            "!has(self.endpoints) || !("
            + " || ".join(
                f"has(self.{name})"
                for name in ("engine", "hardware", "replicas", "scaling", "weights", "rollout", "sourceToken")
            )
            + ")",
            lambda model: not model.has("endpoints") or not any(model.has(name) for name in _ENGINE_FIELDS),
            "engines that already run (endpoints) are not started by Remuda, so it cannot apply engine, hardware, "
            "replicas, scaling, weights, rollout or sourceToken to them",
            hint="remove these fields, or give a source instead of endpoints",
            at="endpoints",
        ),
    )

    source: SourceText | None = None
    """Where the weights come from: `hf://organisation/name@revision`, `file:///path`, `gs://`, `s3://`, `oci://`,
    `pvc://claim/path`, or the bundled `demo://remuda-demo`. Pin a revision: an unpinned model can change under
    you."""
    source_token: SecretRef | None = None
    """Where the token for gated or private weights is kept."""
    endpoints: Annotated[tuple[EndpointSpec, ...], Field(min_length=1, max_length=256)] | None = None
    """Engines that already run, instead of `source`."""
    served_name: ServedName | None = None
    """The name clients ask for in `model`; by default `metadata.name`."""
    aliases: Annotated[tuple[ServedName, ...], Field(max_length=64), Unique()] = ()
    """Further names clients may use, for example the one they are configured with today."""
    capabilities: Annotated[tuple[Capability, ...], Field(min_length=1, max_length=8), Unique()] = (
        "chat",
        "completion",
    )
    """What the model is for. Decides which routes it answers, and lets a request that names no model find one."""
    max_tokens: Annotated[Whole, Field(ge=1, le=16_777_216), Unit("tokens")] | None = None
    """Largest `max_tokens` this model takes from a request that names no model; by default no limit of its own."""
    engine: EngineSettings = EngineSettings.model_construct()
    """How vLLM runs it."""
    hardware: Hardware = Hardware.model_construct()
    """What one engine runs on."""
    replicas: Annotated[Whole, Field(ge=0, le=10_000), Unit("engines")] | None = None
    """Number of engines; 1 unless `scaling` is given."""
    scaling: Scaling | None = None
    """Let the number of engines follow the load. `remuda up` starts `min` engines and stays there."""
    weights: Weights = Weights.model_construct()
    """How weights reach the machine (Kubernetes only: on one machine, they are fetched into the local cache)."""
    rollout: Rollout = Rollout.model_construct()
    """How a change is rolled out (Kubernetes only)."""
    traffic: Traffic | None = None
    """Take a share of another model's requests (canary, A/B; Kubernetes only)."""
    routing: Routing = "leastTime"
    """Which engine gets a request: the one predicted to answer first, each in turn, or the one with the fewest
    requests."""

    @property
    def start_replicas(self) -> int:
        """Engines to start with: `replicas`, else the minimum of `scaling`, else 1."""
        if self.replicas is not None:
            return self.replicas
        return self.scaling.min if self.scaling else 1


class Model(Document):
    """A model to serve."""

    kind: Literal["Model"] = "Model"
    """Always `Model`."""
    spec: ModelSpec
    """What is served, by how many engines, on what."""

    @property
    def served_name(self) -> str:
        """The name clients ask for."""
        return self.spec.served_name or self.metadata.name
