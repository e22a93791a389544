"""How vLLM's own endings are told from answers. The events are those of vLLM 0.32."""

import pytest

from remuda.vllm import markers

CREATED = b'event: response.created\ndata: {"response":{"status":"in_progress"},"type":"response.created"}\n\n'
IN_PROGRESS = CREATED.replace(b"response.created", b"response.in_progress")
ADDED = b'event: response.output_item.added\ndata: {"item":{}}\n\n'
COMPLETION = b'data: {"id":"cmpl-1","choices":[{"index":0,"text":"one","finish_reason":null}]}\n\n'
MESSAGE_START = b'event: message_start\ndata: {"type":"message_start"}\n\n'
IN_BAND = b'data: {"error": {"message": "EngineCore encountered an issue", "code": 500}}\n\n'
ANTHROPIC_ERROR = b'event: error\ndata: {"type":"error","error":{"type":"internal_error"}}\n\n'
FAILED = b'event: response.failed\ndata: {"type":"response.failed"}\n\n'
ERRORS = {"in-band": IN_BAND, "anthropic": ANTHROPIC_ERROR, "response.failed": FAILED}
DONE = b"data: [DONE]\n\n"


@pytest.mark.parametrize(
    ("data", "at_once"),
    [
        pytest.param(COMPLETION, True, id="completion"),
        pytest.param(COMPLETION[:15], True, id="half a completion"),
        pytest.param(DONE, True, id="done"),
        pytest.param(b'data: {"errors":1}', True, id="longer word"),
        pytest.param(IN_BAND, False, id="error"),
        *[pytest.param(IN_BAND[:size], False, id=f"{size} bytes of an error") for size in range(15)],
        pytest.param(ANTHROPIC_ERROR, False, id="anthropic error"),
        pytest.param(CREATED, False, id="preamble"),
        pytest.param(MESSAGE_START, False, id="named event"),
    ],
)
def test_ordinary_beginning_is_told_at_once(data, at_once):
    assert markers.begins_at_once(data) is at_once


@pytest.mark.parametrize(
    ("data", "start"),
    [
        pytest.param(b"", -1, id="nothing"),
        pytest.param(COMPLETION, 0, id="completion"),
        pytest.param(MESSAGE_START, 0, id="message_start"),
        pytest.param(CREATED, -1, id="created"),
        pytest.param(CREATED[:40], -1, id="half of created"),
        pytest.param(CREATED + IN_PROGRESS, -1, id="created and in_progress"),
        pytest.param(CREATED + IN_PROGRESS[:9], -1, id="half an event behind created"),
        pytest.param(CREATED + IN_PROGRESS + ADDED, len(CREATED + IN_PROGRESS), id="answer behind the preamble"),
        pytest.param(CREATED + FAILED, len(CREATED), id="failure behind the preamble"),
        pytest.param(b": ping\n\n", -1, id="comment"),
        pytest.param(b": ping\n\n: ping\n\n" + COMPLETION, 16, id="answer behind comments"),
        pytest.param(b": ping", -1, id="half a comment"),
        pytest.param(CREATED.replace(b"\n", b"\r\n"), -1, id="lines that end with CRLF"),
        pytest.param(b"event: response.created.x\ndata: {}\n\n", 0, id="longer name"),
        pytest.param(b"event: r", -1, id="may become a preamble"),
        pytest.param(b"event: er", -1, id="may become an error"),
        pytest.param(b"event: mess", 0, id="will become neither"),
        pytest.param(b'data: {"e', -1, id="may become an error in-band"),
        pytest.param(b'data: {"er"', 0, id="will become no error in-band"),
    ],
)
def test_answer_begins_behind_what_is_sent_before_the_work(data, start):
    assert markers.find_answer_start(data) == start


@pytest.mark.parametrize("error", ERRORS.values(), ids=ERRORS)
@pytest.mark.parametrize("before", [b"", CREATED, b": ping\n\n"], ids=["first", "behind-created", "behind-a-comment"])
def test_every_error_is_told_as_soon_as_its_mark_is_here_and_never_before(before, error):
    data = before + error
    mark = max(len(mark) for mark in markers.ERROR_EVENTS if error.startswith(mark))
    for size in range(len(before), len(data) + 1):
        start = markers.find_answer_start(data[:size])
        decided = size >= len(before) + mark
        assert start == (len(before) if decided else -1)
        if decided:
            assert markers.is_error_event(data[start:size])


@pytest.mark.parametrize("data", [COMPLETION, MESSAGE_START, ADDED, DONE, b""])
def test_ordinary_event_is_no_error(data):
    assert not markers.is_error_event(data)


@pytest.mark.parametrize(
    ("ending", "streams", "interrupted"),
    [
        pytest.param(COMPLETION.replace(b"null", b'"abort"') + DONE, True, True, id="abort in a stream"),
        pytest.param(COMPLETION.replace(b"null", b'"stop"') + DONE, True, False, id="end of a stream"),
        pytest.param(COMPLETION + IN_BAND + DONE, True, True, id="error in a stream"),
        pytest.param(MESSAGE_START + ANTHROPIC_ERROR, True, True, id="error of messages"),
        pytest.param(ADDED + FAILED, True, True, id="failed response"),
        pytest.param(b'data: {"status":"cancelled"}\n\n', True, True, id="cancelled response"),
        pytest.param(b'{"choices":[{"finish_reason":"abort"}]}', False, True, id="abort in a whole answer"),
        pytest.param(b'{"choices": [{"finish_reason": "abort"}]}', False, True, id="abort with spaces"),
        pytest.param(b'{"choices":[{"finish_reason":"stop"}]}', False, False, id="whole answer"),
        pytest.param(b'{"choices":[{"text":"event: error\\n"}]}', False, False, id="text that looks like an event"),
        pytest.param(
            b'data: {"choices":[{"text":"\\"finish_reason\\":\\"abort\\" data: {\\"error\\" event: error\\n"}]}\n\n',
            True,
            False,
            id="text that looks like every mark",
        ),
        pytest.param(b"", True, False, id="nothing"),
    ],
)
def test_answer_that_its_engine_stopped_is_told_from_one_that_ended(ending, streams, interrupted):
    assert markers.is_interrupted(ending, streams) is interrupted


DRAINING = b'{"error":{"message":"cannot schedule new futures after shutdown","code":500}}'
BUSY = b'{"error":{"message":"The engine is currently busy and cannot accept new requests"}}'
BACKLOG = b'{"error":{"message":"The engine has reached its prefill token backlog limit"}}'


@pytest.mark.parametrize(
    ("status", "body", "draining", "overload"),
    [
        pytest.param(500, DRAINING, True, False, id="draining"),
        pytest.param(503, BUSY, False, True, id="queue full"),
        pytest.param(503, BACKLOG, False, True, id="backlog full"),
        pytest.param(429, b"", False, True, id="429"),
        pytest.param(500, BUSY, False, False, id="500 that says busy"),
        pytest.param(503, b"", False, False, id="503 without words"),
        pytest.param(500, b"", False, False, id="500 without words"),
        pytest.param(200, DRAINING, False, False, id="answer with these words"),
    ],
)
def test_draining_and_overload_are_told_by_status_and_words(status, body, draining, overload):
    assert (markers.is_draining(status, body), markers.is_overload(status, body)) == (draining, overload)


def test_every_status_of_an_engines_fault_is_a_server_error():
    assert sorted(markers.ENGINE_FAULT_STATUSES) == [500, 502, 503, 504]
