"""Recognises secrets in text: one table of their forms, used to refuse them in files and to mask them in logs.

A text is judged by the forms that tokens are known to have. In files, long random runs count as secrets too. The module
does not know where a text comes from. It must import neither pydantic nor anything heavy, because every process that
writes a log uses it.
"""

from __future__ import annotations

import re
from typing import Final, NamedTuple


class Token(NamedTuple):
    """A secret that is recognised by its first characters. They stay readable in a log."""

    owner: str
    """Whose tokens these are."""
    prefix: str
    """Expression of the first characters; it begins with a letter."""
    alphabet: str
    """Characters after the prefix, as inside the brackets of a regular expression."""
    least: int
    """Fewest characters after the prefix in a file. Logs mask shorter ones too, because a log line may cut a token."""
    must: str = ""
    """A lookahead that tells a token in a file from ordinary words."""


TOKENS: Final = (
    Token("Hugging Face", "hf_", "A-Za-z0-9", 16),
    Token("OpenAI, and others in its form", "sk-", "A-Za-z0-9_-", 16, must="(?=[A-Za-z0-9_-]{0,200}[0-9])"),
    Token("Remuda", r"rk_(?:[a-z0-9.-]{1,128}_)?", "A-Za-z0-9", 32),
    Token("Stripe", "sk_(?:live|test)_", "A-Za-z0-9", 16),
    Token("Stripe, restricted", "rk_(?:live|test)_", "A-Za-z0-9", 16),
    Token("AWS", "A(?:KIA|SIA)", "0-9A-Z", 16),
    Token("GitHub", "gh[pousr]_", "A-Za-z0-9", 20),
    Token("GitHub, fine-grained", "github_pat_", "A-Za-z0-9_", 20),
    Token("GitLab", "glpat-", "A-Za-z0-9_-", 16),
    Token("Slack", "xox[abeprs]-", "A-Za-z0-9-", 10),
    Token("Google, API key", "AIza", "A-Za-z0-9_-", 30),
    Token("Google, access token", r"ya29\.", "A-Za-z0-9_-", 20),
    Token("NVIDIA", "nvapi-", "A-Za-z0-9_-", 20),
)


class Form(NamedTuple):
    """A secret that is recognised by what stands before it, or by its own structure."""

    name: str
    before: str
    """Expression of the text before the secret. It stays readable in a log."""
    secret: str
    in_files: bool = True
    """False where the words before the secret are ordinary in a file."""


FORMS: Final = (
    Form("HTTP credentials", r"\b(?i:bearer|basic)\s{1,8}", r"(?=[a-z]{0,200}[^a-z\s])[A-Za-z0-9._~+/=-]{8,}"),
    Form("password in an address", r"://[^/\s:@]{1,256}:", r"[^/\s@]{1,256}(?=@)"),
    Form(
        "private key",
        r"-----BEGIN [A-Z ]{0,40}PRIVATE KEY",
        r"(?:-----[A-Za-z0-9+/=\s]*(?:-----END [A-Z ]{0,40}PRIVATE KEY-----)?)?",
    ),
    Form(
        "JSON Web Token", r"(?<![A-Za-z0-9])eyJ", r"[A-Za-z0-9_-]{8,2000}+\.eyJ[A-Za-z0-9_-]{8,}(?:\.[A-Za-z0-9_-]*)?"
    ),
    Form(
        "named value",
        r"(?=[aArRpPsS])(?i:api[_-]?key|(?:access|auth|refresh)[_-]?token|passw(?:or)?d|secret)"
        r"[\"']?\s{0,8}[:=]\s{0,8}[\"']?",
        r"[^\s\"',;&]{8,}",
        in_files=False,
    ),
)

_MASKED_FROM: Final = 8
"""Characters after a prefix from which a log masks them."""


def _compile(*, for_files: bool) -> tuple[re.Pattern[str], ...]:
    """One expression for each form and one for all tokens. The text that stays readable is the group `kept`.

    Separate expressions are four times as fast as one with all choices. Forms come first, because a form hides what
    stands behind it, a token's prefix included.
    """
    tokens = []
    for token in TOKENS:
        least = token.least if for_files else min(token.least, _MASKED_FROM)
        tokens.append(f"{token.prefix}(?={token.must if for_files else ''}[{token.alphabet}]{{{least}}})")
    first = "".join(sorted({token.prefix[0] for token in TOKENS}))
    any_token = f"(?=[{first}])(?<![A-Za-z0-9])(?P<kept>{'|'.join(tokens)})[A-Za-z0-9_-]+"
    forms = [f"(?P<kept>{form.before}){form.secret}" for form in FORMS if form.in_files or not for_files]
    return tuple(re.compile(expression) for expression in (*forms, any_token))


_IN_FILES: Final = _compile(for_files=True)
_IN_LOGS: Final = _compile(for_files=False)
_RUN: Final = re.compile(r"[A-Za-z0-9+]{24,}")
_CHANGES: Final = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")
_SECRET_NAME: Final = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|SECRET_?KEY|PRIVATE_?KEY)$", re.IGNORECASE
)


def mask_secrets(text: str) -> str:
    """The text with `***` in place of each secret. The words or the prefix before a secret stay readable."""
    for pattern in _IN_LOGS:
        text = pattern.sub(_mask, text)
    return text


def _mask(match: re.Match[str]) -> str:
    return f"{match['kept']}***"


def looks_secret(text: str) -> bool:
    """Whether the text contains a token, a key, a password in an address, or a long random run."""
    known = any(pattern.search(text) for pattern in _IN_FILES)
    return known or any(_looks_random(run[0]) for run in _RUN.finditer(text))


def names_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret (`HF_TOKEN`, `DB_PASSWORD`)."""
    return bool(_SECRET_NAME.search(name))


def _looks_random(run: str) -> bool:
    """Whether a run mixes small letters, capitals and digits and changes between them at every fifth character.

    Words in camelCase and hexadecimal digests do not.
    """
    kinds = (re.search("[a-z]", run), re.search("[A-Z]", run), re.search("[0-9]", run))
    return all(kinds) and len(_CHANGES.findall(run)) >= len(run) / 5


def show(text: str, limit: int = 60) -> str:
    """The text as a message may quote it: on one line, cut to `limit` characters, and not at all if it is a secret."""
    if looks_secret(text):
        return "(a secret, not shown)"
    line = " ".join(text.split())
    return f"`{line[: limit - 1]}…`" if len(line) > limit else f"`{line}`"
