"""Control groups: real ones where this process may make them, and folders of the same form."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from remuda.machine.cgroups import (
    ControlGroup,
    GroupParent,
    find_parent,
    locate_own_group,
    parse_cpu_max,
    read_core_limit,
)
from remuda.machine.processes import ProcessId, fetch_process_id, is_alive

UNIFIED = "31 23 0:28 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw"
HYBRID = """\
35 31 0:32 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory
41 31 0:38 / /sys/fs/cgroup/unified rw,relatime shared:9 - cgroup2 cgroup2 rw
"""
NESTED = "700 650 0:28 /docker/abc /sys/fs/cgroup ro,nosuid - cgroup2 cgroup rw"

PLACES = {
    "systemd": (UNIFIED, "0::/user.slice/x.scope\n", "/sys/fs/cgroup/user.slice/x.scope"),
    "root": (UNIFIED, "0::/\n", "/sys/fs/cgroup"),
    "with v1 beside it": (HYBRID, "4:memory:/a\n0::/b\n", "/sys/fs/cgroup/unified/b"),
    "container": (NESTED, "0::/docker/abc/leaf\n", "/sys/fs/cgroup/leaf"),
    "container with a name space of its own": (UNIFIED, "0::/leaf\n", "/sys/fs/cgroup/leaf"),
    "outside of what is mounted": (NESTED, "0::/docker/abcd\n", None),
    "above its name space": (UNIFIED, "0::/../other\n", None),
    "v1 alone": ("35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory", "4:memory:/\n", None),
    "nothing": ("", "", None),
}


@pytest.mark.parametrize(("mountinfo", "cgroup", "place"), PLACES.values(), ids=PLACES)
def test_the_group_of_this_process_is_found(mountinfo: str, cgroup: str, place: str | None) -> None:
    found = locate_own_group(mountinfo, cgroup)
    assert (None if found is None else str(found)) == place


LIMITS = {
    "two cores": ("200000 100000\n", 2.0),
    "half a core": ("50000 100000", 0.5),
    "none": ("max 100000\n", None),
    "none, in cgroup v1": ("-1\n 100000\n", None),
    "no file": (" ", None),
    "nonsense": ("1 0", None),
}


@pytest.mark.parametrize(("text", "cores"), LIMITS.values(), ids=LIMITS)
def test_a_limit_of_cpu_time_is_counted_in_cores(text: str, cores: float | None) -> None:
    assert parse_cpu_max(text) == cores


def test_the_limit_of_this_machine_is_none_or_a_number_of_cores() -> None:
    limit = read_core_limit()
    assert limit is None or limit > 0


# --- the kernel's groups

needs_cgroups = pytest.mark.skipif(find_parent() is None, reason="this process may make no control groups (cgroup v2)")
ESCAPE = "import os, time; os.setsid(); print(os.getpid(), flush=True); time.sleep(600)"
TREE = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {ESCAPE!r}]); time.sleep(600)"


@pytest.fixture
def group() -> Iterator[ControlGroup]:
    parent = find_parent()
    assert parent is not None
    made = parent.create("test")
    assert made is not None
    yield made
    made.kill()
    until(made.remove)


def until(condition: Callable[[], object]) -> None:
    """Wait for the kernel."""
    deadline_at = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_at
        time.sleep(0.01)


@needs_cgroups
def test_a_group_ends_processes_that_have_left_their_process_group(group: ControlGroup) -> None:
    with subprocess.Popen([sys.executable, "-c", TREE], stdout=subprocess.PIPE, start_new_session=True) as leader:
        assert leader.stdout is not None
        escaped = int(leader.stdout.readline())
        assert os.getpgid(escaped) == escaped
        assert group.add_tree(leader.pid)
        assert sorted(group.list_pids()) == sorted([leader.pid, escaped])
        group.kill()
        assert leader.wait(20) == -signal.SIGKILL
        assert leader.stdout.read() == b"", "the escaped process held the pipe until it ended"
    until(group.remove)
    assert not group.path.exists()
    assert (group.list_pids(), group.count_oom_kills()) == ([], None)


@needs_cgroups
def test_children_of_a_process_in_the_group_are_in_the_group(group: ControlGroup) -> None:
    code = "import subprocess, sys; sys.stdin.readline(); subprocess.run(['cat'])"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as leader:
        assert group.add_tree(leader.pid)
        assert group.list_pids() == [leader.pid]
        assert leader.stdin is not None
        leader.stdin.write(b"go on\n")
        leader.stdin.flush()
        until(lambda: len(group.list_pids()) == 2)
        leader.stdin.close()
    until(lambda: group.list_pids() == [])


@needs_cgroups
def test_groups_that_a_killed_process_left_are_ended_and_removed() -> None:
    code = "import os; from remuda.machine.cgroups import find_parent; group = find_parent().create('left')\n"
    code += (
        "import subprocess; child = subprocess.Popen(['sleep', '600'], start_new_session=True, stdout=-3, stderr=-3)\n"
    )
    code += "assert group.add_tree(child.pid); print(group.path, child.pid, flush=True); os._exit(1)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False).stdout.split()
    left, child = Path(said[0]), fetch_process_id(int(said[1]))
    assert left.is_dir()
    assert child is not None
    find_parent()
    until(lambda: not is_alive(child))
    until(lambda: find_parent() and not left.exists())  # the kernel may refuse for a moment


@needs_cgroups
def test_groups_of_a_living_process_are_left_alone(group: ControlGroup) -> None:
    find_parent()
    assert group.path.is_dir()


# --- folders of the same form


def make_folder(path: Path, **files: str) -> ControlGroup:
    path.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (path / name.replace("_", ".", 1)).write_text(text)
    return ControlGroup(path)


def test_kills_for_lack_of_memory_are_counted_where_the_kernel_counts_them(tmp_path: Path) -> None:
    events = "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\noom_group_kill 1\n"
    assert make_folder(tmp_path / "a", memory_events=events).count_oom_kills() == 3
    assert make_folder(tmp_path / "b", memory_events="low 0\n").count_oom_kills() is None
    assert make_folder(tmp_path / "c").count_oom_kills() is None


def test_a_kernel_without_cgroup_kill_has_each_process_killed(tmp_path: Path) -> None:
    with subprocess.Popen(["sleep", "600"]) as process:
        group = make_folder(tmp_path / "group", cgroup_procs=f"{process.pid}\n")
        (tmp_path / "group" / "cgroup.kill").mkdir()  # writing to it fails, as to a file that is not there
        group.kill()
        assert process.wait(10) == -signal.SIGKILL


def test_processes_of_another_pid_namespace_are_neither_listed_nor_killed(tmp_path: Path) -> None:
    """The kernel lists them as 0, which `kill` would take for the whole process group of the caller."""
    left = make_folder(tmp_path / "remuda.4194305.9.engine", cgroup_procs="0\n0\n")
    assert left.list_pids() == []
    GroupParent(tmp_path, ProcessId(7, 9)).remove_leftovers()
    assert sorted(path.name for path in left.path.iterdir()) == ["cgroup.procs"], "cgroup.kill was not written"


def test_a_group_that_cannot_be_made_is_none(tmp_path: Path) -> None:
    me = ProcessId(7, 9)
    assert GroupParent(tmp_path / "missing", me).create("engine") is None
    made = GroupParent(tmp_path, me).create("engine")
    assert made == ControlGroup(tmp_path / "remuda.7.9.engine")
    assert GroupParent(tmp_path, me).create("engine") is None, "it is there already"


def test_folders_of_other_names_are_no_leftovers(tmp_path: Path) -> None:
    for name in ("remuda.x.y.engine", "remuda.1", "system.slice"):
        (tmp_path / name).mkdir()
    GroupParent(tmp_path, ProcessId(7, 9)).remove_leftovers()
    assert len(list(tmp_path.iterdir())) == 3
