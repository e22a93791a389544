import os
import socket

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


def test_reserved_port_is_refused_to_others_and_open_to_an_engine() -> None:
    reservation = ports.reserve_port()
    with pytest.raises(OSError, match="in use"):
        listen(reservation.port)
    for _ in range(2):  # an engine, and the one that replaces it
        with listen(reservation.port, reuse_port=True), socket.create_connection(("127.0.0.1", reservation.port)):
            pass
    reservation.release()


def test_taken_port_names_its_holder() -> None:
    with listen() as holder:
        port = holder.getsockname()[1]
        with pytest.raises(MachineError) as caught:
            ports.require_free_port("127.0.0.1", port)
    assert caught.value.message.startswith(f"port {port} is taken by process {os.getpid()} (")
    assert caught.value.hint == f"choose another: --port {port + 1}, or --port 0 for any free one"


def test_free_port_is_fine_and_stays_free() -> None:
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


def test_nobody_listens_on_a_free_port() -> None:
    reservation = ports.reserve_port()
    assert ports.find_listener(reservation.port) is None
    reservation.release()
