"""Secrets are known by their form; ordinary words are not mistaken for them."""

import time

import pytest

from remuda.spec.secrets import looks_secret, names_secret, show

# Put together at run time, so that no scanner takes this file for a leak.
SECRETS = [
    "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz",
    "sk-" + "proj-abc123DEF456ghi789",
    "AKIA" + "IOSFODNN7EXAMPLE",
    "ghp_" + "a" * 36,
    "github_pat_" + "11ABCDEFG0abcdefghij_x",
    "glpat-" + "abcDEF123456ghiJKL78",
    "xoxb-" + "1234567890-abcdef",
    "AIza" + "SyA1234567890abcdefghijklmnopqrstuv",
    "eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0NTY3",
    "-----BEGIN " + "RSA PRIVATE KEY-----",
    "rk_acme-" + "laptop_" + "a" * 40,
    "Bearer " + "abcdefghijklmnop123",
    "http://user:" + "hunter2@host",
    "9f8A7b6C5d4E3f2G1h0J9k8L7m6N5p4Q",
]
ORDINARY = [
    "hf://meta-llama/Meta-Llama-3.1-70B-Instruct-AWQ-INT4@5f0b02c75b57c5855da9ae460ce51323ea669d8a",
    "sha256:" + "0123456789abcdef" * 4,
    "registry.example.org/team/very-long-image-name-with-words:v1.2.3-20261121",
    "VLLM_ENABLE_V1_MULTIPROCESSING",
    "enable_prefix_caching_for_everything_that_is_long",
    "thisIsAVeryLongCamelCaseNameForSomething",
    "/srv/models/Qwen2.5-Coder-32B-Instruct-GPTQ-Int4",
    "sk-learn",
    "skeleton-key",
    "http://10.0.0.7:8000/prefix",
    "task-scheduler-configuration",
]


@pytest.mark.parametrize("text", SECRETS, ids=lambda text: text[:6])
def test_secret_is_recognised_and_not_shown(text: str):
    assert looks_secret(text)
    assert show(f"key {text}") == "(a secret, not shown)"


@pytest.mark.parametrize("text", ORDINARY)
def test_ordinary_text_is_not_a_secret(text: str):
    assert not looks_secret(text)


@pytest.mark.parametrize(
    ("name", "secret"),
    [
        ("HF_TOKEN", True),
        ("DB_PASSWORD", True),
        ("OPENAI_API_KEY", True),
        ("TOKENIZERS_PARALLELISM", False),
        ("MAX_TOKENS", False),
    ],
)
def test_variable_is_secret_by_its_name(name: str, secret: bool):
    assert names_secret(name) is secret


def test_shown_text_is_one_short_line():
    assert show("a\n  b") == "`a b`"
    assert show("x" * 100) == "`" + "x" * 59 + "…`"


@pytest.mark.parametrize("piece", ["sk-", "-eyJ", "://a:", "Bearer ", "-----BEGIN ", "rk_", "hf_", "A1", "aB1", "_"])
def test_judging_a_long_text_takes_no_time(piece: str):
    started = time.perf_counter()
    looks_secret(piece * (400_000 // len(piece)))
    assert time.perf_counter() - started < 5
