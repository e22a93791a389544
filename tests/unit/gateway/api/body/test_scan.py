"""Large bodies in slices: the same reading as the engine's parser, in bounded steps."""

import contextlib
import json
import sys

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st

from remuda.gateway.api.body.scan import CHUNK_BYTES, STRUCTURE_MAX, WORK, Scan
from remuda.gateway.api.body.slices import TextCheck
from remuda.gateway.api.body.watch import MediaRules, Watch, may_have_media
from remuda.gateway.api.problems import Refused
from remuda.vllm import client_fields

FIELDS = ("model", "n", "prompt", "stream")
MEDIA = MediaRules(())


def make_watch(route_name: str = "messages", media: MediaRules | None = MEDIA) -> Watch:
    watch = Watch(FIELDS, media, route_name)
    watch.record_elements("prompt", 3, numbers_are_one=True)
    return watch


WATCH = make_watch()


def read(body: bytes, watch: Watch = WATCH, chunk_bytes: int = CHUNK_BYTES) -> Scan:
    """The finished scan of a body, or Refused."""
    text = TextCheck(body, chunk_bytes)
    while not text.advance():
        pass
    scan = Scan(body, watch, chunk_bytes)
    while not scan.advance():
        pass
    return scan


def refusal(body: bytes, **options) -> str:
    with pytest.raises(Refused) as refused:
        read(body, **options)
    return refused.value.problem.message


# ---- what the engine reads


def find_denied_media(node: object, has_source: bool, depth: int = 1) -> bool:
    """The same rules on a tree, written for reading."""
    if isinstance(node, dict):
        inside = list(node.values())
        found = _is_denied_part(node, depth) or any(_is_fetched(key, node[key], has_source) for key in node)
    else:
        inside = node if isinstance(node, list) else []
        found = False
    return found or any(find_denied_media(item, has_source, depth + 1) for item in inside)


def _is_denied_part(part: dict, depth: int) -> bool:
    if part.get("uuid") is not None and not client_fields.MEDIA_KEYS.isdisjoint(part):
        return True
    has_tensors = any(part.get(key) is not None for key in client_fields.EMBEDS)
    return depth > 1 and (has_tensors or part.get("type") in list(client_fields.EMBEDS))


def _is_fetched(key: str, value: object, has_source: bool) -> bool:
    address = value if key in client_fields.ADDRESS_KEYS else None
    if isinstance(value, dict) and (key in client_fields.ADDRESS_KEYS or (has_source and key == "source")):
        address = value.get("url")
    return isinstance(address, str) and not address.startswith("data:")


def is_utf8(body: bytes) -> bool:
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    return True


def load(body: bytes) -> tuple[dict, bool]:
    """A body as the engine reads it, and whether some object in it has a key twice."""
    twice = []

    def join(pairs):
        twice.append(len(dict(pairs)) < len(pairs))
        return dict(pairs)

    return json.loads(body, object_pairs_hook=join), any(twice)


NAMES = [
    "model", "n", "prompt", "stream", "url", "uuid", "type", "source", "image_url", "video_url", "image_embeds",
    "prompt_embeds", "input_audio", "x", "Model", "é", "modelx", "",
]  # fmt: skip
TEXTS = st.one_of(
    st.sampled_from(
        [
            "",
            "a",
            "data:x",
            "http://a",
            "prompt_embeds",
            "image_embeds",
            "model",
            "uuid",
            "data",
            '"',
            "\\",
            "é",
            "a,b:c]}{[",
        ]
    ),
    st.text(max_size=5),
)
SCALARS = st.one_of(st.none(), st.booleans(), st.integers(-1000, 1000), st.floats(), TEXTS)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(NAMES), inner, max_size=3)),
    max_leaves=10,
)


def spell(draw, text: str) -> bytes:
    """A JSON string, with any character spelt as an escape."""
    kind = draw(st.sampled_from(["plain", "plain", "ascii", "escaped"]))
    if kind != "escaped":
        return json.dumps(text, ensure_ascii=kind == "ascii").encode("utf-8", "surrogatepass")
    escaped = draw(st.sets(st.integers(0, max(len(text) - 1, 0))))
    spelt = [
        "".join(f"\\u{unit:04x}" for unit in memoryview(char.encode("utf-16-le", "surrogatepass")).cast("H"))
        if index in escaped
        else json.dumps(char, ensure_ascii=False)[1:-1]
        for index, char in enumerate(text)
    ]
    return b'"' + "".join(spelt).encode("utf-8", "surrogatepass") + b'"'


