import heapq
import math
import random
from collections.abc import Callable
from functools import partial

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.policy import route
from remuda.policy.route import PICKS, PRESSURE_TOKENS, EndpointLoad

SPEED = st.sampled_from([0.0, 1e-5, 1e-4, 1e-4, 1e-2])
PROMPT = st.integers(1, 100_000)
TURN = st.integers(0, 10**9)


def load(*waiting: int, running: int = 0, s_per_token: float = 1e-4) -> EndpointLoad:
    """An engine with these prompts waiting, and `running` requests whose answers have begun."""
    made = EndpointLoad(s_per_token)
    for prompt_tokens in waiting:
        made.lease(prompt_tokens)
    for _ in range(running):
        made.lease(7)
        made.answered(7)
    return made


@st.composite
def loads(draw):
    return [
        load(*draw(st.lists(PROMPT, max_size=3)), running=draw(st.integers(0, 5)), s_per_token=draw(SPEED))
        for _ in range(draw(st.integers(1, 9)))
    ]


@pytest.mark.req("G2.prediction", level="unit")
def test_a_short_queue_on_a_slow_engine_loses_against_a_longer_one_on_a_fast_engine():
    slow, fast = load(100, s_per_token=1e-2), load(5_000, s_per_token=1e-4)
    assert route.pick_least_time([slow, fast], 100) == 1


@pytest.mark.req("G2.prediction", level="unit")
def test_a_waiting_prompt_weighs_by_its_tokens_not_as_one_request():
    one_long, three_short = load(30_000), load(20, 20, 20)
    assert route.pick_least_time([one_long, three_short], 100) == 1
    assert route.pick_least_request([one_long, three_short], 100) == 0


def test_running_requests_decide_when_nothing_waits():
    assert route.pick_least_time([load(running=3), load(running=2)], 50) == 1


def test_an_unmeasured_engine_is_compared_by_work_with_all_others():
    """The weaker signal for everybody: a fast engine's speed is no argument against one whose speed is unknown."""
    busy_but_fast, idle_unknown = load(10, s_per_token=1e-9), load(s_per_token=0.0)
    assert route.pick_least_time([busy_but_fast, idle_unknown], 1_000) == 1
    loaded_unknown = load(11, s_per_token=0.0)
    assert route.pick_least_time([busy_but_fast, loaded_unknown], 1_000) == 0


@pytest.mark.parametrize("pick", PICKS.values(), ids=PICKS.keys())
@pytest.mark.parametrize("s_per_token", [0.0, 1e-4], ids=["unmeasured", "measured"])
def test_idle_engines_share_evenly(pick, s_per_token):
    idle = [EndpointLoad(s_per_token) for _ in range(4)]
    chosen = [pick(idle, 100, turn) for turn in range(8)]
    assert chosen == [0, 1, 2, 3, 0, 1, 2, 3]


def test_the_picks_are_those_a_model_file_can_name():
    assert list(PICKS) == ["leastTime", "roundRobin", "leastRequest"]


@given(loads(), PROMPT, TURN)
def test_least_time_is_the_least_predicted_time_first_from_the_turn(candidates, prompt_tokens, turn):
    count = len(candidates)
    from_turn = sorted(range(count), key=lambda index: (index - turn) % count)
    times = [route.predict_time_to_first_token_s(candidate, prompt_tokens) for candidate in candidates]
    keys = times if all(times) else [candidate.work_tokens for candidate in candidates]
    assert route.pick_least_time(candidates, prompt_tokens, turn) == min(from_turn, key=keys.__getitem__)


@given(loads(), PROMPT, TURN)
def test_least_request_is_the_least_requests_first_from_the_turn(candidates, prompt_tokens, turn):
    count = len(candidates)
    from_turn = sorted(range(count), key=lambda index: (index - turn) % count)
    expected = min(from_turn, key=lambda index: candidates[index].requests)
    assert route.pick_least_request(candidates, prompt_tokens, turn) == expected


@given(loads(), PROMPT, TURN)
def test_picking_changes_nothing_and_repeats(candidates, prompt_tokens, turn):
    before = [(c.requests, c.waiting_tokens, c.work_tokens, c.s_per_token) for c in candidates]
    for pick in PICKS.values():
        assert pick(candidates, prompt_tokens, turn) == pick(candidates, prompt_tokens, turn)
    assert [(c.requests, c.waiting_tokens, c.work_tokens, c.s_per_token) for c in candidates] == before


