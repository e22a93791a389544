"""The log: whoever reads it, or does not, never makes a request wait; and it shows no secret that a client sends."""

import asyncio
import contextlib
import io
import json
import logging
import os
import pty
import re
import select
import signal
import socket
import sys
import termios
import tty

import msgspec
import pytest
from tests.gateway.conftest import adjust
from tests.gateway.test_drain import SETTINGS
from tests.gateway.wire import DEADLINE_S, Wire, complete, get, until

from remuda.gateway.record.log_writer import LogWriter
from remuda.gateway.serving.pages import Pages
from remuda.gateway.table import Table
from remuda.observe.logs import HumanFormatter, JsonFormatter

# ---- a log that nobody reads

REQUESTS = 20_000
"""Their lines take more than the 4 MiB that wait to be written."""
LONG_ID = "i" * 110


class Sink:
    """What standard error of a process leads to: `fd` is the process's end. It takes nothing until `go_on`."""

    fd: int
    skip = 0
    """Bytes that were there before the process wrote anything."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    @property
    def data(self) -> bytes:
        """What has been read of what the process wrote."""
        return b"".join(self._pieces)[self.skip :]

    def go_on(self) -> int:
        """Let it flow again; the descriptor to read from."""
        raise NotImplementedError

    def close(self) -> None:
        """Give everything back."""

    async def read(self) -> None:
        """Read from now on, until the last writer has closed its end."""
        await asyncio.to_thread(self._read_all, self.go_on())

    def _read_all(self, fd: int) -> None:
        with contextlib.suppress(OSError):  # the master of a terminal whose other end is closed fails with EIO
            while select.select([fd], [], [], DEADLINE_S)[0] and (piece := os.read(fd, 1 << 20)):
                self._pieces.append(piece)


class FullPipe(Sink):
    """A pipe that is full, and that nobody reads."""

    def __init__(self) -> None:
        super().__init__()
        self._read_end, self.fd = os.pipe()
        os.set_blocking(self.fd, False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.skip += os.write(self.fd, b"." * 4096)
        os.set_blocking(self.fd, True)

    def go_on(self) -> int:
        return self._read_end

    def close(self) -> None:
        os.close(self._read_end)


class StoppedReader(Sink):
    """A process that reads, and that somebody has stopped."""

    def __init__(self) -> None:
        super().__init__()
        read_end, self.fd = os.pipe()
        self._out, out = os.pipe()
        actions = [(os.POSIX_SPAWN_DUP2, read_end, 0), (os.POSIX_SPAWN_DUP2, out, 1)]
        self._pid = os.posix_spawn("/bin/cat", ["cat"], {}, file_actions=actions)
        os.close(read_end)
        os.close(out)
        os.kill(self._pid, signal.SIGSTOP)

    def go_on(self) -> int:
        os.kill(self._pid, signal.SIGCONT)
        return self._out

    def close(self) -> None:
        os.close(self._out)
        os.kill(self._pid, signal.SIGKILL)
        os.waitpid(self._pid, 0)


class StoppedTerminal(Sink):
    """A terminal in which somebody has pressed Ctrl-S."""

    def __init__(self) -> None:
        super().__init__()
        self._master, self.fd = pty.openpty()
        tty.setraw(self.fd)
        self._slave = os.dup(self.fd)
        termios.tcflow(self._slave, termios.TCOOFF)

    def go_on(self) -> int:
        termios.tcflow(self._slave, termios.TCOON)
        os.close(self._slave)
        self._slave = -1
        return self._master

    def close(self) -> None:
        os.close(self._master)
        if self._slave >= 0:
            os.close(self._slave)


def numbered(number: int) -> bytes:
    return get("/health", b"x-request-id: %b.%d\r\n" % (LONG_ID.encode(), number))


class Process:
    """A gateway process whose standard error leads to a sink."""

    def __init__(self, sink: Sink, process, writer, port: int) -> None:
        self.sink = sink
        self.process = process
        self.port = port
        self._writer = writer

    @classmethod
    async def start(cls, sink: Sink) -> "Process":
        ours, theirs = socket.socketpair()
        with theirs:
            process = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "remuda.gateway", "--fd", str(theirs.fileno()),
                pass_fds=(theirs.fileno(),), stderr=sink.fd,
            )  # fmt: skip
        os.close(sink.fd)
        reader, writer = await asyncio.open_connection(sock=ours)
        for message in ({"settings": adjust(SETTINGS, logging={"format": "json"})}, {"table": Table()}):
            writer.write(msgspec.json.encode(message) + b"\n")
        async with asyncio.timeout(DEADLINE_S):
            while (event := json.loads(await reader.readline()))["event"] != "listening":
                pass
        return cls(sink, process, writer, event["port"])

    async def ask(self, first: int, last: int) -> None:
        """Ask for a page as often as these numbers say, and read every answer."""
        wire = await Wire.open(self.port)
        for start in range(first, last, 500):
            numbers = range(start, min(start + 500, last))
            await wire.send(
                b"".join(get("/health", b"x-request-id: %s.%d\r\n" % (LONG_ID.encode(), n)) for n in numbers)
            )
            for number in numbers:
                response = await wire.read()
                assert (response.status, response.headers["x-request-id"]) == (200, f"{LONG_ID}.{number}")
        await wire.close()

    async def count_dropped(self) -> int:
        """The figure of /metrics."""
        wire = await Wire.open(self.port)
        page = (await wire.ask(get("/metrics", b"connection: close\r\nx-request-id: figure\r\n"))).body.decode()
        await wire.close()
        return int(re.search(r"^remuda_log_lines_dropped_total (\d+)", page, re.MULTILINE)[1])

    async def stop(self) -> int:
        """End it; its status."""
        self._writer.close()
        async with asyncio.timeout(DEADLINE_S):
            return await self.process.wait()


@pytest.fixture(
    params=[FullPipe, StoppedReader, StoppedTerminal], ids=["full-pipe", "stopped-reader", "stopped-terminal"]
)
async def stuck(request):
    """A gateway process whose log nobody reads."""
    sink = request.param()
    process = await Process.start(sink)
    yield process
    if process.process.returncode is None:
        process.process.kill()
        await process.process.wait()
    process._writer.close()
    sink.close()


def requests_in(log: bytes) -> list[str]:
    """The request ids of whole access lines, in their order."""
    lines = log.splitlines(keepends=True)
    assert all(line.endswith(b"\n") for line in lines)
    found = [json.loads(line) for line in lines]
    return [entry["request"] for entry in found if "request" in entry]


async def test_log_that_nobody_reads_never_stops_serving_and_goes_on_in_order(stuck):
    await stuck.ask(0, REQUESTS)
    assert 0 < await stuck.count_dropped() < REQUESTS
    reading = asyncio.create_task(stuck.sink.read())
    await until(lambda: len(stuck.sink.data) > 1_000_000, "the log flows again, so nothing more is dropped")
    dropped = await stuck.count_dropped()
    await stuck.ask(REQUESTS, REQUESTS + 1)
    assert await stuck.stop() == 0
    await reading
    requests = requests_in(stuck.sink.data)
    assert len(requests) + dropped == REQUESTS + 3
    numbers = [int(request.rpartition(".")[2]) for request in requests if request.startswith(LONG_ID)]
    assert numbers == sorted(set(numbers))
    assert (numbers[0], numbers[-1]) == (0, REQUESTS)


async def test_process_ends_soon_although_nobody_reads_its_last_lines(stuck):
    await stuck.ask(0, 2_000)
    assert await stuck.stop() == 0


# ---- what lines show


@contextlib.contextmanager
def pipe_writer():
    read_end, write_end = os.pipe()
    os.set_blocking(read_end, False)
    writer = LogWriter(write_end)
    try:
        yield read_end, writer
    finally:
        writer.close()
        os.close(write_end)
        os.close(read_end)


async def read_line(fd: int) -> str:
    data = b""
    async with asyncio.timeout(DEADLINE_S):
        while not data.endswith(b"\n"):
            with contextlib.suppress(BlockingIOError):
                data += os.read(fd, 65536)
            await asyncio.sleep(0.002)
    return data.decode()


SECRETS = {
    "openai": ("sk-0123456789abcdef", "sk-***"),
    "anthropic": ("sk-ant-api03-abcDEF_123456-xyz", "sk-***"),
    "ours": ("rk_acme-k1_" + "0aB" * 14 + "x", "rk_acme-k1_***"),
    "hugging-face": ("hf_AbCdEfGhIjKlMnOp1234", "hf_***"),
    "stripe": ("sk_live_0123456789abcdef", "sk_live_***"),
    "aws": ("AKIA0123456789ABCDEF", "AKIA***"),
    "github": ("ghp_" + "a1" * 18, "ghp_***"),
    "gitlab": ("glpat-0123456789abcdef", "glpat-***"),
    "slack": ("xoxb-1234567890-abcdef", "xoxb-***"),
    "google": ("AIza" + "0aB-" * 9, "AIza***"),
    "nvidia": ("nvapi-0123456789abcdefghij", "nvapi-***"),
    "jwt": ("eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.abc", "eyJ***"),
    "password-in-an-address": ("https://user:hunter2@example.org/", "https://user:***@example.org/"),
    "named-value": ("api_key=0123456789", "api_key=***"),
    "behind-words": ("retry/2/sk-0123456789abcdef", "retry/2/sk-***"),
    "nothing": ("order-4711/retry:2", "order-4711/retry:2"),
}


@pytest.mark.parametrize(("sent", "shown"), SECRETS.values(), ids=SECRETS)
@pytest.mark.parametrize("log_format", ["human", "json"])
async def test_access_line_hides_a_secret_that_was_sent_as_request_id(sites, log_format, sent, shown):
    with pipe_writer() as (log, writer):
        async with sites(log_writer=writer, logging={"access": True, "format": log_format}) as site:
            response = await site.ask(complete(headers=b"x-request-id: %b\r\n" % sent.encode()))
            assert response.headers["x-request-id"] == sent
            line = await read_line(log)
    assert (json.loads(line)["request"] if log_format == "json" else re.search(r"\[(.*)\]\n", line)[1]) == shown


@pytest.fixture
def error_log():
    """What the formats of the log make of the gateway's own lines."""
    streams = {"human": io.StringIO(), "json": io.StringIO()}
    logger = logging.getLogger("remuda.gateway")
    handlers = []
    for formatter, stream in zip((HumanFormatter(), JsonFormatter()), streams.values(), strict=True):
        handler = logging.StreamHandler(stream)
        handler.setFormatter(formatter)
        logger.addHandler(handler)
        handlers.append(handler)
    yield streams
    for handler in handlers:
        logger.removeHandler(handler)


