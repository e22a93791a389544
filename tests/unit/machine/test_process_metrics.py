import os
import resource

import pytest

from remuda.machine.process_metrics import read_process
from remuda.observe import metrics


@pytest.fixture
def proc(tmp_path):
    """A folder like /proc whose process has a name with brackets and spaces."""
    tick = os.sysconf("SC_CLK_TCK")
    after_name = ["S", *["0"] * 10, str(3 * tick), str(2 * tick), *["0"] * 5, "7", str(50 * tick), "4096000", "25"]
    (tmp_path / "self/fd").mkdir(parents=True)
    (tmp_path / "self/stat").write_text(f"1 (a) R 9 (b) {' '.join(after_name)}\n")
    (tmp_path / "stat").write_text("cpu 1 2 3\nbtime 1700000000\n")
    return tmp_path


def test_the_values_come_from_proc_for_every_process_name(proc):
    found = {metric: value for metric, series in read_process(proc).items() for value in series.values()}
    del found[metrics.PROCESS_OPEN_FDS]
    assert found == {
        metrics.PROCESS_CPU: pytest.approx(5.0),
        metrics.PROCESS_RESIDENT: 25.0 * resource.getpagesize(),
        metrics.PROCESS_VIRTUAL: 4_096_000.0,
        metrics.PROCESS_START: 1_700_000_050.0,
        metrics.PROCESS_MAX_FDS: float(resource.getrlimit(resource.RLIMIT_NOFILE)[0]),
    }


def test_open_descriptors_are_counted():
    before = read_process()[metrics.PROCESS_OPEN_FDS][()]
    read_end, write_end = os.pipe()
    try:
        assert read_process()[metrics.PROCESS_OPEN_FDS][()] == before + 2
    finally:
        os.close(read_end)
        os.close(write_end)


def test_without_proc_nothing_is_reported(tmp_path):
    assert read_process(tmp_path) == {}
