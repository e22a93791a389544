"""Amounts are numbers that keep their text, and hints state what was meant."""

import copy
import pickle

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.spec.documents.quantity import (
    Bytes,
    Cores,
    Duration,
    hint_amount,
    parse_bytes,
    parse_cores,
    parse_duration,
)


@pytest.mark.parametrize(
    ("text", "amount"),
    [
        ("64Mi", 64 * 2**20),
        ("8Gi", 8 * 2**30),
        ("1.5Gi", 3 * 2**29),
        ("64M", 64_000_000),
        ("1k", 1000),
        ("12", 12),
        ("0.5Ki", 512),
    ],
)
def test_bytes(text: str, amount: int):
    assert parse_bytes(text) == amount


@pytest.mark.parametrize(("text", "amount"), [("4", 4.0), ("500m", 0.5), ("0.25", 0.25), ("1.5", 1.5)])
def test_cores(text: str, amount: float):
    assert parse_cores(text) == amount


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("30s", 30.0), ("10m", 600.0), ("1h30m", 5400.0), ("250ms", 0.25), ("0s", 0.0), ("1h1m1s1ms", 3661.001)],
)
def test_duration(text: str, seconds: float):
    assert parse_duration(text) == seconds


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        (Bytes, "64MB"),
        (Bytes, "8 Gi"),
        (Bytes, "-1"),
        (Bytes, ""),
        (Bytes, "1e3"),
        (Bytes, "0"),
        (Bytes, "64mi"),
        (Bytes, "500m"),
        (Cores, "4 cores"),
        (Cores, "0"),
        (Cores, "0.5m"),
        (Cores, "1Gi"),
        (Duration, "10"),
        (Duration, "1.5h"),
        (Duration, "1d"),
        (Duration, "1:30"),
        (Duration, "-5s"),
        (Duration, "５s"),
    ],
    ids=repr,
)
def test_other_text_is_refused(kind: type, text: str):
    with pytest.raises(ValueError, match=r"^"):
        kind(text)


@pytest.mark.parametrize(
    ("kind", "value", "hint"),
    [
        (Bytes, "64MB", "did you mean 64Mi (powers of 1024) or 64M (powers of 1000)?"),
        (Bytes, "8GiB", "did you mean 8Gi?"),
        (Bytes, "8gi", "did you mean 8Gi?"),
        (Bytes, "16 G", "did you mean 16G?"),
        (Bytes, 0, "must be more than zero; leave the field out for the default"),
        (Cores, "2 cores", "did you mean 2?"),
        (Cores, 0.5, "did you mean 500m?"),
        (Duration, "10 min", "did you mean 10m?"),
        (Duration, "1.5h", "did you mean 90m?"),
        (Duration, "2 days", "did you mean 48h?"),
        (Duration, 30, "say the unit: 30s, 30m or 30h"),
        (Duration, "1:30", "write 1m30s (minutes and seconds) or 1h30m (hours and minutes)"),
        (Bytes, "0064MB", "did you mean 64Mi (powers of 1024) or 64M (powers of 1000)?"),
        (Duration, "soon", "write whole numbers with h, m, s or ms, for example 30s, 10m or 1h30m"),
    ],
    ids=repr,
)
def test_a_hint_states_what_was_meant(kind: type, value: object, hint: str):
    assert hint_amount(kind, value) == hint


@pytest.mark.parametrize("amount", [Bytes("64Mi"), Cores("500m"), Duration("1h30m")], ids=repr)
def test_an_amount_is_a_number_and_keeps_its_text(amount: Bytes | Cores | Duration):
    for same in (copy.deepcopy(amount), copy.copy(amount), pickle.loads(pickle.dumps(amount))):
        assert same == amount
        assert same.text == amount.text


@given(st.from_regex(r"[0-9]{1,5}(\.[0-9]{1,3})?\s?[A-Za-z]{0,4}", fullmatch=True))
def test_every_amount_that_a_hint_proposes_is_valid(text: str):
    for kind in (Bytes, Cores, Duration):
        hint = hint_amount(kind, text)
        if hint.startswith("did you mean "):
            for proposal in hint.removeprefix("did you mean ").rstrip("?").split(" or "):
                kind(proposal.split(" (")[0])
