"""Write docs/features.md from the claims in docs/features.yaml and the marks on the tests.

`docs/features.yaml` lists for each requirement the claims it consists of, and what is missing. A mark names one claim
and states how the test proves it:

    @pytest.mark.req("E4.beam-search", level="run", on="vLLM")

LEVELS says what each level means. A claim is worth its strongest proof, and a requirement is worth its weakest claim:
one claim that only a unit test covers makes the whole requirement "unit".

`--check` fails when a mark names no claim, a claim has no mark, a level is missing or unknown, or the page differs.
When build/test-results.json holds the outcomes of the whole test suite on these very sources, `--check` also fails for
every proof that did not pass. tests/conftest.py writes that file at the end of `make test`, and fails the run for the
same reasons. This script does not run tests.
"""

import argparse
import ast
import hashlib
import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

import yaml

ROOT = Path(__file__).resolve().parent.parent
CLAIMS = ROOT / "docs" / "features.yaml"
PAGE = ROOT / "docs" / "features.md"
RESULTS = ROOT / "build" / "test-results.json"

LEVELS = {
    "run": "the product ran with the real thing",
    "validated": "the real thing's own checker accepted what the product wrote; nothing ran",
    "double": "the product ran over real sockets, with a double that the tests bring for the engine or the hub",
    "unit": "functions were compared with values that we wrote down",
}
"""Strongest first."""

ON = {
    "run": ("vLLM", "Prometheus"),
    "validated": ("vLLM's argument parser", "jsonschema"),
    "double": (),
    "unit": (),
}
"""The real thing or the checker that a mark of this level names in `on`; one of these."""

