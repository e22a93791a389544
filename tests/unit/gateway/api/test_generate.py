import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.api import generate as simple
from remuda.gateway.api import generate_request, problems
from remuda.gateway.api.body.edit import SMALL_BYTES
from remuda.gateway.api.generate import GeneratedStream
from remuda.gateway.api.generate_request import RULES, Generate
from remuda.gateway.api.problems import Problem
from remuda.gateway.api.rules import NO_RULES, FieldRules

DEFAULTS = {
    "max_tokens": 512,
    "temperature": 0.8,
    "top_p": 0.95,
    "top_k": 50,
    "presence_penalty": 0.0,
    "frequency_penalty": 0.0,
}


async def no_pause() -> None:
    """Nothing else to run."""


def read(body: bytes, rules: FieldRules = NO_RULES) -> Generate | Problem:
    return asyncio.run(generate_request.read_generate(body, rules, no_pause))


def read_batch(body: bytes, rules: FieldRules = NO_RULES, **options) -> list[Generate | Problem] | Problem:
    return asyncio.run(generate_request.read_batch(body, rules, no_pause, **options))


def parse(**fields) -> Generate | Problem:
    return read(json.dumps(fields).encode())


@pytest.mark.req("A2.defaults", level="unit")
def test_a_bare_prompt_becomes_a_completion_with_the_stated_defaults():
    body = simple.render_completion(parse(prompt="Hello"), "remuda-demo")
    assert json.loads(body) == {"model": "remuda-demo", "prompt": "Hello", **DEFAULTS}


@pytest.mark.req("A2.parameters", level="unit")
def test_everything_that_can_be_set_reaches_the_engine():
    chosen = {
        "max_tokens": 7, "temperature": 0.0, "top_p": 0.5, "top_k": -1, "presence_penalty": -2.0,
        "frequency_penalty": 2.0, "stop": ["\n", "END"], "seed": -5,
    }  # fmt: skip
    body = simple.render_completion(parse(prompt="Hello", model="alias", stream=True, **chosen), "own-name")
    assert json.loads(body) == {
        "model": "own-name",
        "prompt": "Hello",
        **chosen,
        "stream": True,
        "stream_options": {"include_usage": True},
    }


def test_the_bounds_themselves_are_allowed():
    low = parse(
        prompt="x", max_tokens=1, temperature=0, top_p=1e-9, top_k=0, presence_penalty=-2, stop="a", seed=-(2**63)
    )
    high = parse(prompt="x", max_tokens=2**31 - 1, temperature=2, top_p=1, frequency_penalty=2, seed=2**63 - 1)
    assert isinstance(low, Generate)
    assert isinstance(high, Generate)


def test_more_stops_than_the_engine_takes_are_refused_here():
    assert isinstance(parse(prompt="x", stop=list("abcd")), Generate)
    assert parse(prompt="x", stop=list("abcde")).param == "stop"


def test_null_stands_for_not_given_where_nothing_is_the_default():
    assert parse(prompt="x", model=None, stop=None, seed=None) == Generate("x")


