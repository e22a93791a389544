"""tests/conftest.py fails a run whose proofs did not pass, and keeps the outcomes of a whole run."""

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
MARK = '@pytest.mark.req("A1.chat", level="unit")\n'
PASSES = f"import pytest\n{MARK}def test_proof(): ...\n"
EVERY_END = f"""
import pytest
@pytest.fixture
def late():
    yield
    1 / 0
{MARK}def test_passes(): ...
{MARK}def test_fails(): 1 / 0
{MARK}def test_is_skipped(): pytest.skip("no GPU")
{MARK}@pytest.mark.xfail
def test_is_expected_to_fail(): 1 / 0
{MARK}def test_fails_late(late): ...
def test_is_no_proof_and_skipped(): pytest.skip("no GPU")
"""


PYPROJECT = """
[tool.pytest.ini_options]
testpaths = ["tests"]
pythonpath = ["."]
markers = ["req: a proof"]
asyncio_default_fixture_loop_scope = "function"
"""


class Project:
    """A project with this repository's conftest.py, and one test file."""

    def __init__(self, folder: Path, source: str) -> None:
        self.folder = folder
        for name in ("tests/conftest.py", "tests/groups.py", "scripts/features.py"):
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
        (folder / "tests" / "test_it.py").write_text(source)
        (folder / "pyproject.toml").write_text(PYPROJECT)

    def run(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", *arguments]
        return subprocess.run(command, cwd=self.folder, text=True, capture_output=True, check=False)

    @property
    def outcomes(self) -> dict[str, str] | None:
        file = self.folder / "build" / "test-results.json"
        return json.loads(file.read_text())["tests"] if file.exists() else None


@pytest.mark.parametrize("arguments", [(), ("-n", "2")], ids=["one process", "xdist"])
def test_a_whole_run_keeps_every_outcome_and_names_the_proofs_that_did_not_pass(tmp_path, arguments):
    project = Project(tmp_path, EVERY_END)
    done = project.run(*arguments)
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert project.outcomes == {
        "tests/test_it.py::test_passes": "passed",
        "tests/test_it.py::test_fails": "failed",
        "tests/test_it.py::test_is_skipped": "skipped",
        "tests/test_it.py::test_is_expected_to_fail": "skipped",
        "tests/test_it.py::test_fails_late": "failed",
        "tests/test_it.py::test_is_no_proof_and_skipped": "skipped",
    }
    assert [line for line in done.stdout.splitlines() if line.startswith("error:")] == [
        "error: tests/test_it.py::test_fails proves A1.chat in docs/features.md, and failed",
        "error: tests/test_it.py::test_is_skipped proves A1.chat in docs/features.md, and skipped",
        "error: tests/test_it.py::test_is_expected_to_fail proves A1.chat in docs/features.md, and skipped",
        "error: tests/test_it.py::test_fails_late proves A1.chat in docs/features.md, and failed",
    ]


def test_a_run_in_which_nothing_fails_but_a_proof_is_skipped_fails(tmp_path):
    done = Project(tmp_path, f"import pytest\n{MARK}def test_proof(): pytest.skip('no GPU')\n").run()
    assert done.returncode == pytest.ExitCode.TESTS_FAILED
    assert re.search(r"=+ 1 skipped in .* =+$", done.stdout.rstrip())


def test_a_mark_that_the_check_cannot_read_stops_the_run(tmp_path):
    project = Project(tmp_path, PASSES.replace('level="unit"', 'level="unit" + ""'))
    done = project.run()
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "ERROR: tests/test_it.py::test_proof: the mark A1.chat is not a decorator of the form @pytest" in done.stderr
    assert project.outcomes is None


def test_a_run_of_some_tests_keeps_no_results(tmp_path):
    project = Project(tmp_path, PASSES)
    assert project.run("tests/test_it.py").returncode == 0
    assert project.outcomes is None


def test_a_whole_run_that_leaves_a_proof_out_fails(tmp_path):
    project = Project(tmp_path, PASSES + "def test_other(): ...\n")
    done = project.run("-k", "other")
    assert done.returncode == 1
    assert "error: tests/test_it.py::test_proof proves A1.chat in docs/features.md, and did not run" in done.stdout


def test_a_run_during_which_sources_changed_keeps_no_results_and_fails(tmp_path):
    project = Project(tmp_path, "def test_edit():\n    open('README.md', 'w').write('x')\n")
    (tmp_path / "README.md").write_text("")
    done = project.run()
    assert done.returncode == 1
    assert "error: sources changed while the tests ran, so the results prove nothing; run them again" in done.stdout
    assert project.outcomes is None
