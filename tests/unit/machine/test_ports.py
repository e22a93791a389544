import os
import socket
import subprocess
import sys

import pytest

from remuda.machine import ports
from remuda.machine.errors import MachineError


def listen(port: int = 0, *, reuse_port: bool = False) -> socket.socket:
    listener = socket.socket()
    if reuse_port:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(("127.0.0.1", port))
        listener.listen()
    except OSError:
        listener.close()
        raise
    return listener


def test_a_reserved_port_is_refused_to_others_and_open_to_an_engine() -> None:
    reservation = ports.reserve_port()
    with pytest.raises(OSError, match="in use"):
        listen(reservation.port)
    for _ in range(2):  # an engine, and the one that replaces it
        with listen(reservation.port, reuse_port=True), socket.create_connection(("127.0.0.1", reservation.port)):
            pass
    reservation.release()


def test_a_taken_port_names_the_process_that_holds_it() -> None:
    with listen() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(MachineError) as caught:
            ports.require_free_port("127.0.0.1", port)
    assert caught.value.message.startswith(f"port {port} is taken by process {os.getpid()} (")
    assert caught.value.hint == f"choose another: --port {port + 1}, or --port 0 for any free one"


def test_a_free_port_is_accepted_and_stays_free() -> None:
    with listen() as holder:
        port = holder.getsockname()[1]
    ports.require_free_port("127.0.0.1", port)
    listen(port).close()
    ports.require_free_port("127.0.0.1", 0)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (PermissionError(13, "Permission denied"), "may not listen on port 80"),
        (
            OSError(99, "Cannot assign requested address"),
            "cannot listen on 192.0.2.1:80: Cannot assign requested address",
        ),
    ],
    ids=["privileged", "foreign-address"],
)
def test_bind_errors_are_explained(error: OSError, message: str) -> None:
    assert ports.explain_bind_error("192.0.2.1", 80, error).message == message


def test_a_reserved_port_has_no_listener() -> None:
    reservation = ports.reserve_port()
    assert ports.list_listeners(reservation.port) == []
    assert ports.describe_listener(reservation.port) == ""
    reservation.release()


def start_server(address: str, port: int = 0) -> tuple[subprocess.Popen[str], int]:
    """Another process that listens; its port."""
    process = subprocess.Popen([sys.executable, "-c", SERVER, address, str(port)], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    return process, int(process.stdout.readline())


SERVER = """
import signal, socket, sys
family = socket.AF_INET6 if ":" in sys.argv[1] else socket.AF_INET
listener = socket.socket(family)
listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
listener.bind((sys.argv[1], int(sys.argv[2])))
listener.listen()
print(listener.getsockname()[1], flush=True)
signal.pause()
"""


@pytest.mark.parametrize("address", ["127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"])
def test_the_process_behind_a_port_is_told_from_every_other(address: str) -> None:
    server, port = start_server(address)
    other = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    try:
        assert ports.is_held_by([other.pid, server.pid], port)
        assert not ports.is_held_by([other.pid], port)
        assert ports.describe_listener(port).startswith(f"process {server.pid} ({sys.executable} -c ")
    finally:
        for process in (server, other):
            process.kill()
            process.wait()
    assert server.stdout is not None
    server.stdout.close()
    assert ports.is_held_by([os.getpid()], port), "nobody listens, so nobody else does"


def test_an_exact_address_answers_before_one_that_stands_for_all() -> None:
    exact = ports.Listener("0100007F", "1")
    mapped = ports.Listener("0000000000000000FFFF00000100007F", "2")
    every = [ports.Listener("0" * 8, "3"), ports.Listener("0" * 32, "4")]
    elsewhere = ports.Listener("0200007F", "5")
    assert ports.pick_answering([*every, exact, mapped, elsewhere], "127.0.0.1") == [exact, mapped]
    assert ports.pick_answering([*every, elsewhere], "127.0.0.1") == every
    assert ports.pick_answering([elsewhere], "127.0.0.1") == []
