"""What a probe makes of answers, over real sockets: whoever listens on an engine's port may send anything."""

import asyncio
import contextlib
import gzip
import json
import re
from collections.abc import AsyncIterator

import pytest

from remuda.engine.diagnosis import probe as probe_module
from remuda.engine.diagnosis.probe import NotAnsweredError, Probe, ServedModel, parse_models
from remuda.engine.plan import token_question

CHAT = token_question(("chat",))


class Server:
    """Sends the same bytes to every request, and keeps the last request."""

    def __init__(self, answer: bytes, endless: bytes = b"") -> None:
        self.answer = answer
        self.endless = endless
        self.request = b""

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError):
            self.request = await reader.readuntil(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: (\d+)", self.request)
            self.request += await reader.readexactly(int(length[1]) if length else 0)
            writer.write(self.answer)
            while self.endless:
                writer.write(self.endless)
                await writer.drain()
                await asyncio.sleep(0)
        writer.close()


@contextlib.asynccontextmanager
async def ask(server: Server, question=CHAT) -> AsyncIterator[Probe]:
    listener = await asyncio.start_server(server.handle, "127.0.0.1", 0)
    probe = Probe("127.0.0.1", listener.sockets[0].getsockname()[1], question)
    try:
        yield probe
    finally:
        await probe.close()
        listener.close()


def answer(body: bytes, status: str = "200 OK", headers: str = "") -> bytes:
    return f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n{headers}\r\n".encode() + body


async def test_models_metrics_and_version_are_read():
    models = {"object": "list", "data": [{"id": "a", "object": "model", "max_model_len": 8}, {"id": "b"}]}
    async with ask(Server(answer(json.dumps(models).encode()))) as probe:
        assert await probe.fetch_models() == (ServedModel("a", 8), ServedModel("b"))
    async with ask(Server(answer(b'vllm:num_requests_running{engine="0"} 3.0\n'))) as probe:
        metrics = await probe.fetch_metrics()
        assert metrics is not None
        assert metrics.running == 3
    async with ask(Server(answer(b'{"version": "0.32.0"}'))) as probe:
        assert await probe.fetch_version() == "0.32.0"


ODD = {
    "nobody listens": None,
    "no HTTP": b"220 smtp.example ready\r\n",
    "half an answer": b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{",
    "nothing": b"",
    "an error": answer(b"{}", "500 Internal Server Error"),
    "a redirect": answer(b"", "302 Found", "Location: http://127.0.0.1:9/\r\n"),
    "another form": answer(b'{"data": ["fake"], "version": 7}'),
    "no text": answer(b"\xff\xfe"),
    "compressed though it was not allowed": answer(gzip.compress(b"{}"), headers="Content-Encoding: gzip\r\n"),
    "headers without end": b"HTTP/1.1 200 OK\r\n" + b"X-A: b\r\n" * 20_000,
}


@pytest.mark.parametrize("said", ODD.values(), ids=ODD)
async def test_an_odd_answer_is_no_answer(said):
    if said is None:
        probe = Probe("127.0.0.1", 9, CHAT)
        assert (await probe.fetch_models(), await probe.fetch_version()) == ((), None)
        await probe.close()
        return
    async with ask(Server(said)) as probe:
        assert (await probe.fetch_models(), await probe.fetch_version()) == ((), None)


@pytest.mark.parametrize("endless", [b"x" * 65_536, b"\n"], ids=["fast", "slow"])
async def test_an_answer_without_end_is_bounded_in_size_and_in_time(monkeypatch, endless):
    monkeypatch.setattr(probe_module, "MAX_ANSWER_BYTES", 1_000_000)
    monkeypatch.setattr(probe_module, "ANSWER_TIMEOUT_S", 0.5)
    async with ask(Server(b"HTTP/1.1 200 OK\r\n\r\n", endless)) as probe:
        async with asyncio.timeout(20):
            assert (await probe.fetch_models(), await probe.fetch_metrics()) == ((), None)


REFUSALS = {
    "message": (
        answer(b'{"error": {"message": "no such model"}}', "404 Not Found"),
        "/v1/completions answered 404: no such model",
    ),
    "text": (answer(b"oops " * 100, "503 Service Unavailable"), f"/v1/completions answered 503: {('oops ' * 40)}"),
    "closed": (b"", "RemoteProtocolError at /v1/completions"),
}


@pytest.mark.parametrize(("said", "message"), REFUSALS.values(), ids=REFUSALS)
async def test_a_refused_token_says_what_came_instead(said, message):
    async with ask(Server(said)) as probe:
        with pytest.raises(NotAnsweredError) as caught:
            await probe.ask_token("m", 5.0)
    assert str(caught.value) == message


async def test_a_token_that_does_not_come_in_time_is_not_answered():
    async with ask(Server(b"HTTP/1.1 200 OK\r\n\r\n", b"\n")) as probe:
        with pytest.raises(NotAnsweredError, match=r"^no answer at /v1/completions within 0.2 s$"):
            await probe.ask_token("m", 0.2)


async def test_a_speech_model_is_asked_with_a_sound():
    server = Server(answer(b'{"text": ""}'))
    async with ask(server, token_question(("transcription",))) as probe:
        await probe.ask_token("m", 5.0)
    assert server.request.startswith(b"POST /v1/audio/transcriptions HTTP/1.1\r\n")
    assert b'filename="silence.wav"' in server.request


def test_a_model_without_a_length_is_served_too():
    assert parse_models(b'{"data": [{"id": "a", "max_model_len": null}]}') == (ServedModel("a"),)
