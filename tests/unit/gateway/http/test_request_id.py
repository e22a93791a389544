"""The id of a request."""

import re

import pytest

from remuda.gateway.http.request_id import take_request_id


@pytest.mark.parametrize("sent", [b"1", b"0f8c-7d", b"a" * 128, b"A.b_c:d+e/f=g@h-i"])
def test_plain_id_of_the_client_is_kept(sent):
    assert take_request_id(sent) == sent


@pytest.mark.parametrize("sent", [None, b"", b"a" * 129, b"a b", b"a\tb", b"\xe9", b"a,b", b"a\n"])
def test_any_other_id_is_replaced_by_one_that_no_other_request_has(sent):
    first, second = take_request_id(sent), take_request_id(sent)
    assert re.fullmatch(rb"req-[0-9a-f]{12}-[0-9a-f]+", first)
    assert first != second
