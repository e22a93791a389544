"""How uv is found, and how its failures are explained."""

import os

import pytest

from remuda.engine.errors import InstallError
from remuda.engine.install import uv


def make_program(path, text="#!/bin/sh\nexit 0\n"):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def test_uv_is_looked_for_in_remuda_uv_then_beside_python_then_on_the_path(tmp_path):
    named, own, on_path = (make_program(tmp_path / folder / "uv") for folder in "abc")
    assert uv.find_uv({"REMUDA_UV": str(named), "PATH": str(on_path.parent)}, own.parent) == named
    assert uv.find_uv({"PATH": str(on_path.parent)}, own.parent) == own
    assert uv.find_uv({"PATH": str(on_path.parent)}, tmp_path / "none") == on_path


def test_a_missing_uv_that_is_named_is_an_error(tmp_path):
    with pytest.raises(InstallError, match="REMUDA_UV"):
        uv.find_uv({"REMUDA_UV": str(tmp_path / "none"), "PATH": os.environ["PATH"]})


def test_a_machine_without_uv_gets_a_hint_how_to_install_it(tmp_path):
    with pytest.raises(InstallError) as caught:
        uv.find_uv({"PATH": "/nonexistent"}, tmp_path)
    assert "pip install uv" in caught.value.hint


FAILURES = {
    "disk": ("error: Failed to install\n  Caused by: No space left on device (os error 28)", "the disk filled up"),
    "permission": ("error: failed to create directory `/x`: Permission denied (os error 13)", "may not be written"),
    "network": (
        "error: Request failed after 3 retries\n  Caused by: error sending request for url\n  Caused by: dns error",
        "cannot be reached",
    ),
    "hash": ("error: Hash mismatch for `torch==2.13.0`", "not the one the lock file names"),
    "platform": (
        "  × No solution found when resolving dependencies:\n  ╰─▶ Because torch has no wheels",
        "not available",
    ),
    "python": ("error: No interpreter found for Python 3.12", "no Python that vLLM supports"),
    "other": ("Downloading x\nerror: something new", "failed with status 2: something new"),
}


@pytest.mark.parametrize(("said", "message"), FAILURES.values(), ids=FAILURES)
def test_a_failure_of_uv_becomes_one_sentence_with_a_hint(said, message):
    error = uv.explain_failure(said.splitlines(), 2)
    assert message in error.message
    assert error.hint
    assert "\n" not in error.message


def test_uv_runs_without_variables_of_the_present_environment(tmp_path, monkeypatch):
    program = make_program(tmp_path / "uv", "#!/bin/sh\necho venv=$VIRTUAL_ENV args=$*\nexit 0\n")
    monkeypatch.setenv("VIRTUAL_ENV", "/ours")
    lines: list[str] = []
    uv.run_uv(program, ["pip", "list"], lines.append, uv.clean_environment(os.environ))
    assert lines == ["venv= args=pip list"]


def test_a_uv_that_cannot_be_started_is_named(tmp_path):
    with pytest.raises(InstallError, match="could not be started"):
        uv.run_uv(tmp_path / "none", [], lambda _: None, {})
