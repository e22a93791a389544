"""The demo model knows what it was taught, in words it was not taught, through the whole product."""

import subprocess
import sys

from tests.product.driving import ROOT


def test_demo_model_gets_85_percent_of_held_out_questions_right(url):
    command = [sys.executable, ROOT / "models" / "demo" / "evaluate.py", "--base-url", url, "--model", "remuda-demo"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
