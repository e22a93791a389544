"""The public face of the package: which names it offers, and what importing it costs."""

import subprocess
import sys

import pytest

from remuda import spec
from remuda.spec import public


def loaded_modules(code: str) -> set[str]:
    """The modules in memory after a fresh interpreter ran the code."""
    code += "; import sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


@pytest.mark.parametrize("module", ["remuda.spec", "remuda.spec.secrets"])
def test_importing_the_package_or_the_secret_patterns_loads_neither_pydantic_nor_yaml(module: str):
    found = loaded_modules(f"import {module}")
    assert module in found
    assert not {"pydantic", "yaml"} & found


def test_using_a_document_loads_no_schema_renderer():
    found = loaded_modules("from remuda import spec; spec.Model")
    assert "remuda.spec.documents.model" in found
    assert not {name for name in found if name.startswith("remuda.spec.schemas")}


@pytest.mark.parametrize("name", public.__all__)
def test_every_public_name_is_offered_by_the_package(name: str):
    assert getattr(spec, name) is getattr(public, name)


def test_a_name_that_is_not_public_is_an_attribute_error():
    with pytest.raises(AttributeError, match=r"module 'remuda.spec' has no attribute 'annotations'"):
        spec.annotations  # noqa: B018
