"""The book over time as a picture: prices, levels, spread and trades above each other."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.reports.book_map import level_map, price_map
from nanoarb_jax.reports.clock_axis import label_clock
from nanoarb_jax.reports.figure import claim_picture, save_picture

_NIGHT = "#0b0d12"
# from the least quantity to the largest, and dark for most of them: what is coloured stands out against greys
_GREYS = ((0.0, "#252a33"), (0.65, "#6f757d"), (1.0, "#f4f4ee"))
# of Okabe and Ito, which the colour-blind tell apart: whoever buys and bids is blue, whoever sells and asks is orange
_BUYERS, _SELLERS = "#56B4E9", "#E69F00"
_BARS = 180  # in which traded quantities are added up
_MARKS = 120  # most trades of a side marked at prices: more would hide the book, and the bars show them all
_NS_PER_DAY = 86_400 * 10**9


class _TimeAxis(NamedTuple):
    """Where the books lie on the x axis: seconds since the first midnight, or numbers of books without times."""

    x: NDArray[np.float64]
    low: float
    high: float
    midnight: np.datetime64 | None  # None: the files have no times

    def label(self, axis: Any) -> None:
        if self.midnight is None:
            axis.set_label_text("book number (the files have no real times)")
        else:
            label_clock(axis, self.low, self.high, self.midnight)


def _time_axis(books: BookSeries, timed: bool) -> _TimeAxis:
    start = int(books.ts_ns[0]) // _NS_PER_DAY * _NS_PER_DAY if timed else 0
    x = (books.ts_ns - start) / (1e9 if timed else 1)
    least = 1e-6 if timed else 1.0  # what a single book is drawn over
    midnight = np.datetime64(start, "ns").astype("datetime64[D]") if timed else None
    return _TimeAxis(x, float(x[0]), float(max(x[-1], x[0] + least)), midnight)


def book_title(figures: Mapping[str, Any], drawn: int) -> str:
    """Two lines above the picture: the series and its instrument, then format, sizes and what is drawn.

    Args:
        figures: of `data.survey`: name, instrument, format, tick_size, lot_size, ticks.
        drawn: how many of the ticks the picture shows.
    """
    name, instrument = figures["name"], figures["instrument"]
    ticks = f"{figures['ticks']:,} ticks" + (f", {drawn:,} of them drawn" if drawn < figures["ticks"] else "")
    sizes = f"tick {figures['tick_size']:.10g} · lot {figures['lot_size']:.10g}"
    return f"{name if instrument in name else f'{instrument}: {name}'}\n{figures['format']} · {sizes} · {ticks}"


def book_picture(books: BookSeries, path: str | Path, title: str = "", *, timed: bool = True) -> None:
    """Draw the book over time. PNG, SVG or PDF by suffix; see `book_figure`.

    Args:
        books, title, timed: as for `book_figure`.
        path: of a file that does not exist yet.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    path = claim_picture(path)
    save_picture(book_figure(books, title, timed=timed), path)


def book_figure(books: BookSeries, title: str = "", *, timed: bool = True) -> Any:
    """A matplotlib figure of the book over time, in panels with one x axis.

    From above: quantity at prices as a heat map, with thin lines at the best prices and triangles where takers traded
    most; quantity by level, so that all levels show however far the price moves; the spread; all that was traded.

    Args:
        books: n books, some thousands at most; thin longer series out before. Without trades (`bought` None) the panel
            of trades is left out.
        title: above the picture, of one line or two.
        timed: False: the series has no times, and `ts_ns` holds the numbers of the books.
    """
    from matplotlib.figure import Figure

    taken = _taken(books)
    time = _time_axis(books, timed)
    levels = level_map(books)
    heights = [4.2, 0.5 + 0.09 * len(levels), 0.8, *([1.0] if taken else [])]
    figure = Figure(figsize=(10, 1.0 + 1.05 * sum(heights)), layout="constrained")
    panels = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_quantities(figure, panels[:2], books, levels, time)
    _draw_best(panels[0], books, time)
    _draw_spread(panels[2], books, time)
    if taken:
        _draw_trades(panels[0], books, time, taken)
        _draw_traded(panels[3], time, taken)
    panels[0].set_title(title if taken else f"{title} · no trades".strip(" ·"), loc="left", fontsize="medium")
    legend = figure.legend(
        *panels[0].get_legend_handles_labels(), loc="outside lower center", ncols=2, fontsize="small"
    )
    for line in legend.get_lines():
        line.set_linewidth(2)
    panels[-1].set_xlim(time.low, time.high)
    time.label(panels[-1].xaxis)
    return figure


