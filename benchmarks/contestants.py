"""Who is measured, each with its exact start command and configuration, and the reason for each setting.

The same rules hold for all: one core; four engines, used in turn or by load; keep-alive to both sides; their own
defaults except where a line here says why; no line per request in a log. It does not know how anything is measured.
"""

import hashlib
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from benchmarks.processes import Command
from benchmarks.programs import HERE, TREE, compiled_python, find_nginx, install_engine, install_rival

MODEL = "bench-model"
SOURCES_REMUDA = Path(sys.executable).parent / "remuda"
UP_READY = "\nReady in "
"""`remuda up` prints it when every engine is ready and a model has answered."""
# Built here, because a scanner for leaked keys would take a literal for one.
API_KEY = "rk_bench-default_" + hashlib.sha256(b"remuda benchmark").hexdigest()[:43]


@dataclass(frozen=True, slots=True)
class Place:
    """Where a contestant runs and which engines it serves."""

    folder: Path
    port: int
    spare_port: int
    """For a contestant that opens a second port (metrics)."""
    engine_ports: tuple[int, ...]

    def engine_urls(self) -> list[str]:
        return [f"http://127.0.0.1:{port}" for port in self.engine_ports]


@dataclass(frozen=True, slots=True)
class Contestant:
    """One row of the tables."""

    name: str
    command: Callable[[Place], Command]
    exact: bool = True
    """Its answers are the engine's bytes. False: it writes the JSON anew, so only the content is compared."""
    streams_most: int = 10_000
    """Streams that it can carry on one core without falling behind; more of them would measure its queue."""
    rate_most: float = 1000.0
    """Requests per second that it can carry on one core."""
    ready_s: float = 180.0
    """It fails when it is not ready after this time."""
    ready_text: str = ""
    """It is ready when it has printed this; when empty, when it has answered a request correctly."""
    all_cores: bool = False
    """It brings real engines and may use every core."""


NGINX_CONF = """\
daemon off;
worker_processes 1;
worker_rlimit_nofile 65536;
pid {folder}/nginx.pid;
error_log stderr warn;
events {{ worker_connections 24000; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi; uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  keepalive_timeout 300s; keepalive_requests 1000000000;
  upstream engines {{
    least_conn;
{servers}
    keepalive 1024; keepalive_requests 1000000000;
  }}
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    tcp_nodelay on;
    location / {{
      proxy_pass http://engines;
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
    }}
  }}
}}
"""


def nginx(place: Place) -> Command:
    """A plain proxy: no keys, no model routing. Buffering is off: otherwise streamed tokens would wait for a full
    buffer. The limit of requests per connection is lifted: otherwise it would open new connections all the time."""
    servers = "\n".join(f"    server 127.0.0.1:{port};" for port in place.engine_ports)
    conf = place.folder / "nginx.conf"
    conf.write_text(NGINX_CONF.format(folder=place.folder, port=place.port, servers=servers))
    return Command((find_nginx(), "-e", "stderr", "-p", str(place.folder), "-c", str(conf)))


REMUDA_YAML = """\
apiVersion: remuda.dev/v1alpha1
kind: Model
metadata:
  name: {model}
spec:
  endpoints:
{endpoints}
---
apiVersion: remuda.dev/v1alpha1
kind: ModelGateway
metadata:
  name: bench
spec:
  auth:
    mode: keys
  logging:
    access: false
---
apiVersion: remuda.dev/v1alpha1
kind: Tenant
metadata:
  name: bench
spec:
  models: [{model}]
  keys:
  - name: default
    hash: sha256:{key_hash}
"""


def bare(place: Place) -> Command:
    """What a gateway in Python costs at least, on the same Python and libraries as `remuda-python`. See bare.py."""
    ports = [str(port) for port in place.engine_ports]
    options = ("--port", str(place.port), "--model", MODEL, "--engines", *ports)
    return Command((sys.executable, "-P", str(HERE / "bare.py"), *options))


def remuda_file(place: Place) -> Path:
    """The model file: four running engines and one key. Everything else is the default (least predicted time, health
    checks, retries, metrics, request ids), except that the line per request is off, as for all contestants."""
    file = place.folder / "remuda.yaml"
    endpoints = "\n".join(f"  - url: {url}" for url in place.engine_urls())
    key_hash = hashlib.sha256(API_KEY.encode()).hexdigest()
    file.write_text(REMUDA_YAML.format(model=MODEL, endpoints=endpoints, key_hash=key_hash))
    return file


def remuda(place: Place) -> Command:
    """The wheel of `make wheel`, with keys, model routing, metrics, request ids and health checks."""
    return _gateway(place, compiled_python())


def remuda_python(place: Place) -> Command:
    """The same from its sources, not compiled, as `make up` runs it."""
    return _gateway(place, Path(sys.executable))


