import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.gateway.api.near import KnownNames
from remuda.gateway.api.problems import Refused
from remuda.gateway.api.routes import resolve_route

FRUIT = KnownNames(["apple", "apricot", "banana"])


@pytest.mark.parametrize(
    ("asked", "near"),
    [
        ("aple", ["apple"]),
        ("APPLE", ["apple"]),
        ("bananas", ["banana"]),
        ("apricots", ["apricot"]),
        ("cherry", []),
        ("", []),
        ("a", []),
        ("apple" * 100, []),
    ],
)
def test_a_misspelt_name_finds_the_known_one(asked, near):
    assert FRUIT.find_near(asked) == near


def test_the_most_similar_name_comes_first_and_no_more_than_asked_for():
    names = KnownNames(["max_tokens", "max_token", "min_tokens"])
    assert names.find_near("max_tokenss") == ["max_tokens", "max_token"]
    assert names.find_near("max_tokenss", 1) == ["max_tokens"]


@given(st.text(max_size=40))
def test_a_known_name_is_nearest_to_itself(name):
    assert KnownNames([name, "other"]).find_near(name)[0] == name


@pytest.mark.parametrize(
    ("path", "hint"),
    [
        ("/v1/chat/completion", "Did you mean /v1/chat/completions or /v1/completions?"),
        ("/chat/completions", "Did you mean /v1/chat/completions or /v1/completions?"),
        ("/v1/embedding", "Did you mean /v1/embeddings?"),
        ("/V1/Responses", "Did you mean /v1/responses?"),
        ("/healthz", "Did you mean /health?"),
        ("/batch_generate", "Did you mean /batch-generate or /generate?"),
        ("/sleep", ""),
        ("/v1/load_lora_adapter", ""),
        ("/" + "x" * 8000, ""),
    ],
)
def test_a_miss_names_the_nearest_paths(path, hint):
    with pytest.raises(Refused) as refused:
        resolve_route(b"POST", path.encode())
    assert refused.value.problem.message.partition(" on this gateway. ")[2] == hint


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completionz", "/v1/audio/transcriptionsx", "/" + "v1/chat/" * 1000, "/" + "é" * 8000],
    ids=["near", "near and long", "very long", "very long and not ASCII"],
)
def test_a_miss_costs_a_bounded_number_of_steps_however_the_path_is_made(path):
    """The search for near names runs on the event loop for each 404: difflib took 200 us, hundreds of calls."""
    calls = 0

    def count(frame, event, argument):
        nonlocal calls
        calls += event in {"call", "c_call"}

    sys.setprofile(count)
    try:
        resolve_route(b"POST", path.encode("latin-1"))
    except Refused:
        pass
    finally:
        sys.setprofile(None)
    assert 0 < calls < 200