def render(draw, node: object, space: st.SearchStrategy[bytes]) -> bytes:
    """A JSON text; objects may be given as lists of pairs, in which a key may stand twice."""
    if isinstance(node, str):
        return spell(draw, node)
    if isinstance(node, list):
        inside = b",".join(draw(space) + render(draw, item, space) + draw(space) for item in node)
        return b"[" + inside + draw(space) + b"]"
    if isinstance(node, dict | tuple):
        pairs = node.items() if isinstance(node, dict) else node
        inside = b",".join(
            draw(space) + spell(draw, key) + draw(space) + b":" + draw(space) + render(draw, value, space) + draw(space)
            for key, value in pairs
        )
        return b"{" + inside + draw(space) + b"}"
    return json.dumps(node).encode()


@st.composite
def bodies(draw) -> bytes:
    pairs = draw(st.lists(st.tuples(st.sampled_from(NAMES), VALUES), max_size=5))
    space = draw(st.sampled_from([st.just(b""), st.sampled_from([b"", b" ", b"\n\t", b"\r\n  "])]))
    return draw(space) + render(draw, tuple(pairs), space) + draw(space)


@given(bodies(), st.sampled_from([1, 2, 3, 5, 17, 1 << 14]))
@example(b'{"model":"a","model":"b"}', 1)
@example(b'{"mod\\u0065l":"b","x":{"model":"a"}}', 1)
@example(b'{"x":[{"type":"prompt\\u005fembeds"}]}', 1)
@example(b'{"x":[{"typ\\u0065" : \n "prompt_embeds"}]}', 1)
@example(b'{"n" : 1.5e3 , "stream":true}', 1)
@settings(max_examples=1500, deadline=None)
def test_whatever_the_engine_reads_is_read_alike_or_refused(body, chunk_bytes):
    theirs, has_twice = load(body)
    try:
        scan = read(body, chunk_bytes=chunk_bytes)
    except Refused:
        assert has_twice or find_denied_media(theirs, True) or not is_utf8(body)
        return
    assert not find_denied_media(theirs, True)
    ours = {name: json.loads(body[start:end]) for name, (start, end) in scan.spans.items()}
    assert json.dumps(ours, sort_keys=True) == json.dumps({n: theirs[n] for n in FIELDS if n in theirs}, sort_keys=True)
    assert scan.is_empty == (not theirs)
    assert body[: scan.first].strip(b" \t\r\n") == b"{"


@given(st.lists(VALUES, max_size=6), st.sampled_from([1, 4, 1 << 14]))
@settings(max_examples=300, deadline=None)
def test_prompts_are_counted_up_to_the_bound(prompts, chunk_bytes):
    body = json.dumps({"prompt": prompts}).encode()
    assume(not find_denied_media({"prompt": prompts}, True))
    count = 0
    for prompt in prompts:
        count += 1
        if not isinstance(prompt, str | list | dict):
            break  # a list with a number in it is one prompt, or nothing that the engine takes
    scan = read(body, chunk_bytes=chunk_bytes)
    assert min(len(scan.elements), 4) == min(count, 4)


# ---- media

