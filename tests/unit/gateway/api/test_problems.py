import json
from http import HTTPStatus

import pytest

from remuda.gateway.access.keys import KeyRefusal
from remuda.gateway.access.refusals import KEY_REFUSED
from remuda.gateway.api import problems
from remuda.gateway.api.problems import Code, Dialect, Hop, Problem
from remuda.policy.outcome import Outcome

EVERY = [
    (problems.invalid_json("trailing comma"), Code.INVALID_JSON),
    (problems.invalid_form("its boundary is missing"), Code.INVALID_FORM),
    (problems.invalid_value("top_p", "must be positive"), Code.INVALID_VALUE),
    (problems.field_not_allowed("priority", "the operator decides it"), Code.FIELD_NOT_ALLOWED),
    (problems.malformed_http("two lengths"), Code.MALFORMED_HTTP),
    (problems.unsupported_media_type("text/csv", "application/json"), Code.UNSUPPORTED_MEDIA_TYPE),
    (problems.model_not_found("gpt-9", ["b", "a"]), Code.MODEL_NOT_FOUND),
    (problems.model_not_allowed("demo", "acme"), Code.MODEL_NOT_ALLOWED),
    (problems.unsupported_capability("demo", "embeddings", ["chat"]), Code.UNSUPPORTED_CAPABILITY),
    (problems.stateful_not_supported("previous_response_id"), Code.STATEFUL_NOT_SUPPORTED),
    (problems.route_not_found("GET", "/sleep"), Code.ROUTE_NOT_FOUND),
    (problems.method_not_allowed("GET", "/v1/chat/completions", ["POST"]), Code.METHOD_NOT_ALLOWED),
    (problems.body_too_large(50), Code.BODY_TOO_LARGE),
    (problems.body_too_complex("1000 fields"), Code.BODY_TOO_LARGE),
    (problems.headers_too_large(50), Code.HEADERS_TOO_LARGE),
    (problems.request_timeout(30.0), Code.REQUEST_TIMEOUT),
    (problems.gateway_full_of_requests(10_000), Code.OVERLOADED),
    (problems.gateway_full_of_connections(20_000), Code.OVERLOADED),
    (problems.gateway_full_of_bodies(1_000), Code.OVERLOADED),
    (problems.client_full_of_bodies(1_000), Code.OVERLOADED),
    (problems.upload_timeout(600.0), Code.REQUEST_TIMEOUT),
    (problems.foreign_host(b"evil.example"), Code.FOREIGN_PAGE),
    (problems.foreign_origin(b"https://evil.example"), Code.FOREIGN_PAGE),
    (problems.TOO_MANY_WRONG_KEYS, Code.TOO_MANY_WRONG_KEYS),
    (problems.no_fitting_model("chat", ["a: too short"]), Code.NO_FIT),
    (problems.model_not_ready("demo", "starting: loading weights"), Code.MODEL_NOT_READY),
    (problems.SHUTTING_DOWN, Code.SHUTTING_DOWN),
    (problems.engine_refused("demo", 400, "too long"), Code.ENGINE_REFUSED),
    (problems.engine_unreachable("demo", 2), Code.ENGINE_UNREACHABLE),
    (problems.engine_failed("demo", "it closed the connection"), Code.ENGINE_FAILED),
    (problems.engine_timeout("demo", 60.0), Code.ENGINE_TIMEOUT),
    (problems.stream_broken("it closed the connection"), Code.STREAM_BROKEN),
    (problems.side_failed("/v1/files", "it closed the connection"), Code.SIDE_FAILED),
    (problems.INTERNAL_ERROR, Code.INTERNAL_ERROR),
    (KEY_REFUSED[KeyRefusal.MISSING], Code.MISSING_API_KEY),
    (KEY_REFUSED[KeyRefusal.UNKNOWN], Code.INVALID_API_KEY),
    (KEY_REFUSED[KeyRefusal.EXPIRED], Code.EXPIRED_API_KEY),
    (KEY_REFUSED[KeyRefusal.DISABLED], Code.TENANT_DISABLED),
]


def test_an_unknown_model_is_answered_in_openais_shape():
    body = problems.model_not_found("gpt-9", ["remuda-demo", "b"]).body("req-1")
    assert json.loads(body) == {
        "error": {
            "message": "The model 'gpt-9' does not exist. Served here: b, remuda-demo.",
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
            "hop": "client",
            "request_id": "req-1",
        }
    }


def test_the_same_in_anthropics_shape():
    body = problems.model_not_found("gpt-9", []).body("req-1", Dialect.ANTHROPIC)
    assert json.loads(body) == {
        "type": "error",
        "error": {
            "type": "not_found_error",
            "message": "The model 'gpt-9' does not exist. Served here: none.",
            "code": "model_not_found",
            "hop": "client",
        },
        "request_id": "req-1",
    }


