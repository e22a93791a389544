"""Two engines of one model share the load, and killing one fails no request that has no answer yet."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.product.driving import GONE_S, READY_S, Machine, family_of, kill, until

from remuda.machine.processes import is_alive

MODEL = "remuda-demo"
AT_ONCE = 24


async def ask_many(url: str, count: int, max_tokens: int) -> list[httpx.Response]:
    """Send `count` requests at once and wait for all answers."""
    limits = httpx.Limits(max_connections=count)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits, trust_env=False) as client:
        body: dict[str, Any] = {"model": MODEL, "max_tokens": max_tokens, "ignore_eos": True, "temperature": 0}
        prompts = [f"Story number {number}: once upon a time" for number in range(count)]
        return await asyncio.gather(
            *(client.post("/v1/completions", json={**body, "prompt": prompt}) for prompt in prompts)
        )


def finished_by_engine(machine: Machine) -> dict[str, int]:
    """How many requests each engine has finished, by its own metrics."""
    counts = {}
    for engine in machine.status()["engines"]:
        text = httpx.get(f"http://{engine['address']}/metrics", trust_env=False).text
        lines = [line for line in text.splitlines() if line.startswith("vllm:request_success_total")]
        counts[engine["id"]] = sum(int(float(line.split()[-1])) for line in lines)
    return counts


@pytest.mark.req("G2.shared-load", level="run", on="vLLM")
def test_two_engines_share_the_load(busy_machine: Machine, url: str) -> None:
    before = finished_by_engine(busy_machine)
    answers = asyncio.run(ask_many(url, AT_ONCE, 64))
    assert Counter(answer.status_code for answer in answers) == {200: AT_ONCE}
    after = finished_by_engine(busy_machine)
    shares = {name: after[name] - before[name] for name in after}
    assert sum(shares.values()) >= AT_ONCE, "an idle engine also gets a one-token probe now and then"
    assert min(shares.values()) >= AT_ONCE // 4, shares


@pytest.mark.req("G5.kill", level="run", on="vLLM")
@pytest.mark.parametrize("victim", ["leader", "core"])
def test_killed_engine_costs_no_request_and_comes_back(busy_machine: Machine, url: str, victim: str) -> None:
    engine = busy_machine.status()["engines"][-1]
    family = family_of(engine["pid"])
    target = engine["pid"] if victim == "leader" else find_core(engine["pid"])

    async def ask_while_it_dies() -> list[httpx.Response]:
        asking = asyncio.create_task(ask_many(url, AT_ONCE, 400))
        await asyncio.to_thread(until, lambda: load_of(busy_machine, engine["id"]), GONE_S, "it has requests aboard")
        kill(target)
        return await asking

    answers = asyncio.run(ask_while_it_dies())
    assert Counter(answer.status_code for answer in answers) == {200: AT_ONCE}
    until(lambda: not [one for one in family if is_alive(one)], GONE_S, "nothing of the dead engine is left")
    back = until(lambda: find_ready(busy_machine, engine["id"], engine["restarts"] + 1), READY_S, "it is back")
    assert back["pid"] != engine["pid"]


def load_of(machine: Machine, name: str) -> int:
    return next(engine["running"] or 0 for engine in machine.status()["engines"] if engine["id"] == name)


def find_ready(machine: Machine, name: str, restarts: int) -> dict[str, Any] | None:
    for engine in machine.status()["engines"]:
        if engine["id"] == name and engine["state"] == "ready" and engine["restarts"] == restarts:
            found: dict[str, Any] = engine
            return found
    return None


def find_core(leader: int) -> int:
    """The process that computes: of the children of vLLM's server, the one with the most memory."""

    def memory(pid: int) -> int:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1])

    return max((one.pid for one in family_of(leader) if one.pid != leader), key=memory)