def _draw_quantities(figure: Any, panels: Any, books: BookSeries, levels: NDArray[np.float64], time: _TimeAxis) -> None:
    """The two heat maps, with one scale of quantities."""
    from matplotlib.colors import LinearSegmentedColormap, LogNorm

    prices = price_map(books)
    positive = prices.cells[prices.cells > 0]
    low, high = np.quantile(positive, [0.02, 0.995]) if len(positive) else (1.0, 1.0)
    scale: dict[str, Any] = {
        "norm": LogNorm(low, high if high > low else low * 10),
        "cmap": LinearSegmentedColormap.from_list("quantity", _GREYS),
        "origin": "lower", "aspect": "auto", "interpolation": "nearest",
    }  # fmt: skip
    extent = (time.low, time.high)
    image = panels[0].imshow(np.ma.masked_equal(prices.cells, 0), extent=(*extent, prices.low, prices.high), **scale)
    count = len(levels) // 2
    panels[1].imshow(np.ma.masked_equal(levels, 0), extent=(*extent, -count, count), **scale)
    panels[1].axhline(0, color=_NIGHT, linewidth=1.2)
    shown = [1, 2][:count] if count < 3 else [count // 2, count]
    panels[1].set_yticks(
        [*(0.5 - level for level in shown), *(level - 0.5 for level in shown)],
        [*(f"bid {level}" for level in shown), *(f"ask {level}" for level in shown)],
    )
    panels[1].set_ylabel("level")
    cell = "" if prices.ticks == 1 else f"; a cell is {prices.ticks} ticks"
    panels[0].set_ylabel(f"price (tick {books.tick_size:.10g}{cell})")
    panels[0].ticklabel_format(axis="y", style="plain", useOffset=False)
    panels[0].set_ylim(prices.low, prices.high)
    for panel in panels:
        panel.set_facecolor(_NIGHT)
    _label_quantities(figure.colorbar(image, ax=panels, pad=0.01, aspect=40, extend="both"), low, high)


def _label_quantities(bar: Any, low: float, high: float) -> None:
    """Plain numbers at 1, 2 and 5 of each power of ten; of many powers at 1 alone."""
    from matplotlib.ticker import LogLocator, NullFormatter, NullLocator

    bar.ax.yaxis.set_major_locator(LogLocator(subs=(1, 2, 5) if high < 500 * low else (1,)))
    bar.ax.yaxis.set_major_formatter(lambda quantity, _: f"{quantity:,.10g}")
    bar.ax.yaxis.set_minor_locator(NullLocator())
    bar.ax.yaxis.set_minor_formatter(NullFormatter())
    bar.set_label("quantity (units of the instrument)")


def _draw_best(panel: Any, books: BookSeries, time: _TimeAxis) -> None:
    """Thin lines at the best prices, so that the quantities there show beside them."""
    for px, colour, side in ((books.ask_px, _SELLERS, "ask"), (books.bid_px, _BUYERS, "bid")):
        best = px[:, 0] / books.px_scale
        panel.step(time.x, best, where="post", color=colour, linewidth=0.7, alpha=0.9, label=f"best {side}")


def _taken(books: BookSeries) -> tuple[NDArray[np.float64], NDArray[np.float64]] | None:
    """Quantities that takers bought and sold at each tick; None: trades are not known."""
    if books.bought is None or books.sold is None:
        return None
    return books.bought / np.float64(books.lots_per_unit), books.sold / np.float64(books.lots_per_unit)


def _draw_trades(panel: Any, books: BookSeries, time: _TimeAxis, taken: Sequence[NDArray[np.float64]]) -> None:
    """Triangles at the best price that takers met, with areas that grow as their quantities; buyers point up."""
    most = max(float(quantity.max()) for quantity in taken) or 1.0
    before = np.maximum(np.arange(books.rows) - 1, 0)  # the book of a tick is that after its trades
    sides = ((books.ask_px, _BUYERS, "^", "bought"), (books.bid_px, _SELLERS, "v", "sold"))
    for quantity, (px, colour, marker, did) in zip(taken, sides, strict=True):
        traded = np.flatnonzero(quantity > 0)
        at = np.sort(traded[np.argsort(quantity[traded], kind="stable")[-_MARKS:]])
        largest = f"largest {len(at)} of {len(traded):,}, " if len(at) < len(traded) else ""
        label = f"takers {did}: {largest}up to {quantity.max():.6g}" if len(at) else f"takers {did}: nothing"
        panel.scatter(
            time.x[at], px[before[at], 0] / books.px_scale, s=10 + 130 * quantity[at] / most, color=colour,
            marker=marker, edgecolors="black", linewidths=0.4, alpha=0.9, label=label, zorder=3,
        )  # fmt: skip


def _draw_spread(panel: Any, books: BookSeries, time: _TimeAxis) -> None:
    """The spread, on a logarithmic axis where it is wide for moments."""
    from matplotlib.ticker import MaxNLocator

    spread = books.spread_ticks
    panel.step(time.x, spread, where="post", color="0.25", linewidth=0.8)
    panel.set_ylabel("spread\n(ticks)")
    if spread.min() > 0 and spread.max() > 20 * np.median(spread):
        panel.set_yscale("log")
        panel.yaxis.set_major_formatter(lambda ticks, _: f"{ticks:g}")
    else:
        panel.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        panel.set_ylim(0, 1.1 * max(float(spread.max()), 1))


def _draw_traded(panel: Any, time: _TimeAxis, taken: Sequence[NDArray[np.float64]]) -> None:
    """Bars of what takers bought, upwards, and sold, downwards."""
    edges = np.linspace(time.low, time.high, _BARS + 1)
    for quantity, colour, sign in zip(taken, (_BUYERS, _SELLERS), (1, -1), strict=True):
        total, _ = np.histogram(time.x, edges, weights=quantity)
        panel.bar(edges[:-1], sign * total, np.diff(edges), align="edge", color=colour)
    panel.axhline(0, color="0.5", linewidth=0.5)
    panel.yaxis.set_major_formatter(lambda quantity, _: f"{abs(quantity):,.10g}")
    panel.set_ylabel("traded\nquantity")
