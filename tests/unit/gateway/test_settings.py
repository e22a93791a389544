"""What a file says of the gateway reaches the process, all of it."""

from collections.abc import Iterator
from typing import Any

from remuda import spec
from remuda.gateway.settings import GatewaySettings, settings_from_spec
from remuda.spec.documents.shape import Shape

HEAD = b"apiVersion: remuda.dev/v1alpha1\nkind: ModelGateway\nmetadata: {name: g}\n"
TLS = b"spec: {listen: {tls: {certFile: /cert.pem, keyFile: /key.pem}}}\n"


def load(text: bytes) -> spec.ModelGateway:
    (gateway,) = spec.load_bytes(text, "gateway.yaml").gateways
    return gateway


class Watched:
    """A document that remembers which of its fields were read."""

    def __init__(self, shape: Shape, read: set[tuple[str, ...]], path: tuple[str, ...] = ()) -> None:
        self._shape, self._read, self._path = shape, read, path

    def __getattr__(self, name: str) -> Any:
        value, path = getattr(self._shape, name), (*self._path, name)
        if isinstance(value, Shape):
            return Watched(value, self._read, path)
        self._read.add(path)
        return value


def list_fields(shape: Shape, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    for name in type(shape).model_fields:
        value = getattr(shape, name)
        yield from list_fields(value, (*path, name)) if isinstance(value, Shape) else [(*path, name)]


def test_no_field_of_a_gateway_is_written_in_vain():
    gateway = load(HEAD + TLS)
    read: set[tuple[str, ...]] = set()
    settings_from_spec(Watched(gateway, read))
    assert read == set(list_fields(gateway.spec, ("spec",)))


def test_a_gateway_that_says_nothing_is_what_a_process_is_without_one():
    assert settings_from_spec(load(HEAD + b"spec: {}\n")) == settings_from_spec(None) == GatewaySettings()


def test_lame_duck_time_is_0_unless_a_file_asks_for_it():
    assert settings_from_spec(load(HEAD + b"spec: {timeouts: {lameDuck: 1500ms}}\n")).lame_duck_s == 1.5
    assert GatewaySettings().lame_duck_s == 0.0
