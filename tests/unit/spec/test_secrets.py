"""Secrets are recognised by their form, in files and in logs; ordinary words are not mistaken for them."""

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.spec.secrets import FORMS, TOKENS, looks_secret, mask_secrets, names_secret, show

OURS = "rk_acme-k1_" + "0123456789abcdefghijABCDEFGHIJ0123456789xyz"

# The texts are put together at run time, so that no scanner takes this file for a leak.
# id: (before, secret, after, what a log shows of the secret)
SECRETS = {
    "hugging-face": ("HF_TOKEN=", "hf_" + "AbCdEfGhIjKlMnOpQrStUvWxYz", " used", "hf_***"),
    "openai": ("key=", "sk-" + "proj-abc123DEF456ghi789", ";", "sk-***"),
    "anthropic": ("", "sk-" + "ant-api03-abcDEF_123456-xyz", "", "sk-***"),
    "ours": ("unknown key ", OURS, ".", "rk_acme-k1_***"),
    "stripe": ("", "sk_" + "live_51HabcDEF0123456789", "", "sk_live_***"),
    "stripe-restricted": ("", "rk_" + "live_51HabcDEF0123456789", "", "rk_live_***"),
    "aws": ("id ", "AKIA" + "IOSFODNN7EXAMPLE", " of", "AKIA***"),
    "aws-session": ("", "ASIA" + "IOSFODNN7EXAMPLE", "", "ASIA***"),
    "github": ("", "ghp_" + "a" * 36, "", "ghp_***"),
    "github-server": ("", "ghs_" + "a1B2" * 9, "", "ghs_***"),
    "github-fine-grained": ("", "github_pat_" + "11ABCDEFG0abcdefghij_x", "", "github_pat_***"),
    "gitlab": ("", "glpat-" + "abcDEF123456ghiJKL78", "", "glpat-***"),
    "slack": ("", "xoxb-" + "1234567890-abcdef", "", "xoxb-***"),
    "google-key": ("", "AIza" + "SyA1234567890abcdefghijklmnopqrstuv", "", "AIza***"),
    "google-token": ("", "ya29." + "a0AbCdEfGhIjKlMnOpQrStUv", "", "ya29.***"),
    "nvidia": ("", "nvapi-" + "AbCdEfGhIjKlMnOpQrStUv-1", "", "nvapi-***"),
    "jwt": ("cookie ", "eyJhbGciOiJIUzI1" + ".eyJzdWIiOiIxMjM0NTY3" + ".c2lnbmF0dXJl", "", "eyJ***"),
    "private-key": ("", "-----BEGIN RSA " + "PRIVATE KEY-----\nMIIEow==\n", "", "-----BEGIN RSA PRIVATE KEY***"),
    "bearer": ("Authorization: ", "Bearer " + "abcdefghijklmnop123", "", "Bearer ***"),
    "bearer-small": ("authorization: ", "bearer " + "abc.def-ghi_jkl", "", "bearer ***"),
    "bearer-ours": ("Authorization: ", "Bearer " + OURS, "", "Bearer ***"),
    "basic": ("", "Basic " + "dXNlcjpwYXNzd29yZA==", "", "Basic ***"),
    "address": ("GET http", "://user:" + "hunter2", "@host/x", "://user:***"),
}
NAMED_VALUES = {
    "header": ("x-api-key: 12345678abc", "x-api-key: ***"),
    "header-in-python": ("{'x-api-key': '12345678abc'}", "{'x-api-key': '***'}"),
    "json": ('{"api_key": "12345678abc"}', '{"api_key": "***"}'),
    "one-word": ("apiKey=12345678abc", "apiKey=***"),
    "query": ("https://hub/model?access_token=12345678abc&rev=main", "https://hub/model?access_token=***&rev=main"),
    "refresh-token": ("refresh_token=12345678abc", "refresh_token=***"),
    "password": ("password=hunter2hunter2", "password=***"),
    "passwd": ("DB_PASSWD: hunter2hunter2", "DB_PASSWD: ***"),
    "client-secret": ("client_secret = 'abc-12345678'", "client_secret = '***'"),
}
CUT_TOKENS = {
    "hugging-face": ("hf_" + "AbCdEfGh", "hf_***"),
    "openai": ("sk-" + "abcdefgh", "sk-***"),
    "ours": ("rk_acme-k1_" + "01234567", "rk_acme-k1_***"),
    "ours-without-name": ("rk_" + "01234567", "rk_***"),
    "aws": ("AKIA" + "IOSFODNN", "AKIA***"),
    "github": ("ghp_16characters1234", "ghp_***"),
    "two": ("two: hf_" + "AbCdEfGhIj hf_" + "KlMnOpQrSt", "two: hf_*** hf_***"),
    "two-kinds": (f"Bearer {OURS} and hf_" + "AbCdEfGhIj", "Bearer *** and hf_***"),
}
ORDINARY = {
    "source": "hf://meta-llama/Meta-Llama-3.1-70B-Instruct-AWQ-INT4@5f0b02c75b57c5855da9ae460ce51323ea669d8a",
    "digest": "sha256:" + "0123456789abcdef" * 4,
    "image": "registry.example.org/team/very-long-image-name-with-words:v1.2.3-20261121",
    "environment-variable": "VLLM_ENABLE_V1_MULTIPROCESSING",
    "snake-case": "enable_prefix_caching_for_everything_that_is_long",
    "camel-case": "thisIsAVeryLongCamelCaseNameForSomething",
    "path": "/srv/models/Qwen2.5-Coder-32B-Instruct-GPTQ-Int4",
    "sk-in-a-name": "sk-learn",
    "sk-inside-a-word": "task-scheduler-configuration",
    "skeleton": "skeleton-key",
    "rk-in-a-name": "rk_acme-k1",
    "hf-in-a-name": "model hf_tiny is ready",
    "aws-region-like": "AKIAB is no key",
    "github-in-a-name": "ghp_short",
    "slack-in-a-name": "xoxb-short",
    "jwt-header-alone": "eyJhbGciOiJIUzI1NiJ9",
    "address-with-port": "http://10.0.0.7:8000/prefix",
    "address-with-user": "ssh://git@host/path",
    "public-key": "-----BEGIN PUBLIC KEY-----",
    "bearer-in-prose": "bearer of bad news",
    "basic-in-prose": "basic authentication failed",
    "share": "loading weights 100%",
    "counts": "max_tokens: 512 tokens generated",
    "name-of-a-key": "the key k2 of tenant acme",
    "short-value": "secret: named",
    "uuid": "0f3a2c44-9e1d-4a77-8b5e-2f6d1c0a9b8e",
    "request-id": "req-0123456789ab-1f",
}


