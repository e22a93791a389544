"""Command lines and the list of flags against the argument parser of the real vLLM, GPU ones included."""

import json
import os
import subprocess
from importlib import resources
from pathlib import Path

import pytest
from tests.unit.vllm.models import CASES

from remuda.vllm.arguments import render_arguments


@pytest.mark.req(
    "E1.settings",
    "E2.settings",
    "E4.prefix-cache-off",
    "E5.settings",
    "E6.settings",
    level="validated",
    on="vLLM's argument parser",
)
def test_vllms_own_parser_takes_every_command_line(installation, tmp_path):
    template = tmp_path / "chat.jinja"
    template.write_text("{{ messages }}", encoding="utf-8")
    lines = {name: list(render_arguments(*case)) for name, case in CASES.items()}
    for words in lines.values():
        words[:] = [str(template) if word == "/templates/chat.jinja" else word for word in words]
    parser = Path(__file__).with_name("parse_arguments.py")
    command = [str(installation.python), str(parser)]
    done = subprocess.run(command, input=json.dumps(lines), capture_output=True, text=True, check=False)
    assert done.stdout.strip().endswith("all parsed"), done.stderr[-2000:]


def test_the_list_of_flags_is_what_vllms_own_parser_says(installation):
    script = Path(__file__).parents[2] / "scripts" / "read_flags.py"
    env = {**os.environ, "VLLM_LOGGING_LEVEL": "ERROR"}
    done = subprocess.run([installation.python, script], capture_output=True, text=True, check=False, env=env)
    assert done.returncode == 0, done.stderr[-2000:]
    listed = resources.files("remuda.vllm").joinpath("flags", f"{installation.version}.txt").read_text(encoding="utf-8")
    assert done.stdout == listed
