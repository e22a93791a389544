"""What a generating model can do, asked through a gateway: adapters, tools, grammars, sampling, caches, speculation.

Two engines have the same weights: one has adapters and a prefix cache, the other speculates and has no prefix cache.
"""

import asyncio
import json

import pytest
from tests.engine.running import poll

pytestmark = pytest.mark.asyncio(loop_scope="session")
LONG = "The quick brown fox jumps over the lazy dog, again and again, until the dog wakes up. " * 4
"""More than two blocks of 32 tokens with any tokenizer."""
RUNNING_S = 30.0
"""Longest wait for requests to be running in the engine."""
QUESTION = [{"role": "user", "content": "What is a gateway?"}]
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "Get the weather of a city",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ASK_FOR_WEATHER = {
    "model": "small",
    "messages": [{"role": "user", "content": "What is the weather in Paris?"}],
    "tools": [WEATHER],
    "tool_choice": "auto",
    "temperature": 0,
    "max_tokens": 200,
}


async def chat(front, **fields) -> dict:
    """The whole greedy answer to one question."""
    return await front.ask_json(
        "/v1/chat/completions",
        **{"model": "small", "messages": QUESTION, "temperature": 0, "max_tokens": 32, **fields},
    )


async def complete(front, **fields) -> dict:
    """The whole greedy continuation of a prompt."""
    return await front.ask_json(
        "/v1/completions", **{"model": "small", "prompt": "Once", "temperature": 0, "max_tokens": 32, **fields}
    )


def text_of(answer: dict) -> str:
    return answer["choices"][0]["message"]["content"]


async def read_events(front, path: str, **fields) -> list[tuple[str, dict]]:
    """The events of a stream: the name of each and its JSON. `[DONE]` is left out."""
    answer, _ = await front.ask(path, json.dumps({**fields, "stream": True}).encode())
    assert answer.status == 200, answer.body
    events = []
    for event in answer.events:
        lines = dict(line.split(": ", 1) for line in event.decode().split("\n"))
        if lines["data"] != "[DONE]":
            events.append((lines.get("event", ""), json.loads(lines["data"])))
    return events


@pytest.mark.req("E6.adapters", "G1.adapters", level="run", on="vLLM")
async def test_an_adapter_is_asked_for_by_its_name_and_by_its_alias(front, adapters):
    base = text_of(await chat(front))
    by_name = {name: text_of(await chat(front, model=name)) for name in adapters}
    by_alias = {name: text_of(await chat(front, model=f"a-{name}")) for name in adapters}
    assert by_alias == by_name
    assert len({base, *by_name.values()}) == 1 + len(adapters)


@pytest.mark.req("G1.adapters", level="run", on="vLLM")
async def test_the_engine_is_asked_for_the_adapter_by_the_adapters_own_name(front, adapters):
    for name in adapters:
        body = b'{"messages": %b, "max_tokens": 1, "model"  :  "a-%b" }' % (
            json.dumps(QUESTION).encode(),
            name.encode(),
        )
        answer, seen = await front.ask_through("small", "/v1/chat/completions", body)
        assert seen.request.body == body.replace(b'"a-', b'"')
        assert json.loads(answer.body)["model"] == name


@pytest.mark.req("E6.adapters", level="run", on="vLLM")
async def test_adapters_in_the_same_steps_change_no_answer_of_the_model_itself(front, engines, adapters):
    alone = text_of(await chat(front))
    long = {"max_tokens": 1800, "ignore_eos": True}
    others = [asyncio.create_task(chat(front, model=name, **long)) for name in adapters]

    async def all_run() -> bool:
        return await engines["small"].metric("vllm:num_requests_running") == len(adapters)

    await poll(all_run, RUNNING_S)
    assert text_of(await chat(front)) == alone
    assert [other.done() for other in others] == [False] * len(adapters)
    for other in others:
        other.cancel()
    await asyncio.gather(*others, return_exceptions=True)


@pytest.mark.req("A1.tools-auto", level="run", on="vLLM")
async def test_the_model_itself_calls_a_tool_when_the_choice_is_auto(front):
    answer = await front.ask_json("/v1/chat/completions", **ASK_FOR_WEATHER)
    choice = answer["choices"][0]
    assert choice["finish_reason"] == "tool_calls"
    (call,) = choice["message"]["tool_calls"]
    assert call["function"]["name"] == "get_weather"
    assert json.loads(call["function"]["arguments"]) == {"city": "Paris"}


