import io

import pytest

from remuda.cli import output


class Tty(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.04, "0.0 s"),
        (9.94, "9.9 s"),
        (12.3, "12 s"),
        (60, "1 min"),
        (200, "3 min 20 s"),
        (3600, "1 h"),
        (7500, "2 h 5 min"),
    ],
)
def test_durations_have_readable_units(seconds: float, said: str) -> None:
    assert output.format_seconds(seconds) == said


def test_table_is_aligned_and_has_no_trailing_blanks() -> None:
    assert output.render_table(("A", "LONG"), [("1234", ""), ("1", "x")]) == "A     LONG\n1234\n1     x"


def test_table_wider_than_the_terminal_becomes_blocks() -> None:
    assert output.render_table(("NAME", "AT"), [("demo", "127.0.0.1"), ("x", "")], width=10) == (
        "name: demo\nat:   127.0.0.1\n\nname: x"
    )


def test_empty_table_is_its_heading() -> None:
    assert output.render_table(("A", "B"), []) == "A  B"


def test_colour_does_not_shift_columns() -> None:
    painted = output.render_table(("A", "B"), [("x", "y")], None, lambda _, text: f"<{text}>")
    assert painted == "A  B\n<x>  <y>"


@pytest.mark.parametrize(
    ("stream", "environment", "coloured"),
    [
        (Tty(), {}, True),
        (io.StringIO(), {}, False),
        (Tty(), {"NO_COLOR": "1"}, False),
        (Tty(), {"TERM": "dumb"}, False),
    ],
    ids=["terminal", "pipe", "NO_COLOR", "dumb"],
)
def test_colour_is_used_only_on_terminals_that_allow_it(
    stream: io.StringIO, environment: dict[str, str], coloured: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("NO_COLOR", "TERM"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert (output.paint("x", "red", stream) != "x") is coloured


def test_a_closed_stream_is_no_terminal() -> None:
    closed = io.StringIO()
    closed.close()
    assert not output.is_terminal(closed)
    assert output.is_terminal(Tty())