@given(st.lists(st.tuples(PROMPT, st.integers(0, 2)), max_size=30))
def test_leases_in_any_state_add_up_and_return_to_nothing(leases):
    """Each lease is waiting (0), answered (1) or over (2)."""
    engine = EndpointLoad(1e-4)
    for prompt_tokens, _ in leases:
        engine.lease(prompt_tokens)
    for prompt_tokens, state in leases:
        if state:
            engine.answered(prompt_tokens)
        if state == 2:
            engine.release()
    assert engine.requests == sum(state < 2 for _, state in leases)
    assert engine.waiting_tokens == sum(prompt for prompt, state in leases if not state)
    assert engine.work_tokens == engine.waiting_tokens + PRESSURE_TOKENS * engine.requests
    for prompt_tokens, state in leases:
        if not state:
            engine.answered(prompt_tokens)
        if state < 2:
            engine.release()
    assert (engine.requests, engine.waiting_tokens, engine.work_tokens) == (0, 0, 0)


def test_a_lease_states_the_work_it_has_ahead_itself_included():
    engine = EndpointLoad()
    assert engine.lease(100) == 100
    assert engine.lease(50) == 100 + PRESSURE_TOKENS + 50


def test_the_first_measurement_is_believed_and_later_ones_are_averaged():
    engine = EndpointLoad()
    assert engine.tokens_per_s == 0.0
    engine.measure(1_000, 0.5)
    assert engine.tokens_per_s == pytest.approx(2_000)
    engine.measure(1_000, 1.0)
    keep = math.exp(-1.0 / route.SPEED_MEMORY_S)
    assert engine.tokens_per_s == pytest.approx(keep * 2_000 + (1 - keep) * 1_000)


def test_many_tiny_prompts_do_not_hide_what_one_long_prompt_showed():
    after_long = route.update_s_per_token(0.0, 20_000, 2.0)  # 10,000 tokens/s
    speed = after_long
    for _ in range(10):
        speed = route.update_s_per_token(speed, 10, 0.005)  # 2,000 tokens/s, mostly fixed cost
    assert 1 / speed > 9_500


@given(st.floats(1e-7, 1.0), st.integers(1, 10**6), st.floats(1e-6, 1e4))
def test_a_new_speed_lies_between_the_old_and_the_measured(old, tokens, elapsed_s):
    measured = elapsed_s / tokens
    new = route.update_s_per_token(old, tokens, elapsed_s)
    assert min(old, measured) * (1 - 1e-9) <= new <= max(old, measured) * (1 + 1e-9)


@pytest.mark.parametrize(("tokens", "elapsed_s"), [(0, 1.0), (-3, 1.0), (10, 0.0), (10, -1.0)])
def test_a_measurement_that_means_nothing_is_ignored(tokens, elapsed_s):
    assert route.update_s_per_token(1e-4, tokens, elapsed_s) == 1e-4


def test_an_unmeasured_engine_drifts_towards_the_others():
    """A first request that compiled something must not keep an engine unused for ever."""
    speed = 1.0
    for _ in range(20):
        speed = route.relax_s_per_token(speed, 1e-4, route.SPEED_FORGET_S)
    assert speed == pytest.approx(1e-4, rel=0.01)


@given(st.floats(0.0, 1.0), st.floats(0.0, 1.0), st.floats(0.0, 1e6))
def test_a_relaxed_speed_lies_between_its_own_and_the_others(own, others, unmeasured_s):
    relaxed = route.relax_s_per_token(own, others, unmeasured_s)
    assert min(own, others) - 1e-12 <= relaxed <= max(own, others) + 1e-12


@pytest.mark.parametrize(
    ("own", "others", "idle_s"), [(0.0, 1e-4, 60.0), (1e-4, 0.0, 60.0), (1e-4, 1e-2, 0.0)],
    ids=["own speed unknown", "others unknown", "just measured"],
)  # fmt: skip
def test_nothing_relaxes_without_two_speeds_and_time(own, others, idle_s):
    assert route.relax_s_per_token(own, others, idle_s) == own


@given(st.integers(0, 10**8))
def test_a_prompt_estimate_is_positive_bounded_and_grows_with_the_body(body_bytes):
    estimate = route.estimate_prompt_tokens(body_bytes)
    assert 1 <= estimate <= route.estimate_prompt_tokens(body_bytes + 4) <= route.LONGEST_PROMPT_TOKENS


