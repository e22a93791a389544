import asyncio
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from remuda.fleet.gateway_process import (
    GatewayStartError,
    GatewayState,
    GatewayStatus,
    GatewaySupervisor,
    HeartbeatMonitor,
)

DOUBLE = (sys.executable, str(Path(__file__).with_name("speaking_gateway.py")), "--fd")
SETTINGS = {"listen": {"host": "127.0.0.1", "port": 0}}
DEADLINE_S = 20.0


@pytest.fixture
def said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "said"
    monkeypatch.setenv("SAID", str(path))
    return path


def read_said(path: Path) -> list[dict[str, object]]:
    """The lines that the gateway received after its settings."""
    return [json.loads(line) for line in path.read_text().splitlines()]


def is_gone(status: GatewayStatus) -> bool:
    return not Path(f"/proc/{status.pid}").exists()


class Watched:
    """A supervised gateway and the statuses it reported."""

    def __init__(self, tmp_path: Path, heartbeats: HeartbeatMonitor | None = None) -> None:
        self.seen: list[GatewayStatus] = []
        self._news = asyncio.Event()
        self.gateway = GatewaySupervisor(SETTINGS, self._see, tmp_path / "gateway.log", DOUBLE, heartbeats)

    def _see(self, status: GatewayStatus) -> None:
        self.seen.append(status)
        self._news.set()

    async def until(self, condition: Callable[[GatewayStatus], bool]) -> GatewayStatus:
        async with asyncio.timeout(DEADLINE_S):
            while not condition(self.gateway.status):
                self._news.clear()
                await self._news.wait()
        return self.gateway.status


def wait_until_said(said: Path, lines: int) -> None:
    deadline_at = time.monotonic() + DEADLINE_S
    while not said.exists() or len(read_said(said)) < lines:
        assert time.monotonic() < deadline_at
        time.sleep(0.01)


def is_listening(status: GatewayStatus) -> bool:
    return status.state is GatewayState.LISTENING


async def test_a_gateway_listens_takes_tables_and_drains(tmp_path: Path, said: Path) -> None:
    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    watched.gateway.send_table({"models": []})
    status = await watched.until(is_listening)
    assert status.port > 0
    watched.gateway.send_table({"models": ["later"]})
    await watched.gateway.drain(5)
    await run
    assert watched.gateway.status.state is GatewayState.STOPPED
    assert read_said(said) == [
        {"table": {"models": []}},
        {"table": {"models": ["later"]}},
    ]
    assert is_gone(status)


async def test_a_killed_gateway_comes_back_on_the_same_port_with_the_last_table(tmp_path: Path, said: Path) -> None:
    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    first = await watched.until(is_listening)
    watched.gateway.send_table({"models": ["latest"]})
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    second = await watched.until(lambda status: is_listening(status) and status.restarts == 1)
    assert second.port == first.port
    assert [s.reason for s in watched.seen if s.state is GatewayState.BACKOFF] == ["killed by SIGKILL; again in 0.2 s"]
    await watched.gateway.drain(5)
    await run
    assert read_said(said)[-1] == {"table": {"models": ["latest"]}}


async def test_words_about_a_start_are_no_table_and_a_process_that_starts_later_knows_them(
    tmp_path: Path, said: Path
) -> None:
    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    watched.gateway.send_table({"models": ["m"]})
    first = await watched.until(is_listening)
    watched.gateway.send_words({"m": "loading"}, {"models": ["m, which loads"]})
    await asyncio.to_thread(wait_until_said, said, 2)
    assert first.pid
    os.kill(first.pid, signal.SIGKILL)
    await watched.until(lambda status: is_listening(status) and status.restarts == 1)
    await watched.gateway.drain(5)
    await run
    assert read_said(said) == [
        {"table": {"models": ["m"]}},
        {"waiting": {"models": {"m": "loading"}}},
        {"table": {"models": ["m, which loads"]}},
    ]


@pytest.mark.parametrize(
    ("mode", "message"),
    [
        ("refuses", "cannot read the certificate: /nowhere"),
        ("dies", "ended with status 3; its log: {log}"),
        ("babbles", "the gateway sent a line that is no event: Expected `object`, got `array`"),
    ],
)
async def test_a_gateway_that_never_listened_says_why(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch, mode: str, message: str
) -> None:
    monkeypatch.setenv("MODE", mode)
    watched = Watched(tmp_path)
    with pytest.raises(GatewayStartError) as caught:
        await watched.gateway.run()
    assert caught.value.message == message.format(log=tmp_path / "gateway.log")


async def test_a_gateway_that_does_not_drain_is_killed(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "hangs")
    monkeypatch.setattr("remuda.fleet.gateway_process.LEAVE_S", 0.1)
    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    status = await watched.until(is_listening)
    await watched.gateway.drain(0.1)
    await run
    assert is_gone(status)


async def test_a_gateway_that_drains_is_sent_no_tables_or_figures(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "hangs")
    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    await watched.until(is_listening)
    draining = asyncio.create_task(watched.gateway.drain(3600))
    await watched.until(lambda status: status.state is GatewayState.DRAINING)
    watched.gateway.send_table({"models": ["late"]})
    watched.gateway.send_figures({"late": "figures"})
    watched.gateway.kill()
    await draining
    await run


