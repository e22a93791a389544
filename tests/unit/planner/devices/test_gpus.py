"""Which GPUs an engine gets."""

import itertools
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from remuda import spec
from remuda.planner.devices import DeviceError, Gpu, Machine, plan_devices
from remuda.planner.devices.gpus import MOST_COMBINATIONS

NVLINK, SWITCH, BRIDGE, SOCKETS = 118, 5, 3, 1


def model(name: str, replicas: int = 1, tensor: int = 1, **hardware: object) -> spec.Model:
    return spec.Model.model_validate(
        {
            "metadata": {"name": name},
            "spec": {
                "source": "demo://remuda-demo",
                "replicas": replicas,
                "hardware": hardware,
                "engine": {"parallel": {"tensor": tensor}},
            },
        }
    )


def gpus(count: int, name: str = "NVIDIA H100 80GB HBM3", first: int = 0) -> tuple[Gpu, ...]:
    return tuple(Gpu(index, name, str(index)) for index in range(first, first + count))


def links(count: int, rate) -> dict[tuple[int, int], int]:
    return {(one, other): rate(one, other) for one, other in itertools.combinations(range(count), 2)}


def assign(machine: Machine, *models: spec.Model) -> dict[str, str]:
    """The GPUs of each engine."""
    plan = plan_devices(models, machine)
    return {f"{name}-{replica}": ",".join(devices.gpus) for (name, replica), devices in plan.engines.items()}