@pytest.mark.req("A2.refusals", level="unit")
@pytest.mark.parametrize(
    ("fields", "param", "message"),
    [
        ({}, "prompt", "prompt: is missing"),
        ({"prompt": ""}, "prompt", 'prompt: must be a text, not empty, not ""'),
        ({"prompt": 5}, "prompt", "prompt: must be a text, not empty, not 5"),
        ({"prompt": ["a", "b"]}, "prompt", 'prompt: must be a text, not empty, not ["a", "b"]'),
        ({"prompt": None}, "prompt", "prompt: must be a text, not empty, not null"),
        ({"max_tokens": 0}, "max_tokens", "max_tokens: must be a whole number, at least 1, not 0"),
        ({"max_tokens": 1.5}, "max_tokens", "max_tokens: must be a whole number, at least 1, not 1.5"),
        ({"max_tokens": "5"}, "max_tokens", 'max_tokens: must be a whole number, at least 1, not "5"'),
        ({"max_tokens": True}, "max_tokens", "max_tokens: must be a whole number, at least 1, not true"),
        ({"max_tokens": None}, "max_tokens", "max_tokens: must be a whole number, at least 1, not null"),
        ({"temperature": -0.1}, "temperature", "temperature: must be a number from 0 to 2, not -0.1"),
        ({"temperature": 2.1}, "temperature", "temperature: must be a number from 0 to 2, not 2.1"),
        ({"top_p": 0}, "top_p", "top_p: must be a number above 0, at most 1, not 0"),
        ({"top_p": 1.01}, "top_p", "top_p: must be a number above 0, at most 1, not 1.01"),
        (
            {"top_k": -2},
            "top_k",
            "top_k: must be a whole number: at least 1, or -1 or 0 for all tokens, not -2",
        ),
        ({"presence_penalty": 3}, "presence_penalty", "presence_penalty: must be a number from -2 to 2, not 3"),
        ({"frequency_penalty": "a"}, "frequency_penalty", 'frequency_penalty: must be a number from -2 to 2, not "a"'),
        ({"stream": "yes"}, "stream", 'stream: must be true or false, not "yes"'),
        ({"stop": [""]}, "stop", 'stop: must be a text, or a list of at most 4 texts, none of them empty, not [""]'),
        ({"seed": 2**63}, "seed", "seed: must be a whole number of 64 bits, not 9223372036854775808"),
        ({"model": ""}, "model", 'model: must be the name of a model, not ""'),
        ({"temprature": 1}, "temprature", "temprature: no such field; did you mean temperature?"),
        ({"zzz": 1}, "zzz", f"zzz: no such field; it takes {', '.join(RULES)}"),
    ],
    ids=lambda value: value if isinstance(value, str) and ":" not in value else "",
)  # fmt: skip
def test_a_wrong_field_is_named_with_its_value_and_what_it_takes(fields, param, message):
    given_prompt = {} if "prompt" in fields or not fields else {"prompt": "x"}
    problem = parse(**given_prompt, **fields)
    assert (problem.code, problem.param, problem.message) == (problems.Code.INVALID_VALUE, param, message)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "Input data was truncated"),
        (b"[]", "must be a JSON object"),
        (b'"prompt"', "must be a JSON object"),
        (b'{"prompt": "x"', "truncated"),
        (b'{"prompt": "x"} y', "trailing characters"),
        (b'{"prompt": "x", "temperature": NaN}', "invalid character"),
        (b'{"prompt": "x", "temperature": Infinity}', "invalid character"),
        (b'{"prompt": "\xff"}', "not UTF-8"),
        (b'{"prompt": ' + b"[" * 100_000, "nested too deeply"),
        (b"\x00", "invalid character"),
    ],
    ids=["empty", "list", "text", "cut off", "rubbish after", "NaN", "infinity", "not UTF-8", "deep", "NUL"],
)
def test_what_is_no_json_object_is_refused_as_such(body, message):
    problem = read(body)
    assert problem.code is problems.Code.INVALID_JSON
    assert message in problem.message


def test_a_number_too_large_for_any_machine_is_out_of_bounds_not_infinite():
    problem = read(b'{"prompt": "x", "temperature": 1e999}')
    assert problem.message == "temperature: must be a number from 0 to 2, not 1e999"


@given(st.binary(max_size=200))
def test_no_body_breaks_the_parser(body):
    assert isinstance(read(body), Problem)
    assert isinstance(read_batch(body), Problem | list)


TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NAMES = st.sampled_from([*RULES, "other"])
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(NAMES, JSON))
def test_any_object_is_a_request_that_can_be_sent_or_a_problem_that_names_its_field(fields):
    parsed = parse(**fields)
    if isinstance(parsed, Generate):
        sent = json.loads(simple.render_completion(parsed, "m"))
        assert sent["prompt"] == fields["prompt"]
        assert all(sent[name] == fields.get(name, default) for name, default in DEFAULTS.items())
    else:
        assert parsed.param in {*fields, "prompt"}


