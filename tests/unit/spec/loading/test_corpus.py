"""The loader and the generated JSON Schema judge one corpus of valid and invalid files alike.

The first line of an invalid file states its problem: `# expect: path | message | hint`. A second line `# judge: WHO`
names the only one that can find it: `cel` (rules over several fields, which JSON Schema cannot express), `loader`
(secrets), `schema` (JSON Schema finds it, a structural schema cannot) or `pydantic` (the API server has its own rule
for names).
"""

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from remuda import spec
from remuda.spec.schemas.json_schema import json_schema

CORPUS = Path(__file__).parent / "corpus"
VALID = sorted((CORPUS / "valid").glob("*.yaml"))
INVALID = sorted((CORPUS / "invalid").glob("*.yaml"))
UNSEEN_BY_SCHEMA = {"cel", "loader"}


def expectation(path: Path) -> tuple[str, str, str]:
    where, message, hint = path.read_text().splitlines()[0].removeprefix("# expect: ").split(" | ")
    return where, message, hint


def judge(path: Path) -> str:
    second = path.read_text().splitlines()[1]
    return second.removeprefix("# judge: ") if second.startswith("# judge: ") else ""


def schema_accepts(path: Path) -> bool:
    value = yaml.safe_load(path.read_text())
    validator = jsonschema.Draft202012Validator(json_schema(value["kind"]))
    return not list(validator.iter_errors(value))


@pytest.mark.req("K1.corpus", level="validated", on="jsonschema")
@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_valid_file_is_accepted_by_loader_and_schema(path: Path):
    loaded = spec.load_files([path])
    assert len(loaded.models + loaded.gateways + loaded.tenants) == 1
    assert schema_accepts(path)


@pytest.mark.req("E6.refusals", level="unit")
@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_an_invalid_file_is_refused_with_its_message(path: Path):
    with pytest.raises(spec.SpecError) as refused:
        spec.load_files([path])
    (problem,) = refused.value.problems
    assert (problem.where, problem.message, problem.hint) == expectation(path)
    assert problem.place is not None
    assert problem.place.file == str(path)
    assert problem.place.line > 1


@pytest.mark.req("K1.corpus", level="validated", on="jsonschema")
@pytest.mark.parametrize("path", INVALID, ids=lambda path: path.stem)
def test_the_schema_refuses_what_it_can_express(path: Path):
    assert schema_accepts(path) == (judge(path) in UNSEEN_BY_SCHEMA)


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_a_file_survives_a_round_trip(path: Path):
    loaded = spec.load_files([path])
    (written,) = loaded.models + loaded.gateways + loaded.tenants
    text = json.dumps(written.model_dump(mode="json", by_alias=True, exclude_unset=True))
    again = spec.load_text(text)
    assert (again.models + again.gateways + again.tenants) == (written,)
