"""A feed opened for a backtest: the ticks that a model reads, the events behind them, the exchange that runs on them.

Streams, scales and accounts are those of `serving.feeds.open_feeds`, so that a backtest trades on what `predict` says.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.book_events import book_events
from nanoarb_jax.data.exchange_day import exchange_day
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.data.stored import is_dataset
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.market.event import ADD, EVENT, KIND_MASK
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.feed import BookFeed, ReadOptions
from nanoarb_jax.readers.sources import Source, find_sources, open_source
from nanoarb_jax.serving.feeds import Feeds, open_feeds
from nanoarb_jax.serving.scales import Scales, ScaleSource
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings
from nanoarb_jax.trading.backtest.records import Market
from nanoarb_jax.trading.backtest.run import Venue

_COIN_MARGINED = re.compile(r"^([a-z0-9]+)usd_(perp|\d{6})(_|$)")  # as Binance calls its contracts
_QUOTES = ("usdt", "usdc", "fdusd", "busd", "tusd", "eur", "usd", "btc", "eth")


class TradedSeries(NamedTuple):
    """One series that can be traded.

    Attributes:
        stream: its ticks, with features, labels and parts; row i is tick i of the events.
        unlabelled: why it has no labels and no parts; "" where it has.
        events: (n,) EVENT, for a `LivePredictor`.
        venue: the exchange's side of them.
        instrument: what it is measured by.
        scales: how that is known.
        market: for the statistics.
        currency: of the account, as far as the name tells; "" where it does not.
        policy: about anomalies, of a predictor that reads the events; books are whole, and may be locked.
        account: what was read, see `ReadReport.as_dict`.
        notes: what was assumed or changed, for the user to read.
    """

    stream: Stream
    unlabelled: str
    events: NDArray[np.void]
    venue: Venue
    instrument: Instrument
    scales: Scales
    market: Market
    currency: str
    policy: dict[str, Policy]
    account: dict[str, Any]
    notes: list[str]


def open_markets(
    path: Path,
    config: DataConfig,
    settings: ExchangeSettings,
    scales: ScaleSource = ScaleSource(),  # noqa: B008
    *,
    split: str | None = None,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Mapping[str, Policy] | None = None,
    only: str | None = None,
) -> list[TradedSeries]:
    """The series of a feed, each with an exchange of its own.

    Args:
        path: file or folder of market data, of any format that is read.
        config: what the model reads, and how series are labelled and split.
        settings: of the exchange; what they leave open is taken from the feed.
        scales: where the scales come from.
        split: the part that is to be traded, see `open_feeds`.
        options, policy: what the files do not say, and what is done about anomalies.
        only: name of the series that is wanted; None: all of them.

    Raises:
        DataError: a prepared dataset, which has no events; data without times; and see `open_feeds`.
    """
    if is_dataset(path):
        raise DataError(f"data {path}: a prepared dataset holds ticks, an exchange needs every event; give the feed")
    feeds = open_feeds(path, config, scales, split=split, options=options, policy=policy, only=only)
    sources = [one for one in find_sources([path], options.symbol) if only in (None, one.name)]
    chosen = dict(policy or {})
    return [
        _open(source, stream, feeds, settings, options, chosen)
        for source, stream in zip(sources, feeds.dataset.streams, strict=True)
    ]


def _open(
    source: Source,
    stream: Stream,
    feeds: Feeds,
    settings: ExchangeSettings,
    options: ReadOptions,
    policy: dict[str, Policy],
) -> TradedSeries:
    if not stream.timed:
        raise DataError(f"series {stream.name!r}: its times only put rows in order; an exchange needs real ones")
    scales = feeds.scales[stream.name]
    events, of_books, notes = _read_events(source, options)
    day = exchange_day(events, f"data {source.files[0]}")
    of_feed, said = _of_feed(settings, stream.name, events, day.local_shift_ns)
    instrument = Instrument(
        scales.tick_size, scales.lot_size, scales.quantity_scale, scales.spread_scale, stream.instrument
    )
    lot_size = _shown_lot(events)
    market = Market(
        stream.name, scales.tick_size, lot_size, of_feed.contract_size or 1.0, of_feed.contract == "inverse", ()
    )
    return TradedSeries(
        stream,
        feeds.unlabelled.get(stream.name, ""),
        events,
        Venue(day, scales.tick_size, lot_size, of_feed),
        instrument,
        scales,
        market._replace(horizons=tuple(feeds.dataset.horizons)),
        _currency(stream.name, of_feed),
        {"locked": "keep", **policy} if of_books else policy,
        feeds.accounts.get(stream.name, {}),
        [*notes, *day.notes, *said],
    )


def _read_events(source: Source, options: ReadOptions) -> tuple[NDArray[np.void], bool, list[str]]:
    """All events of a source, whether they were made of books, which are told by what changed, and notes."""
    feed = open_source(source, options)
    if not isinstance(feed, BookFeed):
        chunks = [chunk.copy() for chunk in feed.chunks]
        return np.concatenate([np.zeros(0, EVENT), *chunks]), False, list(feed.notes)
    books = list(feed.chunks)
    said = "the feed holds books: trades are taken to be at the best price, and a queue moves by what is displayed"
    return book_events(_joined(books)), True, [*feed.notes, said]


def _joined(books: list[BookSeries]) -> BookSeries:
    """Chunks in one."""
    first = books[0]
    columns = {
        name: None if getattr(first, name) is None else np.concatenate([getattr(one, name) for one in books])
        for name in ("ts_ns", "bid_px", "bid_lots", "ask_px", "ask_lots", "bought", "sold", "unsided", "gap")
    }
    return first._replace(**columns)  # type: ignore[arg-type]


def _shown_lot(events: NDArray[np.void]) -> float:
    """The smallest quantity step of a feed, a power of ten: what orders are whole multiples of."""
    quantities = events["qty"][(events["qty"] > 0) & np.isfinite(events["qty"])]
    for decimals in range(9):
        if np.allclose(np.rint(quantities * 10.0**decimals), quantities * 10.0**decimals, rtol=1e-12, atol=1e-6):
            return float(f"1e-{decimals}")
    return 1e-8


def _of_feed(
    settings: ExchangeSettings, name: str, events: NDArray[np.void], shift_ns: int
) -> tuple[ExchangeSettings, list[str]]:
    """The settings with what they leave open, and what was taken."""
    said, found = [], dict[str, Any]()
    late_ns = max(0, int(np.median(events["local_ts"] - events["exch_ts"])) + shift_ns) if len(events) else 0
    for field in ("entry_latency_ns", "response_latency_ns"):
        if getattr(settings, field) is None:
            found[field] = late_ns
    if found:
        said.append(f"orders take as long as the feed does, {late_ns / 1e6:.3f} ms in the median, where not given")
    coin = _COIN_MARGINED.match(name.lower())
    if np.any(events["ev"] & np.uint64(KIND_MASK) >= ADD):
        found |= {"queue": "fifo", "fills": "whole"}
        said.append("the feed tells every order, so that queues are known; orders are filled whole")
    elif settings.queue == "fifo":
        raise DataError(f"series {name!r}: queue fifo needs a feed that tells every order (L3); choose another")
    if settings.contract is None:
        found["contract"] = "inverse" if coin else "linear"
    if settings.contract_size is None:
        inverse = found.get("contract", settings.contract) == "inverse"
        found["contract_size"] = (100.0 if coin and coin[1] == "btc" else 10.0) if inverse else 1.0
        if inverse:
            said.append(
                f"inverse contracts of {found['contract_size']:g} USD, as Binance's COIN-M futures of that name"
            )
    return dataclasses.replace(settings, **found), said


def _currency(name: str, settings: ExchangeSettings) -> str:
    """Of the account, told by the series' name."""
    base = name.lower().split("_")[0]
    for quote in _QUOTES:
        if base.endswith(quote) and len(base) > len(quote):
            return (base.removesuffix(quote) if settings.contract == "inverse" else quote).upper()
    return ""
