"""Values that another process counted and that this process exposes.

The counting process packs all its values with `pack_figures`. A FigureBoard keeps the last package and exposes it until
it expires. Each package replaces the one before it completely. This module does not know what is counted or how a
package is sent.
"""

from collections.abc import Mapping

import msgspec

from remuda.observe.metrics import METRICS, Labels, Metric

Series = Mapping[Metric, Mapping[Labels, float]]

_SHOWN: Mapping[str, Metric] = {metric.name: metric for metric in METRICS if metric.source == "fleet"}
"""The metrics that may come from another process, by name."""


class Figures(msgspec.Struct, frozen=True):
    """One package of values, as it is sent."""

    series: dict[str, list[tuple[Labels, float]]]
    """Series by name of the metric."""
    lasting_s: float
    """Time after its arrival for which the package may be exposed."""


def pack_figures(series: Series, lasting_s: float) -> Figures:
    """Pack all values of one moment."""
    return Figures({metric.name: list(values.items()) for metric, values in series.items()}, lasting_s)


class FigureBoard:
    """Keeps the last package until it expires."""

    def __init__(self) -> None:
        self._figures = Figures({}, 0.0)
        self._until_at = float("-inf")

    def take(self, figures: Figures, now_at: float) -> None:
        """Replace the package."""
        self._figures = figures
        self._until_at = now_at + figures.lasting_s

    def read(self, now_at: float) -> Series:
        """The values of the last package; none once it has expired."""
        if now_at > self._until_at:
            return {}
        found = ((_SHOWN.get(name), series) for name, series in self._figures.series.items())
        return {
            metric: {labels: value for labels, value in series if len(labels) == len(metric.labels)}
            for metric, series in found
            if metric is not None
        }
