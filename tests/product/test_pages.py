"""The pages for machines, in front of real engines."""

import httpx
import pytest


def get(url: str) -> httpx.Response:
    return httpx.get(url, trust_env=False)


@pytest.mark.req("A4.health", level="run", on="vLLM")
def test_health_says_that_the_process_is_alive(url: str) -> None:
    answer = get(f"{url}/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


@pytest.mark.req("A4.ready", level="run", on="vLLM")
def test_ready_names_the_models_that_are(url: str) -> None:
    answer = get(f"{url}/ready")
    assert (answer.status_code, answer.json()["ready"]) == (200, ["remuda-demo"])
    answer = get(f"{url}/ready/remuda-demo")
    assert (answer.status_code, answer.json()) == (200, {"status": "ready", "model": "remuda-demo"})
    answer = get(f"{url}/ready/no-such-model")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "model_not_found")
