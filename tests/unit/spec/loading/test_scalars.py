"""Unquoted scalars have the same value as in kubectl, which uses Go's YAML library."""

import pytest

from remuda.spec.loading.scalars import resolve_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        *[(word, True) for word in ("y", "Y", "yes", "on", "ON", "true", "True")],
        *[(word, False) for word in ("n", "N", "no", "off", "Off", "false", "FALSE")],
        *[(word, None) for word in ("", "~", "null", "Null")],
        ("0", 0),
        ("-12", -12),
        ("1_000", 1000),
        ("0x1F", 31),
        ("0o17", 15),
        ("017", 15),
        ("0b11", 3),
        ("019", 19),
        ("0xzz", "0xzz"),
        ("0b12", "0b12"),
        ("1.5", 1.5),
        ("1e3", 1000.0),
        (".5", 0.5),
        (".inf", float("inf")),
        ("-.inf", float("-inf")),
        ("1:30", "1:30"),
        ("2027-01-31", "2027-01-31"),
        ("1.2.3", "1.2.3"),
        ("8Gi", "8Gi"),
        ("-", "-"),
        ("1" * 400, "1" * 400),
        ("yEs", "yEs"),
        ("none", "none"),
    ],
    ids=repr,
)
def test_plain_scalar(text: str, value: object):
    resolved = resolve_plain(text)
    assert resolved == value
    assert type(resolved) is type(value)
