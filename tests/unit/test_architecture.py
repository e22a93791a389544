"""The structure of the code: sizes, cycles, and what docs/architecture.md says about layers and rooms.

import-linter checks who may import whom (`make check`, the contracts in pyproject.toml). These tests check what it has
no contract for, and that the page, the contracts and the folders name the same packages. Each debt list names what is
over a limit today with its exact figure: a test fails when a figure grows, and also when it shrinks, so that the list
follows.
"""

import ast
import functools
import os
import re
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SOURCES = ROOT / "src" / "remuda"
PAGE = ROOT / "docs" / "architecture.md"
WRITTEN_BY_HAND = ("src", "scripts", "benchmarks", "models", "tests")

MODULES_A_FOLDER = 12
LINES_A_MODULE = 500
LINES_A_FUNCTION = 60

CROWDED_FOLDERS: dict[str, int] = {}
LONG_MODULES: dict[str, int] = {}
LONG_FUNCTIONS: dict[str, int] = {}
IN_A_CYCLE: list[str] = []

Graph = Mapping[str, frozenset[str]]


def count_lines(node: ast.AST) -> int:
    assert isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    return (node.end_lineno or node.lineno) - node.lineno + 1


def find_long_functions(source: str, limit: int) -> Iterator[tuple[str, int]]:
    """(name, lines) of each function or method, nested ones included, that is longer than `limit`."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and count_lines(node) > limit:
            yield node.name, count_lines(node)


def find_imports(source: str, modules: Iterable[str]) -> frozenset[str]:
    """Those of `modules` that `source` imports: at its top, inside functions and under TYPE_CHECKING."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, "ruff bans relative imports"
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & set(modules)
            found.update(submodules or {node.module or ""})
    return frozenset(found & set(modules))


def find_cycles(graph: Graph) -> list[set[str]]:
    """The groups of modules that can reach each other: strongly connected components of more than one (Tarjan)."""
    number: dict[str, int] = {}
    lowest: dict[str, int] = {}
    path: list[str] = []
    groups: list[set[str]] = []

    def visit(module: str) -> None:
        number[module] = lowest[module] = len(number)
        path.append(module)
        for imported in sorted(graph[module]):
            if imported not in number:
                visit(imported)
                lowest[module] = min(lowest[module], lowest[imported])
            elif imported in path:
                lowest[module] = min(lowest[module], number[imported])
        if lowest[module] == number[module]:
            start = path.index(module)
            group = set(path[start:])
            del path[start:]
            if len(group) > 1:
                groups.append(group)

    for module in sorted(graph):
        if module not in number:
            visit(module)
    return groups


def name_of(path: Path) -> str:
    """`src/remuda/spec/__init__.py` is `remuda.spec`."""
    parts = path.relative_to(SOURCES.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


@functools.cache
def read_graph() -> Graph:
    sources = {name_of(path): path.read_text() for path in sorted(SOURCES.rglob("*.py"))}
    return {name: find_imports(source, sources) for name, source in sources.items()}


def in_a_cycle() -> list[str]:
    """The modules that take part in an import cycle."""
    return sorted(name for group in find_cycles(read_graph()) for name in group)


@functools.cache
def read_contracts() -> dict[str, dict]:
    """The contracts of import-linter by name."""
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    return {contract["name"]: contract for contract in settings["contracts"]}


def packages() -> set[str]:
    """The packages and modules directly below `remuda`."""
    return {name.split(".")[1] for name in read_graph() if "." in name} - {"__main__"}


def python_files() -> list[Path]:
    return [path for folder in WRITTEN_BY_HAND for path in sorted((ROOT / folder).rglob("*.py"))]


def test_a_folder_holds_at_most_a_dozen_modules():
    folders = [path for path in SOURCES.rglob("*") if path.is_dir()]
    counts = {
        path.relative_to(SOURCES).as_posix(): len([file for file in path.glob("*.py") if file.stem != "__init__"])
        for path in folders
    }
    assert {name: count for name, count in counts.items() if count > MODULES_A_FOLDER} == CROWDED_FOLDERS


def test_a_module_has_at_most_500_lines():
    counts = {path.relative_to(ROOT).as_posix(): len(path.read_text().splitlines()) for path in python_files()}
    assert {name: count for name, count in counts.items() if count > LINES_A_MODULE} == LONG_MODULES


def test_a_function_has_at_most_60_lines():
    found = {
        f"{path.relative_to(ROOT).as_posix()}::{name}": lines
        for path in python_files()
        for name, lines in find_long_functions(path.read_text(), LINES_A_FUNCTION)
    }
    assert found == LONG_FUNCTIONS


def test_no_modules_import_each_other_in_a_circle_not_even_for_the_type_checker():
    assert [name.removeprefix("remuda.") for name in in_a_cycle()] == IN_A_CYCLE


def test_the_search_for_cycles_sees_imports_for_the_type_checker_and_inside_functions():
    sources = {
        "remuda.a": "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    from remuda import b\n",
        "remuda.b": "def late():\n    from remuda.c import thing\n",
        "remuda.c": "import remuda.a\n",
        "remuda.d": "from remuda.a import thing\n",
    }
    graph = {name: find_imports(source, sources) for name, source in sources.items()}
    assert find_cycles(graph) == [{"remuda.a", "remuda.b", "remuda.c"}]


def test_a_long_function_is_found_wherever_it_is_defined():
    source = "class A:\n    async def long(self):\n        a = 1\n        b = 2\n\ndef short(): ...\n"
    assert list(find_long_functions(source, 2)) == [("long", 3)]


def test_the_contracts_count_imports_for_the_type_checker():
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]
    assert settings["exclude_type_checking_imports"] is False


