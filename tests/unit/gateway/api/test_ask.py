"""What a request asks for, and whether a client may ask it: at once for small bodies, in slices for the others."""

import asyncio
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.api.ask import Ask, decode_name, decode_object, parse_ask
from remuda.gateway.api.body.edit import SMALL_BYTES
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.rules import FieldRules
from remuda.gateway.http.head import RequestHead
from remuda.vllm.routes import ROUTES

RULES = FieldRules((), ())
CHAT = ROUTES["POST", "/v1/chat/completions"]
COMPLETIONS = ROUTES["POST", "/v1/completions"]
MESSAGES = ROUTES["POST", "/v1/messages"]
RESPONSES = ROUTES["POST", "/v1/responses"]
EMBEDDINGS = ROUTES["POST", "/v1/embeddings"]
SPEECH = ROUTES["POST", "/v1/audio/transcriptions"]
LONG = "x" * SMALL_BYTES
"""Makes a body large, so that it is read in slices."""


def head(content_type: bytes | None = b"application/json", capability: bytes | None = None) -> RequestHead:
    parsed = RequestHead(b"POST", b"/", 1)
    parsed.content_type = content_type
    parsed.capability = capability
    return parsed


def ask_for(body: bytes, route=CHAT, rules=RULES, request=None, pauses: list[int] | None = None) -> Ask:
    """The parsed request; `pauses` gets one entry for each pause."""

    async def pause() -> None:
        if pauses is not None:
            pauses.append(1)

    return asyncio.run(parse_ask(route, body, request or head(), rules, pause))


def refusal(fields: dict | bytes, **options) -> str:
    body = fields if isinstance(fields, bytes) else json.dumps(fields).encode()
    with pytest.raises(Refused) as refused:
        ask_for(body, **options)
    return refused.value.problem.message


SIZES = pytest.mark.parametrize("padding", [{}, {"x": LONG}], ids=["small", "large"])


@SIZES
def test_what_decides_about_a_request_is_read(padding):
    fields = {"model": "m", "stream": True, "stream_options": {"include_usage": True}, "n": 2, "max_tokens": 5}
    ask = ask_for(json.dumps(fields | padding).encode())
    assert (ask.model, ask.stream, ask.include_usage, ask.sequences) == (b'"m"', True, True, 2)
    assert ask.prompt_tokens == len(ask.body) // 4 + 1


