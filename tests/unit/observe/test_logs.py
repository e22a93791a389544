import io
import json
import logging
import re
import sys
import time

import pytest

from remuda.observe import logs
from remuda.observe.logs import (
    FLUSH_BYTES,
    LONGEST_REQUEST_ID,
    Access,
    AccessLog,
    HumanFormatter,
    JsonFormatter,
    configure_logging,
)

KEY = "rk_acme-k1_0123456789abcdefghijABCDEFGHIJ0123456789xyz"


def record(message: str, *arguments, level=logging.WARNING, exc_info=None) -> logging.LogRecord:
    made = logging.LogRecord("remuda.gateway", level, "file.py", 1, message, arguments, exc_info)
    made.created = 1_795_259_391.25
    return made


def failure():
    try:
        raise ValueError(f"refused {KEY}")
    except ValueError:
        return sys.exc_info()


def test_a_json_line_is_one_object():
    line = JsonFormatter().format(record("engine %s is\nready", "demo-0"))
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-21T11:09:51.250Z",
        "level": "warning",
        "logger": "remuda.gateway",
        "message": "engine demo-0 is\nready",
    }


def test_a_json_line_holds_its_traceback_without_secrets():
    fields = json.loads(JsonFormatter().format(record("it failed", exc_info=failure())))
    assert fields["error"].startswith("Traceback")
    assert fields["error"].endswith("ValueError: refused rk_acme-k1_***")


def test_a_human_line_has_time_level_logger_and_message():
    line = HumanFormatter().format(record("engine %s is ready", "demo-0"))
    assert re.fullmatch(r"\d\d:\d\d:\d\d warning remuda\.gateway: engine demo-0 is ready", line)


def test_a_human_line_cannot_be_split_or_coloured_by_what_a_client_sent():
    line = HumanFormatter().format(record("model %r %s", "x", "a\n12:00:00 error fake\x1b[2J\x9b"))
    assert "\n" not in line
    assert line.endswith(r"model 'x' a\x0a12:00:00 error fake\x1b[2J\x9b")


def test_a_human_traceback_stands_below_its_line_without_secrets():
    line = HumanFormatter().format(record("it failed", exc_info=failure()))
    assert line.splitlines()[1] == "Traceback (most recent call last):"
    assert line.endswith("ValueError: refused rk_acme-k1_***")


@pytest.fixture
def root_logger():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_log_lines_from_the_level_on_go_to_the_stream(root_logger, log_format):
    stream = io.StringIO()
    configure_logging("human", "debug", io.StringIO())
    configure_logging(log_format, "info", stream)
    logging.getLogger("remuda.x").debug("not this")
    logging.getLogger("remuda.x").info("token %s", "hf_AbCdEfGhIjKl")
    assert stream.getvalue().count("\n") == 1
    assert "token hf_***" in stream.getvalue()


@pytest.fixture
def live_in():
    """A function that moves this process to another time zone; the fixture moves it back."""
    with pytest.MonkeyPatch.context() as patch:

        def move(zone: str) -> None:
            patch.setenv("TZ", zone)
            time.tzset()

        yield move
    time.tzset()


def access(request: str = "0f3a", **fields) -> Access:
    return Access("", request, "chat", "demo", "completed", 200, 12.34, **fields)


def lines_of(log_format: str, *entries: Access, unix_s: float = 1_795_259_391.25) -> list[str]:
    written: list[bytes] = []
    log = AccessLog(log_format, written.append)
    for entry in entries:
        log.add(entry, unix_s)
    log.flush()
    return b"".join(written).decode().splitlines()


def test_a_json_access_line_holds_what_is_known_and_nothing_else():
    (line,) = lines_of("json", access(endpoint="demo-0", tenant="acme", first_byte_ms=4.5, generated_tokens=12))
    assert json.loads(line) == {
        "time": "2026-11-21T11:09:51.250Z",
        "request": "0f3a",
        "route": "chat",
        "model": "demo",
        "outcome": "completed",
        "status": 200,
        "duration_ms": 12.34,
        "first_byte_ms": 4.5,
        "endpoint": "demo-0",
        "tenant": "acme",
        "generated_tokens": 12,
    }


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        (access(), "11:09:51 200 chat demo: completed in 12.3 ms [0f3a]"),
        (
            access(endpoint="demo-0", tenant="acme", first_byte_ms=4.5, attempts=2),
            "11:09:51 200 chat demo on demo-0 for acme: completed in 12.3 ms (first byte 4.5 ms), 2 tries [0f3a]",
        ),
        (
            Access("", "0f3a", "chat", "demo", "client_disconnected", 0, 3.0),
            "11:09:51 --- chat demo: client_disconnected in 3.0 ms [0f3a]",
        ),
    ],
    ids=["little known", "all known", "no status"],
)
def test_a_human_access_line(entry, expected, live_in):
    live_in("UTC")
    assert lines_of("human", entry) == [expected]


