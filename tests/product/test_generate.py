"""/generate and /batch-generate on real engines: each parameter changes the answer as it should."""

import json
from typing import Any

import httpx
import pytest
from tests.product.driving import Machine

PROMPT = "The sun is"
"""The demo model is certain about each next token, so no rounding error changes its greedy answer."""
GREEDY: dict[str, Any] = {"prompt": PROMPT, "temperature": 0, "max_tokens": 40}


def post(url: str, path: str, body: object) -> httpx.Response:
    return httpx.post(f"{url}{path}", json=body, timeout=60, trust_env=False)


def generate(url: str, **fields: object) -> dict[str, Any]:
    answer = post(url, "/generate", {**GREEDY, **fields})
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


@pytest.fixture(scope="module")
def greedy(url: str) -> dict[str, Any]:
    return generate(url)


@pytest.mark.req("A2.answer", level="run", on="vLLM")
def test_generate_answers_the_text_and_token_count_of_the_engine(busy_machine: Machine, greedy: dict[str, Any]) -> None:
    engine = busy_machine.status()["engines"][0]["address"]
    direct = post(f"http://{engine}", "/v1/completions", {"model": "remuda-demo", **GREEDY}).json()
    assert greedy["generated_text"] == direct["choices"][0]["text"] != ""
    assert greedy["num_tokens"] == direct["usage"]["completion_tokens"]


@pytest.mark.req("A2.answer", level="run", on="vLLM")
def test_the_pieces_of_a_stream_add_up_to_the_whole_answer(url: str, greedy: dict[str, Any]) -> None:
    answer = post(url, "/generate", {**GREEDY, "stream": True})
    lines = answer.text.removesuffix("\n\n").split("\n\n")
    assert lines.pop() == "data: [DONE]"
    events = [json.loads(line.removeprefix("data: ")) for line in lines]
    assert "".join(event["text"] for event in events) == greedy["generated_text"]
    assert events[-1]["num_tokens"] == greedy["num_tokens"]


@pytest.mark.req("A2.parameters", level="run", on="vLLM")
@pytest.mark.parametrize(
    "fields",
    [{"temperature": 1, "top_k": 1}, {"temperature": 1, "top_p": 1e-9}, {"model": "remuda-demo"}],
    ids=["top_k", "top_p", "model"],
)
def test_parameters_that_leave_one_token_to_choose_from_give_the_greedy_answer(
    url: str, greedy: dict[str, Any], fields: dict[str, object]
) -> None:
    assert generate(url, **fields)["generated_text"] == greedy["generated_text"]


@pytest.mark.req("A2.parameters", level="run", on="vLLM")
@pytest.mark.parametrize(
    "fields",
    [{"presence_penalty": 2}, {"frequency_penalty": 2}, {"temperature": 2, "top_k": -1, "top_p": 1, "seed": 5}],
    ids=["presence_penalty", "frequency_penalty", "temperature"],
)
def test_parameters_that_change_the_choice_of_tokens_change_the_answer(
    url: str, greedy: dict[str, Any], fields: dict[str, object]
) -> None:
    answer = generate(url, **fields)
    assert answer["generated_text"] != greedy["generated_text"]
    assert generate(url, **fields) == answer


@pytest.mark.req("A2.parameters", level="run", on="vLLM")
def test_max_tokens_and_stop_end_the_answer(url: str, greedy: dict[str, Any]) -> None:
    short = generate(url, max_tokens=3)
    assert (short["num_tokens"], short["finish_reason"]) == (3, "length")
    word = greedy["generated_text"].split()[2]
    stopped = generate(url, stop=[word])
    assert stopped["finish_reason"] == "stop"
    assert stopped["generated_text"] == greedy["generated_text"].partition(word)[0]


@pytest.mark.req("A2.refusals", level="run", on="vLLM")
@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"max_tokens": 0}, "max_tokens: must be a whole number, at least 1, not 0"),
        ({"top_p": 0}, "top_p: must be a number above 0, at most 1, not 0"),
        ({"temprature": 1}, "temprature: no such field; did you mean temperature?"),
    ],
    ids=["max_tokens", "top_p", "misspelt"],
)
def test_wrong_values_are_refused_by_name(url: str, fields: dict[str, object], message: str) -> None:
    answer = post(url, "/generate", {**GREEDY, **fields})
    assert (answer.status_code, answer.json()["error"]["message"]) == (400, message)


@pytest.mark.req("A3.order", "A3.bad-entry", level="run", on="vLLM")
@pytest.mark.parametrize("wrap", [False, True], ids=["a bare list", "requests"])
@pytest.mark.req("A3.bare-list", level="run", on="vLLM")
def test_a_batch_answers_in_order_and_a_bad_entry_fails_alone(url: str, greedy: dict[str, Any], wrap: bool) -> None:
    entries: list[dict[str, Any]] = [
        {**GREEDY, "max_tokens": 12},
        {**GREEDY, "temperature": 9},
        GREEDY,
        {**GREEDY, "model": "no-such-model"},
        {**GREEDY, "max_tokens": 2},
    ]
    answer = post(url, "/batch-generate", {"requests": entries} if wrap else entries)
    assert answer.status_code == 200
    results = answer.json()["results"]
    assert [result.get("num_tokens") for result in results] == [12, None, greedy["num_tokens"], None, 2]
    assert results[2]["generated_text"] == greedy["generated_text"]
    assert results[1]["error"]["message"] == "temperature: must be a number from 0 to 2, not 9"
    assert results[3]["error"]["code"] == "model_not_found"
