"""The list of charts: a name, what it reads, and the function that draws it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from nanoarb_jax.errors import ConfigError, DataError

Figure = dict[str, Any]
Draw = Callable[[Mapping[str, Any]], Figure]


class _Entry(NamedTuple):
    draw: Draw
    needs: tuple[str, ...]


_CHARTS: dict[str, _Entry] = {}


def chart(name: str, needs: tuple[str, ...]) -> Callable[[Draw], Draw]:
    """Enter a function `data -> figure` in the list of charts.

    Args:
        name: that `draw` knows it by.
        needs: keys that it cannot do without; it may read others too.

    Raises:
        ConfigError: the name is taken.
    """

    def enter(draw: Draw) -> Draw:
        if name in _CHARTS:
            raise ConfigError(f"chart {name!r}: there is one of this name already; expected another name")
        _CHARTS[name] = _Entry(draw, needs)
        return draw

    return enter


def names() -> tuple[str, ...]:
    """Names of all charts, in alphabetical order."""
    return tuple(sorted(_CHARTS))


def needs(name: str) -> tuple[str, ...]:
    """The keys that a chart cannot do without.

    Raises:
        ConfigError: there is no chart of this name.
    """
    return _entry(name).needs


def draw(name: str, data: Mapping[str, Any]) -> Figure:
    """Draw a chart.

    Args:
        name: one of `names()`.
        data: arrays, lists and numbers by the keys of `needs(name)`; the chart's function says what each is.

    Returns:
        {"data": [traces], "layout": {…}} for Plotly's JavaScript; `plotly.graph_objects.Figure` takes it as well.

    Raises:
        ConfigError: there is no chart of this name.
        DataError: a key is missing, or arrays that belong together differ in length.

    >>> from nanoarb_jax.reports import charts
    >>> figure = charts.draw("histogram", {"values": [3.0, 4.0, 4.5, 9.0], "label": "latency, µs"})
    >>> figure["data"][0]["type"]
    'bar'
    """
    entry = _entry(name)
    missing = [key for key in entry.needs if key not in data]
    if missing:
        raise DataError(
            f"chart {name!r}: the data have no {', '.join(map(repr, missing))}, only {', '.join(map(repr, data))}; "
            f"expected {', '.join(map(repr, entry.needs))}"
        )
    return entry.draw(data)


def _entry(name: str) -> _Entry:
    if name not in _CHARTS:
        raise ConfigError(f"chart {name!r}: there is none of this name; expected one of {', '.join(names())}")
    return _CHARTS[name]
