"""Books rebuilt from real feeds against what others made of them: vendors, exchanges, an independent program."""

from __future__ import annotations

import csv
import io
from collections import defaultdict
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.ticks import ReadReport, read_books
from nanoarb_jax.market.book.ladder import Ladder
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import BBO, BUY, DEPTH, KIND_MASK, LAST
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.readers.binance.feed import open_binance
from nanoarb_jax.readers.book_npz import read_book_npz
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.databento.csv_form import open_databento_csv
from nanoarb_jax.readers.feed import EventFeed
from nanoarb_jax.readers.sources import Source, find_sources

State = tuple[tuple[int, ...], ...]  # bid price, size, orders, ask price, size, orders; prices in cents


def rows_of(path: Path) -> list[dict[str, str]]:
    with open_bytes(path) as stream:
        return list(csv.DictReader(io.TextIOWrapper(stream)))


def order_counts(levels: Ladder, side: int) -> tuple[int, ...]:
    """Orders at the best ten levels, best first."""
    blocks = [levels.order[side, p] for p in range(levels.used[side])]
    worst_first = [int(n) for block in blocks for n in levels.orders[side, block, : levels.fill[side, block]]]
    return tuple([*worst_first[::-1], *[0] * LEVELS][:LEVELS])


def state_of(book: OrderBook) -> State:
    top, levels = book.top(), book.state.levels
    bid, ask = ((px.tolist(), lots.tolist()) for px, lots in ((top.bid_px, top.bid_lots), (top.ask_px, top.ask_lots)))
    return (*map(tuple, bid), order_counts(levels, 0), *map(tuple, ask), order_counts(levels, 1))


def vendors_state(row: dict[str, str]) -> State:
    def side(name: str) -> State:
        px = [row[f"{name}_px_{k:02}"] for k in range(LEVELS)]
        sizes, counts = ([int(row[f"{name}_{what}_{k:02}"]) for k in range(LEVELS)] for what in ("sz", "ct"))
        return tuple(round(float(p) * 100) if p else EMPTY_PRICE for p in px), tuple(sizes), tuple(counts)

    return (*side("bid"), *side("ask"))


def test_arl_every_reference_state(shared: Path) -> None:
    """Every one of the vendor's 3,928 MBP-10 rows: prices, sizes and numbers of orders of all ten levels.

    A row is matched to the order message with the same (ts_event, sequence, action, order id), in order of arrival, and
    has the book right after it. Eleven rows are trades against visible orders: the vendor shows them once, with the
    book after the cancel that ends the same (ts_event, sequence), where the order feed has trade, fill and cancel.
    """
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    folder = shared / "data" / "nasdaq_arl"
    feed = open_databento_csv(folder / "mbo.csv.xz")
    assert isinstance(feed, EventFeed) and (feed.tick_size, feed.lot_size) == (0.01, 1.0)
    book = OrderBook(feed.tick_size, feed.lot_size)
    states: list[State] = []
    for event in np.concatenate(list(feed.chunks)):
        book.apply(event)
        states.append(state_of(book))
    assert {kind: n for kind, n in book.anomalies.items() if n} == {"one_sided": 5}  # before the open
    messages = rows_of(folder / "mbo.csv.xz")
    assert len(messages) == len(states) == 5886
    by_key = defaultdict(list)
    for i, row in enumerate(messages):
        by_key[row["ts_event"], row["sequence"]].append(i)
    at, with_fill = -1, 0
    for row in rows_of(folder / "mbp.csv.xz"):
        together = by_key[row["ts_event"], row["sequence"]]
        actions = "".join(messages[i]["action"] for i in together)
        if row["action"] == "T" and "F" in actions:
            assert actions == "TFC"
            with_fill += 1
            match = together[-1]
        else:
            same = [i for i in together if all(messages[i][name] == row[name] for name in ("action", "order_id"))]
            (match,) = same
        assert match > at and states[match] == vendors_state(row), row
        at = match
    assert (len(rows_of(folder / "mbp.csv.xz")), with_fill) == (3928, 11)


def binance_source(shared: Path, market: str, series: str) -> Source:
    (found,) = [s for s in find_sources([shared / "data" / "binance" / market]) if s.name == series]
    return found