SOURCES = (
    "src", "tests", "scripts", "benchmarks", "models", "examples", "deploy", "docs", "README.md", "Makefile",
    "pyproject.toml", "uv.lock", "hatch_build.py",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Proof:
    """One mark: the claim, how it is proved, and the test (`tests/x.py::test_y`) without its parameters."""

    claim: str
    level: str | None
    on: str | None
    test: str

    @property
    def words(self) -> str:
        return {"run": f"run on {self.on}", "validated": f"validated by {self.on}"}.get(
            self.level or "", self.level or ""
        )


@dataclass(frozen=True, slots=True)
class Requirement:
    """One row of REQUIREMENTS: its claims by name, and what of it does not work yet."""

    name: str
    claims: Mapping[str, str] = field(default_factory=dict)
    missing: tuple[str, ...] = ()


@dataclass(slots=True)
class Results:
    """What a test run found: the sources it ran on, whether it ran all tests, and each test's outcome."""

    sources: str
    commit: str
    whole: bool
    tests: dict[str, str] = field(default_factory=dict)
    """`tests/x.py::test_y[case]` → passed, failed or skipped."""

    def write(self) -> None:
        RESULTS.parent.mkdir(parents=True, exist_ok=True)
        RESULTS.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")


def read_results() -> Results | None:
    """None when there is no file, or one that another version of this script wrote."""
    try:
        return Results(**json.loads(RESULTS.read_text()))
    except (OSError, ValueError, TypeError):
        return None


def fingerprint_sources() -> str:
    """A digest of every file that decides what a test finds."""
    digest = hashlib.sha256()
    for name in SOURCES:
        top = ROOT / name
        for path in [top] if top.is_file() else sorted(top.rglob("*")):
            if path.is_file() and "__pycache__" not in path.parts:
                digest.update(f"{path.relative_to(ROOT)}\0{path.stat().st_size}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:16]


def name_commit() -> str:
    """The commit of the working tree, with `+` when files differ from it; "unknown" outside git."""
    try:
        command = ["git", "describe", "--always", "--exclude=*", "--abbrev=12", "--dirty=+"]
        return subprocess.run(command, cwd=ROOT, text=True, capture_output=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def read_requirements(text: str) -> dict[str, Requirement]:
    """The requirements by id; ValueError names what is wrong with a row."""
    found = {}
    for key, row in yaml.safe_load(text).items():
        if unknown := set(row) - {"name", "claims", "missing"}:
            raise ValueError(f"{key}: unknown field {min(unknown)}")
        if ("claims" in row) != ("missing" in row):
            raise ValueError(f"{key}: a row with claims says what is missing, `[]` for nothing, and no other row does")
        found[key] = Requirement(row["name"], row.get("claims", {}), tuple(row.get("missing", ())))
    return found


Mark = tuple[str, str | None, str | None]
"""Claim, level, on."""


def marks_of(node: ast.expr) -> Iterator[Mark]:
    """The marks of one decorator or `pytestmark` value."""
    if isinstance(node, ast.List | ast.Tuple):
        for item in node.elts:
            yield from marks_of(item)
    if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr == "req":
        given = {k.arg: str(k.value.value) for k in node.keywords if isinstance(k.value, ast.Constant)}
        for arg in node.args:
            if isinstance(arg, ast.Constant):
                yield str(arg.value), given.get("level"), given.get("on")


def proofs_in(path: Path) -> Iterator[Proof]:
    """Every proof in one test file: marks on functions, on classes and on the module."""
    tree = ast.parse(path.read_text())
    assigned = [node for node in tree.body if isinstance(node, ast.Assign) and _is_pytestmark(node)]
    whole = [mark for node in assigned for mark in marks_of(node.value)]

    def walk(body: list[ast.stmt], prefix: str, inherited: list[Mark]) -> Iterator[Proof]:
        for node in body:
            if not isinstance(node, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            marks = inherited + [mark for decorator in node.decorator_list for mark in marks_of(decorator)]
            if isinstance(node, ast.ClassDef):
                yield from walk(node.body, f"{prefix}::{node.name}", marks)
            elif node.name.startswith("test"):
                for mark in dict.fromkeys(marks):
                    yield Proof(*mark, f"{prefix}::{node.name}")

    yield from walk(tree.body, path.relative_to(ROOT).as_posix(), whole)


def _is_pytestmark(node: ast.Assign) -> bool:
    return any(isinstance(target, ast.Name) and target.id == "pytestmark" for target in node.targets)


def all_proofs() -> list[Proof]:
    return [p for path in sorted((ROOT / "tests").rglob("test_*.py")) for p in proofs_in(path)]


def strength(proof: Proof) -> int:
    return list(LEVELS).index(proof.level or "")


def find_problems(requirements: Mapping[str, Requirement], proofs: list[Proof]) -> list[str]:
    """Marks that state no level or no known claim, and claims that no mark proves."""
    claims = {f"{key}.{claim}" for key, row in requirements.items() for claim in row.claims}
    found = []
    for proof in proofs:
        if proof.claim not in claims:
            found.append(f"{proof.test}: docs/features.yaml has no claim {proof.claim}")
        if proof.level not in LEVELS:
            found.append(f"{proof.test}: the mark {proof.claim} needs a level, one of {', '.join(LEVELS)}")
        elif proof.on not in (ON[proof.level] or (None,)):
            known = ", ".join(ON[proof.level]) or "nothing"
            found.append(f"{proof.test}: the mark {proof.claim} is {proof.level} on {proof.on}; it can be on {known}")
    proved = {proof.claim for proof in proofs}
    return found + [f"docs/features.yaml: no test proves the claim {claim}" for claim in sorted(claims - proved)]


def find_unproved(proofs: list[Proof], results: Results) -> list[str]:
    """The proofs that a test run did not confirm: a test failed, was skipped or, in a whole run, did not run."""
    outcomes: dict[str, set[str]] = {}
    for test, outcome in results.tests.items():
        outcomes.setdefault(test.partition("[")[0], set()).add(outcome)
    found = {}
    for proof in proofs:
        seen = outcomes.get(proof.test, {"did not run"} if results.whole else set())
        if bad := sorted(seen - {"passed"}):
            found[proof.test] = f"{proof.test} proves {proof.claim} in docs/features.md, and {' and '.join(bad)}"
    return list(found.values())


def rate_claim(claim: str, proofs: list[Proof]) -> Proof:
    """The strongest proof of a claim."""
    return min((proof for proof in proofs if proof.claim == claim), key=strength)


def rate_requirement(key: str, row: Requirement, proofs: list[Proof]) -> str:
    """The level of a row: that of its weakest claim, "in part" when something is missing."""
    if not row.claims:
        return "not yet"
    best = [rate_claim(f"{key}.{claim}", proofs) for claim in row.claims]
    weakest = max(map(strength, best))
    words = " and ".join(dict.fromkeys(proof.words for proof in best if strength(proof) == weakest))
    return f"in part: {words}" if row.missing else words


def render_page(requirements: Mapping[str, Requirement], proofs: list[Proof]) -> str:
    out = [
        "# Features",
        "",
        "`make gen` writes this page from `docs/features.yaml` and the marks on the tests; do not edit it. A claim has",
        "the level of its strongest proof, a capability that of its weakest claim:",
        "",
        *(f"* **{level}**: {meaning}." for level, meaning in LEVELS.items()),
        "* **not yet**: no claim is made. **In part**: the capability consists of more than the claims.",
        "",
        "| id | capability | level | missing |",
        "|---|---|---|---|",
    ]
    for key, row in requirements.items():
        shown = f"[{key}](#{key.lower()})" if row.claims else key
        out.append(f"| {shown} | {row.name} | {rate_requirement(key, row, proofs)} | {'; '.join(row.missing)} |")
    out += ["", "## Claims and their proofs", ""]
    for key, row in requirements.items():
        if row.claims:
            out += [f"### {key}", "", f"{row.name}.", ""]
            out += [_render_claim(f"{key}.{claim}", text, proofs) for claim, text in row.claims.items()] + [""]
    return "\n".join(out)


def _render_claim(claim: str, text: str, proofs: list[Proof]) -> str:
    mine = sorted((proof for proof in proofs if proof.claim == claim), key=strength)
    tests = ", ".join(f"`{proof.test.removeprefix('tests/')}`" for proof in mine[:3])
    more = f" and {len(mine) - 3} more" if len(mine) > 3 else ""
    return f"* **{mine[0].words}**: {text}. {tests}{more}"


def check_results(proofs: list[Proof]) -> tuple[list[str], str]:
    """The problems that the last whole test run shows, and a sentence about what was compared."""
    results = read_results()
    if results is None or not results.whole:
        return [], f"{RESULTS.relative_to(ROOT)} is missing: outcomes are not checked (`make test` writes it)"
    if results.sources != fingerprint_sources():
        return (
            [],
            f"{RESULTS.relative_to(ROOT)} is of other sources (commit {results.commit}): outcomes are not checked",
        )
    return find_unproved(proofs, results), f"outcomes of {len(results.tests)} tests on these sources are checked"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true", help="write nothing; exit 1 when a claim is not proved")
    check = parser.parse_args().check
    requirements = read_requirements(CLAIMS.read_text())
    proofs = all_proofs()
    problems = find_problems(requirements, proofs)
    page = "" if problems else render_page(requirements, proofs)
    if check and not problems:
        if not PAGE.exists() or PAGE.read_text() != page:
            problems.append("docs/features.md is out of date: run `make gen`")
        unproved, compared = check_results(proofs)
        problems += unproved
        print(f"features: {len({proof.claim for proof in proofs})} claims, {len(proofs)} proofs; {compared}")
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not check and not problems:
        PAGE.write_text(page)
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