def test_a_debt_that_is_paid_must_leave_its_contract():
    """`unmatched_ignore_imports_alerting` is "error" unless a contract weakens it."""
    weakened = [name for name, contract in read_contracts().items() if "unmatched_ignore_imports_alerting" in contract]
    assert weakened == []


def test_a_package_is_left_out_of_the_contract_on_cycles_only_while_it_has_one():
    skipped = set(read_contracts()["No package imports itself through another one"].get("skip_descendants", []))
    with_cycles = {".".join(name.split(".")[:2]) for name in in_a_cycle()}
    assert skipped == with_cycles


def test_only_kube_may_import_a_kubernetes_client():
    sources = read_contracts()["Only the package kube imports a Kubernetes client"]["source_modules"]
    assert set(sources) == {f"remuda.{name}" for name in packages() - {"kube"}}


def fenced_block(heading: str) -> list[str]:
    """The lines of the first code block below a heading of docs/architecture.md."""
    text = PAGE.read_text()
    section = text[re.search(rf"^##+ {heading}$", text, re.MULTILINE).start() :]
    found = re.search(r"^```\n(.*?)^```", section, re.MULTILINE | re.DOTALL)
    assert found, f"no code block below {heading}"
    return found[1].splitlines()


def names_of(line: str) -> list[str]:
    """The names at the start of a line, up to the explanation that two spaces set apart."""
    return re.findall(r"\w+", re.split(r" {2,}", line)[0])


def layers_of(contract: str, existing: set[str]) -> list[list[str]]:
    """The layers of a contract, top first, without those that do not exist yet."""
    layers = [re.findall(r"\w+", layer) for layer in read_contracts()[contract]["layers"]]
    return [kept for layer in layers if (kept := [name for name in layer if name in existing])]


@pytest.mark.parametrize(
    ("heading", "contract", "folder"),
    [
        ("Layers", "Layers: a line imports only lines below it", SOURCES),
        (
            "The rooms of the gateway",
            "The rooms of the gateway: a line imports only lines below it",
            SOURCES / "gateway",
        ),
    ],
    ids=["layers", "rooms"],
)
def test_the_page_shows_the_layers_of_the_contract(heading: str, contract: str, folder: Path):
    existing = {path.stem for path in folder.iterdir() if path.suffix == ".py" or path.is_dir()}
    assert [names_of(line) for line in fenced_block(heading)] == layers_of(contract, existing)
    assert read_contracts()[contract]["exhaustive"] is True


def sentence(start: str) -> str:
    found = re.search(re.escape(start) + r".*?\.\s", PAGE.read_text(), re.DOTALL)
    assert found, f"docs/architecture.md has no sentence that starts with {start!r}"
    return found[0]


def test_the_page_names_the_pure_packages_of_the_contract():
    contract = read_contracts()["Decisions are pure: no clock, socket, process, client or logger"]
    named = re.findall(r"`(\w+)`", sentence("Pure packages:"))
    assert [f"remuda.{name}" for name in named] == contract["source_modules"]
    assert contract.get("allow_indirect_imports", False) is False


def test_the_page_names_what_the_gateway_may_not_import():
    contract = read_contracts()["The data path knows nothing above it, and no HTTP client library"]
    named = re.findall(r"`(\w+)`", sentence("The gateway imports none of"))
    assert named == [name.removeprefix("remuda.") for name in contract["forbidden_modules"]]
    assert contract.get("allow_indirect_imports", False) is False


def test_the_page_names_the_limits_of_size():
    assert re.findall(r"\d+", sentence("A folder holds at most")) == [
        str(limit) for limit in (MODULES_A_FOLDER, LINES_A_MODULE, LINES_A_FUNCTION)
    ]


def test_every_file_that_the_page_names_exists():
    table = re.findall(r"^\|.*?\| `([\w/.]+)`", PAGE.read_text(), re.MULTILINE)
    assert len(table) >= 6
    assert [name for name in table if not (SOURCES / name).exists()] == []


def test_each_contract_is_broken_by_an_import_that_it_forbids(tmp_path: Path):
    """import-linter judges a copy of the sources with bad imports for the type checker."""
    shutil.copytree(SOURCES, tmp_path / "src" / "remuda", ignore=shutil.ignore_patterns("*.safetensors", "__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    for module, line in {
        "spec/upwards.py": "import remuda.planner",
        "gateway/http/upwards.py": "import remuda.gateway.serving",
        "fleet/first.py": "import remuda.fleet.second",
        "fleet/second.py": "import remuda.fleet.first",
        "policy/clock.py": "import time",
        "gateway/api/planning.py": "import remuda.planner",
        "engine/cluster.py": "import kubernetes",
    }.items():
        text = f"from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    {line}\n"
        (tmp_path / "src" / "remuda" / module).write_text(text)
    command = [Path(sys.executable).with_name("lint-imports"), "--no-cache"]
    env = {**os.environ, "PYTHONPATH": "src", "NO_COLOR": "1"}
    done = subprocess.run(command, cwd=tmp_path, env=env, text=True, capture_output=True, check=False)
    assert done.returncode == 1
    assert re.findall(r"^(.+) BROKEN", done.stdout, re.MULTILINE) == list(read_contracts())


INSTANT_NAMED_AS_DURATION = re.compile(
    r"\b(?:now|since|until|deadline|started|began|created|expires|heard|checked|measured)_s\b|_at_s\b"
)


def test_a_moment_is_never_named_like_a_duration():
    """`_s` is a duration and `_at` a moment: a time-out was once compared with the clock because both ended in `_s`."""
    found = {
        f"{path.relative_to(ROOT)}: {name}"
        for path in sorted(SOURCES.rglob("*.py"))
        for name in INSTANT_NAMED_AS_DURATION.findall(path.read_text())
    }
    assert found == set()