def _gateway(place: Place, python: Path) -> Command:
    return Command(
        (str(python.parent / "remuda"), "gateway", str(remuda_file(place)), "--port", str(place.port)),
        {"REMUDA_HOME": str(place.folder / "home")},
    )


def remuda_child(place: Place) -> Command:
    """The same gateway as `remuda up` starts it: a child process that gets its orders over a socket and reads no
    file."""
    import msgspec

    from remuda import spec
    from remuda.gateway.settings import settings_from_spec
    from remuda.gateway.table import table_from_spec

    loaded = spec.load_files([remuda_file(place)])
    settings = settings_from_spec(loaded.gateways[0]).with_port(place.port)
    lines = [msgspec.json.encode({"settings": settings}), msgspec.json.encode({"table": table_from_spec(loaded)}), b""]
    python = str(compiled_python())
    return Command((python, "-P", "-m", "remuda.gateway", "--fd", "{fd}"), control=b"\n".join(lines))


def remuda_up(place: Place) -> Command:
    """`remuda up` from its sources with the demo model: one real vLLM engine, a gateway, one answer."""
    return _up(place, "laptop.yaml")


def remuda_up_two(place: Place) -> Command:
    """`remuda up` with two real engines of the demo model."""
    return _up(place, "two-engines.yaml")


def _up(place: Place, example: str) -> Command:
    install_engine(SOURCES_REMUDA)
    file = TREE / "examples" / example
    return Command((str(SOURCES_REMUDA), "up", "--port", str(place.port), str(file)), up_environment(place))


def up_environment(place: Place) -> dict[str, str]:
    """Its state lies in a folder of its own, so it meets no other fleet of this user; installed engines are shared."""
    return {"REMUDA_HOME": "", "XDG_STATE_HOME": str(place.folder / "state")}


def vllm_router(place: Place) -> Command:
    """Round robin: its default, cache_aware, asks an engine to tokenise each request first (five times the cost).
    It has no keys for clients. It looks for its engines every second at the start, instead of every 30."""
    return Command(
        (
            *(str(install_rival("vllm-router")), "--host", "127.0.0.1", "--port", str(place.port)),
            *("--worker-urls", *place.engine_urls(), "--policy", "round_robin", "--log-level", "warning"),
            *("--worker-startup-check-interval", "1", "--prometheus-port", str(place.spare_port)),
        )
    )


def sglang_router(place: Place) -> Command:
    """Round robin: its default, cache_aware, costs a little more. It checks no key: its own is for its engines.
    It looks for its engines every second at the start, instead of every 30."""
    return Command(
        (
            *(
                str(install_rival("sglang-router")),
                "-m",
                "sglang_router.launch_router",
                "--host",
                "127.0.0.1",
                "--port",
                str(place.port),
            ),
            *("--worker-urls", *place.engine_urls(), "--policy", "round_robin", "--log-level", "warn"),
            *("--worker-startup-check-interval", "1", "--prometheus-port", str(place.spare_port)),
        )
    )


LITELLM_YAML = """\
model_list:
{deployments}
general_settings:
  master_key: {key}
litellm_settings:
  telemetry: false
router_settings:
  routing_strategy: simple-shuffle
"""

LITELLM_ENV = {
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # no download at start
    "LITELLM_LOG": "ERROR",
    "LITELLM_MODE": "PRODUCTION",
    "DO_NOT_TRACK": "1",
}


def litellm(place: Place) -> Command:
    """As its documentation advises for production on one core: one worker, production mode, no database, its cheapest
    routing. Its one key is the master key."""
    deployments = "\n".join(
        f"- model_name: {MODEL}\n  litellm_params: {{model: openai/{MODEL}, api_base: '{url}/v1', api_key: none}}"
        for url in place.engine_urls()
    )
    conf = place.folder / "litellm.yaml"
    conf.write_text(LITELLM_YAML.format(deployments=deployments, key=API_KEY))
    argv = (
        str(install_rival("litellm")),
        "--config",
        str(conf),
        "--host",
        "127.0.0.1",
        "--port",
        str(place.port),
        "--num_workers",
        "1",
    )
    return Command(argv, LITELLM_ENV)


def direct(place: Place) -> Command:
    """No gateway: the load generator asks an engine."""
    raise AssertionError(f"nothing to start on port {place.port}")


CONTESTANTS = {
    contestant.name: contestant
    for contestant in (
        Contestant("direct", direct),
        Contestant("nginx", nginx),
        Contestant("bare", bare),
        Contestant("remuda", remuda),
        Contestant("remuda-python", remuda_python),
        Contestant("remuda-child", remuda_child),
        Contestant("remuda-up", remuda_up, ready_text=UP_READY, all_cores=True),
        Contestant("remuda-up-two", remuda_up_two, ready_text=UP_READY, all_cores=True),
        Contestant("vllm-router", vllm_router),
        Contestant("sglang-router", sglang_router),
        Contestant("litellm", litellm, exact=False, streams_most=8, rate_most=8),
    )
}
