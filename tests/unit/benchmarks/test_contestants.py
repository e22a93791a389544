"""What the contestants are started with."""

import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks.bench import BODY_BYTES, Ask
from benchmarks.contestants import API_KEY, CONTESTANTS, NGINX_CONF, Place, remuda_file
from benchmarks.processes import BenchError, Command, Server, running, start_server, wait_ready
from benchmarks.programs import find_nginx, install_rival
from benchmarks.tables import TABLES

from remuda import spec


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path, 18_080, 18_081, (20_000, 20_001))


@pytest.mark.parametrize("ask", [Ask(), Ask(128), Ask(128, 25)], ids=lambda ask: ask.name)
def test_every_request_body_has_the_same_size(ask: Ask) -> None:
    assert len(ask.body()) == BODY_BYTES
    assert ask.request(80).endswith(ask.body())
    assert f"Authorization: Bearer {API_KEY}".encode() in ask.request(80)


def test_remudas_file_is_valid_and_asks_for_the_key_the_load_generator_sends(place: Place) -> None:
    loaded = spec.load_files([remuda_file(place)])
    assert [endpoint.url for endpoint in loaded.models[0].spec.endpoints] == place.engine_urls()
    assert loaded.gateways[0].spec.auth.mode == "keys"
    key_hash = loaded.tenants[0].spec.keys[0].hash
    assert key_hash == "sha256:" + hashlib.sha256(API_KEY.encode()).hexdigest()


def test_every_contestant_of_a_table_exists() -> None:
    assert {name for table in TABLES.values() for name in table.contestants} <= set(CONTESTANTS)


def test_nginx_listens_on_loopback_only() -> None:
    assert "listen 127.0.0.1:{port}" in NGINX_CONF
    assert NGINX_CONF.count("listen ") == 1


def test_a_servers_cpu_time_and_memory_include_its_children_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', '''{burn}''']); time.sleep(60)"
    server = start_server("parent", Command((sys.executable, "-c", parent)), core=0, folder=tmp_path)
    with running(server):
        wait_ready(server, lambda: spent_child(server), 30)
        assert server.rss_mib() > 1
        assert os.sched_getaffinity(server.process.pid) == {0}
    assert server.pids() == []
    assert server.process.poll() is not None


def spent_child(server: Server) -> bool:
    """The child's 0.2 s are there (with a cgroup even after it ended)."""
    return server.cpu_s() > 0.2


def test_a_server_that_ends_at_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = start_server("short", Command(("sh", "-c", "echo no such option; exit 3")), core=0, folder=tmp_path)
    with running(server), pytest.raises(BenchError, match=r"short ended with exit code 3(.|\n)*no such option"):
        wait_ready(server, lambda: False, 10)


def test_the_command_line_names_unknown_tables() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "nonsense"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "nonsense is none of requests, chunks" in result.stderr


@pytest.mark.parametrize(
    ("call", "hint"),
    [
        pytest.param(find_nginx, "apt-get install nginx-light", id="nginx"),
        pytest.param(lambda: install_rival("vllm-router"), "make bench", id="uv"),
    ],
)
def test_a_missing_program_is_named_with_the_way_to_get_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, call: Callable[[], object], hint: str
) -> None:
    monkeypatch.setattr("shutil.which", lambda *_args, **_more: None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("REMUDA_UV", raising=False)
    with pytest.raises(BenchError, match=hint):
        call()