@pytest.mark.req("A1.tools-auto", level="run", on="vLLM")
async def test_a_streamed_tool_call_adds_up_to_the_whole_one(front):
    whole = await front.ask_json("/v1/chat/completions", **ASK_FOR_WEATHER)
    (wanted,) = whole["choices"][0]["message"]["tool_calls"]
    events = await read_events(front, "/v1/chat/completions", **ASK_FOR_WEATHER)
    choices = [choice for _, event in events for choice in event["choices"]]
    calls = [call["function"] for choice in choices for call in choice["delta"].get("tool_calls") or ()]
    assert "".join(call.get("name") or "" for call in calls) == wanted["function"]["name"]
    assert "".join(call.get("arguments") or "" for call in calls) == wanted["function"]["arguments"]
    assert choices[-1]["finish_reason"] == "tool_calls"


@pytest.mark.req("A1.tools-auto", level="run", on="vLLM")
async def test_without_a_need_for_a_tool_auto_answers_in_words(front):
    answer = await front.ask_json("/v1/chat/completions", **{**ASK_FOR_WEATHER, "messages": QUESTION})
    assert answer["choices"][0]["message"]["content"]
    assert not answer["choices"][0]["message"].get("tool_calls")


@pytest.mark.parametrize(
    ("grammar", "fits"),
    [
        pytest.param({"choice": ["red", "green"]}, lambda text: text in ("red", "green"), id="choice"),
        pytest.param({"regex": "[a-c]{4}"}, lambda text: len(text) == 4 and set(text) <= set("abc"), id="regex"),
        pytest.param({"grammar": 'root ::= "yes" | "no"'}, lambda text: text in ("yes", "no"), id="grammar"),
    ],
)
async def test_an_answer_keeps_to_a_grammar(front, grammar, fits):
    assert fits(text_of(await chat(front, structured_outputs=grammar)))


@pytest.mark.req("E4.prefix-cache", level="run", on="vLLM")
async def test_a_repeated_prompt_says_how_many_tokens_came_from_the_cache(front):
    cold = await complete(front, prompt=f"cold {LONG}")
    warm = await complete(front, prompt=f"cold {LONG}")
    assert (cold["usage"]["prompt_tokens_details"] or {}).get("cached_tokens", 0) == 0
    cached = warm["usage"]["prompt_tokens_details"]["cached_tokens"]
    assert cached == (warm["usage"]["prompt_tokens"] - 1) // 32 * 32
    assert warm["choices"] == cold["choices"]


@pytest.mark.req("E4.prefix-cache-off", level="run", on="vLLM")
async def test_without_a_prefix_cache_a_repeated_prompt_is_computed_again(front, engines):
    for _ in range(2):
        answer = await complete(front, model="guess", prompt=LONG)
        assert (answer["usage"]["prompt_tokens_details"] or {}).get("cached_tokens", 0) == 0
    assert await engines["guess"].metric("vllm:prefix_cache_hits_total") == 0


@pytest.mark.req("E6.speculation", level="run", on="vLLM")
async def test_speculation_guesses_tokens_right_and_changes_no_greedy_answer(front, engines):
    prompts = ["Once upon a time", "one two three one two three one two", LONG, "What is vLLM?"]
    for prompt in prompts:
        plain, guessed = [
            (await complete(front, model=model, prompt=prompt, max_tokens=64, ignore_eos=True))["choices"][0]["text"]
            for model in ("small", "guess")
        ]
        assert guessed == plain
    await engines["guess"].until_metric("vllm:spec_decode_num_accepted_tokens_total", 10)
    drafted = await engines["guess"].metric("vllm:spec_decode_num_draft_tokens_total")
    assert drafted >= await engines["guess"].metric("vllm:spec_decode_num_accepted_tokens_total")


@pytest.mark.req("E4.mixed-batch", level="run", on="vLLM")
async def test_every_way_of_decoding_shares_a_batch_with_streams_and_adapters(front, adapters):
    wanted = {name: text_of(await chat(front, model=name)) for name in ("small", "guess", *adapters)}
    together = await asyncio.gather(
        *(chat(front, model=name) for name in wanted),
        read_events(front, "/v1/completions", model="small", prompt="Tell", max_tokens=200, ignore_eos=True),
        complete(front, n=3, temperature=1.0, seed=5),
        complete(front, n=2, use_beam_search=True, max_tokens=8),
        chat(front, structured_outputs={"choice": ["red", "green"]}),
    )
    assert {name: text_of(answer) for name, answer in zip(wanted, together, strict=False)} == wanted
    events, several, beams, word = together[len(wanted) :]
    assert len(events) > 50
    assert [choice["index"] for choice in several["choices"]] == [0, 1, 2]
    assert len({choice["text"] for choice in beams["choices"]}) == 2
    assert text_of(word) in ("red", "green")


