"""Recognises secrets that were written into a file, so that they are refused and never shown.

Does: judge one text by the shapes tokens are known to have, and by how random it looks.
Does not know: where the text stands, except for a variable's name.
Called by: `loading` for every word of a file, and by whatever shows a value to a user.
"""

from __future__ import annotations

import re

_KNOWN = re.compile(
    r"""
    (?<![A-Za-z0-9])(
      hf_[A-Za-z0-9]{16,}                       # Hugging Face
    | sk-(?=[A-Za-z0-9_-]{0,200}[0-9])[A-Za-z0-9_-]{16,}   # OpenAI and those who copied its form
    | (AKIA|ASIA)[0-9A-Z]{16}                   # AWS
    | gh[pousr]_[A-Za-z0-9]{20,} | github_pat_[A-Za-z0-9_]{20,} | glpat-[A-Za-z0-9_-]{16,}
    | xox[abeprs]-[A-Za-z0-9-]{10,}             # Slack
    | AIza[0-9A-Za-z_-]{30,} | ya29\.[0-9A-Za-z_-]{20,}   # Google
    | nvapi-[A-Za-z0-9_-]{20,}
    | eyJ[A-Za-z0-9_-]{10,1000}\.eyJ[A-Za-z0-9_-]{10}  # JSON Web Token
    | rk_[a-z0-9.-]{1,128}_[0-9A-Za-z]{32}      # our own keys
    )
    | -----BEGIN\ [A-Z\ ]{0,40}PRIVATE\ KEY
    | [Bb]earer\ {1,8}[A-Za-z0-9._~+/-]{16,}
    | ://[^/\s:@]{1,256}:[^/\s@]{1,256}@                    # a password inside an address
    """,
    re.VERBOSE,
)
_RUN = re.compile(r"[A-Za-z0-9+]{24,}")
_SECRET_NAME = re.compile(
    r"(^|_)(TOKEN|SECRET|PASSWORD|PASSWD|API_?KEY|ACCESS_?KEY|SECRET_?KEY|PRIVATE_?KEY)$", re.IGNORECASE
)
_CHANGES = re.compile(r"(?<=[a-z])(?=[A-Z0-9])|(?<=[A-Z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])")


def looks_secret(text: str) -> bool:
    """Whether the text has the form of a token, a key or a password in an address."""
    return bool(_KNOWN.search(text)) or any(_looks_random(run[0]) for run in _RUN.finditer(text))


def names_secret(name: str) -> bool:
    """Whether a variable of this name holds a secret (`HF_TOKEN`, `DB_PASSWORD`)."""
    return bool(_SECRET_NAME.search(name))


def _looks_random(run: str) -> bool:
    """Long, of three kinds of character, and changing kind all the time; words in camelCase and hexadecimal digests
    are not."""
    kinds = (re.search("[a-z]", run), re.search("[A-Z]", run), re.search("[0-9]", run))
    return all(kinds) and len(_CHANGES.findall(run)) >= len(run) / 5


def show(text: str, limit: int = 60) -> str:
    """The text as it may appear in a message: secrets masked, long text cut, one line."""
    if looks_secret(text):
        return "(a secret, not shown)"
    line = " ".join(text.split())
    return f"`{line[: limit - 1]}…`" if len(line) > limit else f"`{line}`"
