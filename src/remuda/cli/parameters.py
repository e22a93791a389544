"""Types of command-line values that click does not have: bounded numbers and lengths of time."""

import re

import click

DAY_S = 86_400.0


class Number(click.ParamType[float]):
    """A number between two bounds. click's own ranges put an inequality such as `0<=x<=65535` into the help."""

    def __init__(self, name: str, least: float, most: float | None = None, *, whole: bool = True) -> None:
        self.name = name
        self._least = least
        self._most = most
        self._whole = whole

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        try:
            number: float = int(str(value)) if self._whole else float(str(value))
        except ValueError:
            self.fail(f"{value!r} is not a {'whole ' if self._whole else ''}number", param, ctx)
        if number < self._least:
            self.fail(f"{value} is less than {self._least:g}", param, ctx)
        if self._most is not None and not number <= self._most:
            self.fail(f"{value} is more than {self._most:g}", param, ctx)
        return number


PORT = Number("port", 0, 65_535)


class Lifetime(click.ParamType[float]):
    """A length of time in seconds, written like 90d, 24h, 1h30m or 30s."""

    name = "time"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> float:
        from remuda.spec.documents.quantity import parse_duration

        text = str(value)
        try:
            days = re.fullmatch(r"([0-9]{1,5})d", text)
            return int(days[1]) * DAY_S if days else parse_duration(text)
        except ValueError:
            self.fail(f"{text!r} is not a length of time; write 90d, 24h, 30m or 0s", param, ctx)
