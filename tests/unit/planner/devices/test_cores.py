"""Which CPU cores an engine gets."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda import spec
from remuda.planner.devices import Core, Gpu, Machine, plan_devices


def machine(cores: int, limit: float | None = None, **devices: object) -> Machine:
    return Machine(cores=tuple(Core(number, number) for number in range(cores)), core_limit=limit, **devices)


def model(name: str = "m", replicas: int = 1, tensor: int = 1, **hardware: object) -> spec.Model:
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


CASES = {
    "one engine on two cores": (machine(2), [model()], [((), 1)], ()),
    "one engine on eight cores": (machine(8), [model()], [((), 7)], ()),
    "two engines on two cores": (machine(2), [model(replicas=2)], [((0,), 1), ((1,), 1)], ()),
    "two models on two cores": (machine(2), [model("a"), model("b")], [((0,), 1), ((1,), 1)], ()),
    "two engines on eight cores": (machine(8), [model(replicas=2)], [((2, 3, 4), 3), ((5, 6, 7), 3)], ()),
    "more engines than cores": (
        machine(2),
        [model(replicas=3)],
        [((), 1)] * 3,
        ("3 engines share 2 CPU cores: each of them is slower while others work",),
    ),
    "two engines on one core": (
        machine(1),
        [model(replicas=2)],
        [((), 1)] * 2,
        ("2 engines share 1 CPU core: each of them is slower while others work",),
    ),
    "cores that the file names": (
        machine(8),
        [model("a", cpu="4"), model("b")],
        [((1, 2, 3, 4), 4), ((5, 6, 7), 3)],
        (),
    ),
    "less than a core": (machine(2), [model(cpu="500m")], [((), 1)], ()),
    "more than the machine has": (
        machine(2),
        [model(cpu="6")],
        [((), 6)],
        ("m-0 is to use 6 CPU cores, and this machine grants 2",),
    ),
    "more than the machine has, together": (
        machine(4),
        [model(replicas=2, cpu="3")],
        [((), 3)] * 2,
        ("2 engines share 4 CPU cores: each of them is slower while others work",),
    ),
    "two ranks on sixteen cores": (machine(16), [model(tensor=2)], [(tuple(range(1, 16)), 7)], ()),
    "two ranks on two cores": (machine(2), [model(tensor=2)], [((0, 1), 1)], ()),
    "two ranks on one core": (machine(1), [model(tensor=2)], [((0,), 1)], ()),
    "two ranks in a container that may use four cores' time": (
        machine(64, 4.0),
        [model(tensor=2)],
        [((61, 62, 63), 1)],
        (),
    ),
    "two engines of two ranks": (
        machine(9),
        [model(replicas=2, tensor=2)],
        [((1, 2, 3, 4), 2), ((5, 6, 7, 8), 2)],
        (),
    ),
    "a container that may use two cores' time": (machine(64, 2.5), [model()], [((), 1)], ()),
    "two engines in such a container": (machine(64, 4.0), [model(replicas=2)], [((), 1), ((), 1)], ()),
    "a container that may use half a core": (machine(64, 0.5), [model()], [((), 1)], ()),
}


@pytest.mark.parametrize(("where", "models", "expected", "notes"), CASES.values(), ids=CASES)
def test_engines_on_the_cpu_get_cores_of_their_own(where, models, expected, notes):
    plan = plan_devices(models, where)
    assert [(devices.cores, devices.threads) for devices in plan.engines.values()] == expected
    assert plan.notes == notes


def test_hyper_threads_of_one_core_are_not_divided_and_count_once():
    """Eight logical CPUs of four cores, numbered as Linux does: 0 and 4 are one core."""
    cores = tuple(Core(number, number % 4, node=(number % 4) // 2) for number in range(8))
    plan = plan_devices([model(replicas=2)], Machine(cores=cores))
    assert [devices.cores for devices in plan.engines.values()] == [(2,), (3,)]
    assert [devices.threads for devices in plan.engines.values()] == [1, 1]


def test_an_engine_gets_the_cores_of_one_numa_node_where_its_share_allows():
    cores = tuple(Core(number, number, node=number % 2) for number in range(8))
    plan = plan_devices([model(replicas=2, cpu="4")], Machine(cores=cores))
    assert [devices.cores for devices in plan.engines.values()] == [(0, 2, 4, 6), (1, 3, 5, 7)]


def test_cores_outside_of_the_affinity_are_never_used():
    plan = plan_devices([model(replicas=2)], Machine(cores=(Core(5, 5), Core(9, 9))))
    assert [devices.cores for devices in plan.engines.values()] == [(5,), (9,)]


def test_engines_on_gpus_take_no_cores():
    gpu = Gpu(0, "NVIDIA L4", "0")
    plan = plan_devices([model("a"), model("b", gpu="none")], machine(8, gpus=(gpu,)))
    assert (plan.of("a", 0).gpus, plan.of("a", 0).cores) == (("0",), ())
    assert (plan.of("b", 0).cores, plan.of("b", 0).threads) == ((), 7)


@given(st.integers(1, 32), st.lists(st.sampled_from([None, "1", "2", "5"]), min_size=2, max_size=6))
def test_no_core_is_given_twice(cores, wanted):
    models = [model(f"m{number}", **({"cpu": cpu} if cpu else {})) for number, cpu in enumerate(wanted)]
    plan = plan_devices(models, machine(cores))
    given_out = [core for devices in plan.engines.values() for core in devices.cores]
    assert len(given_out) == len(set(given_out))
    assert set(given_out) <= set(range(cores))
    assert all(devices.threads == len(devices.cores) for devices in plan.engines.values()) or not given_out
    assert bool(given_out) is not bool(plan.notes), "an engine without cores of its own is a thing to say"