def test_the_engines_answer_becomes_text_and_number_of_tokens():
    completion = {
        "id": "cmpl-1",
        "object": "text_completion",
        "model": "/models/demo",
        "choices": [{"index": 0, "text": " there.", "logprobs": None, "finish_reason": "stop", "stop_reason": None}],
        "usage": {"prompt_tokens": 2, "total_tokens": 5, "completion_tokens": 3},
    }
    assert json.loads(simple.render_generated(json.dumps(completion).encode(), "remuda-demo")) == {
        "generated_text": " there.",
        "num_tokens": 3,
        "finish_reason": "stop",
        "prompt_tokens": 2,
        "model": "remuda-demo",
    }


@pytest.mark.parametrize("completion", [b"", b"{}", b'{"choices": []}', b'{"choices": 3}', b"<html>", b"[]"])
def test_an_answer_that_is_no_completion_is_a_value_error(completion):
    with pytest.raises(ValueError, match=r"."):
        simple.render_generated(completion, "m")


@pytest.mark.parametrize("wrap", [False, True], ids=["a bare list", "requests"])
def test_each_entry_of_a_batch_has_its_own_parameters_and_fails_alone(wrap):
    entries = [{"prompt": "a", "max_tokens": 5}, {"prompt": ""}, 3, {"prompt": "b", "stream": True}, {"prompt": "c"}]
    parsed = read_batch(json.dumps({"requests": entries} if wrap else entries).encode())
    assert [type(entry) for entry in parsed] == [Generate, Problem, Problem, Problem, Generate]
    assert (parsed[0], parsed[4]) == (Generate("a", max_tokens=5), Generate("c"))
    assert [problem.message for problem in parsed[1:4]] == [
        'prompt: must be a text, not empty, not ""',
        "The request body must be a JSON object.",
        "stream: an entry of a batch cannot be streamed",
    ]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"3", "requests: must be a list of requests"),
        (b'{"requests": {}}', "requests: must be a list of requests"),
        (b'{"prompt": "a"}', "requests: must be a list of requests"),
        (b'{"requests": [], "model": "a"}', "requests: must be a list of requests"),
        (b'[{"prompt": "a"}, 1, 2]', "requests: 3 entries; a batch takes at most 2"),
        (b"", "truncated"),
        (b"[" * 100_000, "nested too deeply"),
        (b'[{"prompt": "a"},]', "trailing comma"),
    ],
    ids=["a number", "an object inside", "one request", "fields beside", "too many", "empty", "deep", "comma"],
)
def test_a_batch_that_is_no_list_or_too_long_is_refused_as_a_whole(body, message):
    problem = read_batch(body, most_entries=2)
    assert isinstance(problem, Problem)
    assert message in problem.message


LONG = "x" * SMALL_BYTES
"""Makes a request large, so that it is read in slices."""