PARTS = {
    "an address": ({"type": "image_url", "image_url": {"url": "http://10.0.0.1/x"}}, "fetch"),
    "the short form": ({"image_url": "http://10.0.0.1/x"}, "fetch"),
    "a file": ({"video_url": {"url": "file:///etc/passwd"}}, "fetch"),
    "an address behind spaces": ({"audio_url": " data:audio/wav;base64,AA"}, "fetch"),
    "an input image of responses": ({"type": "input_image", "image_url": "https://a"}, "fetch"),
    "anthropic": ({"type": "image", "source": {"type": "url", "url": "http://a"}}, "fetch"),
    "an address in upper case": ({"image_url": "DATA:image/png;base64,AA"}, "fetch"),
    "inline": ({"image_url": {"url": "data:image/png;base64,AA"}}, ""),
    "inline with other keys": ({"image_url": {"detail": "low", "url": "data:,", "x": [{"y": "z"}]}}, ""),
    "a base64 source": ({"source": {"type": "base64", "data": "AA"}}, ""),
    "a source that is a text": ({"source": "web"}, ""),
    "no address": ({"image_url": None}, ""),
    "a text about addresses": ({"type": "text", "text": "see http://example.com"}, ""),
    "a schema": ({"properties": {"url": {"type": "string"}, "image_url": {"type": "string"}}}, ""),
    "a uuid without an address": ({"type": "image_url", "image_url": None, "uuid": "x"}, "uuid"),
    "a uuid with an address": ({"uuid": "x", "image_url": {"url": "data:,"}}, "uuid"),
    "a uuid of a picture": ({"image_pil": None, "uuid": 5}, "uuid"),
    "a uuid of audio": ({"uuid": "", "input_audio": None}, "uuid"),
    "a uuid of tensors": ({"image_embeds": None, "uuid": "x"}, "uuid"),
    "a uuid that is null": ({"input_audio": {"data": "AA", "format": "wav"}, "uuid": None}, ""),
    "a uuid of something else": ({"type": "text", "text": "x", "uuid": "x"}, ""),
    "a uuid beside a media part": ([{"uuid": "x"}, {"input_audio": {}}], ""),
    "image tensors": ({"type": "image_embeds", "image_embeds": "AA"}, "image_embeds"),
    "image tensors by their key": ({"image_embeds": {"a": "AA"}}, "image_embeds"),
    "audio tensors": ({"type": "text", "audio_embeds": "AA"}, "audio_embeds"),
    "video tensors": ({"video_embeds": []}, "video_embeds"),
    "prompt tensors by their type": ({"type": "prompt_embeds", "data": "AA"}, "prompt_embeds"),
    "a text that says so": ({"type": "text", "text": "prompt_embeds"}, ""),
    "tensors as an address": ({"image_url": {"type": "image_embeds"}}, "image_embeds"),
    "a list that says so": (["type", "prompt_embeds"], ""),
    "no tensors": ({"type": "text", "image_embeds": None}, ""),
}
SAID = {
    "fetch": "url may not be set by clients of this gateway: the engine would fetch this address from inside the "
    "operator's network; send the media inline as a data: URL: ",
    "uuid": "uuid may not be set by clients of this gateway: the engine would answer with the media that another "
    "client sent under this uuid (leave `uuid` out and send the media itself)",
}


@pytest.mark.parametrize("chunk_bytes", [1, 3, CHUNK_BYTES])
@pytest.mark.parametrize(("part", "kind"), PARTS.values(), ids=PARTS)
def test_a_media_part_that_is_not_the_clients_is_refused_wherever_it_stands(part, kind, chunk_bytes):
    for body in ({"messages": [{"content": [part]}]}, {"input": part, "model": "m"}, {"x": [[[{"y": part}]]]}):
        raw = json.dumps(body).encode()
        if kind:
            assert may_have_media(raw, has_source=True)
            said = refusal(raw, chunk_bytes=chunk_bytes)
            assert said.startswith(SAID.get(kind, f"{kind} may not be set by clients of this gateway: raw tensors "))
        else:
            read(raw, chunk_bytes=chunk_bytes)
        assert find_denied_media(body, True) == bool(kind)


@pytest.mark.parametrize(
    "part",
    [
        b'{"image\\u005furl":"http://a"}',
        b'{"\\u0069mage_url":{"\\u0075rl":"http://a"}}',
        b'{"image_url":{"url":"data:,","url":"http://a"}}',
        b'{"image_url":"dat\\u0062:"}',
        b'{"\\u0075uid":"x","input_audio":null}',
        b'{"type":"prompt\\u005fembeds"}',
        b'{"\\u0074ype":"prompt_embeds"}',
        b'{"type" \n:' + b" " * 100 + b'"prompt_embeds"}',
        b'{"type":"\\u0070\\u0072\\u006f\\u006d\\u0070\\u0074\\u005f\\u0065\\u006d\\u0062\\u0065\\u0064\\u0073"}',
    ],
)
@pytest.mark.parametrize("chunk_bytes", [1, 2, CHUNK_BYTES])
def test_a_media_part_in_disguise_is_refused(part, chunk_bytes):
    body = b'{"messages":[{"content":[' + part + b"]}]}"
    assert find_denied_media(json.loads(body), True)
    assert may_have_media(body, has_source=False)
    assert "may not be set by clients" in refusal(body, chunk_bytes=chunk_bytes)


def test_an_escaped_inline_address_passes():
    read(b'{"x":[{"image_url":"\\u0064\\u0061ta\\u003A,"}]}')


def test_source_means_an_address_only_where_it_does():
    body = b'{"messages":[{"source":{"url":"http://a"}}]}'
    read(body, watch=make_watch("chat"))
    assert "fetch this address" in refusal(body, watch=make_watch("messages"))
    assert not may_have_media(body, has_source=False)


