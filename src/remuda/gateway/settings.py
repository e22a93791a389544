"""Everything one gateway process can be told, declared once: unit in the name, reason under each field.

Settings are fixed for the life of a process (models, engines and keys are not settings: they are the Table, which
changes). They cross the control socket as JSON. `settings_from_spec` reads a `ModelGateway` document, and is handed it,
so that the serving process does not load pydantic.
"""

import ipaddress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from remuda.gateway.errors import GatewayError

if TYPE_CHECKING:
    from remuda.spec import ModelGateway


@dataclass(frozen=True, slots=True)
class GatewaySettings:
    # --- where to listen
    host: str = "127.0.0.1"
    """Loopback by default: nothing is open to a network before somebody says so."""
    port: int = 8080
    """0 = any free port; the `listening` event says which."""
    tls_cert_file: str | None = None
    tls_key_file: str | None = None
    """PEM files. TLS 1.2 and newer; both or none."""
    backlog: int = 4096
    """Connections the kernel holds while we are busy; a burst of clients must not see resets."""
    reuse_port: bool = False
    """Several gateways on one port of one machine: the kernel spreads connections."""

    # --- who may come in
    auth: Literal["auto", "keys", "open"] = "auto"
    """auto: keys are asked for when the table has any; without keys only loopback is served. open: nobody is asked."""
    metrics_open: bool = True
    """/metrics without a key. Its labels name models and engines, never clients' data."""
    cors_origins: tuple[str, ...] = ()
    """Origins whose pages may call from a browser; "*" = any. Empty: no CORS headers at all."""
    fields_allow: tuple[str, ...] = ()
    """Request fields lifted from the deny-list of `vllm.client_fields`."""
    fields_deny: tuple[str, ...] = ()
    """More fields refused."""

    # --- limits
    body_bytes: int = 50 * 1024 * 1024
    """Largest request body; refused before it is read when Content-Length says so."""
    bodies_bytes: int = 1024 * 1024 * 1024
    """All request bodies held at once. Beyond it, 429: a bounded process is better than a killed one."""
    client_bodies_bytes: int = 256 * 1024 * 1024
    """The bodies of one tenant, or of one address where no keys are asked for: a quarter of all, so that one client
    cannot take the room of all others."""
    head_bytes: int = 32 * 1024
    """Request line and headers together; nginx allows 32 KiB in all."""
    header_count: int = 100
    """llhttp and Apache refuse more than 100 as well."""
    url_bytes: int = 8 * 1024
    """Request target; ours are under 100."""
    pipeline_bytes: int = 64 * 1024
    """Bytes of later requests kept while one is answered; then reading pauses."""
    connections: int = 20_000
    """Clients at once, idle ones included."""
    requests_in_flight: int = 10_000
    """Requests being answered at once; more are refused with 429."""
    idle_per_engine: int = 512
    """Keep-alive connections kept open to one engine."""
    batch_concurrency: int = 32
    """Entries of one /batch-generate in flight at once: an engine's batch fills, its queue does not."""
    answer_bytes: int = 64 * 1024 * 1024
    """Largest engine answer held in memory where it must be translated (/generate); relayed answers have no limit."""

    # --- time
    head_timeout_s: float = 30.0
    """From a request's first byte to the end of its headers."""
    body_timeout_s: float = 60.0
    """Without a byte of the body; a slow but moving upload is not cut."""
    upload_timeout_s: float = 600.0
    """For a whole body: 50 MiB at 90 KiB/s. Without it, a byte now and then would keep a body for ever."""
    keep_alive_s: float = 75.0
    """Idle between requests; nginx's default."""
    reader_timeout_s: float = 60.0
    """A client that takes nothing of its answer for this long is cut."""
    connect_timeout_s: float = 2.0
    """To an engine. One lost SYN is repeated by the kernel after 1 s."""
    first_byte_timeout_s: float = 600.0
    """Until the engine's answer begins. A long queue or a 128k prefill on a CPU takes minutes."""
    idle_timeout_s: float = 300.0
    """Between bytes of an engine's answer; long streams are not cut."""
    engine_keep_alive_s: float = 4.0
    """Idle engine connections are dropped after this: uvicorn closes its end after 5 s."""
    drain_timeout_s: float = 30.0
    """Requests in flight may finish for this long after SIGTERM."""
    lame_duck_s: float = 0.0
    """After SIGTERM, serve on for this long while /ready says 503: load balancers take a while to notice. 0 where
    nothing stands in front of the gateway."""
    tick_s: float = 0.5
    """How often deadlines are looked at: every timeout above is exact to this."""

    # --- engines
    health_interval_s: float = 2.0
    """Between probes of one engine; a suspect, and one whose ejection is over, is probed at every tick."""
    health_timeout_s: float = 2.0
    """A probe longer than this has failed."""
    health_failures: int = 3
    """Faults without a real answer between them that eject an engine."""
    health_successes: int = 2
    """Good probes in a row after which an ejected engine is healthy again; a real answer is enough."""
    hung_after_s: float = 120.0
    """An unsupervised engine that has work, or an unanswered one-token request, and produces nothing for this long gets
    no more requests until it does. The processor time of its core cannot be seen from here, so this must be longer than
    any honest step."""
    hung_sample_s: float = 5.0
    """Between two looks at the counters of an unsupervised engine; each costs it 4 ms."""
    hung_question_every_s: float = 30.0
    """Between two one-token requests to an unsupervised engine that is idle; each costs one forward pass."""
    hung_question_timeout_s: float = 10.0
    """An idle engine answers in milliseconds to a second; after this it is doubted."""
    attempts: int = 3
    """Tries of one request, the first included."""
    retry_ratio: float = 0.2
    """Retries paid for by each request: one per five."""
    retry_per_s: float = 1.0
    """Retries paid for by time, so that a quiet gateway can retry."""
    retry_most: float = 100.0
    """Retries that can be saved up: an engine's full batch dies at once."""

    # --- logs
    log_format: Literal["human", "json"] = "human"
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    """Of what happens now and then; requests have their own switch."""
    log_access: bool = True
    """One line per request, written some dozens at a time."""


