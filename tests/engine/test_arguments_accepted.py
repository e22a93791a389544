"""The command lines of engines, judged by the argument parser of the real vLLM, those for GPUs included."""

import json
import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from tests.unit.vllm.models import CASES

from remuda import spec
from remuda.engine.plan import wants_gpu
from remuda.vllm.arguments import Target, render_arguments

REPOSITORY = Path(__file__).parents[2]
MODELS = {
    f"{path.name}: {model.name}": model
    for path in sorted((REPOSITORY / "examples").glob("*.yaml"))
    for model in spec.load_files([path]).models
}
"""Every model of every example."""
EXAMPLES = {name: model for name, model in MODELS.items() if model.spec.endpoints is None}
"""Those whose engines Remuda starts."""


@pytest.fixture(scope="module")
def read(installation, tmp_path_factory) -> dict[str, dict]:
    """What vLLM's own parser reads from all command lines: name → options. One process, because vLLM loads slowly."""
    template = tmp_path_factory.mktemp("templates") / "chat.jinja"
    template.write_text("{{ messages }}", encoding="utf-8")
    cases = {**CASES, **{name: (model, place_engine(model)) for name, model in EXAMPLES.items()}}
    lines = {name: list(render_arguments(*case)) for name, case in cases.items()}
    for words in lines.values():
        words[:] = [str(template) if word == "/templates/chat.jinja" else word for word in words]
    command = [str(installation.python), str(Path(__file__).with_name("parse_arguments.py"))]
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def place_engine(model: spec.Model) -> Target:
    """Where an engine of this model runs: its weights, its adapters and its draft model in folders of one disk."""
    return Target(
        variant="cpu" if wants_gpu(model) is False else "cuda",
        model_path="/weights/model",
        port=8000,
        adapter_paths={adapter.name: f"/weights/{adapter.name}" for adapter in model.spec.engine.adapters},
        draft_path="/weights/draft" if model.spec.engine.speculative else None,
    )


def expect_options(model: spec.Model) -> dict[str, object]:
    """What vLLM must read from the command line of a model file, option by option."""
    engine = model.spec.engine
    wanted = {
        "model": "/weights/model",
        "served_model_name": [model.served_name, *model.spec.aliases],
        "host": "127.0.0.1",
        "port": 8000,
        "dtype": engine.dtype,
        "max_model_len": engine.max_model_len,
        "max_num_seqs": engine.max_num_seqs,
        "tensor_parallel_size": engine.parallel.tensor,
        "tool_call_parser": engine.tool_parser,
        "enable_auto_tool_choice": engine.tool_parser is not None,
        "kv_cache_dtype": engine.kv_cache_dtype,
    }
    if engine.gpu_memory_utilization is not None:
        wanted["gpu_memory_utilization"] = engine.gpu_memory_utilization
    if engine.kv_cache_memory is not None:
        wanted["kv_cache_memory_bytes"] = int(engine.kv_cache_memory)
    if engine.adapters:
        slots = len(engine.adapters) + (wants_gpu(model) is False)
        wanted |= {"enable_lora": True, "max_loras": slots, "max_lora_rank": engine.max_adapter_rank}
    return wanted


@pytest.mark.req(
    "E1.settings",
    "E2.settings",
    "E4.prefix-cache-off",
    "E5.settings",
    "E6.settings",
    level="validated",
    on="vLLM's argument parser",
)
def test_vllms_own_parser_takes_every_command_line(read):
    assert read.keys() == {*CASES, *EXAMPLES}


def test_every_example_but_the_one_of_engines_that_already_run_has_a_command_line():
    assert [name for name in MODELS if name not in EXAMPLES] == ["existing-engines.yaml: llama-8b"]


@pytest.mark.parametrize("name", EXAMPLES)
def test_vllms_own_parser_reads_from_an_example_what_the_example_says(read, name):
    wanted = expect_options(EXAMPLES[name])
    assert {option: read[name][option] for option in wanted} == wanted
    adapters = [(adapter.name, f"/weights/{adapter.name}") for adapter in EXAMPLES[name].spec.engine.adapters]
    assert [(each["name"], each["path"]) for each in read[name]["lora_modules"] or ()] == adapters


def test_the_list_of_flags_is_what_vllms_own_parser_says(installation):
    script = REPOSITORY / "scripts" / "read_flags.py"
    env = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([installation.python, script], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    listed = resources.files("remuda.vllm").joinpath("flags", f"{installation.version}.txt").read_text(encoding="utf-8")
    assert done.stdout == listed
