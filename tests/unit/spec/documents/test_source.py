"""Parsing of addresses of weights."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remuda.spec.documents.source import SCHEMES, SOURCE_PATTERN, Source, SourceError, parse_source

DIGEST = "sha256:" + "0" * 64


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("hf://org/name", Source("hf", "org/name")),
        ("hf://gpt2", Source("hf", "gpt2")),
        ("hf://org/Name-8B.v2@refs/pr/3", Source("hf", "org/Name-8B.v2", "refs/pr/3")),
        ("file:///srv/models/with space", Source("file", "/srv/models/with space")),
        ("gs://bucket/a/b", Source("gs", "bucket/a/b")),
        ("s3://bucket", Source("s3", "bucket")),
        ("oci://host:5000/a/b:tag", Source("oci", "host:5000/a/b:tag")),
        (f"oci://host/a@{DIGEST}", Source("oci", "host/a", DIGEST)),
        ("pvc://claim/path", Source("pvc", "claim/path")),
        ("demo://remuda-demo/adapters/pirate", Source("demo", "remuda-demo/adapters/pirate")),
    ],
)
def test_a_source_is_parsed_and_written_again(text: str, source: Source):
    assert parse_source(text) == source
    assert str(source) == text
    assert re.fullmatch(SOURCE_PATTERN, text)


@pytest.mark.parametrize(
    ("text", "hint"),
    [
        ("org/name", "a model of the Hugging Face hub is written hf://org/name"),
        ("/srv/model", "a folder on this machine is written file:///absolute/path"),
        ("./model", "a folder on this machine is written file:///absolute/path"),
        ("https://huggingface.co/org/name/tree/main", "did you mean hf://org/name?"),
        ("gcs://bucket/a", "did you mean gs://?"),
        ("hff://a/b", "did you mean hf://?"),
        ("file://model", "the path must be absolute, so three slashes: file:///srv/models/name"),
        ("hf://a/b/c", "write hf://organisation/name, with @revision to pin it"),
        ("nonsense", "one of hf://, file://, gs://, s3://, oci://, pvc://, demo://"),
        ("", "one of hf://, file://, gs://, s3://, oci://, pvc://, demo://"),
    ],
)
def test_a_bad_source_gets_a_hint_with_the_right_form(text: str, hint: str):
    with pytest.raises(SourceError) as refused:
        parse_source(text)
    assert refused.value.hint == hint
    assert not re.fullmatch(SOURCE_PATTERN, text)


@given(st.one_of(st.text(), st.builds("{}://{}".format, st.sampled_from(SCHEMES), st.text())))
def test_parser_and_pattern_agree(text: str):
    try:
        parse_source(text)
    except SourceError:
        assert not re.fullmatch(SOURCE_PATTERN, text)
    else:
        assert re.fullmatch(SOURCE_PATTERN, text)
