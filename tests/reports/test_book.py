"""What the picture of a book shows, read back from its figure: times, units, levels, trades."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from nanoarb_jax.errors import OutputError
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.reports.book import book_figure, book_picture, book_title
from nanoarb_jax.reports.book_map import COLUMNS, level_map, price_map
from nanoarb_jax.reports.clock_axis import clock_label, tick_step

START_NS = int(np.datetime64("2024-08-08T23:54:15", "ns").astype(np.int64))


def books(rows: int = 60, levels: int = 10, step_ns: int = 10**9, **columns: Any) -> BookSeries:
    """Bids 99.75, 99.5, … of 1, 2, … lots, asks 100, 100.25, … of 11, 12, … lots; a lot is 0.5, nothing trades."""
    px, lots = np.full((2, rows, 10), EMPTY_PRICE), np.zeros((2, rows, 10), np.int64)
    px[0, :, :levels], px[1, :, :levels] = 399 - np.arange(levels), 400 + np.arange(levels)
    lots[0, :, :levels], lots[1, :, :levels] = 1 + np.arange(levels), 11 + np.arange(levels)
    nothing = np.zeros(rows, np.int64)
    made = BookSeries(
        START_NS + np.arange(rows) * step_ns, px[0], lots[0], px[1], lots[1], 4.0, 2.0, 1, "x", nothing, nothing.copy()
    )
    return made._replace(**columns)


def labels(axis: Any) -> list[str]:
    return [label.get_text() for label in axis.get_ticklabels()]


def test_axes_say_clock_time_and_units() -> None:
    figure = book_figure(books(), "x_20240808\nbinance")
    prices, levels, spread, traded, bar = figure.axes
    assert prices.get_title(loc="left") == "x_20240808\nbinance"
    assert traded.get_xlabel() == "time (UTC), 2024-08-08"
    assert labels(traded.xaxis) == [f"23:54:{s}" for s in (20, 30, 40, 50)] + ["23:55:00", "23:55:10"]
    midnight = START_NS // (86_400 * 10**9) * 86_400
    assert traded.get_xlim() == (START_NS / 1e9 - midnight, START_NS / 1e9 - midnight + 59)
    assert prices.get_ylabel() == "price (tick 0.25)" and prices.get_ylim() == pytest.approx((97.375, 102.375), abs=0.3)
    assert spread.get_ylabel() == "spread\n(ticks)" and traded.get_ylabel() == "traded\nquantity"
    assert bar.get_ylabel() == "quantity (units of the instrument)"
    assert levels.get_ylim() == (-10, 10) and labels(levels.yaxis) == ["bid 5", "bid 10", "ask 5", "ask 10"]
    assert spread.lines[0].get_ydata().tolist() == [1] * 60


def test_books_without_times_are_numbered() -> None:
    figure = book_figure(books(ts_ns=np.arange(7, 67)), timed=False)
    assert figure.axes[3].get_xlabel() == "book number (the files have no real times)"
    assert figure.axes[3].get_xlim() == (7, 66)


def test_without_trades_there_is_no_panel_of_them() -> None:
    figure = book_figure(books(bought=None, sold=None), "x")
    assert len(figure.axes) == 4  # prices, levels, spread, colour bar
    assert figure.axes[0].get_title(loc="left") == "x · no trades" and not figure.axes[0].collections


def test_trades_stand_out_where_takers_met_the_book() -> None:
    bought, sold = np.zeros((2, 60), np.int64)
    bought[[0, 5, 9]], sold[[5, 20]] = (2, 4, 8), (16, 1)
    made = books(bought=bought, sold=sold)
    made.ask_px[9:] += 3  # the purchase of the same tick took the levels below
    prices, *_, traded, _ = book_figure(made).axes
    buys, sells = prices.collections
    second = START_NS / 1e9 % 86_400
    assert buys.get_offsets().tolist() == [[second, 100], [second + 5, 100], [second + 9, 100]]
    assert sells.get_offsets().tolist() == [[second + 5, 99.75], [second + 20, 99.75]]
    assert (np.diff(buys.get_sizes()) > 0).all() and sells.get_sizes()[0] == max(sells.get_sizes())
    colours = {mark.get_facecolor()[0][:3].round(2).tobytes() for mark in (buys, sells)}
    assert len(colours) == 2
    for red, green, blue in (mark.get_facecolor()[0][:3] for mark in (buys, sells)):  # the map holds greys
        assert max(red, green, blue) - min(red, green, blue) > 0.4
    legend = [text.get_text() for text in prices.figure.legends[0].get_texts()]
    assert legend == ["best ask", "best bid", "takers bought: up to 4", "takers sold: up to 8"]
    bars = np.array([bar.get_height() for bar in traded.patches])
    assert bars[bars > 0].sum() == bought.sum() / 2 and bars[bars < 0].sum() == -sold.sum() / 2


def test_many_trades_do_not_hide_the_book() -> None:
    bought = np.arange(1, 501)
    prices, *_, traded, _ = book_figure(books(500, bought=bought)).axes
    buys, sells = prices.collections
    assert len(buys.get_offsets()) == 120 and len(sells.get_offsets()) == 0
    assert buys.get_offsets()[0, 0] == pytest.approx(START_NS / 1e9 % 86_400 + 380)  # the 120 largest are the last
    legend = [text.get_text() for text in prices.figure.legends[0].get_texts()]
    assert legend[2:] == ["takers bought: largest 120 of 500, up to 250", "takers sold: nothing"]
    assert sum(bar.get_height() for bar in traded.patches) == bought.sum() / 2


def test_levels_show_however_far_the_price_moves() -> None:
    made = books()
    jump = made._replace(bid_px=made.bid_px.copy(), ask_px=made.ask_px.copy())
    for px in (jump.bid_px, jump.ask_px):
        px[30:] += 4_000
    assert price_map(jump).ticks > 10  # all levels of a side lie in a cell or two
    cells = level_map(jump)
    assert cells.shape == (20, COLUMNS)
    np.testing.assert_array_equal(cells, np.repeat(np.r_[10:0:-1, 11:21][:, None] / 2, COLUMNS, axis=1))
    assert book_figure(jump).axes[0].get_ylabel() == f"price (tick 0.25; a cell is {price_map(jump).ticks} ticks)"
    # a spread of one tick hides no level: both best quantities are cells of their own, under lines thinner than these
    prices = price_map(made)
    middle = round((100 - prices.low) / 0.25 - 0.5)
    assert prices.ticks == 1 and prices.cells[middle - 1 : middle + 1, 0].tolist() == [0.5, 5.5]
    figure = book_figure(made)
    figure.draw_without_rendering()
    height = figure.axes[0].get_window_extent().height * 72 / figure.dpi / len(prices.cells)
    assert all(line.get_linewidth() < height / 4 for line in figure.axes[0].lines)


def test_books_of_one_level_have_two_rows() -> None:
    figure = book_figure(books(levels=1))
    assert level_map(books(levels=1)).shape == (2, COLUMNS) and labels(figure.axes[1].yaxis) == ["bid 1", "ask 1"]


def test_a_cell_without_a_book_shows_the_one_before() -> None:
    made = books(3, ts_ns=START_NS + np.array([0, 10, 100]) * 10**9)
    made.bid_lots[:, 0] = (2, 4, 6)
    best_bid = level_map(made)[9]
    assert best_bid[[0, 88, 91, 898, 899]].tolist() == [1, 1, 2, 2, 3]


def test_one_book_alone(tmp_path: Path) -> None:
    book_picture(books(1), tmp_path / "one.png", "one")
    assert (tmp_path / "one.png").read_bytes()[:4] == b"\x89PNG"
    with pytest.raises(OutputError, match="exists already"):
        book_picture(books(1), tmp_path / "one.png")


def test_a_wide_spread_of_a_moment_does_not_flatten_the_others() -> None:
    made = books()
    assert book_figure(made).axes[2].get_yscale() == "linear"
    made.ask_px[30] += 100
    assert book_figure(made).axes[2].get_yscale() == "log"


@pytest.mark.parametrize(
    "second, step, label",
    [
        (86_055, 5, "23:54:15"), (86_055, 0.5, "23:54:15.0"), (86_055.25, 0.05, "23:54:15.25"),
        (0.000_123_45, 1e-8, "00:00:00.00012345"), (86_040, 60, "23:54"), (0, 3600, "00:00"),
        (86_400, 3600, "2024-08-09"), (90_000, 3600, "01:00"), (172_800, 86_400, "2024-08-10"),
        (86_399.999_999_9, 1, "2024-08-09"),
    ],
)  # fmt: skip
def test_labels_are_as_precise_as_their_distance(second: float, step: float, label: str) -> None:
    assert clock_label(second, step, np.datetime64("2024-08-08")) == label


@pytest.mark.parametrize("span", [3e-6, 0.004, 0.9, 49, 344, 7_200, 86_400, 4 * 86_400, 90 * 86_400])
def test_a_span_has_a_few_ticks(span: float) -> None:
    assert 3 <= math.floor(span / tick_step(span)) <= 9
    figure = book_figure(books(60, step_ns=round(span * 1e9 / 59)))
    panel = figure.axes[3]
    figure.draw_without_rendering()
    boxes = [label.get_window_extent() for label in panel.get_xticklabels()]
    assert 1 <= len(boxes) <= 10 and all(a.x1 < b.x0 for a, b in pairwise(boxes))
    assert panel.get_xlabel().startswith("time (UTC), 2024-08-08")
    assert (" to " in panel.get_xlabel()) == (span > 345)


def test_a_title_says_what_is_drawn() -> None:
    figures = {
        "name": "a_1",
        "instrument": "a",
        "format": "binance",
        "tick_size": 0.1,
        "lot_size": 0.001,
        "ticks": 6036,
    }
    assert book_title(figures, 3018) == "a_1\nbinance · tick 0.1 · lot 0.001 · 6,036 ticks, 3,018 of them drawn"
    figures |= {"instrument": "BTC", "ticks": 10}
    assert book_title(figures, 10) == "BTC: a_1\nbinance · tick 0.1 · lot 0.001 · 10 ticks"