async def test_logprobs_come_for_each_token_with_as_many_others_as_asked(front):
    answer = await chat(front, logprobs=True, top_logprobs=3, max_tokens=8, ignore_eos=True)
    tokens = answer["choices"][0]["logprobs"]["content"]
    assert len(tokens) == answer["usage"]["completion_tokens"] == 8
    assert all(len(token["top_logprobs"]) == 3 for token in tokens)
    assert all(token["logprob"] == max(other["logprob"] for other in token["top_logprobs"]) for token in tokens)


MESSAGES = {"model": "small", "messages": QUESTION, "temperature": 0, "max_tokens": 24}


@pytest.mark.req("A1.streams", level="run", on="vLLM")
async def test_a_streamed_message_adds_up_to_the_whole_one(front):
    whole = await front.ask_json("/v1/messages", **MESSAGES)
    events = await read_events(front, "/v1/messages", **MESSAGES)
    names = [name for name, _ in events]
    deltas = [event["delta"]["text"] for name, event in events if name == "content_block_delta"]
    assert names[:2] == ["message_start", "content_block_start"]
    assert set(names[2 : 2 + len(deltas)]) == {"content_block_delta"}
    assert names[2 + len(deltas) :] == ["content_block_stop", "message_delta", "message_stop"]
    assert "".join(deltas) == whole["content"][0]["text"]
    assert len(deltas) > 3


async def test_the_tokens_of_a_message_are_counted_before_it_is_asked(front):
    whole = await front.ask_json("/v1/messages", **MESSAGES)
    counted = await front.ask_json("/v1/messages/count_tokens", model="small", messages=QUESTION)
    assert counted["input_tokens"] == whole["usage"]["input_tokens"] > 0


@pytest.mark.req("A1.streams", level="run", on="vLLM")
async def test_a_streamed_response_adds_up_to_the_whole_one(front):
    asked = {"model": "small", "input": "What is a gateway?", "temperature": 0, "max_output_tokens": 24}
    whole = await front.ask_json("/v1/responses", **asked)
    events = await read_events(front, "/v1/responses", **asked)
    names = [name for name, _ in events]
    pieces = [event["delta"] for name, event in events if name == "response.output_text.delta"]
    assert names[:2] == ["response.created", "response.in_progress"]
    assert names[-1] in ("response.completed", "response.incomplete")
    assert [event["sequence_number"] for _, event in events] == list(range(len(events)))
    assert "".join(pieces) == whole["output"][0]["content"][0]["text"]
    assert len(pieces) > 3


async def test_tokens_turned_back_into_text_are_the_text(front):
    text = "Once upon a café 😀"
    tokens = await front.ask_json("/tokenize", model="small", prompt=text, add_special_tokens=False)
    back = await front.ask_json("/detokenize", model="small", tokens=tokens["tokens"])
    assert back["prompt"] == text
    assert tokens["count"] == len(tokens["tokens"])


async def test_a_chat_has_as_many_tokens_as_tokenize_says(front):
    tokens = await front.ask_json("/tokenize", model="small", messages=QUESTION)
    answer = await chat(front, max_tokens=1)
    assert answer["usage"]["prompt_tokens"] == tokens["count"]


async def test_generate_asks_the_engine_for_a_completion_with_the_documented_defaults(front):
    body = b'{"prompt": "Once", "model": "little", "temperature": 0, "max_tokens": 12, "stop": ["."]}'
    answer, seen = await front.ask_through("small", "/generate", body)
    assert seen.request.start == "POST /v1/completions HTTP/1.1"
    assert json.loads(seen.request.body) == {
        "model": "small",
        "prompt": "Once",
        "max_tokens": 12,
        "temperature": 0,
        "top_p": 0.95,
        "top_k": 50,
        "presence_penalty": 0,
        "frequency_penalty": 0,
        "stop": ["."],
    }
    engines = json.loads(seen.answer.body)
    generated = json.loads(answer.body)
    assert generated["generated_text"] == engines["choices"][0]["text"]
    assert generated["num_tokens"] == engines["usage"]["completion_tokens"]
    assert generated["model"] == "little"


async def test_a_batch_asks_the_engines_once_for_each_entry_that_is_right(front):
    entries = [{"prompt": "Once", "temperature": 0, "max_tokens": 8, "model": name} for name in ("small", "guess")]
    body = json.dumps({"requests": [*entries, {"prompt": "Once", "max_tokens": 0}]}).encode()
    answer, request_id = await front.ask("/batch-generate", body)
    results = json.loads(answer.body)["results"]
    seen = {model: front.taps[model].exchange(request_id) for model in ("small", "guess")}
    texts = [json.loads(seen[model].answer.body)["choices"][0]["text"] for model in ("small", "guess")]
    assert [result.get("generated_text") for result in results] == [*texts, None]
    assert results[2]["error"]["message"] == "max_tokens: must be a whole number, at least 1, not 0"