def test_human_lines_use_local_time_and_json_lines_use_utc(live_in):
    live_in("UTC-9")
    assert lines_of("human", access())[0].startswith("20:09:51 ")
    assert HumanFormatter().format(record("hello")).startswith("20:09:51 ")
    assert json.loads(lines_of("json", access())[0])["time"] == "2026-11-21T11:09:51.250Z"


@pytest.mark.parametrize("log_format", ["json", "human"])
def test_a_request_id_from_a_client_is_masked_cut_and_kept_on_its_line(log_format):
    lines = lines_of(log_format, access(f"Bearer {KEY}\n\x1b[2J"), access("i" * 1_000), access("after"))
    assert len(lines) == 3
    assert KEY[-20:] not in lines[0]
    assert "\x1b" not in lines[0]
    assert "i" * LONGEST_REQUEST_ID in lines[1]
    assert "i" * (LONGEST_REQUEST_ID + 1) not in lines[1]


@pytest.mark.parametrize("log_format", ["json", "human"])
@pytest.mark.parametrize(
    ("request_id", "logged"),
    [
        pytest.param("sk-0123456789abcdef", "sk-***", id="openai-in-hexadecimal"),
        pytest.param("sk-proj-abc_DEF-123456", "sk-***", id="openai"),
        pytest.param("hf_" + "AbCdEfGhIjKlMnOp", "hf_***", id="hugging-face"),
        pytest.param("glpat-0123456789abcdef", "glpat-***", id="gitlab"),
        pytest.param(KEY, "rk_acme-k1_***", id="ours"),
        pytest.param("req-0123456789ab-1f", "req-0123456789ab-1f", id="id-of-the-gateway"),
        pytest.param("0f3a2c44-9e1d-4a77-8b5e-2f6d1c0a9b8e", "0f3a2c44-9e1d-4a77-8b5e-2f6d1c0a9b8e", id="uuid"),
        pytest.param("order-4711/retry:2", "order-4711/retry:2", id="id-of-a-client"),
        pytest.param("i" * 110 + "/" + KEY, "i" * 110 + "/rk_acme-k1_***", id="masked-before-it-is-cut"),
    ],
)
def test_a_secret_in_a_request_id_is_masked(log_format, request_id, logged):
    (line,) = lines_of(log_format, access(request_id))
    found = json.loads(line)["request"] if log_format == "json" else line.rpartition("[")[2].removesuffix("]")
    assert found == logged


@pytest.mark.parametrize(
    ("request_id", "searched"),
    [
        pytest.param("req-0123456789ab-1f", [], id="id-of-the-gateway"),
        pytest.param("0f3a2c44-9e1d-4a77-8b5e-2f6d1c0a9b8e", [], id="uuid"),
        pytest.param("4711", [], id="number"),
        pytest.param("order-4711", ["order-4711"], id="id-of-a-client"),
        pytest.param("sk-0123456789abcdef", ["sk-0123456789abcdef"], id="secret"),
    ],
)
def test_only_ids_that_are_not_plain_are_searched_for_secrets(monkeypatch, request_id, searched):
    seen = []
    monkeypatch.setattr(logs, "mask_secrets", lambda text: seen.append(text) or text)
    lines_of("json", access(request_id))
    assert seen == searched


def test_lines_are_written_together_in_order_and_by_size():
    written: list[bytes] = []
    log = AccessLog("json", written.append)
    log.flush()
    assert written == []
    count = 0
    while not written:
        log.add(access(f"{count:04x}"), float(count))
        count += 1
    log.flush()
    assert len(written) == 1
    assert FLUSH_BYTES <= len(written[0]) < FLUSH_BYTES + 500
    assert [json.loads(line)["request"] for line in written[0].splitlines()] == [f"{n:04x}" for n in range(count)]


def test_time_advances_with_the_clock():
    written: list[bytes] = []
    log = AccessLog("json", written.append)
    for unix_s in (0.0, 0.999, 1.0, 59.5, 86_400.001):
        log.add(access(), unix_s)
    log.flush()
    assert [json.loads(line)["time"] for line in written[0].splitlines()] == [
        "1970-01-01T00:00:00.000Z",
        "1970-01-01T00:00:00.999Z",
        "1970-01-01T00:00:01.000Z",
        "1970-01-01T00:00:59.500Z",
        "1970-01-02T00:00:00.001Z",
    ]
