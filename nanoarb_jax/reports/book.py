"""The book over time as a picture."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.reports.figure import claim_picture, save_picture

_COLUMNS, _MOST_ROWS = 900, 240  # cells of the heat map: time, price
_NIGHT = "#11141c"


def book_picture(books: BookSeries, path: str | Path, title: str = "", *, timed: bool = True) -> None:
    """Draw the book over time: quantities as a heat map, the mid, and what takers traded. PNG, SVG or PDF by suffix.

    Args:
        books: n books, some thousands at most; thin longer series out before.
        path: of a file that does not exist yet.
        title: above the picture.
        timed: False: the series has no times, draw tick by tick.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    from matplotlib.figure import Figure

    path = claim_picture(path)
    figure = Figure(figsize=(12, 7), layout="constrained")
    if not timed:
        books = books._replace(ts_ns=np.arange(books.rows, dtype=np.int64) * 10**9)
    _draw(figure, books, title, timed)
    save_picture(figure, path)


def _draw(figure: Any, books: BookSeries, title: str, timed: bool) -> None:
    from matplotlib.colors import LogNorm

    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    times = (books.ts_ns - books.ts_ns[0]) / 1e9
    span_s = max(float(times[-1]), 1e-9)
    cells, low, high = heat_map(books)
    shown = np.ma.masked_equal(cells, 0)
    norm = LogNorm(*np.quantile(cells[cells > 0], [0.02, 0.995])) if (cells > 0).any() else None
    image = upper.imshow(
        shown, origin="lower", aspect="auto", extent=(0, span_s, low, high), cmap="viridis", norm=norm,
        interpolation="nearest",
    )  # fmt: skip
    upper.set_facecolor(_NIGHT)
    figure.colorbar(image, ax=upper, label="quantity at the price", pad=0.01)
    upper.step(times, books.mid, where="post", color="white", linewidth=1.0, label="mid")
    upper.set_ylabel("price")
    upper.set_title(title)
    if books.bought is not None and books.sold is not None:
        _draw_trades(upper, lower, books, times)
    else:
        lower.text(0.5, 0.5, "trades not known", ha="center", va="center", transform=lower.transAxes)
    upper.legend(loc="best", fontsize="small", facecolor=_NIGHT, labelcolor="white")
    start = np.datetime64(int(books.ts_ns[0]), "ns").astype("datetime64[s]")
    lower.set_xlabel(f"seconds since {start}Z" if timed else "ticks shown (the files have no times)")
    lower.set_ylabel("quantity traded")
    upper.set_ylim(low, high)


def _draw_trades(upper: Any, lower: Any, books: BookSeries, times: NDArray[np.float64]) -> None:
    """Dots where takers hit, sized by quantity; bars of both sides below."""
    edges = np.linspace(0, max(float(times[-1]), 1e-9), 181)
    for column, best, colour, name, sign in (
        (books.bought, books.ask_px, "tab:green", "takers bought", 1),
        (books.sold, books.bid_px, "tab:red", "takers sold", -1),
    ):
        assert column is not None
        quantity = column / books.lots_per_unit
        at = np.flatnonzero(quantity > 0)
        if len(at):
            dots = 40 * np.sqrt(quantity[at] / quantity[at].max())
            upper.scatter(times[at], best[at, 0] / books.px_scale, s=dots, color=colour, alpha=0.6, lw=0, label=name)
        total, _ = np.histogram(times, edges, weights=quantity)
        lower.bar(edges[:-1], sign * total, np.diff(edges), align="edge", color=colour)
    lower.axhline(0, color="0.5", linewidth=0.5)


def _tick_range(books: BookSeries) -> tuple[int, int]:
    """Ticks worth showing: all mids, and what is usually quoted around them."""
    reach = 2.0
    for px in (books.bid_px, books.ask_px):
        away = np.abs(px - px[:, :1]) * (px != EMPTY_PRICE)
        reach = max(reach, float(np.median(away.max(axis=1))) / books.tick)
    lowest, low, high, highest = np.quantile(books.mid / books.tick_size, [0, 0.005, 0.995, 1])
    if highest - lowest <= 3 * (high - low + reach):  # else a stub quote would flatten the rest
        low, high = lowest, highest
    return int(np.floor(low - reach)), int(np.ceil(high + reach))


def heat_map(books: BookSeries) -> tuple[NDArray[np.float64], float, float]:
    """Quantity at prices over time: of the last book in each time cell, summed over the ticks of a price cell.

    A time cell without a book shows the one before: a book stands until it changes.

    Args:
        books: n books.

    Returns:
        cells (price, time), the lower edge of the first price cell, the upper edge of the last.
    """
    lowest, highest = _tick_range(books)
    ticks = -(-(highest - lowest + 1) // _MOST_ROWS)  # in a price cell
    rows = -(-(highest - lowest + 1) // ticks)
    span_ns = max(int(books.ts_ns[-1] - books.ts_ns[0]), 1)
    ends = books.ts_ns[0] + np.arange(1, _COLUMNS + 1) * (span_ns / _COLUMNS)
    at = np.maximum(np.searchsorted(books.ts_ns, ends, side="right") - 1, 0)
    cells, columns = np.zeros((rows, _COLUMNS)), np.arange(_COLUMNS)
    for px, lots in books.sides:
        for level in range(px.shape[1]):
            row = (px[at, level] // books.tick - lowest) // ticks
            shown = (px[at, level] != EMPTY_PRICE) & (row >= 0) & (row < rows)
            np.add.at(cells, (row[shown], columns[shown]), lots[at, level][shown] / books.lots_per_unit)
    return cells, (lowest - 0.5) * books.tick_size, (lowest - 0.5 + rows * ticks) * books.tick_size
