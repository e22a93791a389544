"""What the tests of this folder start and watch: model files for a folder, random models, supervised engines."""

import asyncio
import json
import os
import subprocess
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path

import httpx

from remuda import spec
from remuda.engine.install.installation import Installation
from remuda.engine.status import EngineState, EngineStatus
from remuda.engine.supervisor import EngineSupervisor

START_S = 300.0
"""Longest wait for a start here: 20 s on an idle machine, several times that on a busy one."""
METRIC_S = 30.0
"""Longest wait for a counter: the engine counts a moment after it has answered."""
MAKE_MODEL = Path(__file__).parent / "make_model.py"


def make_model(installation: Installation, folder: Path, hidden: int, layers: int, max_len: int) -> Path:
    """Write a random decoder of this shape into the folder."""
    shape = {"hidden": hidden, "layers": layers, "max_len": max_len}
    make_models(installation, [{"kind": "decoder", "folder": str(folder), **shape}])
    return folder


def make_models(installation: Installation, wanted: list[dict[str, object]]) -> None:
    """Write random models; `make_model.py` says which kinds there are."""
    command = [installation.python, MAKE_MODEL, json.dumps(wanted)]
    subprocess.run(command, check=True, capture_output=True, env={**os.environ, "TRANSFORMERS_OFFLINE": "1"})


def make_document(
    name: str, source: Path, fields: Mapping[str, object] | None = None, /, **engine: object
) -> spec.Model:
    """A model file for a folder, with small memory unless told. `fields` are further ones of `spec`."""
    settings = {"dtype": "float32", "blockSize": 32, **engine}
    if "kvCacheBlocks" not in engine:
        settings.setdefault("kvCacheMemory", "64Mi")
    document = {
        "apiVersion": spec.API_VERSION,
        "kind": "Model",
        "metadata": {"name": name},
        "spec": {"source": f"file://{source}", "engine": settings, "hardware": {"gpu": "none"}, **(fields or {})},
    }
    return spec.Model.model_validate(document)


async def poll(condition: Callable[[], object], seconds: float) -> None:
    """Wait until a condition of the outside world holds; TimeoutError when it does not in time."""
    async with asyncio.timeout(seconds):
        while True:
            found = condition()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.02)


class Running:
    """A supervised engine, its history, and a client."""

    def __init__(self, engine: EngineSupervisor, history: list[EngineStatus], name: str) -> None:
        self.engine = engine
        self.history = history
        self.name = name
        self.task = asyncio.create_task(engine.run())

    @property
    def status(self) -> EngineStatus:
        return self.engine.status

    @property
    def url(self) -> str:
        return f"http://{self.status.host}:{self.status.port}"

    async def until(self, condition: Callable[[EngineStatus], bool], seconds: float = START_S) -> EngineStatus:
        """Wait until a status fulfils the condition; the history explains a failure."""
        async with asyncio.timeout(seconds):
            while not condition(self.status):
                assert not self.task.done(), f"the engine ended: {[(s.state.value, s.reason) for s in self.history]}"
                await asyncio.sleep(0.05)
        return self.status

    async def until_ready(self) -> EngineStatus:
        status = await self.until(lambda status: status.state in (EngineState.READY, EngineState.FAILED))
        assert status.state is EngineState.READY, status.reason
        return status

    async def complete(self, prompt: str, **fields: object) -> dict:
        body = {"model": self.name, "prompt": prompt, "temperature": 0, "max_tokens": 16, **fields}
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            answer = await client.post(f"{self.url}/v1/completions", json=body)
        assert answer.status_code == 200, answer.text
        return answer.json()

    async def text(self, prompt: str, **fields: object) -> str:
        return (await self.complete(prompt, **fields))["choices"][0]["text"]

    async def chat(self, question: str, **fields: object) -> str:
        """The greedy answer to one question."""
        body = {"model": self.name, "messages": [{"role": "user", "content": question}], "temperature": 0, **fields}
        async with httpx.AsyncClient(trust_env=False, timeout=120) as client:
            answer = await client.post(f"{self.url}/v1/chat/completions", json={"max_tokens": 32, **body})
        assert answer.status_code == 200, answer.text
        return answer.json()["choices"][0]["message"]["content"]

    async def until_metric(self, name: str, least: float) -> None:
        """Wait until a counter has reached a value."""

        async def reached() -> bool:
            return await self.metric(name) >= least

        await poll(reached, METRIC_S)

    async def metric(self, name: str) -> float:
        async with httpx.AsyncClient(trust_env=False) as client:
            lines = (await client.get(f"{self.url}/metrics")).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith((f"{name}{{", f"{name} ")))
