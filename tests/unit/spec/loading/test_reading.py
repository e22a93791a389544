"""Loading files: positions, several documents, several problems, and unreadable files."""

import time
from pathlib import Path

import pytest

from remuda import spec

HEAD = "apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec:\n  source: demo://remuda-demo\n"


def problems_of(text: str) -> list[str]:
    with pytest.raises(spec.SpecError) as refused:
        spec.load_text(text, "f.yaml")
    return [f"{problem.place} {problem.where}: {problem.message}" for problem in refused.value.problems]


def test_a_problem_shows_file_line_column_path_message_and_hint():
    with pytest.raises(spec.SpecError) as refused:
        spec.load_text(HEAD + "  replica: 2\n", "dir/f.yaml")
    assert str(refused.value) == (
        "1 problem found\ndir/f.yaml:6:3: spec.replica: unknown field `replica`\n  hint: did you mean replicas?"
    )


def test_a_thousand_problems_are_listed_in_the_order_of_lines():
    text = HEAD + "".join(f"  wrong{number}: 1\n" for number in range(1000))
    started = time.perf_counter()
    found = problems_of(text)
    assert len(found) == 1000
    assert found[0].startswith("f.yaml:6:3 ")
    assert found[-1].startswith("f.yaml:1005:3 ")
    assert time.perf_counter() - started < 10


def test_documents_of_one_file_are_all_read_and_all_checked():
    text = f"{HEAD}---\n{HEAD.replace('name: m', 'name: other')}  wrong: 1\n---\nkind: Tenant\n"
    assert problems_of(text) == [
        "f.yaml:12:3 spec.wrong: unknown field `wrong`",
        "f.yaml:14:1 apiVersion: is missing",
    ]


def test_a_broken_rule_is_listed_beside_invalid_fields():
    assert problems_of(HEAD + "  hardware: {gpu: none, gpuCount: two}\n") == [
        "f.yaml:6:19 spec.hardware.gpu: gpuCount and gpuMemory have no effect with gpu: none",
        "f.yaml:6:35 spec.hardware.gpuCount: `two` is not a whole number",
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("", "f.yaml:1:1 : is empty", id="empty"),
        pytest.param("# nothing\n", "f.yaml:1:1 : is empty", id="only a comment"),
        pytest.param("---\n---\n", "f.yaml:1:1 : is empty", id="empty documents"),
        pytest.param("hello", "f.yaml:1:1 : must be a mapping with apiVersion, kind, metadata and spec", id="a word"),
        pytest.param("- 1\n", "f.yaml:1:1 : must be a mapping with apiVersion, kind, metadata and spec", id="a list"),
        pytest.param("apiVersion: remuda.dev/v1alpha1\n", "f.yaml:1:1 kind: is missing", id="no kind"),
        pytest.param(HEAD.replace("Model", "Gateway"), "f.yaml:2:7 kind: `Gateway` is not a kind of Remuda", id="kind"),
        pytest.param(HEAD.replace("v1alpha1", "v1"), "f.yaml:1:13 apiVersion: `remuda.dev/v1` is not known", id="api"),
        pytest.param("a:\n\tb: 1\n", "f.yaml:2:1 : not valid YAML: a tab cannot indent YAML", id="tab"),
        pytest.param("a: 1\na: 2\n", "f.yaml:2:1 a: the key `a` is repeated", id="duplicate key"),
        pytest.param("a: *x\n", "f.yaml:1:4 a: *x is not defined above", id="unknown alias"),
        pytest.param("a: &x [*x]\n", "f.yaml:1:8 a[0]: *x contains itself", id="recursive alias"),
        pytest.param("no: 1\n", "f.yaml:1:1 no: the key `no` means false without quotes", id="key no"),
        pytest.param("a: !!binary x\n", "f.yaml:1:4 a: the tag `tag:yaml.org,2002:binary` is not supported", id="tag"),
        pytest.param("a: \0\n", "f.yaml:1:4 : NUL character is not allowed", id="NUL"),
        pytest.param("a: b\n\x1b", "f.yaml:2:1 : character U+001B is not allowed", id="escape"),
        pytest.param("[" * 100, "f.yaml:1:33 ", id="too deep"),
    ],
)
def test_text_that_is_no_document_is_refused_with_its_position(text: str, expected: str):
    assert any(line.startswith(expected) for line in problems_of(text))


