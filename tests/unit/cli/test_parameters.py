"""Values of options: what is accepted, and the words for what is not."""

import click
import pytest

from remuda.cli.parameters import PORT, Lifetime, Number

COUNT = Number("count", 1)
SHARE = Number("number", 0, 2, whole=False)


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        pytest.param(PORT, "0", 0, id="least-port"),
        pytest.param(PORT, "65535", 65_535, id="largest-port"),
        pytest.param(COUNT, "1000000", 1_000_000, id="no-upper-bound"),
        pytest.param(SHARE, "0.5", 0.5, id="fraction"),
        pytest.param(Lifetime(), "90d", 7_776_000.0, id="days"),
        pytest.param(Lifetime(), "1h30m", 5_400.0, id="hours-and-minutes"),
        pytest.param(Lifetime(), "0s", 0.0, id="no-time"),
    ],
)
def test_a_value_is_converted(kind: click.ParamType[float], text: str, value: float) -> None:
    converted = kind.convert(text, None, None)
    assert (converted, type(converted)) == (value, type(value))


@pytest.mark.parametrize(
    ("kind", "text", "message"),
    [
        pytest.param(PORT, "99999", "99999 is more than 65535", id="port-too-large"),
        pytest.param(PORT, "-1", "-1 is less than 0", id="port-too-small"),
        pytest.param(PORT, "http", "'http' is not a whole number", id="port-is-a-word"),
        pytest.param(COUNT, "1.5", "'1.5' is not a whole number", id="fraction-of-a-count"),
        pytest.param(SHARE, "hot", "'hot' is not a number", id="word"),
        pytest.param(SHARE, "nan", "nan is more than 2", id="not-a-number"),
        pytest.param(Lifetime(), "5w", "'5w' is not a length of time; write 90d, 24h, 30m or 0s", id="weeks"),
    ],
)
def test_a_wrong_value_is_refused_with_a_message(kind: click.ParamType[float], text: str, message: str) -> None:
    with pytest.raises(click.BadParameter) as refused:
        kind.convert(text, None, None)
    assert refused.value.message == message
