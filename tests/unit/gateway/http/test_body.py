"""Bodies decoded from their framing: the same result however the bytes are cut, bounded, and the rest given back."""

import tracemalloc
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


@pytest.mark.parametrize("piece_bytes", [1, 7, 1000, 65_536], ids=lambda size: f"chunks of {size}")
def test_chunked_body_takes_little_more_memory_than_its_bytes(piece_bytes):
    chunks = 200_000 // piece_bytes + 1
    reader = ChunkedBody(10_000_000)
    tracemalloc.start()
    try:
        for _ in range(chunks):
            reader.feed(b"%x\r\n%b\r\n" % (piece_bytes, bytes(piece_bytes)))
        reader.feed(b"0\r\n\r\n")
        body = reader.take()
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert body == bytes(chunks * piece_bytes)
    assert most_bytes < 1.25 * len(body) + 4 * piece_bytes


@pytest.mark.parametrize("piece_bytes", [1, 1000, 65_536], ids=lambda size: f"reads of {size}")
def test_body_of_known_length_takes_little_more_memory_than_its_bytes(piece_bytes):
    pieces = 200_000 // piece_bytes + 1
    reader = LengthBody(pieces * piece_bytes)
    tracemalloc.start()
    try:
        for _ in range(pieces):
            reader.feed(bytes(piece_bytes))
        body = reader.take()
        most_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert body == bytes(pieces * piece_bytes)
    assert most_bytes < 1.25 * len(body) + 4 * piece_bytes


def test_only_what_has_arrived_is_counted():
    length = LengthBody(1000)
    length.feed(b"x" * 400)
    assert length.stored_bytes == 400
    chunked = ChunkedBody(1000)
    chunked.feed(b"3e8\r\n" + b"x" * 400)
    assert chunked.stored_bytes == 400
    chunked.feed(b"x" * 600 + b"\r\n0\r\n\r\n")
    assert (chunked.stored_bytes, chunked.complete) == (1000, True)


@pytest.mark.parametrize("sizes", [[100, 1], [1, 100], [50, 50, 1]], ids=str)
def test_limit_counts_all_chunks(sizes):
    reader = ChunkedBody(100)
    with pytest.raises(BadBody) as caught:
        reader.feed(frame([bytes(size) for size in sizes]))
    assert (caught.value.status, caught.value.message) == (413, "the body is larger than 100 bytes")


@pytest.mark.parametrize(
    ("chunk", "count", "accepted"),
    [
        (b"1\r\nx\r\n", 50_000, True),
        (b"1;a=b\r\nx\r\n", 50_000, True),
        (b"1;" + b"a" * 200 + b"\r\nx\r\n", 80, True),
        (b"1;" + b"a" * 200 + b"\r\nx\r\n", 100, False),
        (b"400;" + b"a" * 200 + b"\r\n" + b"x" * 1024 + b"\r\n", 10_000, True),
    ],
    ids=["none", "short", "few long", "many long", "long on large chunks"],
)
def test_extensions_are_bounded_in_proportion_to_the_chunks(chunk, count, accepted):
    reader = ChunkedBody(20_000_000)
    if accepted:
        reader.feed(chunk * count)
        assert reader.stored_bytes == count * int(chunk.partition(b"\r")[0].partition(b";")[0], 16)
        return
    with pytest.raises(BadBody) as caught:
        reader.feed(chunk * count)
    assert (caught.value.status, caught.value.message) == (400, "the chunks of the body have too many extensions")
