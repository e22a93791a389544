"""Every option of a `ModelGateway` document reaches the process, and its default is written once."""

import subprocess
import sys
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import msgspec

from remuda import spec
from remuda.gateway.options import Options, Tls
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


def test_every_field_of_a_document_is_read():
    gateway = load(HEAD + TLS)
    read: set[tuple[str, ...]] = set()
    settings_from_spec(Watched(gateway, read))
    assert read == set(list_fields(gateway.spec, ("spec",)))


def test_an_empty_document_gives_the_same_settings_as_none():
    assert settings_from_spec(load(HEAD + b"spec: {}\n")) == settings_from_spec(None) == GatewaySettings()


def test_lame_duck_time_is_0_unless_a_file_asks_for_it():
    assert settings_from_spec(load(HEAD + b"spec: {timeouts: {lameDuck: 1500ms}}\n")).timeouts.lame_duck_s == 1.5
    assert GatewaySettings().timeouts.lame_duck_s == 0.0


def test_settings_survive_the_control_socket():
    text = HEAD + b"spec: {listen: {port: 1, tls: {certFile: /c, keyFile: /k}}, timeouts: {idle: 90s}}"
    settings = settings_from_spec(load(text))
    assert msgspec.json.decode(msgspec.json.encode(settings), type=GatewaySettings) == settings


def test_amounts_become_plain_numbers_with_their_unit_in_the_name():
    settings = settings_from_spec(load(HEAD + b"spec: {limits: {bodySize: 2Ki}, timeouts: {drain: 1m}}\n"))
    assert (settings.limits.body_bytes, type(settings.limits.body_bytes)) == (2048, int)
    assert (settings.timeouts.drain_s, type(settings.timeouts.drain_s)) == (60.0, float)


def test_the_settings_repeat_no_option_of_a_document():
    """The options are generated from the document's classes (`make check` compares them). What the process adds to them
    must not be an option under another name, or one default would be written twice."""
    options = {field.name for field in fields(Options)}
    own = {field.name for field in fields(GatewaySettings)} - options
    assert options == set(spec.ModelGateway.model_fields["spec"].annotation.model_fields)
    declared = {field.name for section in options for field in fields(getattr(GatewaySettings(), section))}
    assert not own & (options | declared)


def test_a_port_can_be_replaced():
    settings = settings_from_spec(load(HEAD + TLS)).with_port(1)
    assert (settings.listen.port, settings.listen.tls) == (1, Tls("/cert.pem", "/key.pem"))


def test_the_options_load_no_pydantic():
    code = "import remuda.gateway.options, sys; print('pydantic' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "False\n"