@pytest.mark.parametrize("prompt", [LONG, "é" * SMALL_BYTES, '\n"\\' * SMALL_BYTES, "\U0001f600" * SMALL_BYTES])
def test_a_large_request_is_read_as_a_small_one(prompt):
    fields = {"stop": ["a", "b"], "seed": 5, "stream": True, "model": "m", "max_tokens": 7}
    assert parse(prompt=prompt, **fields) == Generate(prompt, **fields)
    assert read_batch(json.dumps([{"prompt": prompt}, {"prompt": "b"}]).encode()) == [Generate(prompt), Generate("b")]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"x": LONG}, f"x: no such field; it takes {', '.join(RULES)}"),
        ({"x" * SMALL_BYTES: 1}, f"{'x' * 200}…: no such field; it takes {', '.join(RULES)}"),
        ({"prompt": LONG, "temprature": 1}, "temprature: no such field; did you mean temperature?"),
        ({"prompt": LONG, "top_k": -2}, "top_k: must be a whole number: at least 1, or -1 or 0 for all tokens, not -2"),
        ({"prompt": [LONG]}, f'prompt: must be a text, not empty, not ["{LONG[:198]}…'),
        ({"stop": [LONG]}, "prompt: is missing"),
        ({"prompt": "x", "stop": [LONG]}, "stop: is longer than 5957 bytes"),
        ({"prompt": "x" * (1 << 20)}, "The request body exceeds 1048576 bytes."),
    ],
    ids=["field", "long field", "near field", "value", "prompt", "no prompt", "stop", "too large"],
)
def test_a_large_request_is_refused_in_the_same_words(fields, message):
    assert parse(**fields).message == message
    problem = read_batch(json.dumps({"requests": [fields, {"prompt": LONG}]}).encode())[0]
    assert problem.message == message


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b'{"requests": {"x": "%b"}}', "requests: must be a list of requests"),
        (b'{"x": "%b"}', "requests: must be a list of requests"),
        (b'{"requests": [], "model": "%b"}', "requests: must be a list of requests"),
        (b'"%b"', "must be a JSON object"),
        (b'[1, 2, "%b"]', "requests: more than 2 entries; a batch takes at most 2"),
        (b'["%b"', "it ends too early"),
        (b'["%b\xff"]', "it is not UTF-8"),
    ],
    ids=["an object inside", "another object", "fields beside", "a text", "too many", "cut", "not UTF-8"],
)
def test_a_large_batch_that_is_no_list_or_too_long_is_refused_as_a_whole(body, message):
    problem = read_batch(body % LONG.encode(), most_entries=2)
    assert isinstance(problem, Problem)
    assert message in problem.message


def test_a_batch_beyond_its_bound_is_refused():
    assert read_batch(b" " * (8 * 1024 * 1024 + 1)).message == "The request body exceeds 8388608 bytes."


@pytest.mark.parametrize(
    "body",
    [
        b'{"seed":"x",' + b",".join(b'"%d":1' % index for index in range(100_000)) + b"}",
        b'{"prompt":"x","stop":[' + b'"a",' * 250_000 + b'"a"]}',
        b'{"prompt":"x"' + b',"top_k":1' * 100_000 + b"}",
        b"[" * 1_000_000,
        b"[" + b"1," * 500_000 + b"1]",
        b"[" + b"[]," * 300_000 + b"1]",
    ],
    ids=["many fields", "many stops", "one field many times", "deep", "many entries", "many lists"],
)
def test_a_hostile_request_is_refused_after_a_bounded_number_of_steps(body):
    """None of these becomes a tree of Python objects: the decoders see at most SMALL_BYTES of it."""
    seen = []

    class Spy:
        def __init__(self, decoder):
            self.decode = lambda data: seen.append(len(data)) or decoder.decode(data)

    with pytest.MonkeyPatch.context() as patch:
        for name in ("_generate_decoder", "_fields_decoder", "_entries_decoder"):
            patch.setattr(generate_request, name, Spy(getattr(generate_request, name)))
        assert isinstance(read(body), Problem)
        assert isinstance(read_batch(body), Problem | list)
    assert max(seen, default=0) <= SMALL_BYTES + 1000


@pytest.mark.parametrize("padding", ["", LONG], ids=["small", "large"])
def test_the_operators_own_list_holds_for_each_request(padding):
    rules = FieldRules((), ("seed", "logit_bias"))
    fine, denied = {"prompt": "a" + padding}, {"prompt": "b" + padding, "seed": 1}
    said = "seed may not be set by clients of this gateway: this server does not take the field (leave `seed` out)"
    assert read(json.dumps(denied).encode(), rules).message == said
    assert read(json.dumps(fine).encode(), rules) == Generate("a" + padding)
    first, second = read_batch(json.dumps([fine, denied]).encode(), rules)
    assert (first, second.message) == (Generate("a" + padding), said)
    assert second.code is problems.Code.FIELD_NOT_ALLOWED


def test_an_empty_batch_has_no_results():
    assert read_batch(b" []") == []
    assert simple.render_batch([]) == b'{"results":[]}'


