"""One timer looks at the deadlines of all connections."""

import asyncio
from time import monotonic

from remuda.gateway.deadlines import NEVER, Sweeper

DEADLINE_S = 10.0


class Watched:
    def __init__(self, deadline_at: float, looks: list[tuple[str, float]], name: str) -> None:
        self.deadline_at = deadline_at
        self._looks = looks
        self._name = name

    def on_deadline(self, now_at: float) -> None:
        self._looks.append((self._name, now_at))
        self.deadline_at = NEVER


async def sweep(groups, also=()) -> list[float]:
    """Sweep once; the times that `also` was told."""
    swept = asyncio.Event()
    times: list[float] = []

    def note(now_at: float) -> None:
        times.append(now_at)
        swept.set()

    sweeper = Sweeper(0.001, lambda: groups, (*also, note))
    sweeper.start()
    async with asyncio.timeout(DEADLINE_S):
        await swept.wait()
    sweeper.stop()
    return times


async def test_those_that_are_overdue_are_called_and_no_others():
    looks: list[tuple[str, float]] = []
    now_at = monotonic()
    due, past = Watched(now_at, looks, "due"), Watched(now_at - 100, looks, "past")
    later, never = Watched(now_at + 1000, looks, "later"), Watched(NEVER, looks, "never")
    times = await sweep([{past, later}, [due, never]])
    assert looks == [("past", times[0]), ("due", times[0])]
    assert times[0] >= now_at


async def test_group_may_change_while_it_is_looked_at():
    looks: list[tuple[str, float]] = []
    group: set[Watched] = set()

    class Leaves(Watched):
        def on_deadline(self, now_at: float) -> None:
            super().on_deadline(now_at)
            group.clear()

    group |= {Leaves(0.0, looks, "a"), Leaves(0.0, looks, "b")}
    await sweep([group])
    assert sorted(name for name, _ in looks) == ["a", "b"]


async def test_everything_else_is_told_the_time_after_the_deadlines():
    order: list[str] = []
    watched = Watched(0.0, [], "")
    watched.on_deadline = lambda _: order.append("deadline")
    await sweep([[watched]], [lambda _: order.append("first"), lambda _: order.append("second")])
    assert order[:3] == ["deadline", "first", "second"]


async def test_timer_goes_on_until_it_is_stopped():
    ticks: list[float] = []
    three = asyncio.Event()
    sweeper = Sweeper(0.001, list, [lambda now_at: ticks.append(now_at) or (len(ticks) == 3 and three.set())])
    sweeper.start()
    async with asyncio.timeout(DEADLINE_S):
        await three.wait()
    sweeper.stop()
    sweeper.stop()
    count = len(ticks)
    await asyncio.sleep(0.02)
    assert len(ticks) == count
    assert ticks == sorted(ticks)


async def test_fault_of_one_deadline_does_not_end_the_timer():
    """The next tick is planned before anybody is called."""
    handled: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: handled.append(context["exception"]))
    bad = Watched(0.0, [], "")
    error = RuntimeError("a fault")

    def fail(_: float) -> None:
        bad.deadline_at = NEVER
        raise error

    bad.on_deadline = fail
    await sweep([[bad]])
    assert handled == [error]
