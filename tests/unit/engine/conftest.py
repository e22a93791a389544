"""Plans for an engine double."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from remuda.engine.plan import EnginePlan
from remuda.machine.ports import pick_free_port
from remuda.vllm.questions import token_question

FAKE = Path(__file__).with_name("fake_engine.py")


@pytest.fixture
def make_plan(tmp_path: Path) -> Callable[..., EnginePlan]:
    def make(behaviour: str, startup_timeout_s: float = 20.0, drain_timeout_s: float = 5.0, **env: str) -> EnginePlan:
        port = pick_free_port()
        return EnginePlan(
            model="fake",
            replica=0,
            argv=(sys.executable, str(FAKE), behaviour, "--port", str(port)),
            env={"PATH": os.environ["PATH"], "FAKE_MARK": str(tmp_path / "mark"), **env},
            host="127.0.0.1",
            port=port,
            log_path=tmp_path / "logs" / "fake-0.log",
            scratch_path=tmp_path / "run",
            served_names=("fake",),
            question=token_question(("chat",)),
            startup_timeout_s=startup_timeout_s,
            drain_timeout_s=drain_timeout_s,
        )

    return make
