"""A gateway in this process on a real port, in front of double engines."""

import contextlib
import dataclasses
import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest
import trustme
import uvloop
from tests.gateway.double_engine import DoubleEngine
from tests.gateway.wire import Wire

from remuda.gateway.app import Gateway
from remuda.gateway.options import Health, Listen, Logging, Timeouts
from remuda.gateway.record.log_writer import LogWriter
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Endpoint, ModelRoute, Table

QUIET = GatewaySettings(
    tick_s=0.02,
    hung_sample_s=3600.0,
    listen=Listen(port=0),
    health=Health(interval_s=3600.0),
    logging=Logging(access=False),
    timeouts=Timeouts(drain_s=5.0),
)
"""No probes and no log unless a test wants them; deadlines are looked at often."""


def pytest_asyncio_loop_factories(config, item):
    """The loop that production uses."""
    return {"uvloop": uvloop.new_event_loop}


class Site:
    """One gateway and its engines."""

    def __init__(self, gateway: Gateway, port: int, engines: list[DoubleEngine]) -> None:
        self.gateway = gateway
        self.port = port
        self.engines = engines
        self.wires: list[Wire] = []

    async def open(self, **options) -> Wire:
        wire = await Wire.open(self.port, **options)
        self.wires.append(wire)
        return wire

    async def ask(self, data: bytes):
        """One request on a connection of its own."""
        wire = await self.open()
        try:
            return await wire.ask(data)
        finally:
            await wire.close()

    @property
    def outcomes(self) -> dict[str, int]:
        """outcome → requests that ended so, over all models and routes."""
        counts: dict[str, int] = {}
        for (_, _, outcome), count in self.gateway.ledger.outcomes().items():
            counts[outcome.value] = counts.get(outcome.value, 0) + count
        return counts

    @property
    def engine(self) -> DoubleEngine:
        return self.engines[0]

    def assert_nothing_leased(self) -> None:
        assert self.gateway.admission.in_flight == 0
        for engine in self.gateway.directory.engines.values():
            load = engine.load
            assert (load.requests, load.waiting_tokens, load.work_tokens) == (0, 0, 0)


def route_to(engines: list[DoubleEngine], **fields) -> ModelRoute:
    endpoints = tuple(Endpoint(f"m-{index}", "127.0.0.1", engine.port) for index, engine in enumerate(engines))
    return ModelRoute(**({"name": "m", "served_name": "m", "endpoints": endpoints} | fields))


def adjust(settings: GatewaySettings, **changes: Any) -> GatewaySettings:
    """The settings with changes: `tick_s=0.1` for a field, `timeouts={"idle_s": 0.1}` for fields of a section."""
    values = {
        name: dataclasses.replace(getattr(settings, name), **change) if isinstance(change, dict) else change
        for name, change in changes.items()
    }
    return dataclasses.replace(settings, **values)


@contextlib.asynccontextmanager
async def open_site(
    engines: int = 1, table: Table | None = None, log_writer: LogWriter | None = None, **settings
) -> AsyncIterator[Site]:
    doubles = [await DoubleEngine().start() for _ in range(engines)]
    gateway = Gateway(adjust(QUIET, **settings), log_writer=log_writer)
    site = Site(gateway, 0, doubles)
    try:
        gateway.apply(table or Table(models=(route_to(doubles),)))
        site.port = await gateway.start()
        yield site
    finally:
        for wire in site.wires:
            wire.writer.transport.abort()
        gateway.hurry.set()
        await gateway.drain()
        for double in doubles:
            await double.stop()


@pytest.fixture
def sites():
    """`async with sites(engines=2, tick_s=…) as site`: see open_site."""
    return open_site


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    """One engine, one model `m`."""
    async with open_site() as opened:
        yield opened


@pytest.fixture(scope="session")
def certificate(tmp_path_factory):
    """A folder with cert.pem and key.pem for 127.0.0.1, and a client's context that trusts them."""
    folder = tmp_path_factory.mktemp("tls")
    authority = trustme.CA()
    issued = authority.issue_cert("127.0.0.1", "localhost")
    issued.private_key_pem.write_to_path(folder / "key.pem")
    for blob in issued.cert_chain_pems:
        blob.write_to_path(folder / "cert.pem", append=True)
    context = ssl.create_default_context()
    authority.configure_trust(context)
    return folder, context
