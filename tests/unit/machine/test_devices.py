"""GPUs, their links and CPU cores, read from programs and the kernel.

No machine with GPUs ran these tests: the texts have the form in which `nvidia-smi` prints them on such machines.
"""

import os
import stat
from pathlib import Path

import pytest
from tests.unit.planner.devices.test_gpus import model

from remuda.machine import devices
from remuda.machine.devices import has_nvidia_gpu, parse_gpus, parse_links, read_cores, read_machine, select_visible
from remuda.planner.devices import Core, Gpu, plan_devices

UUIDS = [f"GPU-{number}1b1e6b7-0000-4000-8000-00000000000{number}" for number in range(8)]
EIGHT_H100 = "".join(f"GPU {number}: NVIDIA H100 80GB HBM3 (UUID: {UUIDS[number]})\n" for number in range(8))
PARTITIONED = f"""\
GPU 0: NVIDIA A100-SXM4-40GB (UUID: {UUIDS[0]})
  MIG 3g.20gb     Device  0: (UUID: MIG-fb42055e-9e53-5764-9278-438605a3014c)
  MIG 1g.5gb      Device  1: (UUID: MIG-3d4db13e-c42d-5555-98f4-8b50389791bc)
GPU 1: NVIDIA A100-SXM4-40GB (UUID: {UUIDS[1]})
"""

SWITCH = """\
\t\x1b[4mGPU0\tGPU1\tGPU2\tGPU3\tNIC0\tNIC1\tCPU Affinity\tNUMA Affinity\tGPU NUMA ID\x1b[0m
GPU0\t X \tNV18\tNV18\tNV18\tPXB\tNODE\t0-55,112-167\t0\t\tN/A
GPU1\tNV18\t X \tNV18\tNV18\tNODE\tPXB\t0-55,112-167\t0\t\tN/A
GPU2\tNV18\tNV18\t X \tNV18\tSYS\tSYS\t56-111,168-223\t1\t\tN/A
GPU3\tNV18\tNV18\tNV18\t X \tSYS\tSYS\t56-111,168-223\t1\t\tN/A
NIC0\tPXB\tNODE\tSYS\tSYS\t X \tNODE\t\t\t\t
NIC1\tNODE\tPXB\tSYS\tSYS\tNODE\t X \t\t\t\t

Legend:

  X    = Self
  SYS  = Connection traversing PCIe as well as the SMP interconnect between NUMA nodes (e.g., QPI/UPI)
  NV#  = Connection traversing a bonded set of # NVLinks

NIC Legend:

  NIC0: mlx5_0
"""
MESH = """\
\tGPU0\tGPU1\tGPU2\tGPU3\tGPU4\tGPU5\tGPU6\tGPU7\tCPU Affinity\tNUMA Affinity
GPU0\t X \tNV1\tNV1\tNV2\tNV2\tSYS\tSYS\tSYS\t0-19,40-59\t0
GPU1\tNV1\t X \tNV2\tNV1\tSYS\tNV2\tSYS\tSYS\t0-19,40-59\t0
GPU2\tNV1\tNV2\t X \tNV2\tSYS\tSYS\tNV1\tSYS\t0-19,40-59\t0
GPU3\tNV2\tNV1\tNV2\t X \tSYS\tSYS\tSYS\tNV1\t0-19,40-59\t0
GPU4\tNV2\tSYS\tSYS\tSYS\t X \tNV1\tNV1\tNV2\t20-39,60-79\t1
GPU5\tSYS\tNV2\tSYS\tSYS\tNV1\t X \tNV2\tNV1\t20-39,60-79\t1
GPU6\tSYS\tSYS\tNV1\tSYS\tNV1\tNV2\t X \tNV2\t20-39,60-79\t1
GPU7\tSYS\tSYS\tSYS\tNV1\tNV2\tNV1\tNV2\t X \t20-39,60-79\t1
"""
PCIE = """\
        GPU0    GPU1    GPU2    GPU3    CPU Affinity
GPU0     X      PHB     PIX     SYS     0-13
GPU1    PHB      X      SYS     PXB     0-13
GPU2    PIX     SYS      X      NODE    14-27
GPU3    SYS     PXB     NODE     X      14-27
"""


def test_every_gpu_is_a_device_with_its_index():
    found = parse_gpus(EIGHT_H100)
    assert found[3] == Gpu(3, "NVIDIA H100 80GB HBM3", "3", uuid=UUIDS[3])
    assert [gpu.selector for gpu in found] == list("01234567")


def test_instances_stand_in_place_of_a_partitioned_gpu():
    assert [(gpu.index, gpu.selector, gpu.instance) for gpu in parse_gpus(PARTITIONED)] == [
        (0, "MIG-fb42055e-9e53-5764-9278-438605a3014c", "3g.20gb"),
        (0, "MIG-3d4db13e-c42d-5555-98f4-8b50389791bc", "1g.5gb"),
        (1, "1", ""),
    ]


@pytest.mark.parametrize(
    "text", ["", "No devices were found\n", "GPU x: y", "\x00\xff", "  MIG 1g Device 0: (UUID: MIG-1)"]
)
def test_text_without_gpus_holds_none(text):
    assert parse_gpus(text) == ()
    assert parse_links(text) == {}


