"""Every field of a request that this version of vLLM reads was looked at: it is denied, bounded, or listed as harmless.

The list is tests/golden/request-fields.txt. A field that is in none of the three is new in this version of vLLM:
decide what a client may do with it, then write it into `vllm.client_fields` or into the list.
"""

import json
import subprocess
import textwrap
from pathlib import Path

import pytest

from remuda.engine.install.installation import Installation
from remuda.gateway.http.head import HeadLimits, parse_head
from remuda.vllm import client_fields
from remuda.vllm.routes import ROUTES

SCRIPT = Path(__file__).with_name("list_request_fields.py")
GOLDEN = Path(__file__).parents[1] / "golden" / "request-fields.txt"
LIMITS = HeadLimits(65_536, 100, 8192)


@pytest.fixture(scope="module")
def read_by_engine(installation: Installation) -> dict:
    done = subprocess.run([installation.python, SCRIPT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def is_judged(field: str, route: str) -> bool:
    rule = client_fields.DENIED_FIELDS.get(field)
    return field in client_fields.BOUNDED_FIELDS or (rule is not None and (rule.routes is None or route in rule.routes))


def test_every_field_of_a_request_is_denied_bounded_or_listed_as_harmless(read_by_engine):
    lines = []
    for route, fields in sorted(read_by_engine["routes"].items()):
        free = " ".join(field for field in fields if not is_judged(field, route))
        lines += textwrap.wrap(f"{route}: {free}", 118, subsequent_indent="  ", break_on_hyphens=False)
    assert "\n".join(lines) + "\n" == GOLDEN.read_text()


def test_every_forwarded_route_was_looked_at(read_by_engine):
    assert {route.name for route in ROUTES.values()} - {"models"} == read_by_engine["routes"].keys()


def test_every_key_that_makes_a_content_part_a_media_part_is_known(read_by_engine):
    # `input_image` is a type only: its address stands under `image_url`. `file_url` is known from other servers.
    assert set(read_by_engine["media_parts"]) - {"input_image"} == client_fields.MEDIA_KEYS - {"file_url"}
    assert client_fields.UUID_KEY in read_by_engine["part_keys"]


def test_no_header_that_changes_how_a_request_is_served_passes(read_by_engine):
    names = read_by_engine["headers"]
    assert len(names) >= 2
    lines = "".join(f"{name}: 1\r\n" for name in names)
    head = f"POST / HTTP/1.1\r\nhost: localhost\r\n{lines}x-mine: 1\r\n\r\n".encode()
    assert parse_head(head, LIMITS).forwarded == [b"x-mine: 1"]
