"""Requests to engines: their heads and their trace context."""

import pytest

from remuda.gateway.upstream.request import render_address_lines, render_head, render_start
from remuda.gateway.upstream.trace import continue_trace


@pytest.mark.parametrize(
    ("host", "port", "key", "lines"),
    [
        ("10.0.0.1", 8000, "", b"host: 10.0.0.1:8000\r\n"),
        ("::1", 80, "", b"host: [::1]:80\r\n"),
        ("e.svc", 443, "sk-1", b"host: e.svc:443\r\nauthorization: Bearer sk-1\r\n"),
    ],
)
def test_every_request_names_the_engine_and_its_key(host, port, key, lines):
    assert render_address_lines(host, port, key) == lines


def test_head_is_the_shared_start_the_clients_lines_and_our_own():
    start = render_start(b"/team", "/v1/completions", b"host: e:1\r\n")
    assert render_head(start, b"accept: */*\r\n", b"id-1", b"00-a-b-01", 7) == (
        b"POST /team/v1/completions HTTP/1.1\r\nhost: e:1\r\naccept: */*\r\nx-request-id: id-1\r\n"
        b"traceparent: 00-a-b-01\r\ncontent-length: 7\r\n\r\n"
    )


TRACE = b"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-00"


def test_trace_of_the_client_goes_on_with_another_parent():
    version, trace, parent, flags = continue_trace(TRACE).split(b"-")
    assert (version, trace, flags) == (b"00", b"0af7651916cd43dd8448eb211c80319c", b"00")
    assert len(parent) == 16
    assert parent not in {b"b7ad6b7169203331", b"0" * 16}


@pytest.mark.parametrize(
    "sent",
    [
        None,
        b"",
        TRACE.upper(),
        TRACE + b"-x",
        TRACE.replace(b"00-", b"01-", 1),
        b"00-" + b"0" * 32 + b"-b7ad6b7169203331-00",
        b"00-0af7651916cd43dd8448eb211c80319c-" + b"0" * 16 + b"-00",
    ],
    ids=["none", "empty", "capitals", "too long", "another version", "no trace", "no parent"],
)
def test_trace_that_is_no_trace_is_replaced(sent):
    version, trace, parent, flags = continue_trace(sent).split(b"-")
    assert (version, len(trace), len(parent), flags) == (b"00", 32, 16, b"01")
    assert continue_trace(sent) != continue_trace(sent)