def settings_from_spec(gateway: "ModelGateway | None") -> GatewaySettings:
    """The settings a `ModelGateway` document asks for; the defaults without one."""
    if gateway is None:
        return GatewaySettings()
    wanted = gateway.spec
    tls = wanted.listen.tls
    return GatewaySettings(
        host=wanted.listen.host,
        port=wanted.listen.port,
        tls_cert_file=None if tls is None else str(tls.cert_file),
        tls_key_file=None if tls is None else str(tls.key_file),
        auth=wanted.auth.mode,
        cors_origins=tuple(wanted.cors.origins),
        fields_allow=tuple(wanted.client_fields.allow),
        fields_deny=tuple(wanted.client_fields.deny),
        body_bytes=int(wanted.limits.body_size),
        head_bytes=int(wanted.limits.header_size),
        connections=wanted.limits.connections,
        requests_in_flight=wanted.limits.requests_in_flight,
        connect_timeout_s=float(wanted.timeouts.connect),
        head_timeout_s=float(wanted.timeouts.header),
        body_timeout_s=float(wanted.timeouts.body),
        first_byte_timeout_s=float(wanted.timeouts.first_byte),
        idle_timeout_s=float(wanted.timeouts.idle),
        keep_alive_s=float(wanted.timeouts.keep_alive),
        drain_timeout_s=float(wanted.timeouts.drain),
        lame_duck_s=float(wanted.timeouts.lame_duck),
        attempts=wanted.retries.attempts,
        retry_ratio=wanted.retries.budget_ratio,
        health_interval_s=float(wanted.health.interval),
        health_timeout_s=float(wanted.health.timeout),
        health_failures=wanted.health.failures,
        health_successes=wanted.health.successes,
        log_format=wanted.logging.format,
        log_level=wanted.logging.level,
        log_access=wanted.logging.access,
    )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach `host`."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def check_exposure(settings: GatewaySettings, has_keys: bool) -> None:
    """Refuse to be open to a network by accident."""
    if settings.auth == "open" or has_keys or is_loopback(settings.host):
        return
    raise GatewayError(
        f"refusing to listen on {settings.host}:{settings.port} without API keys: anybody could use the engines",
        "create a key with `remuda tenant create NAME`, listen on 127.0.0.1, or state `auth: {mode: open}`",
    )


def wants_keys(settings: GatewaySettings, has_keys: bool) -> bool:
    """Whether a request needs a key."""
    return settings.auth == "keys" or (settings.auth == "auto" and has_keys)
