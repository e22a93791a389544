"""The settings of one gateway process: the options that a `ModelGateway` document states, and internal bounds.

Settings do not change while a process runs. Models, engines and keys are not settings but the Table, which changes.
Settings cross the control socket as JSON. The options are declared once, in `spec`. The module `options` is generated
from there, so that the serving process does not load pydantic.
"""

import ipaddress
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING

from remuda.gateway.errors import GatewayError
from remuda.gateway.options import Options, read_options

if TYPE_CHECKING:
    from remuda.spec import ModelGateway


@dataclass(frozen=True, slots=True)
class GatewaySettings(Options):
    """The options, and the bounds that no document states. Each bound has its reason below it."""

    # --- connections and requests
    backlog: int = 4096
    """Connections that the kernel holds until they are accepted, so that a burst of clients sees no resets."""
    reuse_port: bool = False
    """Let several gateways of one machine listen on one port; the kernel distributes connections."""
    metrics_open: bool = True
    """Serve /metrics without a key. Its labels name models and engines, never data of clients."""
    bodies_bytes: int = 1024 * 1024 * 1024
    """Memory of all request bodies. Beyond it, requests get 429, which is better than a killed process."""
    client_bodies_bytes: int = 256 * 1024 * 1024
    """Memory of the bodies of one tenant, or of one address where no keys are needed. It is a quarter of all, so that
    one client cannot take the memory of all others."""
    header_count: int = 100
    """Headers of one request; llhttp and Apache refuse more than 100 too."""
    url_bytes: int = 8 * 1024
    """Size of the request target; those of Remuda's routes are below 100 bytes."""
    pipeline_bytes: int = 64 * 1024
    """Bytes of later requests that are kept while one is answered. Then reading pauses."""
    idle_per_engine: int = 512
    """Idle connections that are kept open to one engine."""
    batch_concurrency: int = 32
    """Entries of one /batch-generate that run at the same time: they fill an engine's batch, but not its queue."""
    answer_bytes: int = 64 * 1024 * 1024
    """Largest answer of an engine that is held in memory for translation (/generate). Relayed answers have no limit."""

    # --- time
    upload_timeout_s: float = 600.0
    """Time for a whole body: 50 MiB at 90 KiB/s. Without it, a byte now and then would keep a body for ever."""
    reader_timeout_s: float = 60.0
    """Time after which a client that reads nothing of its answer is disconnected."""
    engine_keep_alive_s: float = 4.0
    """Time after which an idle connection to an engine is closed; uvicorn closes it after 5 s."""
    tick_s: float = 0.5
    """Time between two checks of deadlines. Every timeout is exact to this time."""

    # --- engines
    hung_after_s: float = 120.0
    """Time without progress after which an unsupervised engine gets no more requests until it makes progress again. The
    gateway cannot see the processor time of such an engine, so this must be longer than any real step."""
    hung_sample_s: float = 5.0
    """Time between two reads of the counters of an unsupervised engine; each takes 4 ms of its time."""
    hung_question_every_s: float = 30.0
    """Time between two one-token requests to an idle unsupervised engine; each takes one forward pass."""
    hung_question_timeout_s: float = 10.0
    """Time for the answer to a one-token request. An idle engine answers in milliseconds to a second."""
    retry_per_s: float = 1.0
    """Retries that each second adds to the budget, so that a quiet gateway can retry."""
    retry_most: float = 100.0
    """Most retries in the budget: all requests of an engine's full batch fail at once."""

    def with_port(self, port: int) -> "GatewaySettings":
        """The same settings with another port."""
        return replace(self, listen=replace(self.listen, port=port))


def settings_from_spec(gateway: "ModelGateway | None") -> GatewaySettings:
    """The settings that a `ModelGateway` document asks for; the defaults without a document."""
    if gateway is None:
        return GatewaySettings()
    options = read_options(gateway.spec)
    return GatewaySettings(**{field.name: getattr(options, field.name) for field in fields(options)})


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
    listen = settings.listen
    if settings.auth.mode == "open" or has_keys or is_loopback(listen.host):
        return
    raise GatewayError(
        f"refusing to listen on {listen.host}:{listen.port} without API keys: anybody could use the engines",
        "create a key with `remuda tenant create NAME`, listen on 127.0.0.1, or state `auth: {mode: open}`",
    )


def wants_keys(settings: GatewaySettings, has_keys: bool) -> bool:
    """Whether a request needs a key."""
    return settings.auth.mode == "keys" or (settings.auth.mode == "auto" and has_keys)