@pytest.mark.parametrize(("sent", "shown"), SECRETS.values(), ids=SECRETS)
async def test_error_line_hides_a_secret_that_was_sent_as_request_id(site, monkeypatch, error_log, sent, shown):
    def fail(*_):
        raise RuntimeError(f"a fault with {sent}")

    monkeypatch.setattr(Pages, "answer", fail)
    response = await site.ask(get("/health", b"x-request-id: %b\r\n" % sent.encode()))
    assert (response.status, response.error["request_id"]) == (500, sent)
    human = error_log["human"].getvalue()
    assert re.match(r"\d\d:\d\d:\d\d error   remuda.gateway: request ", human)
    assert f"request {shown} failed\nTraceback" in human
    assert human.endswith(f"RuntimeError: a fault with {shown}\n")
    (line,) = error_log["json"].getvalue().splitlines()
    assert json.loads(line)["message"] == f"request {shown} failed"
    assert json.loads(line)["error"].endswith(f"RuntimeError: a fault with {shown}")
    if sent != shown:
        assert sent not in human + line


async def test_id_with_other_characters_is_replaced_before_anything_is_logged(sites):
    with pipe_writer() as (log, writer):
        async with sites(log_writer=writer, logging={"access": True}) as site:
            response = await site.ask(complete(headers=b"x-request-id: Bearer sk-0123456789abcdef\r\n"))
            made = response.headers["x-request-id"]
            assert re.fullmatch(r"req-[0-9a-f]{12}-[0-9a-f]+", made)
            assert (await read_line(log)).endswith(f" [{made}]\n")


async def test_access_line_has_neither_prompt_nor_answer_nor_address(sites):
    with pipe_writer() as (log, writer):
        async with sites(log_writer=writer, logging={"access": True, "format": "json"}) as site:
            assert (await site.ask(complete("a private prompt"))).status == 200
            line = await read_line(log)
            port = str(site.engine.port)
    assert not [found for found in ("private", "hello", "127.0.0.1", port) if found in line]
    assert json.loads(line)["outcome"] == "completed"


async def test_lines_of_a_quiet_gateway_are_written_soon(sites):
    with pipe_writer() as (log, writer):
        async with sites(log_writer=writer, logging={"access": True}, tick_s=0.01) as site:
            await site.ask(get("/health"))
            assert "200 health unknown: completed in " in await read_line(log)
            await until(lambda: writer.dropped_lines == 0)
