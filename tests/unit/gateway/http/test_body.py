"""Bodies decoded from their framing: the same result however the bytes are cut, bounded, and the rest given back."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.http.body import BadBody, ChunkedBody, LengthBody


def feed_in_pieces(reader, data: bytes, cuts: list[int]) -> bytes:
    """Feed `data` cut at `cuts`; what was left over."""
    bounds = [0, *sorted({min(cut, len(data)) for cut in cuts}), len(data)]
    rest = b""
    for start, end in pairwise(bounds):
        piece = data[start:end]
        if reader.complete:
            rest += piece
        else:
            rest += reader.feed(piece)
    return rest


def frame(chunks: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks if chunk) + b"0\r\n\r\n"


cuts = st.lists(st.integers(0, 400), max_size=30)


@given(st.lists(st.binary(max_size=60), max_size=6), st.binary(max_size=30), cuts)
def test_chunks_are_joined_however_they_arrive(chunks, rest, at):
    reader = ChunkedBody(10_000)
    left = feed_in_pieces(reader, frame(chunks) + rest, at)
    assert reader.complete
    assert reader.take() == b"".join(chunks)
    assert left == rest


@given(st.binary(max_size=200), st.binary(max_size=30), cuts)
def test_length_is_honoured_however_it_arrives(body, rest, at):
    reader = LengthBody(len(body))
    left = feed_in_pieces(reader, body + rest, at)
    assert (reader.take(), left) == (body, rest)


@given(st.binary(max_size=200), cuts)
def test_garbage_has_one_result_however_it_arrives(data, at):
    def result(pieces: list[int]) -> object:
        reader = ChunkedBody(1000)
        try:
            rest = feed_in_pieces(reader, data, pieces)
        except BadBody as bad:
            return bad.status
        return (reader.take(), rest) if reader.complete else "more"

    whole, cut = result([]), result(at)
    # A fault may be seen a little later when its line has not ended yet, never otherwise.
    assert whole == cut or "more" in {whole, cut}
    assert not (isinstance(whole, tuple) and whole != cut)


@pytest.mark.parametrize(("size", "accepted"), [(100, True), (101, False)])
def test_limit_is_checked_before_anything_is_stored(size, accepted):
    reader = ChunkedBody(100)
    if accepted:
        reader.feed(b"%x\r\n" % size)
    else:
        with pytest.raises(BadBody) as caught:
            reader.feed(b"%x\r\n" % size)
        assert caught.value.status == 413


def test_endless_extension_is_refused_before_its_end():
    reader = ChunkedBody(100)
    reader.feed(b"5;")
    reader.feed(b"x" * 250)
    with pytest.raises(BadBody):
        reader.feed(b"x" * 10)
