"""A Prometheus, fetched from Debian, scrapes the gateway in front of real engines."""

import contextlib
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.product.driving import GONE_S, ROOT, until

NO_APT = 3


@pytest.fixture(scope="session")
def prometheus() -> Path:
    command = [sys.executable, ROOT / "scripts" / "get_prometheus.py"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=240, check=False)
    if done.returncode == NO_APT:
        pytest.skip(f"a real Prometheus did NOT scrape anything: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return Path(done.stdout.strip())


@contextlib.contextmanager
def scraping(prometheus: Path, url: str, folder: Path) -> Iterator[str]:
    """Run a Prometheus that scrapes `url` each second, and yield its address."""
    with socket.create_server(("127.0.0.1", 0)) as sock:
        port = sock.getsockname()[1]
    config = folder / "prometheus.yml"
    config.write_text(
        "global: {scrape_interval: 1s}\n"
        f"scrape_configs: [{{job_name: remuda, static_configs: [{{targets: ['{url.removeprefix('http://')}']}}]}}]\n"
    )
    command = [
        str(prometheus),
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
    ]
    with (folder / "log").open("w") as log, subprocess.Popen(command, stdout=log, stderr=log) as process:
        try:
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()


def ask(address: str, query: str) -> list[float]:
    """The values that an instant query returns; none while Prometheus starts or has no data."""
    try:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, trust_env=False)
    except httpx.ConnectError:
        return []
    return [float(series["value"][1]) for series in answer.json()["data"]["result"]] if answer.is_success else []


OF_EACH_ENGINE = {
    "KV cache use": "remuda_engine_kv_cache_usage_ratio",
    "KV cache size": "remuda_engine_kv_cache_tokens",
    "pending requests": "remuda_engine_requests_waiting",
    "running requests, the batch size": "remuda_engine_requests_running",
    "generated tokens": "remuda_engine_generated_tokens_total",
    "preemptions": "remuda_engine_preemptions_total",
    "prefix cache hits": "remuda_engine_prefix_cache_hits_tokens_total",
}
OF_THE_MODEL = {
    "model loaded": "remuda_model_ready",
    "requests by outcome": "remuda_requests_total",
    "request latency": "remuda_request_duration_seconds_bucket",
    "latency of the first byte": "remuda_time_to_first_byte_seconds_bucket",
    "token latency": "remuda_time_per_output_token_seconds_bucket",
}


@pytest.mark.req("O1.scraped", level="run", on="Prometheus")
def test_prometheus_has_each_named_metric_of_the_gateway_and_of_both_engines(
    prometheus: Path, url: str, tmp_path: Path
) -> None:
    for stream in (False, True):
        body = {"model": "remuda-demo", "prompt": "Hello", "max_tokens": 4, "ignore_eos": True, "stream": stream}
        assert httpx.post(f"{url}/v1/completions", json=body, timeout=60, trust_env=False).status_code == 200
    with scraping(prometheus, url, tmp_path) as address:
        until(lambda: ask(address, "up") == [1.0], GONE_S, "Prometheus reaches the gateway")
        done = 'sum(remuda_requests_total{model="remuda-demo",outcome="completed"}) >= 2'
        until(lambda: ask(address, done), GONE_S, "Prometheus has the requests")

        def count_series() -> dict[str, list[float]]:
            names = [*OF_EACH_ENGINE.values(), *OF_THE_MODEL.values()]
            return {name: ask(address, f'count({name}{{model="remuda-demo"}})') for name in names}

        def has_both_engines() -> bool:
            return all(count_series()[name] == [2.0] for name in OF_EACH_ENGINE.values())

        until(has_both_engines, GONE_S, "Prometheus has each metric of both engines")
        assert [name for name in OF_THE_MODEL.values() if not count_series()[name]] == []
        quantile = "histogram_quantile(0.5, sum by (le) (remuda_request_duration_seconds_bucket))"
        (median_s,) = ask(address, quantile)
        assert 0 < median_s < 600
