"""The official `openai` client, unchanged, talks to real engines through the gateway."""

import json
from collections.abc import Iterator
from typing import Any

import httpx
import openai
import pytest
from openai import OpenAI
from tests.product.driving import GONE_S, Machine, until

MODEL = "remuda-demo"
QUESTION = "What is Remuda?"
GREEDY: dict[str, Any] = {"model": MODEL, "temperature": 0, "max_tokens": 40}
LONG = {**GREEDY, "max_tokens": 200}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "strict": True,
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
PERSON = {
    "type": "object",
    "properties": {"name": {"type": "string", "maxLength": 8}, "age": {"type": "integer", "maximum": 99}},
    "required": ["name", "age"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def client(url: str) -> Iterator[OpenAI]:
    with OpenAI(base_url=f"{url}/v1", api_key="not-needed", max_retries=0) as made:
        yield made


@pytest.fixture(scope="module")
def direct(busy_machine: Machine) -> Iterator[OpenAI]:
    """The same client, connected to one engine without the gateway."""
    address = busy_machine.status()["engines"][0]["address"]
    with OpenAI(base_url=f"http://{address}/v1", api_key="not-needed", max_retries=0) as made:
        yield made


def asked(text: str = QUESTION) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.mark.req("A1.models", level="run", on="vLLM")
def test_models_are_listed(client: OpenAI) -> None:
    assert MODEL in [model.id for model in client.models.list()]


@pytest.mark.req("A1.chat", level="run", on="vLLM")
def test_chat_and_streamed_chat_give_the_same_answer(client: OpenAI) -> None:
    whole = client.chat.completions.create(messages=asked(), **GREEDY)
    stream = client.chat.completions.create(messages=asked(), stream=True, **GREEDY)
    pieces = [chunk.choices[0].delta.content or "" for chunk in stream if chunk.choices]
    assert "".join(pieces) == whole.choices[0].message.content
    assert len(pieces) > 3, "the answer comes in pieces"
    assert whole.usage
    assert whole.usage.completion_tokens > 0


@pytest.mark.req("A1.stream-usage", level="run", on="vLLM")
def test_usage_comes_with_a_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        messages=asked(), stream=True, stream_options={"include_usage": True}, **GREEDY
    )
    usages = [chunk.usage for chunk in stream if chunk.usage]
    assert [usage.completion_tokens > 0 for usage in usages] == [True]


@pytest.mark.req("E4.parallel-sampling", level="run", on="vLLM")
def test_several_answers_to_one_question(client: OpenAI) -> None:
    answer = client.completions.create(model=MODEL, prompt="Once upon a time", n=2, max_tokens=8, temperature=1, seed=7)
    assert [choice.index for choice in answer.choices] == [0, 1]


@pytest.mark.req("E4.beam-search", level="run", on="vLLM")
def test_beam_search(client: OpenAI) -> None:
    answer = client.completions.create(
        model=MODEL, prompt="Once upon a time", n=2, max_tokens=8, temperature=0, extra_body={"use_beam_search": True}
    )
    assert len({choice.text for choice in answer.choices}) == 2


@pytest.mark.req("A1.logprobs", level="run", on="vLLM")
def test_logprobs(client: OpenAI) -> None:
    answer = client.chat.completions.create(messages=asked(), logprobs=True, top_logprobs=2, **GREEDY)
    assert answer.choices[0].logprobs
    tokens = answer.choices[0].logprobs.content or []
    assert answer.usage
    assert len(tokens) == answer.usage.completion_tokens
    assert all(len(token.top_logprobs) == 2 for token in tokens)


@pytest.mark.req("A1.json-schema", level="run", on="vLLM")
def test_json_schema(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=asked("Give me a person as JSON."),
        response_format={"type": "json_schema", "json_schema": {"name": "person", "schema": PERSON, "strict": True}},
        model=MODEL,
        temperature=0,
        frequency_penalty=1,  # without it, a small model repeats blanks, which the grammar allows
        max_tokens=400,
    )
    person = json.loads(answer.choices[0].message.content or "")
    assert sorted(person) == ["age", "name"]


@pytest.mark.req("A1.tools", level="run", on="vLLM")
def test_tools(client: OpenAI) -> None:
    answer = client.chat.completions.create(
        messages=asked("What is the weather in Paris?"), tools=[WEATHER], tool_choice="required", **LONG
    )
    calls = answer.choices[0].message.tool_calls or []
    assert [call.function.name for call in calls if call.type == "function"] == ["get_weather"]


@pytest.mark.req("A1.tools", level="run", on="vLLM")
def test_tools_in_a_stream(client: OpenAI) -> None:
    stream = client.chat.completions.create(
        messages=asked("What is the weather in Paris?"), tools=[WEATHER], tool_choice="required", stream=True, **LONG
    )
    calls = [call for chunk in stream if chunk.choices for call in chunk.choices[0].delta.tool_calls or []]
    assert calls[0].function
    assert calls[0].function.name == "get_weather"


@pytest.mark.req("A1.official-responses", level="run", on="vLLM")
def test_a_response_and_a_streamed_response_give_the_same_text(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": MODEL, "input": QUESTION, "temperature": 0, "max_output_tokens": 40}
    whole = client.responses.create(**asked)
    events = list(client.responses.create(stream=True, **asked))
    pieces = [event.delta for event in events if event.type == "response.output_text.delta"]
    assert "".join(pieces) == whole.output_text != ""
    assert [event.type for event in events[:2]] == ["response.created", "response.in_progress"]
    assert events[-1].type in {"response.completed", "response.incomplete"}


@pytest.mark.req("A4.pooling-refused", level="run", on="vLLM")
def test_embeddings_are_refused_clearly(client: OpenAI) -> None:
    with pytest.raises(openai.APIStatusError) as caught:
        client.embeddings.create(model=MODEL, input="text")
    assert caught.value.status_code in {400, 404}
    assert MODEL in caught.value.message
    assert "embedding" in caught.value.message


@pytest.mark.req("A4.unknown-model", level="run", on="vLLM")
def test_unknown_model_is_named(client: OpenAI) -> None:
    with pytest.raises(openai.NotFoundError, match="no-such-model"):
        client.chat.completions.create(model="no-such-model", messages=asked())


@pytest.mark.req("A4.long-prompt", level="run", on="vLLM")
def test_prompt_that_is_too_long_is_refused(client: OpenAI) -> None:
    with pytest.raises(openai.BadRequestError, match="2048"):
        client.completions.create(model=MODEL, prompt="word " * 4000, max_tokens=1)


@pytest.mark.req("A1.completions", level="run", on="vLLM")
def test_greedy_text_and_token_ids_are_those_of_the_engine(client: OpenAI, direct: OpenAI) -> None:
    for prompt in ("Once upon a time", "What is vLLM?", "Count: 1, 2, 3"):
        ours, theirs = (
            each.completions.create(prompt=prompt, extra_body={"return_token_ids": True}, **GREEDY).choices[0]
            for each in (client, direct)
        )
        assert ours.text == theirs.text
        assert ours.model_dump()["token_ids"] == theirs.model_dump()["token_ids"] != []


@pytest.mark.req("A1.stream-events", level="run", on="vLLM")
def test_streamed_events_are_those_of_the_engine(client: OpenAI, direct: OpenAI) -> None:
    """The id of the answer is left out, and so is how vLLM spreads tokens over events: both change from run to run."""

    def read(each: OpenAI) -> tuple[str, dict[str, Any]]:
        body = {"prompt": "Once upon a time", "stream": True, "seed": 1, **GREEDY}
        with httpx.stream("POST", f"{each.base_url}completions", json=body, trust_env=False) as response:
            assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
            events = b"".join(response.iter_raw()).split(b"\n\n")
        assert events[-2:] == [b"data: [DONE]", b""]
        chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-2]]
        last = {name: value for name, value in chunks[-1].items() if name not in {"id", "created", "choices"}}
        return "".join(chunk["choices"][0]["text"] for chunk in chunks), last

    assert read(client) == read(direct)


@pytest.mark.req("A1.cancellation", "A1.unbuffered", level="run", on="vLLM")
def test_cancelled_stream_ends_in_the_engine(client: OpenAI, busy_machine: Machine) -> None:
    stream = client.completions.create(
        model=MODEL, prompt="Once upon a time", max_tokens=1900, stream=True, extra_body={"ignore_eos": True}
    )
    next(iter(stream))
    running = until(lambda: sum(e["running"] or 0 for e in busy_machine.status()["engines"]), GONE_S, "it runs")
    assert running == 1
    stream.close()
    until(lambda: not sum(e["running"] or 0 for e in busy_machine.status()["engines"]), GONE_S, "it is cancelled")
    assert busy_machine.status()["gateway"]["requests"]["client_disconnected"] >= 1
