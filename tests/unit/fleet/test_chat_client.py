import contextlib
import http.server
import json
import threading
from collections.abc import Iterator

import pytest

from remuda.cli import main
from remuda.fleet import chat_client

Reply = tuple[int, bytes]
PIECES = [
    {"choices": [{"delta": {"role": "assistant", "content": ""}}]},
    {"choices": [{"delta": {"content": "Hel"}}]},
    {"choices": [{"delta": {"content": "lo."}}]},
    {"choices": [], "usage": {"completion_tokens": 2}},
]


def render_stream(*pieces: object) -> bytes:
    return b"".join(b"data: %b\n\n" % json.dumps(piece).encode() for piece in pieces) + b"data: [DONE]\n\n"


class Server:
    """Gives every request the same answer, and keeps the requests."""

    def __init__(self, reply: Reply) -> None:
        asked: list[tuple[str, dict[str, object], str]] = []

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = json.loads(self.rfile.read(int(self.headers["content-length"])))
                asked.append((self.path, body, self.headers.get("authorization", "")))
                self.send_response(reply[0])
                self.end_headers()
                self.wfile.write(reply[1])

            def do_GET(self) -> None:
                self.send_response(200)
                self.end_headers()
                self.wfile.write(b'{"data": [{"id": "demo"}]}')

            def log_message(self, *_: object) -> None:
                pass

        self.asked = asked
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"


@contextlib.contextmanager
def serving(status: int, body: bytes) -> Iterator[Server]:
    server = Server((status, body))
    thread = threading.Thread(target=server.server.serve_forever)
    thread.start()
    yield server
    server.server.shutdown()
    thread.join()
    server.server.server_close()


async def ask(url: str, **options: bool) -> list[chat_client.Piece]:
    messages = [{"role": "user", "content": "Hi"}]
    return [
        piece async for piece in chat_client.stream_answer(chat_client.Address(url, "key"), "demo", messages, **options)
    ]


async def test_an_answer_comes_in_pieces_with_its_token_count() -> None:
    with serving(200, render_stream(*PIECES)) as server:
        pieces = await ask(server.url)
    assert "".join(piece.text for piece in pieces) == "Hello."
    assert pieces[-1].tokens == 2
    path, body, authorization = server.asked[0]
    assert (path, authorization) == ("/v1/chat/completions", "Bearer key")
    assert (body["model"], body["messages"]) == ("demo", [{"role": "user", "content": "Hi"}])


async def test_model_without_chat_completes_text() -> None:
    with serving(200, render_stream({"choices": [{"text": "there"}]})) as server:
        pieces = await ask(server.url, chat=False)
    assert [piece.text for piece in pieces] == ["there"]
    assert (server.asked[0][0], server.asked[0][1]["prompt"]) == ("/v1/completions", "Hi")


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (401, b'{"error": {"message": "No API key was sent."}}', "No API key was sent. (status 401)\nhint: set REMUDA"),
        (503, b'{"error": {"message": "not ready: loading weights"}}', "not ready: loading weights (status 503)"),
        (502, b"<html>", "<html> (status 502)"),
        (200, render_stream({"error": {"message": "the engine died"}}), "the engine died"),
        (200, b"data: {half\n\n", "what http://127.0.0.1"),
        (200, render_stream({"choices": [{"delta": None}]}), "what http://127.0.0.1"),
        (200, render_stream([1]), "what http://127.0.0.1"),
    ],
    ids=["key", "not-ready", "not-json", "in-band", "half-json", "no-delta", "not-an-object"],
)
async def test_error_answers_are_reported(status: int, body: bytes, message: str) -> None:
    with serving(status, body) as server, pytest.raises(chat_client.ChatError) as caught:
        await ask(server.url)
    assert str(caught.value).startswith(message)


async def test_an_address_without_a_server_is_reported() -> None:
    with serving(200, b"") as server:
        url = server.url
    with pytest.raises(chat_client.ChatError, match="nothing answers at"):
        await ask(url)


def test_chat_once(capsys: pytest.CaptureFixture[str]) -> None:
    with serving(200, render_stream(*PIECES)) as server:
        assert main.run_command(["chat", "--url", f"{server.url}/v1/", "-s", "Be brief", "-m", "Hi"]) == 0
    assert capsys.readouterr().out == "Hello.\n"
    assert server.asked[0][1]["messages"] == [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": "Hi"},
    ]
    assert server.asked[0][1]["model"] == "demo"


def test_conversation_remembers_and_starts_over(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    said = iter(["One", "", "Two", "/new", "Three"])

    def type_next(_prompt: str) -> str:
        try:
            return next(said)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", type_next)
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    with serving(200, render_stream(*PIECES)) as server:
        assert main.run_command(["chat", "--url", server.url]) == 0
    roles = [[message["content"] for message in asked[1]["messages"]] for asked in server.asked]  # type: ignore[union-attr,index]
    assert roles == [["One"], ["One", "Hello.", "Two"], ["Three"]]
    assert capsys.readouterr().out.count("Hello.") == 3


@pytest.mark.parametrize("key", ["secret\nkey", "sécret", "secret\x00"])
async def test_key_that_cannot_be_sent_is_refused_and_not_repeated(key: str) -> None:
    with pytest.raises(chat_client.ChatError) as caught:
        await chat_client.fetch_models(chat_client.Address("http://127.0.0.1:9", key))
    assert "REMUDA_API_KEY" in str(caught.value)
    assert "secret" not in str(caught.value)


async def test_white_space_around_a_key_is_not_sent() -> None:
    with serving(200, render_stream(*PIECES)) as server:
        _ = [piece async for piece in chat_client.stream_answer(chat_client.Address(server.url, " key\n"), "demo", [])]
    assert server.asked[0][2] == "Bearer key"


async def test_an_invalid_address_is_reported() -> None:
    with pytest.raises(chat_client.ChatError, match="is not an address"):
        await chat_client.fetch_models(chat_client.Address("http://[::1"))
