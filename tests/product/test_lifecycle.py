"""`remuda up` from its start to its end: in a terminal, in the background, killed."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.driving import (
    GONE_S,
    LAPTOP,
    READY_S,
    Machine,
    Terminal,
    family_of,
    kill,
    suspend,
    until,
    wait_until_gone,
)

from remuda.fleet.gateway_process import HeartbeatMonitor
from remuda.machine.processes import fetch_process_id, is_alive

SECOND_START_S = 30.0
SILENCE_S = HeartbeatMonitor().patience_s


@pytest.fixture
def terminal(machine: Machine) -> Iterator[Terminal]:
    shown = machine.open_terminal("up", "--port", "0", str(LAPTOP))
    yield shown
    shown.close()


def test_up_answers_prints_snippets_that_work_and_ctrl_c_leaves_nothing(
    machine: Machine, terminal: Terminal, tmp_path: Path
) -> None:
    shown = terminal.read_until(r"print\(answer.*\)\n", READY_S)
    assert "What is Remuda?" in terminal.seen
    assert re.search(r"ready, KV cache [\d,]+ tokens, context [\d,]+", terminal.seen)
    assert re.search(r"\(\d+ tokens in [\d.]+ s", terminal.seen), "the first answer was streamed"
    assert "Base URL: http://127.0.0.1:" in shown.string

    curl = re.search(r"^curl .*?'$", re.sub(r"\\\n\s*", "", terminal.seen), re.MULTILINE | re.DOTALL)
    assert curl
    answer = subprocess.run(["bash", "-c", curl[0]], capture_output=True, text=True, check=True)
    assert '"content":' in answer.stdout

    script = tmp_path / "snippet.py"
    script.write_text(terminal.seen[terminal.seen.index("from openai import OpenAI") :])
    spoken = subprocess.run([sys.executable, script], capture_output=True, text=True, check=False)
    assert spoken.returncode == 0, spoken.stderr
    assert spoken.stdout.strip()

    family = family_of(terminal.pid)
    terminal.press(b"\x03")
    assert terminal.wait(GONE_S) == 0
    assert "stopped: all processes have ended" in terminal.seen
    wait_until_gone(family)
    assert sorted(path.name for path in (machine.home / "state").iterdir()) == ["fleet.lock"]


def test_closing_the_terminal_leaves_nothing(machine: Machine, terminal: Terminal) -> None:
    terminal.read_until("Base URL", READY_S)
    family = family_of(terminal.pid)
    terminal.hang_up()
    assert terminal.wait(GONE_S) == 0
    wait_until_gone(family)


@pytest.mark.req("A4.waiting", level="run", on="vLLM")
def test_a_start_says_what_it_waits_for_and_ctrl_c_ends_it(machine: Machine, terminal: Terminal) -> None:
    terminal.read_until("importing vLLM", READY_S)
    until(lambda: len(family_of(terminal.pid)) >= 3, READY_S, "supervisor, gateway, engine")
    until(lambda: machine.status()["gateway"]["state"] == "listening", GONE_S, "the gateway listens")
    answer = httpx.get(f"{machine.status()['gateway']['url']}/ready/remuda-demo", trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "model_not_ready")
    assert "starting" in answer.json()["error"]["message"]
    family = family_of(terminal.pid)
    terminal.press(b"\x03")
    assert terminal.wait(GONE_S) == 130
    until(lambda: not [one for one in family if is_alive(one)], GONE_S, "nothing left")


def test_detached_life(machine: Machine) -> None:
    """A fleet in the background: what it answers, refuses and survives, how it stops, and what kill -9 leaves."""
    was_idle = os.getloadavg()[0] < (os.cpu_count() or 1)
    began_at = time.monotonic()
    up = machine.run("up", "-d", "--port", "0", str(LAPTOP))
    assert up.status == 0, up.err
    if was_idle:
        assert time.monotonic() - began_at < SECOND_START_S, "the engine is installed: ready in under 30 s"
    assert "print(answer.choices[0].message.content)" in up.out
    assert "remuda down" in up.err

    check_refusals(machine)
    check_tools(machine)
    check_gateway_comes_back(machine, kill, "killed by SIGKILL")
    check_gateway_comes_back(machine, suspend, "it did not answer for 15 s; killed")

    family = machine.processes()
    down = machine.run("down")
    assert (down.status, down.out) == (0, ""), down.err
    assert not [one for one in family if is_alive(one)], "down returns when nothing is left"
    assert machine.run("status").err == "error: no fleet is running\nhint: start one with `remuda up`\n"

    again = machine.run("up", "-d", "--port", "0", str(LAPTOP))
    assert again.status == 0, again.err
    family = machine.processes()
    kill(machine.status()["pid"])
    wait_until_gone(family)
    status = machine.run("status")
    assert status.status == 1
    assert "is gone" in status.err


def check_refusals(machine: Machine) -> None:
    """A second fleet and a taken port are refused with a hint."""
    second = machine.run("up", str(LAPTOP))
    assert second.status == 1
    assert "error: a fleet is already running: process" in second.err
    assert "hint:" in second.err

    port = int(machine.status()["gateway"]["url"].rpartition(":")[2])
    other = Machine(machine.home.parent / "other", (machine.home / "engines").resolve())
    taken = other.run("up", "--port", str(port), str(LAPTOP))
    assert taken.status == 1
    assert re.search(rf"error: port {port} is taken by process \d+ \(.*remuda.gateway", taken.err), taken.err
    assert f"hint: choose another: --port {port + 1}" in taken.err
    assert "Traceback" not in second.err + taken.err


def check_tools(machine: Machine) -> None:
    """`status`, `logs` and `chat` answer."""
    status = machine.run("status")
    assert re.search(r"gateway listening at http://127\.0\.0\.1:\d+/v1, no API key needed", status.out)
    assert re.search(r"-0 +ready ", status.out)
    snapshot = json.loads(machine.run("status", "--json").out)
    engine = snapshot["engines"][0]
    assert (snapshot["phase"], engine["state"], engine["restarts"]) == ("serving", "ready", 0)
    assert engine["kv_tokens"] > 0

    assert "KV cache size" in machine.run("logs", engine["id"], "-n", "1000").out
    asked = machine.run("chat", "-m", "What is Remuda?", "--temperature", "0")
    piped = machine.run("chat", "--temperature", "0", text="What is Remuda?\n")
    assert (asked.status, piped.status) == (0, 0), asked.err + piped.err
    assert asked.out == piped.out != "\n"


def check_gateway_comes_back(machine: Machine, hurt: Callable[[int], None], reason: str) -> None:
    """A gateway that is killed or hangs is replaced on the same port, and the engine goes on."""
    before = machine.status()
    restarts = before["gateway"]["restarts"] + 1
    hurt(before["gateway"]["pid"])

    def look() -> dict[str, Any] | None:
        now = machine.status()
        return now if (now["gateway"]["restarts"], now["gateway"]["state"]) == (restarts, "listening") else None

    after = until(look, SILENCE_S + GONE_S, "the gateway is back")
    assert after is not None
    assert after["gateway"]["url"] == before["gateway"]["url"]
    assert after["gateway"]["reason"] == f"started again: {reason}"
    assert after["engines"][0]["pid"] == before["engines"][0]["pid"]
    assert machine.run("chat", "-m", "What is vLLM?").status == 0


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("kind: Model", "problem"),
        (
            "apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {name: a}\nspec: {source: 'file:///nowhere'}",
            "/nowhere",
        ),
    ],
    ids=["shape", "weights"],
)
def test_bad_files_are_explained(machine: Machine, tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "model.yaml"
    path.write_text(text)
    done = machine.run("up", "--port", "0", str(path))
    assert done.status == 1
    assert message in done.err
    assert "hint" in done.err
    assert "Traceback" not in done.err


def test_home_that_cannot_be_written_is_explained(tmp_path: Path, engines: Path) -> None:
    machine = Machine(tmp_path / "home", engines)
    (machine.home / "state").write_text("a file where a folder is needed")
    done = machine.run("up", "--port", "0", str(LAPTOP))
    assert done.status == 1
    assert "hint: a file stands where a folder is needed" in done.err
    assert "Traceback" not in done.err


def test_supervisor_that_is_stopped_does_not_stop_serving(machine: Machine) -> None:
    """The gateway serves while the supervisor hangs, because it is another process, and `down --cut` ends both."""
    assert machine.run("up", "-d", "--port", "0", str(LAPTOP)).status == 0
    snapshot = machine.status()
    supervisor = fetch_process_id(snapshot["pid"])
    assert supervisor is not None
    family = machine.processes()
    os.kill(supervisor.pid, signal.SIGSTOP)
    asked = machine.run("chat", "--url", snapshot["gateway"]["url"], "-m", "What is vLLM?")
    assert asked.status == 0, asked.err
    assert machine.run("down", "--cut").status == 0
    wait_until_gone(family)


def test_address_of_another_machine_is_explained(machine: Machine, tmp_path: Path) -> None:
    path = tmp_path / "model.yaml"
    elsewhere = "    host: 192.0.2.1\n    port: 8080\n  auth: {mode: open}\n"
    path.write_text(re.sub(r"    host: .*\n    port: .*\n", elsewhere, LAPTOP.read_text()))
    done = machine.run("up", str(path))
    assert done.status == 1
    assert "cannot listen on 192.0.2.1:8080" in done.err
    assert "hint:" in done.err