async def test_other_children_do_not_inherit_the_socket(tmp_path: Path, said: Path) -> None:
    """An inherited descriptor would keep the gateway of a dead supervisor alive."""
    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    await watched.until(is_listening)
    probe = await asyncio.create_subprocess_exec("ls", "-l", "/proc/self/fd", stdout=asyncio.subprocess.PIPE)
    output, _ = await probe.communicate()
    assert output.count(b"socket:") == 0
    await watched.gateway.drain(5)
    await run


async def test_a_restart_that_the_system_refuses_is_tried_again(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(*_: object, **__: object) -> None:
        raise BlockingIOError(11, "Resource temporarily unavailable")

    watched = Watched(tmp_path)
    run = asyncio.create_task(watched.gateway.run())
    first = await watched.until(is_listening)
    with monkeypatch.context() as full:
        full.setattr("asyncio.create_subprocess_exec", refuse)
        assert first.pid
        os.kill(first.pid, signal.SIGKILL)
        await watched.until(lambda status: "could not be started: Resource temporarily" in status.reason)
    await watched.until(is_listening)
    await watched.gateway.drain(5)
    await run


async def test_a_silent_gateway_is_killed_and_replaced_on_the_same_port(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MODE", "silent")
    watched = Watched(tmp_path, HeartbeatMonitor(check_s=0.05, silent_checks=4))
    run = asyncio.create_task(watched.gateway.run())
    first = await watched.until(is_listening)
    second = await watched.until(lambda status: is_listening(status) and status.restarts == 1)
    assert is_gone(first)
    assert second.port == first.port
    reason = "it did not answer for 0.2 s; killed"
    assert next(s.reason for s in watched.seen if s.state is GatewayState.BACKOFF) == f"{reason}; again in 0.2 s"
    assert second.reason == f"started again: {reason}"
    await watched.gateway.drain(5)
    await run


async def test_a_stopped_gateway_is_killed_and_replaced(tmp_path: Path, said: Path) -> None:
    watched = Watched(tmp_path, HeartbeatMonitor(check_s=0.2, silent_checks=5))
    run = asyncio.create_task(watched.gateway.run())
    first = await watched.until(is_listening)
    assert first.pid
    os.kill(first.pid, signal.SIGSTOP)
    second = await watched.until(lambda status: is_listening(status) and status.restarts == 1)
    assert is_gone(first)
    assert second.port == first.port
    await watched.gateway.drain(5)
    await run


class Checks:
    """A monitor of heartbeats whose checks are counted."""

    def __init__(self, silent_checks: int) -> None:
        self.begun: asyncio.Queue[float] = asyncio.Queue()
        self.heartbeats = HeartbeatMonitor(0.3, silent_checks, self._wait)

    async def _wait(self, check_s: float) -> None:
        self.begun.put_nowait(check_s)
        await asyncio.sleep(check_s)

    async def until_more(self, count: int) -> None:
        async with asyncio.timeout(DEADLINE_S):
            for _ in range(count):
                await self.begun.get()


async def test_a_gateway_that_sends_heartbeats_is_left_alone(tmp_path: Path, said: Path) -> None:
    checks = Checks(silent_checks=5)
    watched = Watched(tmp_path, checks.heartbeats)
    run = asyncio.create_task(watched.gateway.run())
    first = await watched.until(is_listening)
    await checks.until_more(6)
    assert watched.gateway.status == first
    await watched.gateway.drain(5)
    await run


async def test_a_supervisor_that_was_stopped_itself_does_not_restart_the_gateway(tmp_path: Path, said: Path) -> None:
    checks = Checks(silent_checks=5)
    watched = Watched(tmp_path, checks.heartbeats)
    run = asyncio.create_task(watched.gateway.run())
    first = await watched.until(is_listening)
    await checks.until_more(1)
    time.sleep(2 * checks.heartbeats.patience_s)  # noqa: ASYNC251 - nothing of ours runs meanwhile: that is the point
    await checks.until_more(6)
    assert watched.gateway.status == first
    await watched.gateway.drain(5)
    await run


async def test_a_gateway_that_hangs_while_it_drains_is_killed(
    tmp_path: Path, said: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    watched = Watched(tmp_path, HeartbeatMonitor(check_s=0.2, silent_checks=5))
    run = asyncio.create_task(watched.gateway.run())
    status = await watched.until(is_listening)
    assert status.pid
    os.kill(status.pid, signal.SIGSTOP)
    await asyncio.wait_for(watched.gateway.drain(3600), DEADLINE_S)
    await run
    assert is_gone(status)
    assert "it did not answer for 1 s; killed" in [s.reason for s in watched.seen if s.state is GatewayState.DRAINING]


async def test_figures_are_sent_unless_earlier_lines_are_still_unread(tmp_path: Path, said: Path) -> None:
    watched = Watched(tmp_path)
    watched.gateway.send_figures({"before": "any gateway"})
    run = asyncio.create_task(watched.gateway.run())
    status = await watched.until(is_listening)
    watched.gateway.send_figures({"some": "figures"})
    assert status.pid
    os.kill(status.pid, signal.SIGSTOP)
    writer = watched.gateway._writer
    assert writer is not None
    while not (unsent := writer.transport.get_write_buffer_size()):
        watched.gateway.send_table("x" * 10_000)
    watched.gateway.send_figures({"late": "figures"})
    assert writer.transport.get_write_buffer_size() == unsent
    os.kill(status.pid, signal.SIGCONT)
    await watched.gateway.drain(5)
    await run
    figures = [message["figures"] for message in read_said(said) if "figures" in message]
    assert figures == [{"some": "figures"}]