VISIBLE = {
    "not set": (None, ["0", "1", "2", "3", "4", "5", "6", "7"]),
    "indices": ("2,5", ["2", "5"]),
    "another order": ("5, 2", ["2", "5"]),
    "twice": ("1,1", ["1"]),
    "an entry that names nothing ends the list": ("3,9,4", ["3"]),
    "UUIDs stay UUIDs": (f"{UUIDS[6]},GPU-41b1", [UUIDS[4], UUIDS[6]]),
    "empty": ("", []),
    "minus one": ("-1", []),
    "nonsense": ("all", []),
}


@pytest.mark.parametrize(("visible", "selectors"), VISIBLE.values(), ids=VISIBLE)
def test_only_gpus_that_the_environment_leaves_to_us_are_used(visible, selectors):
    assert [gpu.selector for gpu in select_visible(parse_gpus(EIGHT_H100), visible)] == selectors


def test_an_instance_is_chosen_by_its_uuid_or_with_its_gpu():
    found = parse_gpus(PARTITIONED)
    assert [gpu.instance for gpu in select_visible(found, "MIG-3d4db13e")] == ["1g.5gb"]
    assert [gpu.instance for gpu in select_visible(found, "0")] == ["3g.20gb", "1g.5gb"]


def test_links_of_the_same_kind_are_equally_fast():
    links = parse_links(SWITCH)
    assert set(links) == {(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)}
    assert len(set(links.values())) == 1


def test_two_nvlinks_are_faster_than_one_and_one_is_faster_than_pcie():
    links = parse_links(MESH)
    assert links[0, 3] > links[0, 1] > links[0, 5]
    assert len(links) == 28


def test_pcie_links_are_ordered_as_the_legend_says():
    links = parse_links(PCIE)
    kinds = {"PIX": links[0, 2], "PXB": links[1, 3], "PHB": links[0, 1], "NODE": links[2, 3], "SYS": links[0, 3]}
    assert sorted(kinds, key=lambda kind: kinds[kind], reverse=True) == ["PIX", "PXB", "PHB", "NODE", "SYS"]


def test_engines_on_a_mesh_of_nvlinks_get_gpus_that_are_all_linked():
    machine = devices.Machine(tuple(Gpu(index, "Tesla V100", str(index)) for index in range(8)), parse_links(MESH))
    plan = plan_devices([model("four", tensor=4), model("two", replicas=2, tensor=2)], machine)
    assert plan.of("four", 0).gpus == ("0", "1", "2", "3")
    pairs = [tuple(map(int, plan.of("two", replica).gpus)) for replica in range(2)]
    assert [machine.links[pair] for pair in pairs] == [102, 102]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine with a driver, and a program `nvidia-smi` that prints the contents of files."""
    program = tmp_path / "nvidia-smi"
    program.write_text(f'#!/bin/sh\nexec cat "{tmp_path}/$1"\n')
    program.chmod(program.stat().st_mode | stat.S_IXUSR)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(devices, "_NODES", tmp_path / "dev")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev" / "nvidiactl").touch()
    return tmp_path


def test_a_machine_is_read_by_two_calls_of_nvidia_smi(smi: Path):
    (smi / "-L").write_text(EIGHT_H100)
    (smi / "topo").write_text(MESH)
    machine = read_machine({})
    assert len(machine.gpus) == 8
    assert machine.links == parse_links(MESH)
    assert {core.id for core in machine.cores} == os.sched_getaffinity(0)
    assert has_nvidia_gpu({})
    assert not has_nvidia_gpu({"CUDA_VISIBLE_DEVICES": ""})
    assert [gpu.selector for gpu in read_machine({"CUDA_VISIBLE_DEVICES": "6,7"}).gpus] == ["6", "7"]


def test_a_program_that_fails_means_no_gpu(smi: Path):
    assert read_machine({}).gpus == (), "there is no file for it to print, so it fails"
    assert not has_nvidia_gpu({})


def test_a_matrix_that_cannot_be_read_leaves_the_links_unknown(smi: Path):
    (smi / "-L").write_text(EIGHT_H100)
    machine = read_machine({})
    assert (len(machine.gpus), machine.links) == (8, {})


def test_without_the_program_the_device_files_are_counted(smi: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices.shutil, "which", lambda _: None)
    for name in ("nvidia0", "nvidia1", "nvidia10", "nvidia-uvm", "nvidia-caps"):
        (smi / "dev" / name).touch()
    assert [gpu.selector for gpu in read_machine({}).gpus] == ["0", "1", "10"]


def test_a_machine_without_a_driver_has_no_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(devices, "_NODES", tmp_path)
    assert read_machine({}).gpus == ()


def test_hyper_threads_and_numa_nodes_are_read_from_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {1, 3, 5})
    for number, siblings, node in ((1, "1,3", 0), (3, "1,3", 0), (5, "5-6", 1)):
        folder = tmp_path / f"cpu{number}"
        (folder / "topology").mkdir(parents=True)
        (folder / "topology" / "thread_siblings_list").write_text(f"{siblings}\n")
        (folder / f"node{node}").mkdir()
    assert read_cores(tmp_path) == (Core(1, 1, 0), Core(3, 1, 0), Core(5, 5, 1))


def test_a_kernel_that_says_nothing_of_its_topology_has_cores_of_one_thread(tmp_path, monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: {0, 1})
    assert read_cores(tmp_path) == (Core(0, 0), Core(1, 1))
