"""The answer to each reason for which an API key is refused.

This module does not know how a key is checked (`keys` does).
"""

from typing import Final

from remuda.gateway.access.keys import KeyRefusal
from remuda.gateway.api.problems import Code, Problem

_CHALLENGE: Final = (("www-authenticate", 'Bearer realm="remuda"'),)

KEY_REFUSED: Final[dict[KeyRefusal, Problem]] = {
    KeyRefusal.MISSING: Problem(
        Code.MISSING_API_KEY,
        "No API key was sent. Send it as `Authorization: Bearer rk_…` or `x-api-key: rk_…`.",
        headers=_CHALLENGE,
    ),
    KeyRefusal.MALFORMED: Problem(
        Code.INVALID_API_KEY,
        "What was sent is not an API key of this gateway (they begin with rk_).",
        headers=_CHALLENGE,
    ),
    KeyRefusal.UNKNOWN: Problem(Code.INVALID_API_KEY, "The API key is not known here.", headers=_CHALLENGE),
    KeyRefusal.EXPIRED: Problem(
        Code.EXPIRED_API_KEY, "The API key has expired. Ask for a new one.", headers=_CHALLENGE
    ),
    KeyRefusal.DISABLED: Problem(Code.TENANT_DISABLED, "The tenant of this API key is disabled."),
}
"""refusal → answer. Every member of KeyRefusal is here."""

_NO_KEY_EXISTS: Final = (
    "This gateway asks for an API key, and there is none that it accepts. Its operator makes one with `remuda tenant "
    "create NAME`, or serves without keys with `auth: {mode: open}`."
)


def explain_refused_key(refusal: KeyRefusal, *, any_keys: bool) -> Problem:
    """What a caller is told. `any_keys`: whether there is a key that would be accepted."""
    problem = KEY_REFUSED[refusal]
    return problem if any_keys else Problem(problem.code, _NO_KEY_EXISTS, headers=_CHALLENGE)
