"""`remuda gateway`: examples/existing-engines.yaml over engines that already run."""

import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.product.driving import GONE_S, REMUDA, ROOT, Machine, until

EXAMPLE = ROOT / "examples" / "existing-engines.yaml"


@pytest.fixture
def gateway(busy_machine: Machine, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The example, with the addresses and the model of engines that are really there."""
    text = EXAMPLE.read_text()
    engines = busy_machine.status()["engines"]
    for url, engine in zip(re.findall(r"https?://[^\s,}]+", text), engines, strict=False):
        text = text.replace(url, f"http://{engine['address']}")
    text = re.sub(r"(?m)^(\s*(?:- )?model:).*$", rf"\1 {engines[0]['model']}", text)
    path = tmp_path / "existing.yaml"
    path.write_text(text)
    log = tmp_path / "gateway.log"
    environment = {**busy_machine.env, "SECOND_ENGINE_KEY": "any"}
    with log.open("wb") as errors:
        process = subprocess.Popen([*REMUDA, "gateway", str(path), "--port", "0"], env=environment, stderr=errors)
    try:
        found = until(lambda: re.search(r"listening on (http://\S+)", log.read_text()), GONE_S, "it listens")
        assert found
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


def test_engines_that_already_run_are_served(
    busy_machine: Machine, gateway: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, url = gateway
    asked = busy_machine.run("chat", "--url", url, "-m", "What is vLLM?", "--temperature", "0")
    assert asked.status == 0, asked.err
    assert asked.out.strip()
    process.send_signal(signal.SIGINT)
    assert process.wait(GONE_S) == 0


def test_model_without_engines_is_explained(busy_machine: Machine) -> None:
    done = busy_machine.run("gateway", str(ROOT / "examples" / "laptop.yaml"), "--port", "0")
    assert done.status == 1
    assert "error: no engines are named for: remuda-demo" in done.err
    assert "hint: give these models `endpoints:`" in done.err
