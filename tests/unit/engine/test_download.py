"""Downloads whose child is a script. tests/engine/test_hub.py uses the real hub client."""

import json
import sys

import pytest

from remuda import spec
from remuda.engine import weights
from remuda.engine.download import FetchJob, run_fetch
from remuda.engine.errors import WeightsError
from remuda.engine.inside import fetch
from remuda.machine.home import Home


def play(tmp_path, *lines: str):
    """A program in place of Python that prints these lines, whatever it should run."""
    said = tmp_path / "said"
    said.write_text("".join(f"{line}\n" for line in lines))
    program = tmp_path / "python"
    program.write_text(f"#!/bin/sh\nread job\ncat {said}\n")
    program.chmod(0o755)
    return program


@pytest.fixture
def job(tmp_path):
    return FetchJob("someone/model", None, tmp_path / "model")


async def test_lines_that_a_library_prints_are_ignored(tmp_path, job):
    seen = []
    done = '{"event": "done", "bytes": 1}'
    python = play(tmp_path, "Warning: slow", "[1, 2]", '{"event": "progress", "stage": "downloading"}', done)
    assert await run_fetch(job, python, seen.append) == {"bytes": 1}
    assert [progress.stage for progress in seen] == ["downloading"]


async def test_the_line_that_lists_thousands_of_files_is_read(tmp_path, job):
    files = {f"a-folder-with-a-name/model-{number:05}-of-05000.safetensors": number for number in range(5000)}
    done = json.dumps({"event": "done", "files": files})
    assert await run_fetch(job, play(tmp_path, done), lambda _: None) == {"files": files}


async def test_a_child_that_cannot_be_started_is_a_weights_error(tmp_path, job):
    with pytest.raises(WeightsError, match="/nowhere/python: No such file"):
        await run_fetch(job, type(tmp_path)("/nowhere/python"), lambda _: None)


def test_a_folder_that_cannot_be_read_is_a_weights_error(tmp_path):
    model = spec.load_text(
        "{apiVersion: remuda.dev/v1alpha1, kind: Model, metadata: {name: m}, spec: {source: 'file:///"
        + "x" * 300
        + "'}}"
    ).models[0]
    with pytest.raises(WeightsError, match="File name too long"):
        weights.locate_weights(model, Home.from_environment({"REMUDA_HOME": str(tmp_path)}))


def test_an_error_of_the_disk_is_not_reported_as_an_error_of_the_network(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", type(sys)("huggingface_hub"))
    sys.modules["huggingface_hub"].errors = type("errors", (), {"OfflineModeIsEnabled": KeyError})
    message, hint = fetch.explain_machine(OSError(30, "Read-only file system", "/models/{a}"))
    assert message.format() == "/models/{a}: Read-only file system"
    assert "REMUDA_HOME" in hint