@pytest.mark.parametrize(("before", "secret", "after", "masked"), SECRETS.values(), ids=SECRETS)
def test_a_secret_is_refused_in_a_file_and_masked_in_a_log(before: str, secret: str, after: str, masked: str):
    text = f"{before}{secret}{after}"
    assert looks_secret(text)
    assert show(text) == "(a secret, not shown)"
    assert mask_secrets(text) == f"{before}{masked}{after}"


@pytest.mark.parametrize(("text", "masked"), NAMED_VALUES.values(), ids=NAMED_VALUES)
def test_a_value_with_a_secret_name_is_masked_in_a_log(text: str, masked: str):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize(("text", "masked"), CUT_TOKENS.values(), ids=CUT_TOKENS)
def test_a_token_that_was_cut_is_masked_in_a_log(text: str, masked: str):
    assert mask_secrets(text) == masked


@pytest.mark.parametrize("text", ORDINARY.values(), ids=ORDINARY)
def test_ordinary_text_is_neither_refused_nor_masked(text: str):
    assert not looks_secret(text)
    assert mask_secrets(text) == text


def test_a_long_random_run_is_refused_in_a_file():
    assert looks_secret("9f8A7b6C5d4E3f2G1h0J9k8L7m6N5p4Q")


def test_every_token_and_form_of_the_table_has_a_case():
    secrets = [secret for _, secret, *_ in SECRETS.values()]
    values = [text for text, _ in NAMED_VALUES.values()]
    addresses = [before + secret for before, secret, *_ in SECRETS.values()]
    for token in TOKENS:
        assert any(re.match(token.prefix, secret) for secret in secrets), token.owner
    for form in FORMS:
        assert any(re.search(form.before, text) for text in secrets + addresses + values), form.name


@given(st.text(st.sampled_from("abc019XYZ"), min_size=32, max_size=64), st.text(max_size=20), st.text(max_size=20))
def test_an_api_key_of_remuda_is_masked_in_every_position(secret: str, before: str, after: str):
    assert secret not in mask_secrets(f"{before} rk_acme-k7_{secret} {after}")


@given(st.text(max_size=200))
def test_masking_twice_is_masking_once(text: str):
    once = mask_secrets(text)
    assert mask_secrets(once) == once


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
def test_a_variable_can_be_a_secret_by_its_name(name: str, secret: bool):
    assert names_secret(name) is secret


def test_shown_text_is_one_short_line():
    assert show("a\n  b") == "`a b`"
    assert show("x" * 100) == "`" + "x" * 59 + "…`"


PIECES = [
    "sk-",
    "-eyJ",
    "eyJaaaaaaaa.",
    "://a:",
    "Bearer ",
    "-----BEGIN ",
    "-----BEGIN PRIVATE KEY-----",
    "rk_",
    "rk_a_",
    "hf_",
    "secret=",
    "A1",
    "aB1",
    "_",
]


@pytest.mark.parametrize("piece", PIECES)
@pytest.mark.parametrize("judge", [looks_secret, mask_secrets])
def test_the_time_to_judge_a_long_text_grows_with_its_length_only(judge, piece: str):
    started = time.perf_counter()
    judge(piece * (400_000 // len(piece)))
    assert time.perf_counter() - started < 5
