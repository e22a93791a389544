"""A real Prometheus scrapes the gateway in front of real engines."""

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
    """A Prometheus that scrapes `url` each second; its address."""
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
    """The values of an instant query; none while nothing is known."""
    try:
        answer = httpx.get(f"{address}/api/v1/query", params={"query": query}, trust_env=False)
    except httpx.ConnectError:
        return []
    return [float(series["value"][1]) for series in answer.json()["data"]["result"]] if answer.is_success else []


def test_prometheus_takes_every_metric_of_gateway_and_engines(prometheus: Path, url: str, tmp_path: Path) -> None:
    body = {"model": "remuda-demo", "prompt": "Hello", "max_tokens": 4}
    assert httpx.post(f"{url}/v1/completions", json=body, timeout=60, trust_env=False).status_code == 200
    with scraping(prometheus, url, tmp_path) as address:
        until(lambda: ask(address, "up") == [1.0], GONE_S, "the gateway is up for Prometheus")
        done = 'sum(remuda_requests_total{model="remuda-demo",outcome="completed"}) >= 1'
        until(lambda: ask(address, done), GONE_S, "Prometheus has the request")
        until(lambda: len(ask(address, "remuda_engine_kv_cache_tokens")) == 2, GONE_S, "Prometheus has both engines")
        assert ask(address, "count(remuda_time_to_first_byte_seconds_bucket) > 0")
        quantile = "histogram_quantile(0.5, sum by (le) (remuda_request_duration_seconds_bucket))"
        (median_s,) = ask(address, quantile)
        assert 0 < median_s < 600
