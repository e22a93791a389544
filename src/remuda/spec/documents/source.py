"""Addresses of weights: `hf://organisation/name@revision` and six other schemes.

This module parses an address and explains what is wrong with a bad one. It does not know how weights are fetched.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Final, Literal, get_args

Scheme = Literal["hf", "file", "gs", "s3", "oci", "pvc", "demo"]
SCHEMES: Final[tuple[Scheme, ...]] = get_args(Scheme)

_FORMS: Final[dict[Scheme, str]] = {
    "hf": "hf://organisation/name, with @revision to pin it",
    "file": "file:///absolute/path",
    "gs": "gs://bucket/path",
    "s3": "s3://bucket/path",
    "oci": "oci://registry/repository:tag or …@sha256:digest",
    "pvc": "pvc://claim/path",
    "demo": "demo://remuda-demo",
}
_HF_PART: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}"
_PATTERNS: Final[dict[Scheme, str]] = {
    "hf": rf"(?P<location>{_HF_PART}(/{_HF_PART})?)(@(?P<revision>[A-Za-z0-9][A-Za-z0-9._/-]{{0,127}}))?",
    "file": r"(?P<location>/[^\x00-\x1f]*)",
    "gs": r"(?P<location>[a-z0-9][a-z0-9._-]{1,221}(/[^\x00-\x20]*)?)",
    "s3": r"(?P<location>[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[^\x00-\x20]*)?)",
    "oci": r"(?P<location>[a-z0-9.-]+(:[0-9]{1,5})?(/[a-z0-9._-]+)+(:(?P<tag>[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}))?)"
    r"(@(?P<revision>sha256:[0-9a-f]{64}))?",
    "pvc": r"(?P<location>[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?(/[^\x00-\x20]*)?)",
    "demo": r"(?P<location>[a-z0-9][a-z0-9-]{0,62}(/[a-z0-9][a-z0-9-]{0,62})*)",
}

SOURCE_PATTERN: Final = (
    "^(" + "|".join(f"{scheme}://{re.sub('[?]P<[a-z]+>', '', form)}" for scheme, form in _PATTERNS.items()) + ")$"
)
"""All schemes in one regular expression, for JSON Schema and the API server."""


class SourceError(ValueError):
    """The text is no address of weights; `hint` says what to write."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


@dataclass(frozen=True, slots=True)
class Source:
    """The parts of an address. `location` is a name on the hub, a path, a bucket or claim with a path, or an image."""

    scheme: Scheme
    location: str
    revision: str | None = None

    def __str__(self) -> str:
        return f"{self.scheme}://{self.location}" + (f"@{self.revision}" if self.revision else "")


def parse_source(text: str) -> Source:
    """Parse `scheme://location[@revision]`. Raises SourceError with a hint."""
    scheme, separator, rest = text.partition("://")
    if not separator:
        raise SourceError("a source starts with its scheme", _hint_without_scheme(text))
    if scheme not in SCHEMES:
        raise SourceError(f"unknown scheme {scheme[:20]}://", _hint_scheme(scheme, rest))
    match = re.fullmatch(_PATTERNS[scheme], rest)
    if not match:
        raise SourceError(f"not a {scheme}:// address", _HINTS.get(scheme, _hint_form)(scheme, rest))
    return Source(scheme, match["location"], match.groupdict().get("revision"))


def _hint_without_scheme(text: str) -> str:
    if text.startswith(("/", "./", "../", "~")):
        return "a folder on this machine is written file:///absolute/path"
    if re.fullmatch(rf"{_HF_PART}/{_HF_PART}(@[\w./-]+)?", text):
        return f"a model of the Hugging Face hub is written hf://{text}"
    return "one of " + ", ".join(f"{scheme}://" for scheme in SCHEMES)


def _hint_scheme(scheme: str, rest: str) -> str:
    meant = {
        "huggingface": "hf",
        "hub": "hf",
        "gcs": "gs",
        "docker": "oci",
        "local": "file",
        "path": "file",
        "aws": "s3",
    }.get(scheme)
    if scheme in {"http", "https"} and rest.startswith("huggingface.co/"):
        return f"did you mean hf://{'/'.join(rest.split('/')[1:3])}?"
    if meant is None:
        meant = next(iter(get_close_matches(scheme, SCHEMES, 1)), None)
    return f"did you mean {meant}://?" if meant else "one of " + ", ".join(f"{known}://" for known in SCHEMES)


def _hint_form(scheme: Scheme, _rest: str) -> str:
    return f"write {_FORMS[scheme]}"


def _hint_file(_scheme: Scheme, rest: str) -> str:
    if rest and not rest.startswith("/"):
        return "the path must be absolute, so three slashes: file:///srv/models/name"
    return "write file:///absolute/path"


_HINTS: Final[dict[str, Callable[[Scheme, str], str]]] = {"file": _hint_file}
