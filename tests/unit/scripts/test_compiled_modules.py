"""What mypyc leaves out without a word is not written in what it compiles."""

import ast
import importlib
import importlib.util
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[3]
_spec = importlib.util.spec_from_file_location("hatch_build", ROOT / "hatch_build.py")
assert _spec is not None
assert _spec.loader is not None
hatch_build = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(hatch_build)


def none_defaults(source: str) -> Iterator[tuple[str, set[str]]]:
    """(attribute, names in its type) for each `attribute: Type | None = None` of a class."""
    for node in ast.walk(ast.parse(source)):
        for line in node.body if isinstance(node, ast.ClassDef) else []:
            if isinstance(line, ast.AnnAssign) and isinstance(line.value, ast.Constant) and line.value.value is None:
                written = line.annotation
                if isinstance(written, ast.Constant):
                    written = ast.parse(written.value, mode="eval").body
                names = {part.id for part in ast.walk(written) if isinstance(part, ast.Name)}
                yield f"{node.name}.{ast.unparse(line.target)}", names


@pytest.mark.parametrize("file", hatch_build.COMPILED)
def test_no_attribute_of_a_protocols_type_has_none_for_its_classes_default(file: str):
    """Compiled, it would not be there at all."""
    module = importlib.import_module(file.removesuffix(".py").replace("/", "."))
    found = {
        attribute
        for attribute, names in none_defaults((ROOT / "src" / file).read_text())
        if any(getattr(getattr(module, name, None), "_is_protocol", False) for name in names)
    }
    assert found == set()


def test_such_a_default_would_be_found():
    source = "class Box:\n    fine: int | None = 1\n    bad: 'Taker | None' = None\n"
    assert list(none_defaults(source)) == [("Box.bad", {"Taker"})]
