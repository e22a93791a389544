"""API keys: who sends a request, from its headers.

A key has the form `rk_<tenant>-<key name>_<43 letters and digits>`. Only its SHA-256 is stored. The readable part is
for people and secret scanners. The check does not use it, so a key that was issued elsewhere works as soon as its hash
is in a Tenant.

Does not know where the keys come from, nor which model an alias means: the caller finds that out before it calls
`Principal.may_use`. A check costs about a microsecond.
"""

import enum
import hashlib
import hmac
import math
import re
import secrets
import string
from collections.abc import Iterable
from dataclasses import dataclass

from remuda.gateway.table import KeyRecord

HASH_PREFIX = "sha256:"
LONGEST_KEY_BYTES = 512  # Remuda's have about 60 bytes; a client must not make the gateway hash a megabyte
SECRET_LETTERS = 43  # of 62 letters: 256 bits
KEY_PATTERN = re.compile(rb"rk_[a-z0-9](?:[a-z0-9.-]{0,126}[a-z0-9])?_[0-9A-Za-z]{32,128}")
_HASH = re.compile(r"sha256:[0-9a-f]{64}")
_ALPHABET = string.digits + string.ascii_uppercase + string.ascii_lowercase


class KeyRefusal(enum.Enum):
    """Why a key is refused. Only the holder of a valid key learns that it has expired or is disabled."""

    MISSING = "missing"
    MALFORMED = "malformed"
    UNKNOWN = "unknown"
    EXPIRED = "expired"
    DISABLED = "disabled"


@dataclass(frozen=True, slots=True)
class Principal:
    """The sender of a request, and the models it may use."""

    tenant: str
    key: str
    models: frozenset[str]
    """Empty = all."""
    known: bool = True
    """Whether this caller may be told which models there are."""

    def may_use(self, model: str) -> bool:
        """Whether `model`, a model's own name, is allowed."""
        return self.known and (not self.models or model in self.models)


ANONYMOUS = Principal("anonymous", "", frozenset())
"""Everybody, while the gateway asks for no keys."""

STRANGER = Principal("anonymous", "", frozenset(), known=False)
"""Somebody without a key at a page that needs none, while the gateway asks for keys elsewhere."""


@dataclass(frozen=True, slots=True)
class _Entry:
    digest: bytes
    principal: Principal
    expires_at: float
    disabled: bool


class KeyRing:
    """All keys of one table. It never changes: new keys make a new ring."""

    __slots__ = ("_entries",)

    def __init__(self, records: Iterable[KeyRecord]) -> None:
        entries: dict[bytes, tuple[_Entry, ...]] = {}
        for record in records:
            entry = _entry_of(record)
            slot = entry.digest[:8]
            entries[slot] = (*entries.get(slot, ()), entry)
        self._entries = entries

    def __len__(self) -> int:
        return sum(len(slot) for slot in self._entries.values())

    def check(self, authorization: bytes | None, x_api_key: bytes | None, unix_s: float) -> Principal | KeyRefusal:
        """The holder of the key in these header values (`Authorization: Bearer`, or Anthropic's `x-api-key`)."""
        key = present_key(authorization, x_api_key)
        if isinstance(key, KeyRefusal):
            return key
        # The time of this look-up depends on the digest, and nobody can choose a key by its digest, so the time says
        # nothing about a key. The full digests are compared in constant time.
        digest = hashlib.sha256(key).digest()
        for entry in self._entries.get(digest[:8], ()):
            if hmac.compare_digest(entry.digest, digest):
                return _admit(entry, unix_s)
        return KeyRefusal.UNKNOWN if KEY_PATTERN.fullmatch(key) else KeyRefusal.MALFORMED


def _admit(entry: _Entry, unix_s: float) -> Principal | KeyRefusal:
    if entry.disabled:
        return KeyRefusal.DISABLED
    return entry.principal if unix_s < entry.expires_at else KeyRefusal.EXPIRED


def _entry_of(record: KeyRecord) -> _Entry:
    principal = Principal(record.tenant, record.name, frozenset(record.models))
    expires_at = math.inf if record.expires_at is None else record.expires_at
    return _Entry(parse_hash(record.hash), principal, expires_at, record.disabled)


def present_key(authorization: bytes | None, x_api_key: bytes | None) -> bytes | KeyRefusal:
    """The key in these header values. A bearer token in `Authorization` comes before `x-api-key`."""
    if authorization is not None and authorization[:7].lower() == b"bearer ":
        key = authorization[7:].strip()
    elif x_api_key is not None:
        key = x_api_key.strip()
    else:
        return KeyRefusal.MISSING if not authorization else KeyRefusal.MALFORMED
    if not key:
        return KeyRefusal.MISSING
    return key if len(key) <= LONGEST_KEY_BYTES else KeyRefusal.MALFORMED


def make_key(tenant: str, name: str) -> str:
    """A new random key. The caller shows it once and stores only its `hash_key`."""
    return f"rk_{tenant}-{name}_" + "".join(secrets.choice(_ALPHABET) for _ in range(SECRET_LETTERS))


def hash_key(key: str) -> str:
    """The text that is stored for a key. It has no salt and is fast, because 256 random bits cannot be guessed."""
    return HASH_PREFIX + hashlib.sha256(key.encode()).hexdigest()


def parse_hash(text: str) -> bytes:
    """The digest in `sha256:<hex>`. Raises ValueError for any other text."""
    if not _HASH.fullmatch(text):
        raise ValueError(f"not a key hash: {text!r} (expected sha256: and 64 hexadecimal digits)")
    return bytes.fromhex(text.removeprefix(HASH_PREFIX))
