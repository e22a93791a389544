"""A supervisor in a process of its own, to be killed: `python supervise_one.py MODEL HOME ENGINES` (folders).

Prints one line per state: the state, the process and its descendants.
"""

import asyncio
import dataclasses
import sys
from pathlib import Path

from tests.engine.running import make_document

from remuda.engine.install.installer import find_installation
from remuda.engine.plan import Place, plan_engine
from remuda.engine.status import EngineStatus
from remuda.engine.supervisor import EngineSupervisor
from remuda.machine.home import Home
from remuda.machine.ports import pick_free_port
from remuda.machine.processes import find_descendants


def tell(status: EngineStatus) -> None:
    pids = [status.pid, *find_descendants(status.pid)] if status.pid else []
    print(status.state.value, *pids, flush=True)


folder, root, engines = map(Path, sys.argv[1:4])
home = dataclasses.replace(Home.from_environment({"REMUDA_HOME": str(root)}), engines=engines)
installation = find_installation(home, variant="cpu")
model = make_document("orphan", folder, maxModelLen=256)
asyncio.run(EngineSupervisor(plan_engine(model, Place(port=pick_free_port()), installation, home), tell).run())