def test_each_situation_has_its_code_and_each_code_a_situation():
    assert [problem.code for problem, _ in EVERY] == [code for _, code in EVERY]
    assert {code for _, code in EVERY} == set(Code)


@pytest.mark.parametrize("code", Code, ids=lambda code: code.value)
def test_a_code_agrees_with_itself(code):
    assert HTTPStatus(code.status) >= 400
    assert code.sentence.endswith((".", ".)"))
    assert code.outcome is not Outcome.COMPLETED
    assert (code.hop is Hop.CLIENT) == (code.status < 500 and code is not Code.OVERLOADED)
    assert code.outcome.engine_fault == (code.hop is Hop.ENGINE)


@pytest.mark.parametrize("dialect", Dialect, ids=lambda dialect: dialect.value)
@pytest.mark.parametrize(("problem", "code"), EVERY, ids=[code.value for _, code in EVERY])
def test_every_body_is_json_with_message_code_hop_and_request_id(problem: Problem, code: Code, dialect: Dialect):
    body = json.loads(problem.body('id "with" quotes', dialect))
    error = body["error"]
    assert (error["message"], error["code"], error["hop"]) == (problem.message, code.value, code.hop.value)
    holder = error if dialect is Dialect.OPENAI else body
    assert holder["request_id"] == 'id "with" quotes'
    assert problem.status == code.status
    assert problem.outcome is code.outcome
    assert all(name == name.lower() and "\n" not in value for name, value in problem.headers)


@pytest.mark.parametrize(
    ("problem", "name", "value"),
    [
        (KEY_REFUSED[KeyRefusal.MISSING], "www-authenticate", 'Bearer realm="remuda"'),
        (problems.method_not_allowed("PUT", "/v1/models", ["HEAD", "GET"]), "allow", "GET, HEAD"),
        (problems.gateway_full_of_requests(9, 3), "retry-after", "3"),
        (problems.model_not_ready("demo", ""), "retry-after", "5"),
        (problems.SHUTTING_DOWN, "connection", "close"),
        (problems.malformed_http("x"), "connection", "close"),
        (problems.request_timeout(1.0), "connection", "close"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_headers_that_belong_to_an_answer(problem, name, value):
    assert dict(problem.headers)[name] == value


def test_an_answer_does_not_grow_with_what_the_client_sent():
    long = "x" * 1_000_000
    for problem in (
        problems.model_not_found(long, [f"model-{n:04}" for n in range(1_000)]),
        problems.route_not_found("GET", long),
        problems.unsupported_media_type(long, "application/json"),
        problems.engine_refused("demo", 400, long),
    ):
        assert len(problem.body("id")) < 1_500


@pytest.mark.parametrize(
    ("problem", "message", "headers"),
    [
        (
            problems.gateway_full_of_requests(10_000),
            "The gateway already answers 10000 requests, which is its limit. Try again in 1 s.",
            {"retry-after": "1"},
        ),
        (
            problems.gateway_full_of_connections(20_000),
            "The gateway already has 20000 connections, which is its limit. Try again in 1 s.",
            {"retry-after": "1", "connection": "close"},
        ),
        (
            problems.gateway_full_of_bodies(1_073_741_824),
            (
                "The gateway has no room for this body: the bodies of all requests together may take 1073741824 bytes."
                " Try again in 1 s."
            ),
            {"retry-after": "1"},
        ),
    ],
    ids=["requests", "connections", "bodies"],
)
def test_each_kind_of_overload_is_said_in_its_own_words(problem, message, headers):
    assert problem.message == message
    assert dict(problem.headers) == headers


def test_a_long_list_of_models_is_cut_and_counted():
    message = problems.model_not_found("x", [f"m{n:02}" for n in range(23)]).message
    assert message.endswith("m18, m19 and 3 more.")


def test_control_characters_of_a_client_are_spelled_out():
    assert "\\n" in problems.route_not_found("GET", "/a\nb").message
    json.loads(problems.model_not_found("\x00\ud800", []).body("id"))


def test_a_broken_stream_ends_with_an_error_event():
    problem = problems.stream_broken("it closed the connection")
    start, end = problem.event("r").split(b"\n\n", 1)
    assert end == b"data: [DONE]\n\n"
    assert json.loads(start.removeprefix(b"data: "))["error"]["code"] == "stream_broken"
    assert problem.event("r", Dialect.ANTHROPIC).startswith(b'event: error\ndata: {"type":"error"')


def test_a_static_answer_is_built_once():
    first = problems.SHUTTING_DOWN.body("a")
    assert problems.SHUTTING_DOWN._openai_start is problems.SHUTTING_DOWN._openai_start
    assert problems.SHUTTING_DOWN.body("b") == first.replace(b'"request_id":"a"', b'"request_id":"b"')