PAIRS = {
    "every link the same (NVSwitch)": (links(8, lambda *_: NVLINK), ["0,1,2,3", "4,5,6,7"]),
    "no link known": ({}, ["0,1,2,3", "4,5,6,7"]),
    "two sockets": (links(8, lambda a, b: SWITCH if a // 4 == b // 4 else SOCKETS), ["0,1,2,3", "4,5,6,7"]),
    "odd and even sockets": (links(8, lambda a, b: SWITCH if a % 2 == b % 2 else SOCKETS), ["0,2,4,6", "1,3,5,7"]),
}


@pytest.mark.parametrize(("links", "expected"), PAIRS.values(), ids=PAIRS)
def test_two_engines_of_four_gpus_share_no_gpu_and_have_the_fastest_links(links, expected):
    machine = Machine(gpus(8), links)
    assert list(assign(machine, model("llama-70b", replicas=2, tensor=4)).values()) == expected


def test_pairs_follow_the_nvlink_bridges():
    machine = Machine(gpus(8), links(8, lambda a, b: NVLINK if b == a + 4 else BRIDGE))
    assert assign(machine, model("m", replicas=4, tensor=2)) == {"m-0": "0,4", "m-1": "1,5", "m-2": "2,6", "m-3": "3,7"}


def test_a_single_gpu_is_taken_where_it_breaks_no_pair():
    machine = Machine(gpus(5), links(5, lambda a, b: NVLINK if {a, b} in ({0, 1}, {2, 3}) else BRIDGE))
    assert assign(machine, model("one"), model("two", tensor=2)) == {"one-0": "4", "two-0": "0,1"}
    machine = Machine(gpus(4), links(4, lambda a, b: NVLINK if {a, b} in ({0, 1}, {2, 3}) else BRIDGE))
    assert assign(machine, model("one"), model("other"), model("two", tensor=2)) == {
        "one-0": "2",
        "other-0": "3",
        "two-0": "0,1",
    }


def test_large_engines_choose_first_wherever_they_stand_in_the_files():
    machine = Machine(gpus(8), {})
    assert assign(machine, model("small"), model("large", tensor=4), model("pair", tensor=2)) == {
        "small-0": "6",
        "large-0": "0,1,2,3",
        "pair-0": "4,5",
    }


def test_every_model_gets_the_gpus_that_its_file_names():
    machine = Machine((*gpus(2, "NVIDIA L4"), *gpus(2, first=2)), {})
    assert assign(machine, model("any"), model("h100", tensor=2, gpu="H100")) == {"any-0": "0", "h100-0": "2,3"}
    machine = Machine((*gpus(1, "NVIDIA L4"), *gpus(1, first=1)), {})
    assert assign(machine, model("any"), model("l4", gpu="L4")) == {"any-0": "1", "l4-0": "0"}


def test_an_engine_of_several_gpus_gets_gpus_of_one_kind():
    machine = Machine((*gpus(1, "NVIDIA L4"), *gpus(2, first=1)), {})
    assert assign(machine, model("m", tensor=2)) == {"m-0": "1,2"}


def test_kinds_are_chosen_so_that_all_engines_fit():
    """The first engine alone could take any kind; only one choice leaves room for the second."""
    machine = Machine((*gpus(2, "NVIDIA A100-SXM4-80GB"), *gpus(2, "NVIDIA L4", first=2)), {})
    assert assign(machine, model("any", tensor=2), model("a100", tensor=2, gpu="A100-80GB")) == {
        "any-0": "2,3",
        "a100-0": "0,1",
    }


def test_a_gpu_that_the_machine_does_not_have_is_replaced_and_the_user_is_told():
    plan = plan_devices([model("m", gpu="H100")], Machine(gpus(2, "NVIDIA L4"), {}))
    assert plan.notes == ("no GPU of this machine is a H100: its engines use NVIDIA L4", "GPUs: m-0 has GPU 0")


def test_a_driver_that_names_no_products_is_taken_at_the_files_word():
    plan = plan_devices([model("m", gpu="H100")], Machine((Gpu(0, "", "0"),), {}))
    assert plan.of("m", 0).gpus == ("0",)
    assert plan.notes == ()


def test_the_user_is_told_who_has_which_gpus():
    plan = plan_devices([model("llama-70b", replicas=2, tensor=4), model("m", gpu="none")], Machine(gpus(8), {}))
    assert plan.notes == ("GPUs: llama-70b-0 has GPUs 0-3, llama-70b-1 has GPUs 4-7",)
    assert plan.of("m", 0).gpus == ()


INSTANCES = tuple(Gpu(0, "NVIDIA A100-SXM4-40GB", f"MIG-{n}", f"MIG-{n}", "3g.20gb") for n in range(2))
MIXED = Machine((*INSTANCES, *gpus(2, "NVIDIA A100-SXM4-40GB", first=1)), {})


def test_instances_of_a_gpu_serve_engines_of_one_gpu_only():
    assert assign(MIXED, model("small", replicas=2), model("large", tensor=2)) == {
        "small-0": "MIG-0",
        "small-1": "MIG-1",
        "large-0": "1,2",
    }


SHORTAGES = {
    "replicas": (
        Machine(gpus(8), {}),
        [model("llama-70b", replicas=3, tensor=4)],
        "llama-70b-2 needs 4 GPUs, and 0 are free: llama-70b-0 holds GPUs 0-3, llama-70b-1 holds GPUs 4-7",
    ),
    "two models": (
        Machine(gpus(4), {}),
        [model("a", tensor=2), model("b"), model("c", tensor=2)],
        "c-0 needs 2 GPUs, and 1 is free: a-0 holds GPUs 0-1, b-0 holds GPU 2",
    ),
    "the first": (Machine(gpus(2), {}), [model("a", tensor=4)], "a-0 needs 4 GPUs, and 2 are free"),
    "of the product": (
        Machine((*gpus(1), *gpus(3, "NVIDIA L4", first=1)), {}),
        [model("a", replicas=2, gpu="H100")],
        "a-1 needs 1 GPU, and 0 are free: a-0 holds GPU 0",
    ),
    "of one kind": (
        Machine((*gpus(2), *gpus(2, "NVIDIA L4", first=2)), {}),
        [model("a", tensor=4)],
        "a-0 needs 4 GPUs, and 2 are free of one kind",
    ),
    "count beyond ranks": (
        Machine(gpus(2), {}),
        [model("a", tensor=2, gpuCount=4)],
        "a-0 needs 4 GPUs, and 2 are free",
    ),
    "instances only": (
        Machine(INSTANCES, {}),
        [model("a", tensor=2)],
        "a-0 needs 2 GPUs, and the GPUs of this machine are partitioned (MIG): an engine can use one instance of them",
    ),
}


@pytest.mark.parametrize(("machine", "models", "message"), SHORTAGES.values(), ids=SHORTAGES)
def test_too_few_gpus_are_refused_and_their_holders_are_named(machine, models, message):
    with pytest.raises(DeviceError) as caught:
        plan_devices(models, machine)
    assert caught.value.message == message
    assert "parallel.tensor" in caught.value.hint


def test_thousands_of_replicas_are_refused_like_one_too_many():
    with pytest.raises(DeviceError, match=r"^m-8 needs 1 GPU, and 0 are free: m-0 holds GPU 0, "):
        plan_devices([model("m", replicas=10_000)], Machine(gpus(8), {}))


@st.composite
def fleets(draw: st.DrawFn) -> tuple[Machine, list[spec.Model]]:
    count = draw(st.integers(1, 9))
    names = draw(st.lists(st.sampled_from(["NVIDIA L4", "NVIDIA H100 80GB HBM3"]), min_size=count, max_size=count))
    rates = draw(st.lists(st.sampled_from([0, SOCKETS, BRIDGE, NVLINK]), min_size=36, max_size=36))
    pairs = dict(zip(itertools.combinations(range(count), 2), rates, strict=False))
    machine = Machine(tuple(Gpu(index, name, str(index)) for index, name in enumerate(names)), pairs)
    sizes = draw(st.lists(st.tuples(st.integers(1, 3), st.sampled_from([1, 2, 3, 4])), min_size=1, max_size=4))
    wanted = [draw(st.sampled_from(["auto", "L4", "H100", "none"])) for _ in sizes]
    return machine, [
        model(f"m{number}", replicas, tensor, gpu=gpu)
        for number, ((replicas, tensor), gpu) in enumerate(zip(sizes, wanted, strict=True))
    ]


@given(fleets())
@settings(max_examples=300, deadline=None)
def test_no_gpu_is_given_twice_and_every_engine_gets_what_it_needs(fleet):
    machine, models = fleet
    try:
        plan = plan_devices(models, machine)
    except DeviceError:
        return
    given_out = [selector for devices in plan.engines.values() for selector in devices.gpus]
    assert len(given_out) == len(set(given_out))
    for one in models:
        for replica in range(one.spec.start_replicas):
            mine = plan.of(one.name, replica).gpus
            assert len(mine) == (0 if one.spec.hardware.gpu == "none" else one.spec.engine.parallel.tensor)
            assert len({machine.gpus[int(selector)].name for selector in mine}) <= 1
    assert plan_devices(models, machine) == plan, "the plan is deterministic"


@given(st.lists(st.integers(1, 8), min_size=1, max_size=4))
@settings(deadline=None)
def test_gpus_with_equal_links_are_given_out_in_neighbouring_runs(sizes):
    models = [model(f"m{number}", tensor=size) for number, size in enumerate(sizes)]
    plan = plan_devices(models, Machine(gpus(sum(sizes)), links(sum(sizes), lambda *_: NVLINK)))
    for devices in plan.engines.values():
        indices = [int(selector) for selector in devices.gpus]
        assert indices == list(range(indices[0], indices[0] + len(indices)))


def test_dozens_of_gpus_are_assigned_without_comparing_every_set():
    count = 64
    machine = Machine(gpus(count), links(count, lambda a, b: NVLINK if a % 8 == b % 8 else SOCKETS))
    plan = plan_devices([model("m", replicas=8, tensor=8)], machine)
    assert math.comb(count, 8) > 1000 * MOST_COMBINATIONS
    assert [devices.gpus for devices in plan.engines.values()] == [
        tuple(str(index) for index in range(start, count, 8)) for start in range(8)
    ]
