"""The demo model answers held-out questions through the whole product as often as its model card says."""

import re
import subprocess
import sys

from tests.product.driving import ROOT

CARD = ROOT / "src" / "remuda" / "engine" / "demo" / "MODEL_CARD.md"


def test_held_out_questions_are_answered_as_often_as_the_model_card_says(url):
    command = [sys.executable, ROOT / "models" / "demo" / "evaluate.py", "--base-url", url, "--model", "remuda-demo"]
    done = subprocess.run(command, text=True, capture_output=True, timeout=120, check=False)
    stated, measured = (re.search(r"(\d+) of 200", text) for text in (CARD.read_text(), done.stdout))
    assert stated is not None
    assert measured is not None, done.stdout + done.stderr
    assert measured[1] == stated[1], done.stdout
    assert int(measured[1]) >= 170
    assert done.returncode == 0