@pytest.mark.parametrize(
    ("allow", "part"),
    [
        ("media_urls", {"image_url": "http://a"}),
        ("media_urls", {"source": {"url": "http://a"}}),
        ("uuid", {"image_url": None, "uuid": "x"}),
        ("image_embeds", {"type": "image_embeds", "image_embeds": "AA"}),
        ("prompt_embeds", {"type": "prompt_embeds", "data": "AA"}),
    ],
)
def test_the_operator_may_allow_each_kind_of_part(allow, part):
    body = json.dumps({"messages": [part]}).encode()
    refusal(body)
    read(body, watch=make_watch(media=MediaRules({allow})))
    read(body, watch=make_watch(media=MediaRules({"media_urls", "uuid", *client_fields.EMBEDS})))


# ---- what cannot be read

BROKEN = {
    "nothing": (b"", "it ends too early"),
    "spaces": (b"  ", "it ends too early"),
    "half an object": (b'{"a":1', "it ends too early"),
    "a key alone": (b'{"a"', "it ends too early"),
    "a colon alone": (b'{"a":', "it ends too early"),
    "a comma at the end": (b'{"a":1,}', "a key is expected"),
    "no comma": (b'{"a":1 "b":2}', "a bracket is not closed by its like, or a comma is missing"),
    "no colon": (b'{"a" 1}', "a key is not followed by a colon"),
    "no key": (b"{1:2}", "a key is expected"),
    "a text that does not end": (b'{"a":"b', "a text in it does not end"),
    "a backslash at the end": (b'{"a":"b\\', "a text in it does not end"),
    "an escaped quote at the end": (b'{"a":"b\\"', "a text in it does not end"),
    "a bracket of another kind": (b'{"a":[}', "a bracket is not closed by its like, or a comma is missing"),
    "a deep bracket of another kind": (b'{"a":[[{]]}', "a bracket is not closed by its like, or a comma is missing"),
    "something behind": (b"{} x", "something follows the object"),
    "a second object": (b"{}{}", "something follows the object"),
    "deep": (b'{"a":' + b"[" * 300, "it is nested too deeply"),
    "not UTF-8": (b'{"a":"\xff"}', "it is not UTF-8"),
    "a surrogate": (b'{"a":"\xed\xa0\x80"}', "it is not UTF-8"),
    "cut within a character": (b'{"a":"\xe2\x82', "it is not UTF-8"),
    "continuation bytes": (b'{"a":"' + b"\x80" * 50, "it is not UTF-8"),
    "UTF-16": ('{"a":1}'.encode("utf-16-le"), "it is not UTF-8"),
    "UTF-16, big end first": ('{"a":1}'.encode("utf-16-be"), "it is not UTF-8"),
    "UTF-16 with a mark": ('{"a":1}'.encode("utf-16"), "it is not UTF-8"),
    "UTF-32": ('{"a":1}'.encode("utf-32-le"), "it is not UTF-8"),
    "UTF-32, big end first": ('{"a":1}'.encode("utf-32-be"), "it is not UTF-8"),
}


@pytest.mark.parametrize("chunk_bytes", [1, 4, CHUNK_BYTES])
@pytest.mark.parametrize(("body", "detail"), BROKEN.values(), ids=BROKEN)
def test_a_body_that_cannot_be_read_is_refused_in_clear_words(body, detail, chunk_bytes):
    assert refusal(body, chunk_bytes=chunk_bytes) == f"The request body is not valid: {detail}"


@pytest.mark.parametrize("body", [b"[]", b'"a"', b"1", b"null", b"\xef\xbb\xbf{}", b"x"], ids=repr)
def test_a_body_that_is_no_object_is_refused(body):
    assert refusal(body) == "The request body must be a JSON object."


@given(st.binary(max_size=60), st.integers(1, 20))
def test_garbage_is_refused_or_read_and_no_fault(body, chunk_bytes):
    with contextlib.suppress(Refused):
        read(b"{" + body, chunk_bytes=chunk_bytes)


def test_numbers_that_are_none_are_left_to_whoever_judges_the_field():
    scan = read(b'{"n":NaN,"stream":-Infinity,"model":1e400}')
    assert {name: b'{"n":NaN,"stream":-Infinity,"model":1e400}'[a:b] for name, (a, b) in scan.spans.items()} == {
        "n": b"NaN",
        "stream": b"-Infinity",
        "model": b"1e400",
    }


# ---- bounded work