def test_results_stand_in_the_order_of_their_requests():
    refused = b'{"error": {"message": "This prompt is too long.", "type": "BadRequestError", "code": 400}}'
    batch = simple.render_batch(
        [
            simple.render_generated(b'{"choices": [{"text": "one"}]}', "m"),
            simple.render_entry_error(problems.invalid_value("prompt", "is missing")),
            simple.render_engine_refusal(400, refused, "m"),
            simple.render_engine_refusal(422, b"<html>", "m"),
        ]
    )
    one, two, three, four = json.loads(batch)["results"]
    assert one["generated_text"] == "one"
    assert (two["error"]["code"], two["error"]["param"], two["error"]["message"]) == (
        "invalid_value",
        "prompt",
        "prompt: is missing",
    )
    assert (
        three["error"]["message"] == "The engine of the model 'm' refused this request (400): This prompt is too long."
    )
    assert four["error"]["message"] == "The engine of the model 'm' refused this request (422): no reason given"


def engine_events(*texts: str, usage: bool = True, done: bool = True) -> bytes:
    """What vLLM streams for these texts."""
    parts = [
        {"id": "c", "choices": [{"index": 0, "text": text, "finish_reason": None}], "usage": None} for text in texts
    ]
    parts.append({"id": "c", "choices": [{"index": 0, "text": "", "finish_reason": "length"}]})
    if usage:
        parts.append({"id": "c", "choices": [], "usage": {"prompt_tokens": 2, "completion_tokens": len(texts)}})
    events = [b"data: " + json.dumps(part, ensure_ascii=False).encode() + b"\n\n" for part in parts]
    return b"".join(events) + (b"data: [DONE]\n\n" if done else b"")


def test_a_stream_is_texts_then_the_count_then_done():
    stream = GeneratedStream("m")
    assert (
        stream.feed(engine_events("He", "y é"))
        == (
            'data: {"text":"He"}\n\n'
            'data: {"text":"y é"}\n\n'
            'data: {"text":"","num_tokens":2,"finish_reason":"length","prompt_tokens":2,"model":"m"}\n\n'
            "data: [DONE]\n\n"
        ).encode()
    )
    assert stream.done
    assert stream.usage.completion_tokens == 2


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=5), max_size=6), st.data())
def test_a_stream_may_be_read_in_pieces_of_any_size(texts, data):
    whole = engine_events(*texts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(whole)), max_size=8)))
    stream = GeneratedStream("m")
    pieces = [whole[start:end] for start, end in zip([0, *cuts], [*cuts, len(whole)], strict=True)]
    sent = b"".join(stream.feed(piece) for piece in pieces)
    assert sent == GeneratedStream("m").feed(whole)
    events = [json.loads(event[6:]) for event in sent.decode().split("\n\n")[:-2]]
    assert "".join(event["text"] for event in events) == "".join(texts)
    assert stream.done


def test_keep_alives_and_errors_of_the_engine_pass():
    stream = GeneratedStream("m")
    error = b'data: {"error":{"message":"EngineCore encountered an issue","code":500}}\n\n'
    assert stream.feed(b": keep-alive\n\n" + error) == b": keep-alive\n\n" + error
    assert not stream.done


def test_a_stream_that_breaks_off_says_neither_count_nor_done():
    stream = GeneratedStream("m")
    assert stream.feed(engine_events("He", done=False)) == b'data: {"text":"He"}\n\n'
    assert not stream.done


def test_windows_line_ends_are_understood():
    stream = GeneratedStream("m")
    assert stream.feed(engine_events("He").replace(b"\n\n", b"\r\n\r\n")) == GeneratedStream("m").feed(
        engine_events("He")
    )


def test_an_event_without_end_is_refused_before_it_fills_the_memory():
    stream = GeneratedStream("m")
    assert stream.feed(b"data: " + b"x" * 1_000_000) == b""
    with pytest.raises(ValueError, match="exceeds"):
        stream.feed(b"x" * 65_536)


def test_an_event_that_is_no_completion_is_a_value_error():
    with pytest.raises(ValueError, match="malformed"):
        GeneratedStream("m").feed(b"data: <html>\n\n")
