"""A key of one model and the forms with which it tries to reach another one."""

import pytest
from tests.gateway.conftest import route_to
from tests.gateway.wire import post

from remuda.gateway.access.keys import hash_key, make_key
from remuda.gateway.table import KeyRecord, Table

KEY = make_key("blue", "k1")
FILE = b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\x00\xff\r\n'
END = b"--b--\r\n"


def part(name: bytes, value: bytes, more: bytes = b"") -> bytes:
    return b'--b\r\nContent-Disposition: form-data; name="%b"%b\r\n\r\n%b\r\n' % (name, more, value)


SMALL, LARGE = part(b"model", b"small"), part(b"model", b"large")


def send_form(body: bytes, content_type: bytes = b"multipart/form-data; boundary=b", headers: bytes = b"") -> bytes:
    headers += b"authorization: Bearer %b\r\n" % KEY.encode()
    return post("/v1/audio/transcriptions", body, headers).replace(b"application/json", content_type, 1)


def apply_models(site) -> None:
    """Two models, and a key that may use the small one only."""
    small = route_to(site.engines[:1], name="small", served_name="small", capabilities=("transcription",))
    large = route_to(site.engines[1:], name="large", served_name="large", capabilities=("transcription",))
    key = KeyRecord(hash_key(KEY), "blue", "k1", models=("small",))
    site.gateway.apply(Table(models=(small, large), keys=(key,)))


@pytest.mark.parametrize("body", [FILE + SMALL + END, SMALL + FILE + END], ids=["file first", "file last"])
async def test_a_form_reaches_the_model_that_it_names_byte_for_byte(sites, body):
    async with sites(engines=2) as site:
        apply_models(site)
        assert (await site.ask(send_form(body))).status == 200
        assert [request.body for request in site.engines[0].requests] == [body]
        denied = await site.ask(send_form(body.replace(b"small", b"large")))
        assert (denied.status, denied.error["code"]) == (403, "model_not_allowed")
        assert site.engines[1].requests == []


TRICKS = {
    "a second model": (SMALL + LARGE, None),
    "a second model first": (LARGE + SMALL, None),
    "x-filename": (SMALL + part(b"model", b"large", b'; x-filename="x"'), None),
    "two names": (SMALL + part(b"x", b"large", b'; name="model"'), None),
    "name*": (SMALL + part(b"x", b"large", b"; name*=utf-8''model"), None),
    "an escaped quote": (SMALL + part(b'x\\"; name=', b"large", b"model"), None),
    "a part without an end": (SMALL + LARGE[:-2], None),
    "another boundary": (SMALL + LARGE.replace(b"--b", b"--c"), b'multipart/form-data; boundary="b"; boundary=c'),
    "xboundary": (SMALL + LARGE.replace(b"--b", b"--c"), b"multipart/form-data; xboundary=c; boundary=b"),
    "an escape in the boundary": (SMALL, b'multipart/form-data; boundary="\\b"'),
    "another character set": (SMALL, b"multipart/form-data; boundary=b; charset=utf-7"),
    "_charset_": (part(b"_charset_", b"utf-7") + SMALL, None),
    "base64": (SMALL.replace(b"\r\n\r\n", b"\r\nContent-Transfer-Encoding: base64\r\n\r\n"), None),
    "line feeds": (SMALL.replace(b"\r\n", b"\n"), None),
    "a preamble": (b"x\r\n" + SMALL, None),
}


@pytest.mark.parametrize(("parts", "content_type"), TRICKS.values(), ids=TRICKS)
async def test_a_form_with_two_readings_reaches_no_engine(sites, parts, content_type):
    async with sites(engines=2) as site:
        apply_models(site)
        response = await site.ask(send_form(parts + END, content_type or b"multipart/form-data; boundary=b"))
        assert (response.status, response.error["code"]) == (400, "invalid_form")
        assert response.error["message"].startswith("The form is not valid: ")
        assert [engine.requests for engine in site.engines] == [[], []]


async def test_a_form_with_something_behind_its_end_reaches_no_engine(sites):
    async with sites(engines=2) as site:
        apply_models(site)
        response = await site.ask(send_form(SMALL + END + LARGE + END))
        assert (response.status, response.error["code"]) == (400, "invalid_form")
        assert [engine.requests for engine in site.engines] == [[], []]


async def test_two_content_types_reach_no_engine(sites):
    async with sites(engines=2) as site:
        apply_models(site)
        twice = b"content-type: multipart/form-data; boundary=c\r\n"
        response = await site.ask(send_form(SMALL + END, headers=twice))
        assert (response.status, response.error["code"]) == (400, "malformed_http")
        assert [engine.requests for engine in site.engines] == [[], []]


async def test_a_large_form_is_renamed_without_a_change_to_its_file(sites):
    async with sites() as site:
        route = route_to(site.engines, aliases=("whisper-1",), capabilities=("transcription",))
        site.gateway.apply(Table(models=(route,)))
        body = FILE.replace(b"RIFF", bytes(range(256)) * 20_000) + part(b"model", b"whisper-1") + END
        request = post("/v1/audio/transcriptions", body).replace(
            b"application/json", b"multipart/form-data; boundary=b", 1
        )
        assert (await site.ask(request)).status == 200
        assert site.engine.requests[0].body == body.replace(b"whisper-1", b"m")