MEGABYTE = 1 << 20
ADVERSARIAL = {
    "open lists": b'{"a":' + b"[" * MEGABYTE,
    "empty objects": b'{"a":[' + b"{}," * (MEGABYTE // 3) + b"{}]}",
    "nested empty lists": b'{"a":[' + b"[[]]," * (MEGABYTE // 5) + b"[]]}",
    "numbers": b'{"a":[' + b"1," * (MEGABYTE // 2) + b"1]}",
    "empty texts": b'{"a":[' + b'"",' * (MEGABYTE // 3) + b"1]}",
    "escaped names": b'{"a":[' + b'"\\u0061",' * (MEGABYTE // 9) + b"1]}",
    "escaped keys": b'{"a":{' + b'"\\u0061":1,' * (MEGABYTE // 11) + b'"b":1}}',
    "names that are no keys": b'{"a":[' + b'"uuid",' * (MEGABYTE // 7) + b"1]}",
    "keys": b'{"a":{' + b'"k":1,' * (MEGABYTE // 6) + b'"k":1}}',
    "top-level keys": b"{" + b'"k":1,' * (MEGABYTE // 6) + b'"k":1}',
    "the same field": b"{" + b'"model":"a",' * 900 + b'"x":"' + b"y" * MEGABYTE + b'"}',
    "media objects": b'{"a":[' + b'{"image_url":{"url":"data:"}},' * (MEGABYTE // 31) + b"1]}",
    "one text": b'{"a":"' + b"x" * MEGABYTE + b'"}',
    "one text of escapes": b'{"a":"' + b"\\n" * (MEGABYTE // 2) + b'"}',
    "one text of quotes": b'{"a":"' + b'\\"' * (MEGABYTE // 2) + b'"}',
    "one text of backslashes": b'{"a":"' + b"\\\\" * (MEGABYTE // 2) + b'"}',
    "one deep text of letters in disguise": b'{"a":["' + b"\\u0061" * (MEGABYTE // 6) + b'"]}',
    "long texts": b'{"a":[' + (b'"' + b"x" * 5000 + b'",') * (MEGABYTE // 5003) + b"1]}",
    "a long key": b'{"' + b"k" * MEGABYTE + b'":1}',
    "a long number": b'{"n":' + b"1" * MEGABYTE + b"}",
    "spaces": b'{"a":' + b" " * MEGABYTE + b"1}",
    "deep spaces": b'{"a":[{"uuid"' + b" " * MEGABYTE + b":1}]}",
    "prompts": b'{"prompt":[' + b'"a",' * (MEGABYTE // 4) + b'"a"]}',
    "not ASCII": ('{"a":"' + "é" * (MEGABYTE // 2) + '"}').encode(),
}  # fmt: skip


@pytest.mark.parametrize("body", ADVERSARIAL.values(), ids=ADVERSARIAL)
def test_no_slice_does_more_than_its_share_of_work_however_a_body_is_made(body):
    """Work is counted, not timed: bytes that a slice goes forward, and calls of Python functions that it makes."""
    scan = Scan(body, WATCH)
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event == "call"

    slices = 0
    done = False
    while not done:
        before, calls = scan.work, 0
        sys.setprofile(count)
        try:
            done = scan.advance()
        except Refused:
            done = True
        finally:
            sys.setprofile(None)
        slices += 1
        assert scan.work - before <= WORK + CHUNK_BYTES + 1024
        assert calls <= 1_000
    assert slices <= 2 + 256 * len(body) // WORK  # a step costs 256 at least: no slice stands still


def test_the_number_of_objects_is_bounded_and_the_bound_is_said():
    body = b'{"a":[' + b"[{}]," * (STRUCTURE_MAX + 1) + b"1]}"
    with pytest.raises(Refused) as refused:
        read(body)
    assert refused.value.problem.status == 413
    said = f"The request body has more than {STRUCTURE_MAX} lists, objects and names in it."
    assert refused.value.problem.message == said


def test_the_number_of_fields_is_bounded_and_the_bound_is_said():
    body = json.dumps({f"field {index}": index for index in range(1001)}).encode()
    with pytest.raises(Refused) as refused:
        read(body)
    assert refused.value.problem.status == 413
    assert refused.value.problem.message == "The request body has more than 1000 fields."


def test_utf8_is_checked_in_slices_that_end_between_characters():
    body = ("a" * 7 + "é€😀") * 50
    check = TextCheck(body.encode(), 8)
    slices = 1
    while not check.advance():
        slices += 1
    assert 80 < slices <= 160
