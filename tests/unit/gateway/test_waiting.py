"""Long work takes turns on the event loop."""

import asyncio

from remuda.gateway.waiting import Run, Turns


class Worker(Run):
    """Work of several slices. What is done when is written into `log`."""

    def __init__(self, name: str, turns: Turns, log: list[str]) -> None:
        self.coroutine = self._work(name, turns, log)

    async def _work(self, name: str, turns: Turns, log: list[str]) -> None:
        for index in range(3):
            log.append(f"{name}{index}")
            await turns.next()
        log.append(f"{name} ends")


async def test_there_is_one_slice_in_a_turn_of_the_loop_whoever_it_is_for():
    log: list[str] = []
    turns = Turns()
    for name in "abc":
        Worker(name, turns, log).advance()
    assert log == ["a0", "b0", "c0"]
    while "c ends" not in log:
        before = len(log)
        await asyncio.sleep(0)
        assert len(log) - before <= 1
    assert log[3:] == ["a1", "b1", "c1", "a2", "b2", "c2", "a ends", "b ends", "c ends"]


async def test_who_has_left_holds_nobody_up():
    log: list[str] = []
    turns = Turns()
    first, second = Worker("a", turns, log), Worker("b", turns, log)
    first.advance()
    second.advance()
    first.throw(ConnectionError())
    for _ in range(10):
        await asyncio.sleep(0)
    assert log == ["a0", "b0", "b1", "b2", "b ends"]


async def test_the_queue_starts_again_after_it_was_empty():
    log: list[str] = []
    turns = Turns()
    for name in "ab":
        Worker(name, turns, log).advance()
        for _ in range(5):
            await asyncio.sleep(0)
    assert log == ["a0", "a1", "a2", "a ends", "b0", "b1", "b2", "b ends"]
