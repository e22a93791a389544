"""A gateway process of its own: `remuda gateway FILE`, after its files have been read.

Reading the files needs pydantic, which would stay in memory (20 MiB) for as long as the gateway serves. So the command
replaces itself by a fresh interpreter and hands it what the files said. The process id, the terminal and the signals
stay the same. The plan is handed over in a file without a name, because it may hold the keys of engines.
"""

import os
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NoReturn

import msgspec

from remuda.gateway import app
from remuda.gateway.access.tenant_store import TenantStore
from remuda.gateway.errors import GatewayError
from remuda.gateway.settings import GatewaySettings
from remuda.gateway.table import Table

OPTION = "--plan"


class GatewayPlan(msgspec.Struct, frozen=True):
    """What the files said, and the path of the file that holds this machine's tenants."""

    settings: GatewaySettings
    table: Table
    tenants: str

    async def watch(self) -> AsyncIterator[Table]:
        """The table of the files, with the keys of `remuda tenant`, which may change."""
        async for keys in TenantStore(Path(self.tenants)).watch():
            yield keys.add_to(self.table)


def become(plan: GatewayPlan) -> NoReturn:
    """Replace this process by the gateway."""
    fd = os.memfd_create("remuda-gateway", 0)
    with os.fdopen(fd, "wb", closefd=False) as file:
        file.write(msgspec.json.encode(plan))
    sys.stdout.flush()
    sys.stderr.flush()
    os.execv(sys.executable, [sys.executable, "-P", "-m", "remuda.gateway", OPTION, str(fd)])


def run_from_plan(fd: int) -> int:
    """Serve the plan that `become` wrote into `fd`; the exit status."""
    os.lseek(fd, 0, os.SEEK_SET)
    with os.fdopen(fd, "rb") as file:
        plan = msgspec.json.decode(file.read(), type=GatewayPlan)
    try:
        app.run(plan.settings, plan)
    except GatewayError as error:
        sys.stderr.write(f"error: {error}\n")
        return 1
    return 0
