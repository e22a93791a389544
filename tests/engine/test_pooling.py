"""What models that do not generate text can do, asked through a gateway: vectors, scores, classes; and speech to text.

The weights are random, so an answer is judged by its form and by what must be equal, not by its sense.
"""

import base64
import json
import math
import struct

import pytest
from tests.engine.route_requests import BOUNDARY, PAIR, REQUESTS, SCORE, render_form, render_tone

pytestmark = pytest.mark.asyncio(loop_scope="session")
TEXTS = ["one café", "two", "one café"]


async def embed(front, **fields) -> list:
    """The vectors of an answer, in their order."""
    answer = await front.ask_json("/v1/embeddings", **{"model": "embed", "input": TEXTS, **fields})
    assert [entry["index"] for entry in answer["data"]] == list(range(len(answer["data"])))
    return [entry["embedding"] for entry in answer["data"]]


def near(value: float):
    """The same number, computed in another batch."""
    return pytest.approx(value, rel=1e-4, abs=1e-5)


async def test_texts_become_vectors_of_length_one_in_the_order_of_the_texts(front):
    vectors = await embed(front)
    assert [len(vector) for vector in vectors] == [64, 64, 64]
    assert [math.hypot(*vector) for vector in vectors] == [near(1.0)] * 3
    assert vectors[0] == near(vectors[2])
    assert vectors[0] != near(vectors[1])
    assert (await embed(front, input=TEXTS[1]))[0] == near(vectors[1])


async def test_vectors_in_base64_are_the_same_vectors(front):
    plain, encoded = await embed(front), await embed(front, encoding_format="base64")
    assert [struct.unpack("<64f", base64.b64decode(text)) for text in encoded] == [near(tuple(each)) for each in plain]


async def test_pooling_gives_the_vector_that_embeddings_gives(front):
    answer = await front.ask_json("/pooling", model="embed", input=TEXTS)
    assert [entry["data"] for entry in answer["data"]] == [near(vector) for vector in await embed(front)]


async def test_score_gives_one_score_for_each_text(front):
    answer = await front.ask_json("/score", model="judge", **SCORE)
    assert [entry["index"] for entry in answer["data"]] == [0, 1]
    assert all(0 <= entry["score"] <= 1 for entry in answer["data"])
    assert answer["data"][0]["score"] != answer["data"][1]["score"]


async def test_rerank_orders_the_documents_by_the_scores_that_score_gives(front):
    answer = await front.ask_json("/rerank", model="judge", **PAIR)
    scored = await front.ask_json("/score", model="judge", text_1=PAIR["query"], text_2=PAIR["documents"])
    scores = {entry["index"]: entry["score"] for entry in scored["data"]}
    results = answer["results"]
    assert [result["index"] for result in results] == sorted(scores, key=scores.__getitem__, reverse=True)
    assert [result["relevance_score"] for result in results] == [near(scores[result["index"]]) for result in results]
    assert [result["document"]["text"] for result in results] == [
        PAIR["documents"][result["index"]] for result in results
    ]


async def test_rerank_gives_no_more_than_the_best_n(front):
    every = await front.ask_json("/rerank", model="judge", **PAIR)
    best = await front.ask_json("/rerank", model="judge", top_n=1, **PAIR)
    assert [result["index"] for result in best["results"]] == [every["results"][0]["index"]]


async def test_classify_gives_a_probability_for_each_class(front):
    answer = await front.ask_json("/classify", model="judge", input=TEXTS)
    assert [entry["num_classes"] for entry in answer["data"]] == [1, 1, 1]
    assert all(0 <= entry["probs"][0] <= 1 for entry in answer["data"])
    assert answer["data"][0]["probs"] == near(answer["data"][2]["probs"])


@pytest.mark.req("A1.streams", level="run", on="vLLM")
async def test_a_streamed_transcription_adds_up_to_the_whole_one(front):
    whole, streamed = (request for request in REQUESTS if request.path == "/v1/audio/transcriptions")
    answer, _ = await front.ask(whole.path, whole.body("listen"), whole.content_type)
    text = json.loads(answer.body)["text"]
    answer, _ = await front.ask(streamed.path, streamed.body("listen"), streamed.content_type)
    events = [json.loads(event.removeprefix(b"data: ")) for event in answer.events[:-1]]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events) == text
    assert text


async def test_a_sound_of_another_sample_rate_is_heard(front):
    body = render_form({"model": "listen", "language": "en", "max_completion_tokens": 8}, render_tone(44_100))
    answer, _ = await front.ask("/v1/audio/transcriptions", body, f"multipart/form-data; boundary={BOUNDARY}")
    assert answer.status == 200, answer.body
    assert json.loads(answer.body)["usage"] == {"type": "duration", "seconds": 1}


async def test_what_is_no_sound_is_refused_in_the_engines_words(front):
    body = render_form({"model": "listen"}, b"this is no sound")
    answer, seen = await front.ask_through(
        "listen", "/v1/audio/transcriptions", body, content_type=f"multipart/form-data; boundary={BOUNDARY}"
    )
    assert (answer.status, answer.body) == (400, seen.answer.body)
    assert json.loads(answer.body)["error"]["message"]


@pytest.mark.req("G1.by-capability", level="run", on="vLLM")
@pytest.mark.parametrize(
    ("path", "fields", "engine"),
    [
        pytest.param("/v1/embeddings", {"input": "one"}, "embed-0", id="embeddings"),
        pytest.param("/rerank", PAIR, "judge-0", id="rerank"),
        pytest.param("/score", SCORE, "judge-0", id="score"),
        pytest.param("/classify", {"input": "one"}, "judge-0", id="classify"),
    ],
)
async def test_a_request_that_names_no_model_reaches_the_one_that_can_do_it(front, path, fields, engine):
    answer, _ = await front.ask(path, json.dumps(fields).encode())
    assert (answer.status, answer.header("x-remuda-engine")) == (200, engine), answer.body


@pytest.mark.req("A1.pooling", "A4.pooling-refused", level="run", on="vLLM")
@pytest.mark.parametrize(
    ("path", "model", "wanted", "able"),
    [
        pytest.param("/v1/embeddings", "small", "embedding", "chat, completion", id="vectors of a generator"),
        pytest.param("/rerank", "small", "rerank", "chat, completion", id="ranks of a generator"),
        pytest.param("/v1/chat/completions", "embed", "chat", "embedding", id="words of an embedder"),
        pytest.param("/v1/embeddings", "judge", "embedding", "classify, rerank, score", id="vectors of a judge"),
        pytest.param("/v1/completions", "listen", "completion", "transcription", id="words of a listener"),
    ],
)
async def test_what_a_model_cannot_do_is_refused_before_an_engine_sees_it(front, path, model, wanted, able):
    request = next(request for request in REQUESTS if request.path == path)
    answer, request_id = await front.ask(path, request.body(model))
    error = json.loads(answer.body)["error"]
    assert answer.status == 400
    assert error["message"] == f"The model '{model}' does not serve {wanted}; it serves: {able}."
    assert front.taps[model].exchanges(request_id) == []
