"""Figures that another process counted, shown on this one's page.

Whoever knows them packs them (`pack_figures`), a FigureBoard keeps the last package and shows it until it is too old to
be true. A package is a whole: what is not in the next one is gone. Does not know where figures come from or how they
travel. Called by the fleet (about its engines) and by the gateway (/metrics).
"""

from collections.abc import Mapping

import msgspec

from remuda.observe.metrics import METRICS, Labels, Metric

Series = Mapping[Metric, Mapping[Labels, float]]

_SHOWN: Mapping[str, Metric] = {metric.name: metric for metric in METRICS if metric.source == "fleet"}
"""Only these: nobody else counts for the gateway or its process."""


class Figures(msgspec.Struct, frozen=True):
    """One package, as it crosses a wire."""

    series: dict[str, list[tuple[Labels, float]]]
    """Name of the metric → its series."""
    lasting_s: float
    """How long they may be shown after they came."""


def pack_figures(series: Series, lasting_s: float) -> Figures:
    """Everything known at one moment."""
    return Figures({metric.name: list(values.items()) for metric, values in series.items()}, lasting_s)


class FigureBoard:
    """The last package."""

    def __init__(self) -> None:
        self._figures = Figures({}, 0.0)
        self._until_s = float("-inf")

    def take(self, figures: Figures, now_s: float) -> None:
        """Show these from now on, and no others."""
        self._figures = figures
        self._until_s = now_s + figures.lasting_s

    def read(self, now_s: float) -> Series:
        """What is shown now; nothing once it is too old."""
        if now_s > self._until_s:
            return {}
        found = ((_SHOWN.get(name), series) for name, series in self._figures.series.items())
        return {
            metric: {labels: value for labels, value in series if len(labels) == len(metric.labels)}
            for metric, series in found
            if metric is not None
        }
