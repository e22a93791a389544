"""The contestants: what they are started with, what they cost, what is left of them."""

import hashlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from benchmarks import tables
from benchmarks.bench import BODY_BYTES, Ask, Running, is_ready
from benchmarks.contestants import (
    API_KEY,
    CONTESTANTS,
    NGINX_CONF,
    UP_READY,
    Contestant,
    Place,
    remuda_file,
    up_environment,
)
from benchmarks.processes import BenchError, Command, Server, running, start_server, wait_ready
from benchmarks.programs import find_nginx, install_rival
from benchmarks.run import README, _parse, latest_result, replace_table
from benchmarks.tables import TABLES

from remuda import spec
from remuda.cli.progress import render_ready
from remuda.fleet.reporting import events
from remuda.machine.home import Home


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


def test_remuda_up_keeps_its_state_away_from_the_users_own_fleet(place: Place) -> None:
    home = Home.from_environment({**os.environ, "REMUDA_HOME": "/elsewhere", **up_environment(place)})
    assert home.state == place.folder / "state" / "remuda"
    assert home.engines == Home.from_environment({**os.environ, "REMUDA_HOME": ""}).engines


def test_remuda_up_is_ready_when_it_says_so(place: Place) -> None:
    contestant = Contestant("up", lambda _: Command(("cat",)), ready_text=UP_READY)
    server = start_server("up", Command(("true",)), cores={0}, folder=place.folder)
    with running(server):
        server.process.wait(10)
        for output, ready in (("[ 0.3 s] remuda-demo-0: ready", False), ("\n\nReady in 26 s: remuda-demo\n", True)):
            server.log.write_text(output)
            assert is_ready(contestant, place, server) is ready, output


def test_remuda_up_prints_what_the_benchmark_waits_for() -> None:
    assert UP_READY in render_ready(events.Ready(url="http://127.0.0.1:1", models=("remuda-demo",)), 26.0)


def test_a_servers_cpu_time_and_memory_include_its_children_and_nothing_of_it_is_left(tmp_path: Path) -> None:
    burn = "import time; end = time.process_time() + 0.2\nwhile time.process_time() < end: pass"
    parent = f"import subprocess, sys, time; subprocess.run([sys.executable, '-c', '''{burn}''']); time.sleep(60)"
    server = start_server("parent", Command((sys.executable, "-c", parent)), cores={0}, folder=tmp_path)
    with running(server):
        wait_ready(server, lambda: spent_child(server), 30)
        assert server.rss_mib() > 1
        assert 0.0 < server.user_s() < 10.0
        assert os.sched_getaffinity(server.process.pid) == {0}
    assert server.pids() == []
    assert server.process.poll() is not None


def spent_child(server: Server) -> bool:
    """Whether the child's 0.2 s are counted (with a cgroup, even after it ended)."""
    return server.cpu_s() > 0.2


@pytest.mark.parametrize(
    ("states", "said"),
    [
        pytest.param(["ready", "failed"], "not every engine is ready: ready, failed", id="one failed"),
        pytest.param([], "not every engine is ready: there is none", id="none"),
    ],
)
def test_real_engines_that_are_not_all_ready_fail_the_measurement(
    monkeypatch: pytest.MonkeyPatch, place: Place, states: list[str], said: str
) -> None:
    script = place.folder / "remuda"
    status = json.dumps({"engines": [{"state": state} for state in states]})
    script.write_text(f"#!/bin/sh\necho '{status}'\n")
    script.chmod(0o755)
    monkeypatch.setattr(tables, "SOURCES_REMUDA", script)
    contestant = CONTESTANTS["remuda-up-two"]
    with pytest.raises(BenchError, match=f"^{said}$"):
        tables.measure_two_engines(None, Running(contestant, place, None, 1.0, 2.0))


def test_a_child_in_a_session_of_its_own_is_one_of_the_servers_processes(tmp_path: Path) -> None:
    parent = "import subprocess, time; subprocess.Popen(['sleep', '60'], start_new_session=True); time.sleep(60)"
    server = start_server("parent", Command((sys.executable, "-c", parent)), cores={0}, folder=tmp_path)
    with running(server):
        wait_ready(server, lambda: len(server.pids()) == 2, 30)
        (child,) = set(server.pids()) - {server.process.pid}
        assert os.getsid(child) == child
        os.kill(child, signal.SIGTERM)


def test_a_server_that_ends_at_start_is_named_with_the_end_of_its_log(tmp_path: Path) -> None:
    server = start_server("short", Command(("sh", "-c", "echo no such option; exit 3")), cores={0}, folder=tmp_path)
    with running(server), pytest.raises(BenchError, match=r"short ended with exit code 3(.|\n)*no such option"):
        wait_ready(server, lambda: False, 10)


def test_all_tables_are_measured_unless_some_are_named() -> None:
    assert _parse([]).tables == list(TABLES)
    assert _parse(["requests", "soak"]).tables == ["requests", "soak"]


def test_the_readme_shows_the_newest_result() -> None:
    assert replace_table(README.read_text(), json.loads(latest_result().read_text())) == README.read_text()


def test_the_command_line_names_unknown_tables() -> None:
    result = subprocess.run(
        [sys.executable, "-m", "benchmarks.run", "nonsense"], capture_output=True, text=True, check=False
    )
    assert result.returncode == 2
    assert "nonsense is none of requests, requests-sleep, chunks" in result.stderr


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