# market, series, diffs whose `u` a ticker bears, diffs with a ticker before them, of which not equal
TICKERS = [
    ("usdm", "btcusdt_20240719", 625, 9013, 0),
    ("usdm", "ethusdt_20240719", 834, 8919, 0),
    ("usdm", "btcusdt_20240808", 629, 6545, 0),
    ("usdm", "ethusdt_20240808", 551, 6578, 0),
    ("cm", "btcusd_perp_20240809", 1885, 44767, 0),
    ("cm", "ethusd_perp_20240809", 2278, 39105, 0),
    ("spot", "btcusdt_20240809", 1072, 6492, 2),
    ("spot", "ethusdt_20240809", 1056, 6467, 0),
]


def best_levels(feed: EventFeed) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(n, 5) update id, bid ticks and lots, ask ticks and lots: after every diff, and of every ticker."""
    events = np.concatenate(list(feed.chunks))
    quotes = events["ev"] & KIND_MASK == BBO
    told = events[quotes].reshape(-1, 2)
    assert (told["ev"] & BUY != 0).tolist() == [[True, False]] * len(told)
    ticks, lots = (np.rint(told[f] / s).astype(np.int64) for f, s in (("px", feed.tick_size), ("qty", feed.lot_size)))
    tickers = np.column_stack([told["order_id"][:, 0], ticks[:, 0], lots[:, 0], ticks[:, 1], lots[:, 1]])
    book, rows, at, events = OrderBook(feed.tick_size, feed.lot_size), [], 0, events[~quotes]
    for end in (np.flatnonzero(events["ival"] & LAST) + 1).tolist():
        if events["ev"][end - 1] & KIND_MASK == DEPTH:
            book.apply_all(events[at:end])
            at = end
            rows.append((events["order_id"][end - 1], *(int(side[0]) for side in book.top(1))))
    assert not any(book.anomalies.values())
    return np.array(rows, np.int64), tickers.astype(np.int64)


@pytest.mark.parametrize(("market", "series", "same_id", "compared", "unequal"), TICKERS)
def test_binance_best_level_is_the_tickers(
    shared: Path, market: str, series: str, same_id: int, compared: int, unequal: int
) -> None:
    """After every diff the best level equals the last `bookTicker` up to its update id; at the same id, always.

    Two of spot BTC's 6,492 differ (99.97 % are equal). Its REST snapshot shows 1,000 bids, down to 61,631.55; later
    the market fell to bids at 61,565.10 and 61,556.11 that were resting below it all the time, and of which no diff had
    told yet. Binance's own procedure cannot know them.
    """
    feed = open_binance(binance_source(shared, market, series).files, tickers=True)
    books, tickers = best_levels(feed)
    assert (np.diff(tickers[:, 0]) > 0).all() and (np.diff(books[:, 0]) > 0).all()
    last = np.searchsorted(tickers[:, 0], books[:, 0], side="right") - 1
    books, last = books[last >= 0], last[last >= 0]
    equal = (books[:, 1:] == tickers[last, 1:]).all(axis=1)
    same = books[:, 0] == tickers[last, 0]
    assert (same.sum(), equal[same].sum()) == (same_id, same_id)
    assert (len(books), (~equal).sum()) == (compared, unequal)
    # asks are right, and the bid that the book does not know is better than its best
    wrong, told = books[~equal], tickers[last[~equal]]
    assert (wrong[:, 3:] == told[:, 3:]).all() and (wrong[:, 1] < told[:, 1]).all()
    assert (told[:, 1] * feed.tick_size).round(2).tolist() == [61565.10, 61556.11][:unequal]


def rebuilt(path: Path | Source, **settings: str) -> tuple[BookSeries, ReadReport]:
    source = path if isinstance(path, Source) else find_sources([path])[0]
    return read_books(source, DataConfig(**settings))  # type: ignore[arg-type]


def plain(books: BookSeries) -> NDArray[np.int64]:
    """(n, 41): time, prices in ticks, sizes in 1e-8."""
    columns = [books.ts_ns[:, None]]
    for side in ("bid", "ask"):
        px, lots = getattr(books, f"{side}_px"), getattr(books, f"{side}_lots")
        assert (px[px != EMPTY_PRICE] % books.tick == 0).all()
        columns += [np.where(px == EMPTY_PRICE, px, px // books.tick)]
        columns += [np.rint(lots * (1e8 / books.lots_per_unit)).astype(np.int64)]
    return np.hstack(columns)


def oracle(shared: Path, name: str) -> NDArray[np.int64]:
    return plain(read_book_npz(shared / "data" / "derived_top10" / f"{name}.npz"))


def ns(time: str) -> int:
    return int(np.datetime64(time, "ns").astype(np.int64))


def test_cme_rows(shared: Path) -> None:
    """ESH4: 36,917 of 36,917 rows identical, dated by the exchange.

    The reference begins at 23:00Z. Ours has three rows before, valid books between the crossed ones of the pre-open.
    """
    for package in ("databento_dbn", "zstandard"):
        pytest.importorskip(package, reason=f"needs the package {package}")
    books, account = rebuilt(shared / "data" / "cme_es" / "esh4-glbx-mdp3-20231225.mbo.dbn.zst", timestamps="exchange")
    ours, theirs = plain(books), oracle(shared, "cme_esh4_20231225_2300-2400Z")
    early = ours[:, 0] < ns("2023-12-25T23:00")
    assert early.sum() == 3 and early[:3].all()
    assert (ours[:3, 0] - theirs[0, 0]).tolist() == [-3_599_819_912_887, -3_093_669_635_245, -3_092_635_598_665]
    assert len(theirs) == 36_917
    np.testing.assert_array_equal(ours[~early], theirs)
    assert (account.events, account.messages, account.ticks) == (68_792, 47_022, 36_920)


def test_coinbase_rows(shared: Path) -> None:
    """34,698 rows on both sides, 34,697 identical.

    Only the first one's time differs: ours is the snapshot's. The reference's is the first update's, 172 ms later,
    which changed nothing in the best ten levels.
    """
    pytest.importorskip("pyarrow", reason="needs the package pyarrow")
    books, account = rebuilt(shared / "data" / "coinbase_btcusd")
    ours, theirs = plain(books), oracle(shared, "coinbase_btcusd_20180424_0352-0452Z")
    assert len(ours) == len(theirs) == 34_698
    np.testing.assert_array_equal(ours[:, 1:], theirs[:, 1:])
    np.testing.assert_array_equal(ours[1:, 0], theirs[1:, 0])
    assert theirs[0, 0] - ours[0, 0] == 172_000_000
    assert account.messages == 1 + 193_848 and not any(account.anomalies.values())


# market, series, rows of the reference, how long before the snapshot its first ones are
SERIES = [
    ("usdm", "btcusdt_20240719", 6641, [35_676_707]),
    ("usdm", "ethusdt_20240719", 7163, [53_889_011, 1_791_600]),
    ("usdm", "btcusdt_20240808", 6036, [79_487_800, 29_044_500]),
    ("usdm", "ethusdt_20240808", 6149, [86_434_800]),
    ("cm", "btcusd_perp_20240809", 23_986, [30_640_500, 10_939_600]),
    ("cm", "ethusd_perp_20240809", 19_079, [33_712_400]),
    ("spot", "btcusdt_20240809", 6103, [69_344_400]),
    ("spot", "ethusdt_20240809", 6082, [15_163_100]),
]


@pytest.mark.parametrize(("market", "series", "rows", "early"), SERIES)
def test_binance_rows(shared: Path, market: str, series: str, rows: int, early: list[int]) -> None:
    """Every row's books are identical, and every time but those of the first one or two.

    These come from diffs that arrived before the REST snapshot did. The reference dates them by their arrival; ours by
    the snapshot's, before which no book was known. In spot BTC alone such a diff changes the best ten levels: ours has
    the snapshot's own state before it, one row more.
    """
    source = binance_source(shared, market, series)
    books, account = rebuilt(source)
    ours, theirs = plain(books), oracle(shared, f"binance_{market}_{series}")
    more = series == "btcusdt_20240809"
    assert (len(ours), len(theirs)) == (rows + more, rows)
    np.testing.assert_array_equal(ours[more:, 1:], theirs[:, 1:])
    np.testing.assert_array_equal(ours[more + len(early) :, 0], theirs[len(early) :, 0])
    snapshot, diffs = first_lines(source.files[0])
    assert (ours[: more + len(early), 0] == snapshot).all()
    assert (snapshot - theirs[: len(early), 0]).tolist() == early
    assert set(theirs[: len(early), 0].tolist()) <= set(diffs)
    assert not any(account.anomalies.values()) and account.ticks == len(ours)


def first_lines(path: Path) -> tuple[int, list[int]]:
    """Local times of the snapshot, and of the depth diffs before it."""
    diffs: list[int] = []
    with open_bytes(path) as stream:
        for line in stream:
            if b"lastUpdateId" in line:
                return int(line.split()[0]), diffs
            if b"depthUpdate" in line:
                diffs.append(int(line.split()[0]))
    raise AssertionError(f"{path}: no snapshot")
