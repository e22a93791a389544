"""`remuda gateway` in front of engines that already run."""

import contextlib
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from tests.product.driving import GONE_S, REMUDA, ROOT, Machine, until

EXAMPLE = ROOT / "examples" / "existing-engines.yaml"
TWO_MODELS = """
apiVersion: remuda.dev/v1alpha1
kind: Model
metadata: {{name: talker}}
spec:
  aliases: [gpt-4o-mini]
  capabilities: [chat]
  endpoints: [{{url: "http://{0}", model: remuda-demo}}]
---
apiVersion: remuda.dev/v1alpha1
kind: Model
metadata: {{name: coder}}
spec:
  capabilities: [completion, code, chat]
  maxTokens: 16
  endpoints: [{{url: "http://{1}", model: remuda-demo}}]
"""
"""One model on each of two engines, which know it by another name."""


@contextlib.contextmanager
def serving(machine: Machine, path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """A gateway for the file at `path`, and its address."""
    log = path.with_suffix(".log")
    environment = {**machine.env, "SECOND_ENGINE_KEY": "any"}
    with log.open("wb") as errors:
        process = subprocess.Popen([*REMUDA, "gateway", str(path), "--port", "0"], env=environment, stderr=errors)
    try:
        found = until(lambda: re.search(r"listening on (http://\S+)", log.read_text()), GONE_S, "it listens")
        assert found
        yield process, found[1]
    finally:
        process.kill()
        process.wait()


@pytest.fixture
def gateway(busy_machine: Machine, tmp_path: Path) -> Iterator[tuple[subprocess.Popen[bytes], str]]:
    """The example, with the addresses and the model of the engines that run here."""
    text = EXAMPLE.read_text()
    engines = busy_machine.status()["engines"]
    for url, engine in zip(re.findall(r"https?://[^\s,}]+", text), engines, strict=False):
        text = text.replace(url, f"http://{engine['address']}")
    text = re.sub(r"(?m)^(\s*(?:- )?model:).*$", rf"\1 {engines[0]['model']}", text)
    path = tmp_path / "existing.yaml"
    path.write_text(text)
    with serving(busy_machine, path) as found:
        yield found


def test_engines_that_already_run_are_served(
    busy_machine: Machine, gateway: tuple[subprocess.Popen[bytes], str]
) -> None:
    process, url = gateway
    asked = busy_machine.run("chat", "--url", url, "-m", "What is vLLM?", "--temperature", "0")
    assert asked.status == 0, asked.err
    assert asked.out.strip()
    process.send_signal(signal.SIGINT)
    assert process.wait(GONE_S) == 0


@pytest.fixture(scope="module")
def two_models(busy_machine: Machine, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a gateway for TWO_MODELS."""
    path = tmp_path_factory.mktemp("two") / "models.yaml"
    path.write_text(TWO_MODELS.format(*(engine["address"] for engine in busy_machine.status()["engines"])))
    with serving(busy_machine, path) as (_, url):
        yield url


CHAT = {"messages": [{"role": "user", "content": "What is vLLM?"}], "max_tokens": 4}
COMPLETION = {"prompt": "Once", "max_tokens": 4}


@pytest.mark.req("G1.by-name", level="run", on="vLLM")
@pytest.mark.parametrize(
    ("name", "engine"), [("talker", "talker-0"), ("gpt-4o-mini", "talker-0"), ("coder", "coder-0")]
)
def test_a_request_reaches_the_model_it_names(two_models: str, name: str, engine: str) -> None:
    body = {**CHAT, "model": name}
    answer = httpx.post(f"{two_models}/v1/chat/completions", json=body, timeout=60, trust_env=False)
    assert (answer.status_code, answer.headers["x-remuda-engine"]) == (200, engine), answer.text


@pytest.mark.req("G1.by-max-tokens", level="run", on="vLLM")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_a_request_for_many_tokens_passes_over_the_model_that_takes_few(two_models: str, stream: bool) -> None:
    body = {**CHAT, "max_tokens": 17, "stream": stream}
    for _ in range(4):
        answer = httpx.post(f"{two_models}/v1/chat/completions", json=body, timeout=60, trust_env=False)
        assert (answer.status_code, answer.headers["x-remuda-engine"]) == (200, "talker-0"), answer.text


@pytest.mark.parametrize(
    ("path", "body", "headers", "engine"),
    [
        pytest.param("completions", COMPLETION, {}, "coder-0", id="completion"),
        pytest.param("chat/completions", CHAT, {"x-remuda-capability": "code"}, "coder-0", id="code"),
    ],
)
@pytest.mark.req("G1.by-capability", level="run", on="vLLM")
def test_a_request_that_names_no_model_reaches_one_that_can_do_it(
    two_models: str, path: str, body: dict[str, object], headers: dict[str, str], engine: str
) -> None:
    answer = httpx.post(f"{two_models}/v1/{path}", json=body, headers=headers, timeout=60, trust_env=False)
    assert (answer.status_code, answer.headers["x-remuda-engine"]) == (200, engine), answer.text


@pytest.mark.req("G1.no-fit", level="run", on="vLLM")
def test_when_no_model_fits_those_that_were_considered_are_named(two_models: str) -> None:
    answer = httpx.post(f"{two_models}/v1/embeddings", json={"input": "text"}, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_fitting_model")
    assert "coder" in answer.json()["error"]["message"]
    assert "talker" in answer.json()["error"]["message"]
    headers = {"x-remuda-capability": "code"}
    body = {**CHAT, "max_tokens": 17}
    answer = httpx.post(f"{two_models}/v1/chat/completions", json=body, headers=headers, trust_env=False)
    assert (answer.status_code, answer.json()["error"]["code"]) == (503, "no_fitting_model")
    assert "coder (takes at most 16 tokens)" in answer.json()["error"]["message"]


def test_model_without_engines_is_explained(busy_machine: Machine) -> None:
    done = busy_machine.run("gateway", str(ROOT / "examples" / "laptop.yaml"), "--port", "0")
    assert done.status == 1
    assert done.err == (
        "error: no engines are listed for: remuda-demo\n"
        "hint: give these models `endpoints:`, or start them with `remuda up`\n"
    )
