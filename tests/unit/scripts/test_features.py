"""The features page is written from the tests' marks, and claims nothing else."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]


def _load():
    spec = importlib.util.spec_from_file_location("features", ROOT / "scripts" / "features.py")
    module = importlib.util.module_from_spec(spec)
    import sys

    sys.modules["features"] = module
    spec.loader.exec_module(module)
    return module


features = _load()


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        pytest.param('@pytest.mark.req("A1")\ndef test_x(): ...', [("A1", "run", "test_x")], id="function"),
        pytest.param(
            '@pytest.mark.req("A1", level="rendered")\nasync def test_x(): ...',
            [("A1", "rendered", "test_x")],
            id="level",
        ),
        pytest.param(
            '@pytest.mark.req("A1", "G3")\ndef test_x(): ...',
            [("A1", "run", "test_x"), ("G3", "run", "test_x")],
            id="two",
        ),
        pytest.param('pytestmark = [pytest.mark.req("E4")]\ndef test_x(): ...', [("E4", "run", "test_x")], id="module"),
        pytest.param(
            '@pytest.mark.req("E4")\nclass TestX:\n  def test_y(self): ...', [("E4", "run", "test_y")], id="class"
        ),
        pytest.param('@pytest.mark.req("A1")\ndef helper(): ...', [], id="not a test"),
    ],
)
def test_marks_become_proofs(tmp_path, monkeypatch, source, expected):
    monkeypatch.setattr(features, "ROOT", tmp_path)
    file = tmp_path / "test_it.py"
    file.write_text(source)
    assert [(p.req, p.level, p.test.split("::")[1]) for p in features.proofs_in(file)] == expected


def test_a_capability_without_a_test_is_not_yet():
    page = features.render_page({"A1": {"name": "API", "today": "everything"}}, [])
    assert "| A1 | API | not yet |  |  |" in page


def test_a_claim_without_a_test_and_an_unknown_mark_are_problems():
    proofs = [features.Proof("ZZ", "run", "tests/t.py::test_x")]
    assert features.problems_in({"A1": {"name": "API", "today": "everything"}}, proofs) == [
        "tests/t.py::test_x: unknown requirement ZZ",
        "docs/features.yaml: A1 claims something, no test does",
    ]