def test_aliases_that_multiply_are_refused_quickly():
    levels = "".join(f"{b}: &{b} [{', '.join(['*' + a] * 9)}]\n" for a, b in zip("abcdefgh", "bcdefghi", strict=True))
    started = time.perf_counter()
    found = problems_of("a: &a [x, x, x, x, x, x, x, x, x]\n" + levels)
    assert any("has more than 200,000 entries" in line for line in found)
    assert time.perf_counter() - started < 5


def test_utf8_with_byte_order_mark_and_crlf_is_read():
    loaded = spec.load_bytes(b"\xef\xbb\xbf" + HEAD.replace("\n", "\r\n").encode())
    assert loaded.models[0].name == "m"


@pytest.mark.parametrize(
    ("data", "message"),
    [
        pytest.param(HEAD.encode("utf-16"), "is UTF-16 text", id="UTF-16"),
        pytest.param(b"a: 1\nb: \xff\n", "byte 0xff is not UTF-8 text", id="not UTF-8"),
        pytest.param(b"#" * (4 * 2**20 + 1), "is too large (4.0 MiB)", id="too large"),
    ],
)
def test_bytes_that_are_not_text_are_refused(data: bytes, message: str):
    with pytest.raises(spec.SpecError) as refused:
        spec.load_bytes(data)
    assert refused.value.problems[0].message == message


def test_every_unreadable_file_is_listed(tmp_path: Path):
    (tmp_path / "model.yaml").write_text(HEAD)
    with pytest.raises(spec.SpecError) as refused:
        spec.load_files([tmp_path / "modle.yaml", tmp_path])
    found = {problem.message: problem.hint for problem in refused.value.problems}
    assert found == {"no such file": f"did you mean {tmp_path / 'model.yaml'}?", "is a folder": "name the files in it"}


def test_two_files_cannot_declare_the_same_name(tmp_path: Path):
    for name in ("a.yaml", "b.yaml"):
        (tmp_path / name).write_text(HEAD)
    with pytest.raises(spec.SpecError) as refused:
        spec.load_files([tmp_path / "a.yaml", tmp_path / "b.yaml"])
    (problem,) = refused.value.problems
    assert problem.message == f"there is a Model `m` already, at {tmp_path / 'a.yaml'}:3:18"


@pytest.mark.parametrize(
    "other",
    [
        pytest.param("servedName: m", id="served name"),
        pytest.param("aliases: [m]", id="alias"),
        pytest.param("engine: {adapters: [{name: m, source: hf://o/a}]}", id="adapter"),
    ],
)
def test_two_models_cannot_have_one_name_for_clients(other: str):
    found = problems_of(f"{HEAD}---\n{HEAD.replace('name: m', 'name: other')}  {other}\n")
    assert len(found) == 1
    assert "the name `m` is taken by the model `m`, at f.yaml:3:18" in found[0]


def test_a_missing_field_has_the_position_of_the_nearest_field_above():
    loaded = spec.load_text(HEAD + "  engine:\n    dtype: auto\n", "f.yaml")
    model = loaded.models[0]
    assert str(loaded.place(model, ("spec", "engine", "dtype"))) == "f.yaml:7:12"
    assert str(loaded.place(model, ("spec", "engine", "blockSize"))) == "f.yaml:7:5"
    assert (
        loaded.place(model.model_copy(update={"metadata": model.metadata.model_copy(update={"name": "x"})}), ()) is None
    )


def test_a_secret_is_refused_in_every_position_and_never_shown():
    token = "hf_" + "AbCdEfGhIjKlMnOpQrStUvWx"
    text = HEAD + f"  {token}: 1\n  servedName: {token}\n  aliases: ['{token}']\n  engine: {{dtype: {token}}}\n"
    with pytest.raises(spec.SpecError) as refused:
        spec.load_text(text)
    assert len(refused.value.problems) == 4
    assert token not in str(refused.value)
    assert token not in repr(refused.value.problems)
    assert refused.value.__context__ is None or token not in str(refused.value.__context__)
