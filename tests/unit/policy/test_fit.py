"""Which model takes a request that names none."""

import pytest

from remuda.policy.fit import Offer, choose_model, fits

CHAT = Offer(("chat",), None, 10)
CASES = {
    "the least busy": ([Offer(("chat",), None, 30), CHAT, Offer(("chat",), None, 20)], "chat", None, 1),
    "the first of two that are equally busy": ([CHAT, CHAT], "chat", None, 0),
    "not one without an engine": ([Offer(("chat",), None, None), CHAT], "chat", None, 1),
    "not one for something else": ([Offer(("embedding",), None, 0), CHAT], "chat", None, 1),
    "not one whose bound is exceeded": ([Offer(("chat",), 100, 0), CHAT], "chat", 101, 1),
    "one whose bound is met": ([Offer(("chat",), 100, 0), CHAT], "chat", 100, 0),
    "one with a bound when nothing is asked": ([Offer(("chat",), 100, 0), CHAT], "chat", None, 0),
    "none": ([Offer(("chat",), None, None)], "chat", None, None),
    "none of none": ([], "chat", None, None),
}


@pytest.mark.parametrize(("offers", "wanted", "max_tokens", "index"), CASES.values(), ids=CASES)
def test_model_that_is_taken_is(offers, wanted, max_tokens, index):
    assert choose_model(offers, wanted, max_tokens) == index


def test_model_without_an_engine_still_fits():
    assert fits(Offer(("chat",), None, None), "chat", 5)