def test_engines_of_different_speed_share_work_by_speed():
    """Closed loop on paper: each request goes where it is predicted to begin first, and is answered in order."""
    engines = [EndpointLoad(1e-4), EndpointLoad(4e-4)]
    for turn in range(1_000):
        engines[route.pick_least_time(engines, 1_000, turn)].lease(1_000)
    assert engines[0].requests / engines[1].requests == pytest.approx(4.0, rel=0.02)


def serve_on_paper(pick: route.Pick, tokens_per_s: list[int], seed: int = 1) -> float:
    """Mean seconds to first token of 3,000 requests, nine short prompts to a long one, at 80 % of what the engines can.

    Each engine works off its prompts in order at its own speed, which the policy has to find out.
    """
    rng = random.Random(seed)
    engines = [EndpointLoad() for _ in tokens_per_s]
    free_s = [0.0] * len(engines)
    events: list[tuple[float, int, Callable[[], None]]] = []
    now_at = total_s = 0.0
    for turn in range(3_000):
        now_at += rng.expovariate(0.8 * sum(tokens_per_s) / (0.9 * 200 + 0.1 * 6_000))
        while events and events[0][0] <= now_at:
            heapq.heappop(events)[2]()
        prompt_tokens = 200 if rng.random() < 0.9 else 6_000
        chosen = pick(engines, prompt_tokens, turn)
        engine, ahead = engines[chosen], engines[chosen].lease(prompt_tokens)
        first_s = max(free_s[chosen], now_at) + prompt_tokens / tokens_per_s[chosen]
        free_s[chosen] = first_s
        heapq.heappush(events, (first_s, 3 * turn, partial(engine.answered, prompt_tokens)))
        heapq.heappush(events, (first_s, 3 * turn + 1, partial(engine.measure, ahead, first_s - now_at)))
        heapq.heappush(events, (first_s + 1.0, 3 * turn + 2, engine.release))
        total_s += first_s - now_at
    return total_s / 3_000


@pytest.mark.parametrize(
    "tokens_per_s", [[5_000] * 4, [5_000, 5_000, 2_000, 1_000]], ids=["equal engines", "unequal engines"]
)
def test_on_a_mixed_load_first_tokens_come_much_sooner_than_by_the_other_rules(tokens_per_s):
    by_time, by_turn, by_requests = (serve_on_paper(pick, tokens_per_s) for pick in PICKS.values())
    assert by_time < 0.6 * by_requests
    assert by_time < 0.4 * by_turn


def test_candidate_with_the_prompt_in_its_cache_wins_against_one_with_less_work():
    assert route.pick_least_time([load(1_000), load(3_000)], 5_000, 0, [5_000, 200]) == 1


def test_cache_does_not_outweigh_a_long_queue():
    assert route.pick_least_time([load(1_000), load(9_000)], 5_000, 0, [5_000, 200]) == 0


@given(loads(), PROMPT, TURN)
def test_without_cached_prefixes_the_choice_is_the_same(engines, prompt_tokens, turn):
    uncached = [prompt_tokens] * len(engines)
    chosen = route.pick_least_time(engines, prompt_tokens, turn, uncached)
    plain = route.pick_least_time(engines, prompt_tokens, turn)
    known = all(engine.s_per_token for engine in engines)
    cost = [(engine.work_tokens + prompt_tokens) * (engine.s_per_token if known else 1.0) for engine in engines]
    assert cost[chosen] == cost[plain] == min(cost)


def test_engines_that_were_not_measured_for_long_drift_towards_the_middle_speed():
    engines = [load(s_per_token=1e-4), load(s_per_token=1e-4), load(s_per_token=1e-2)]
    assert route.relax_speeds(engines, [1.0, 1.0, 30.0]) == [2]
    assert engines[2].s_per_token == pytest.approx(1e-4 + (1e-2 - 1e-4) / math.e)
    assert [engine.s_per_token for engine in engines[:2]] == [1e-4, 1e-4]


def test_an_engine_alone_keeps_its_speed():
    engines = [load(s_per_token=1e-2)]
    assert route.relax_speeds(engines, [1_000.0]) == []
    assert engines[0].s_per_token == 1e-2