@SIZES
@pytest.mark.parametrize(
    ("fields", "stream", "include_usage"),
    [
        ({}, False, False),
        ({"stream": None, "stream_options": None}, False, False),
        ({"stream": False, "stream_options": {}}, False, False),
        ({"stream": "yes", "stream_options": {"include_usage": 1.0}}, True, True),
        ({"stream": 1, "stream_options": {"include_usage": "off"}}, True, False),
        ({"stream": "maybe"}, False, False),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_flags_are_read_as_the_engine_reads_them(fields, stream, include_usage, padding):
    ask = ask_for(json.dumps({"model": "m"} | fields | padding).encode())
    assert (ask.stream, ask.include_usage) == (stream, include_usage)


@SIZES
@pytest.mark.parametrize(
    ("fields", "max_tokens"),
    [
        ({}, None),
        ({"max_tokens": 100}, 100),
        ({"max_tokens": 100.0, "max_output_tokens": 5}, 100),
        ({"max_completion_tokens": "1_6", "max_tokens": 5}, 16),
        ({"max_tokens": None, "max_output_tokens": 7}, 7),
        ({"max_tokens": "many"}, None),
    ],
    ids=lambda value: json.dumps(value) if isinstance(value, dict) else "",
)
def test_a_request_without_a_model_says_how_many_tokens_it_wants(fields, max_tokens, padding):
    body = json.dumps(fields | padding).encode()
    ask = ask_for(body, request=head(capability=b"Code"))
    assert (ask.model, ask.max_tokens, ask.capability) == (None, max_tokens, "code")


@SIZES
@pytest.mark.parametrize("number", ["1e400", "-1e400", "9" * 5000, "NaN", "Infinity"], ids=lambda text: text[:9])
def test_a_number_beyond_all_bounds_is_refused_and_no_fault(number, padding):
    rest = json.dumps(padding)[1:-1] or '"x":""'
    for field in ("n", "top_logprobs", "max_tokens"):
        body = f'{{"{field}":{number},{rest}}}'.encode()
        said = refusal(body)
        small_nan = number.isalpha() and not padding
        assert said.startswith("The request body is not valid: " if small_nan else f"{field}: ")


@SIZES
@pytest.mark.parametrize("spelling", ["16000", "16000.0", "1.6e4", '"16000"', '"16_000"', '" 16000 "', "1600000e-2"])
def test_a_bound_holds_for_every_spelling_of_a_number(spelling, padding):
    body = f'{{"model":"m","n":{spelling},"x":{json.dumps(padding)}}}'.encode()
    assert refusal(body) == "n: 16000 is not a number from 0 to 16 (ask for at most 16)"


@SIZES
def test_a_number_behind_ten_thousand_spaces_is_refused(padding):
    body = json.dumps({"n": " " * 10_000 + "16000"} | padding).encode()
    assert refusal(body) == "n: inf is not a number from 0 to 16 (ask for at most 16)"


@SIZES
@pytest.mark.parametrize(
    ("prompt", "n", "sequences"),
    [
        ("a", 1, 1),
        ("a", 16, 16),
        (["a"] * 256, 1, 256),
        ([1, 2, 3] * 500, 2, 2),
        ([[1, 2], [3]], 3, 6),
        ([], 1, 1),
        (None, 1, 1),
        (["a"] * 257, 1, None),
        ([[1]] * 1000, 1, None),
        (["a"] * 17, 16, None),
    ],
    ids=["one", "n", "the most", "tokens", "lists of tokens", "none", "null", "one too many", "many", "times n"],
)
def test_prompts_times_n_are_bounded(prompt, n, sequences, padding):
    body = json.dumps({"model": "m", "prompt": prompt, "n": n} | padding).encode()
    if sequences is not None:
        assert ask_for(body, COMPLETIONS).sequences == sequences
    else:
        made = "17 prompts with n=16 make 272 sequences" if n > 1 else "there are more than 256 prompts"
        said = f"prompt: {made}, and one request may have 256 sequences (send several requests)"
        assert refusal(body, route=COMPLETIONS) == said
        assert ask_for(body, COMPLETIONS, FieldRules({"sequences"}, ())).prompts >= min(len(prompt), 257)


@SIZES
def test_of_two_prompts_the_last_one_counts(padding):
    many, rest = json.dumps(["a"] * 300), json.dumps(padding)
    body = f'{{"prompt":{many},"prompt":"b","x":{rest}}}'.encode()
    assert ask_for(body, COMPLETIONS).sequences == 1
    body = f'{{"prompt":"b","prompt":{many},"x":{rest}}}'.encode()
    assert refusal(body, route=COMPLETIONS).startswith("prompt: there are more than 256 prompts, and ")


@SIZES
def test_a_thousand_inputs_of_embeddings_are_no_sequences(padding):
    body = json.dumps({"model": "m", "input": ["a"] * 1000} | padding).encode()
    assert ask_for(body, EMBEDDINGS).sequences == 1


# ---- fields and media


@SIZES
@pytest.mark.parametrize(
    ("fields", "route", "message"),
    [
        ({"priority": -1}, CHAT, "priority may not be set by clients of this gateway: the order of the queue is the "),
        ({"vllm_xargs": {"a": 1}}, COMPLETIONS, "vllm_xargs may not be set by clients of this gateway: free arguments"),
        ({"previous_response_id": "r"}, RESPONSES, "previous_response_id needs a response that was stored."),
        ({"conversation": {"id": "c"}}, RESPONSES, "conversation needs a response that was stored."),
        ({"messages": [{"image_url": "http://a"}]}, CHAT, "url may not be set by clients of this gateway: the engine "),
        ({"messages": [{"source": {"url": "http://a"}}]}, MESSAGES, "url may not be set by clients of this gateway: "),
        ({"messages": [{"input_audio": None, "uuid": "x"}]}, CHAT, "uuid may not be set by clients of this gateway: "),
        ({"messages": [{"type": "prompt_embeds", "data": "A"}]}, CHAT, "prompt_embeds may not be set by clients of "),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_what_is_not_the_clients_is_refused(fields, route, message, padding):
    assert refusal({"model": "m"} | fields | padding, route=route).startswith(message)


@SIZES
def test_the_operators_own_list_counts(padding):
    rules = FieldRules(("priority",), ("seed",))
    ask_for(json.dumps({"model": "m", "priority": 5} | padding).encode(), rules=rules)
    said = "seed may not be set by clients of this gateway: this server does not take the field (leave `seed` out)"
    assert refusal({"model": "m", "seed": 1} | padding, rules=rules) == said


def test_an_ordinary_small_body_is_parsed_without_a_pause():
    pauses: list[int] = []
    ask_for(json.dumps({"model": "m", "messages": [{"role": "user", "content": "hi\n"}]}).encode(), pauses=pauses)
    assert not pauses
    image = {"image_url": {"url": "data:,"}}
    ask_for(json.dumps({"model": "m", "messages": [{"content": [image]}]}).encode(), pauses=pauses)
    assert not pauses


def test_a_large_body_is_parsed_with_pauses():
    pauses: list[int] = []
    ask = ask_for(json.dumps({"model": "m", "messages": [{"content": LONG * 80}]}).encode(), pauses=pauses)
    assert len(pauses) > 10
    assert ask.model == b'"m"'


# ---- what cannot be read


@SIZES
@pytest.mark.parametrize(
    ("content_type", "taken"),
    [
        (b"application/json", True),
        (None, True),
        (b"application/json; charset=utf-8", True),
        (b"Application/JSON ;x", True),
        (b"application/vnd.api+json", True),
        (b"text/plain; json", False),
        (b"multipart/form-data; x=json", False),
        (b"application/jsonx", False),
        (b"text/json", False),
    ],
)
def test_only_json_is_taken_for_json(content_type, taken, padding):
    body = json.dumps({"model": "m"} | padding).encode()
    if taken:
        assert ask_for(body, request=head(content_type)).model == b'"m"'
    else:
        said = f"The content type {content_type.decode()!r} is not accepted here; send application/json"
        assert refusal(body, request=head(content_type)) == said


@SIZES
@pytest.mark.parametrize("name", [b"5", b"[]", b"true"], ids=repr)
def test_a_model_that_is_no_text_is_refused(name, padding):
    ask = ask_for(b'{"model":' + name + b',"x":' + json.dumps(padding).encode() + b"}")
    with pytest.raises(Refused) as refused:
        decode_name(ask.model)
    assert refused.value.problem.message == "model: it is not a string"


@pytest.mark.parametrize("length", [513, 3072, 40_000, 1_000_000])
def test_a_long_name_of_a_model_is_refused_at_any_length(length):
    ask = ask_for(b'{"model":"' + b"a" * length + b'"}')
    with pytest.raises(Refused) as refused:
        decode_name(ask.model)
    assert refused.value.problem.message == "model: it is longer than 512 characters"


@SIZES
@pytest.mark.parametrize("name", ["null", '""', "none at all"])
def test_a_request_may_name_no_model(name, padding):
    field = "" if name == "none at all" else f'"model":{name},'
    assert ask_for(f'{{{field}"x":{json.dumps(padding)}}}'.encode()).model is None


@given(st.binary(max_size=100).filter(lambda body: not body.rstrip().endswith(b"}")))
def test_garbage_is_refused_and_no_fault(body):
    with pytest.raises(Refused) as refused:
        ask_for(b"{" + body)
    assert refused.value.problem.status == 400


@given(st.dictionaries(st.text(max_size=5), st.text(max_size=5), max_size=3))
def test_small_and_large_bodies_are_read_alike(fields):
    body = json.dumps({"model": "m", "stream": True} | fields).encode()
    small, large = ask_for(body), ask_for(body[:-1] + b',"y":"' + LONG.encode() + b'"}')
    assert (small.model, small.stream) == (large.model, large.stream)


# ---- editing


@SIZES
@pytest.mark.parametrize("body", [b'{"model":"a"%b}', b'{"x":{"model":"b"},"model":"a"%b}', b'{"mod\\u0065l":"a"%b}'])
def test_only_the_models_name_changes(body, padding):
    body %= (b"," + json.dumps(padding)[1:-1].encode()) if padding else b""
    ask = ask_for(body)
    edited = b"".join(ask.change({"model": ask.encode_name('n"ew')}))
    assert edited == body.replace(b'"a"', b'"n\\"ew"')
    assert ask.body is body


FORM = (
    b'--b\r\nContent-Disposition: form-data; name="file"; filename="model"\r\n\r\n%b\r\n'
    b'--b\r\ncontent-disposition: form-data; name="model"\r\n\r\n%b\r\n--b--\r\n'
)
FORM_HEAD = head(b"multipart/form-data; boundary=b")


@pytest.mark.parametrize("sound", [b"RIFF", b"RIFF" * SMALL_BYTES], ids=["small", "large"])
def test_a_form_is_read_and_its_model_renamed(sound):
    pauses: list[int] = []
    ask = ask_for(FORM % (sound, b"a"), SPEECH, request=FORM_HEAD, pauses=pauses)
    assert ask.model == b'"a"'
    assert b"".join(ask.change({"model": ask.encode_name("bcd")})) == FORM % (sound, b"bcd")
    assert bool(pauses) == (len(sound) > 4)


def form(**fields: str) -> bytes:
    parts = "".join(
        f'--b\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()
    )
    return f"{parts}--b--\r\n".encode()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"n": "16000"}, "n: 16000 is not a number from 0 to 16 (ask for at most 16)"),
        ({"n": " 1_7 "}, "n: 17 is not a number from 0 to 16 (ask for at most 16)"),
        ({"priority": "-5"}, "priority may not be set by clients of this gateway: the order of the queue is the "),
        ({"vllm_xargs": '{"a":1}'}, "vllm_xargs may not be set by clients of this gateway: free arguments for "),
        ({"watermarking": "false"}, "watermarking may not be set by clients of this gateway: whether answers "),
        ({"use_beam_search": "true"}, "use_beam_search may not be set by clients of this gateway: this server does "),
        ({"prompt": "x"}, "prompt may not be set by clients of this gateway: this server does not take the field"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_fields_of_a_form_follow_the_same_rules(fields, message):
    rules = FieldRules((), ("use_beam_search", "prompt"))
    assert refusal(form(model="m", **fields), route=SPEECH, request=FORM_HEAD, rules=rules).startswith(message)


def test_an_ordinary_form_passes():
    fields = {"n": "4", "use_beam_search": "true", "priority": "0", "prompt": "x" * 5000, "stream": "true"}
    ask = ask_for(form(model="m", stream_include_usage="1", **fields), SPEECH, request=FORM_HEAD)
    assert (ask.model, ask.stream, ask.include_usage, ask.sequences) == (b'"m"', True, True, 4)
    assert ask_for(form(model=""), SPEECH, request=FORM_HEAD).model is None


@pytest.mark.parametrize(
    "content_type", [None, b"application/json", b"application/x-www-form-urlencoded", b"multipart/mixed"]
)
def test_only_a_form_is_taken_for_a_form(content_type):
    said = f"The content type {(content_type or b'').decode()!r} is not accepted here; send multipart/form-data"
    assert refusal(form(model="m"), route=SPEECH, request=head(content_type)) == said


# ---- of a key that stands there twice

values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.text(max_size=8)),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=6), inner, max_size=3)),
    max_leaves=8,
)
keys = st.one_of(st.sampled_from(["model", "stream", "n"]), st.text(max_size=6))


@given(st.lists(st.tuples(keys, values), max_size=6), st.booleans(), st.booleans())
def test_of_a_key_that_stands_there_twice_gateway_and_engine_take_the_same(pairs, escape, indent):
    inside = ", ".join(f"{json.dumps(key, ensure_ascii=escape)} : {json.dumps(value)}" for key, value in pairs)
    body = (f"{{\n {inside} }}" if indent else "{" + inside + "}").encode("utf-8", "surrogatepass")
    ours = {name: msgspec.json.decode(raw) for name, raw in decode_object(body).items()}
    assert ours == json.loads(body)
