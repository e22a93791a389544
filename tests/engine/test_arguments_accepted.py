"""Every golden command line through the argument parser of the real vLLM, GPU ones included."""

import json
import subprocess
from pathlib import Path

import pytest
from tests.unit.vllm.models import CASES

from remuda.vllm.arguments import render_arguments


@pytest.mark.req("E1", level="validated")
@pytest.mark.req("E5", level="validated")
@pytest.mark.req("E6", level="validated")
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
