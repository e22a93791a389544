"""`remuda validate` and `remuda schema`: what is printed, and the exit status."""

import json
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from remuda.cli.commands.schema import command as schema
from remuda.cli.commands.validate import command as validate
from remuda.fleet.plan import read_config

GOOD = "apiVersion: remuda.dev/v1alpha1\nkind: Model\nmetadata: {name: m}\nspec:\n  source: demo://remuda-demo\n"


@pytest.fixture
def in_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.yaml").write_text(GOOD)
    (tmp_path / "bad.yaml").write_text(GOOD + "  replica: 2\n")
    (tmp_path / "warned.yaml").write_text(GOOD + "  replicas: 0\n")
    return tmp_path


@pytest.mark.usefixtures("in_folder")
def test_a_valid_file_is_ok():
    done = CliRunner().invoke(validate, ["good.yaml"])
    assert (done.exit_code, done.output) == (0, "ok: 1 model\n")


@pytest.mark.usefixtures("in_folder")
def test_problems_are_listed_and_the_exit_status_is_1():
    done = CliRunner().invoke(validate, ["bad.yaml"])
    assert done.exit_code == 1
    assert done.output == (
        "bad.yaml:6:3: error: spec.replica: unknown field `replica`\n"
        "  hint: did you mean replicas?\n"
        "1 error, 0 warnings\n"
    )


@pytest.mark.usefixtures("in_folder")
def test_warnings_alone_exit_with_0():
    done = CliRunner().invoke(validate, ["warned.yaml"])
    assert done.exit_code == 0
    assert done.output.startswith(
        "warned.yaml:6:13: warning: spec.replicas: with replicas: 0 no engine is started, and nothing answers\n"
    )
    assert done.output.endswith("ok: 1 model; 1 warning\n")


@pytest.mark.usefixtures("in_folder")
def test_problems_as_json():
    done = CliRunner().invoke(validate, ["--json", "bad.yaml"])
    assert done.exit_code == 1
    assert json.loads(done.output) == [
        {
            "severity": "error",
            "file": "bad.yaml",
            "line": 6,
            "column": 3,
            "path": "spec.replica",
            "message": "unknown field `replica`",
            "hint": "did you mean replicas?",
        }
    ]


def test_standard_input_is_read():
    done = CliRunner().invoke(validate, ["-"], input=GOOD + "  wrong: 1\n")
    assert done.exit_code == 1
    assert done.output.startswith("<stdin>:6:3: error: spec.wrong: unknown field")


@pytest.mark.usefixtures("in_folder")
def test_the_machine_decides_the_meaning_of_auto():
    Path("block.yaml").write_text(GOOD + "  engine: {blockSize: 16}\n")
    assert CliRunner().invoke(validate, ["block.yaml"]).output == "ok: 1 model\n"
    done = CliRunner().invoke(validate, ["--for", "cpu", "block.yaml"])
    assert "blockSize 16 becomes 32 on a CPU" in done.output


def test_config_json_of_weights_on_this_machine_is_checked(in_folder: Path):
    (in_folder / "config.json").write_text(json.dumps({"num_attention_heads": 8}))
    file = in_folder / "local.yaml"
    file.write_text(GOOD.replace("demo://remuda-demo", f"file://{in_folder}") + "  engine: {parallel: {tensor: 3}}\n")
    done = CliRunner().invoke(validate, [str(file)])
    assert "tensor 3 does not divide the model's 8 attention heads" in done.output


@pytest.mark.usefixtures("in_folder")
def test_config_json_of_the_bundled_model_is_checked():
    Path("demo.yaml").write_text(GOOD + "  engine: {parallel: {tensor: 7}, maxModelLen: 1000000}\n")
    told = CliRunner().invoke(validate, ["demo.yaml"]).output
    assert "tensor 7 does not divide the model's" in told
    assert "maxModelLen 1000000 is more than the" in told


def test_config_json_of_downloaded_weights_is_checked(in_folder: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("REMUDA_HOME", str(in_folder))
    folder = in_folder / "weights" / "hf" / "org--name@v1"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"num_attention_heads": 8}))
    file = in_folder / "hub.yaml"
    file.write_text(GOOD.replace("demo://remuda-demo", "hf://org/name@v1") + "  engine: {parallel: {tensor: 3}}\n")
    assert CliRunner().invoke(validate, [str(file)]).output == "ok: 1 model\n", "half fetched, so not trusted"
    (folder / ".remuda-weights.json").write_text(json.dumps({"files": {}}))
    assert "the model's 8 attention heads" in CliRunner().invoke(validate, [str(file)]).output


@pytest.mark.usefixtures("in_folder")
def test_a_field_without_effect_on_one_machine_is_a_warning():
    Path("cluster.yaml").write_text(GOOD + "  rollout: {maxSurge: 1}\n")
    assert CliRunner().invoke(validate, ["cluster.yaml"]).output == (
        "cluster.yaml:6:12: warning: spec.rollout: has no effect on one machine, only on Kubernetes\n"
        "ok: 1 model; 1 warning\n"
    )


@pytest.mark.parametrize("content", [None, "", "[1]", "{", "[" * 100_000, "\xff"], ids=repr)
def test_an_unreadable_config_json_is_ignored(tmp_path: Path, content: str | None):
    if content is not None:
        (tmp_path / "config.json").write_text(content, encoding="latin-1")
    assert read_config(tmp_path) == {}


def test_schema_is_printed():
    done = CliRunner().invoke(schema, ["tenant"])
    assert json.loads(done.output)["title"] == "Tenant"


def test_definitions_are_printed_for_kubectl():
    done = CliRunner().invoke(schema, ["--crd"])
    kinds = [definition["spec"]["names"]["kind"] for definition in yaml.safe_load_all(done.output)]
    assert kinds == ["Model", "ModelGateway", "Tenant"]
