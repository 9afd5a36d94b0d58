"""The market stages of `bench`: events through the book, ticks through the features, and both through to predictions.

One event takes about a tenth of a microsecond, less than a clock's reading, so a call is a compiled loop over many.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.bench.measure import Candidate
from nanoarb_jax.features.feature_set import FeatureSet
from nanoarb_jax.features.flow import FLOW_NAMES, flow_memory, flow_row
from nanoarb_jax.features.live import book_flow, book_lob44
from nanoarb_jax.features.lob44 import FEATURE_NAMES, FeatureScale, lob44_row
from nanoarb_jax.market.book.apply import apply_event
from nanoarb_jax.market.book.ladder import ASK, BID, copy_top
from nanoarb_jax.market.book.state import APPLIED, empty_state, grow
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events

EVENTS = 1_000
MARKET = MarketConfig.preset("crypto")

_LOB44, _FLOW = len(FEATURE_NAMES), len(FLOW_NAMES)


@compiled
def apply_and_look(state, events, start, stop, scale, traded, memory, top, out, features):  # type: ignore[no-untyped-def]
    """Apply events start … stop; after each, where the book is valid, copy its top or make its features.

    Args:
        features: 0 none, 1 the best levels of both sides into `top` (4, levels) alone; `lob44` or `flow` by how many
            these have.

    Returns:
        (first index not applied, status), as `apply_events`.
    """
    for i in range(start, stop):
        status = apply_event(state, events[i])
        if status != APPLIED:
            return i, status
        if features and state.meta[0].quoted:
            if features == _FLOW:
                book_flow(state, scale, traded, memory, top, out)
            elif features == _LOB44:
                book_lob44(state, scale, top, out)
            else:
                copy_top(state.levels, BID, top[0], top[1], EMPTY_PRICE)
                copy_top(state.levels, ASK, top[2], top[3], EMPTY_PRICE)
    return stop, APPLIED


class EventLoop:
    """Events through a book, EVENTS at a call, from the beginning again at the end (a snapshot, which clears the book).

    Args:
        events: (n,) EVENT that begin with a snapshot.
        tick_size, lot_size: of the instrument.
        features, levels: what is looked at after each event, see `apply_and_look`.
    """

    def __init__(
        self, events: NDArray[np.void], tick_size: float, lot_size: float, features: int = 0, levels: int = LEVELS
    ):
        self._events, self._at, self._features = events, 0, features
        self._state = empty_state(tick_size, lot_size)
        scale = FeatureScale(1.0 / tick_size, 1.0 / lot_size, 1, 1.0)
        top, out = np.zeros((4, levels), np.int64), np.zeros(len(FLOW_NAMES), np.float32)
        self._rest: tuple[Any, ...] = (scale, np.zeros(2, np.int64), flow_memory(), top, out)

    def __call__(self, _: object = None) -> None:
        """Apply the next EVENTS."""
        if self._at + EVENTS > len(self._events):
            self._at = 0
        stop = self._at + EVENTS
        while self._at < stop:
            self._at, status = apply_and_look(self._state, self._events, self._at, stop, *self._rest, self._features)
            if status != APPLIED:
                self._state = grow(self._state, status)


@compiled
def _flow_features(columns, start, stop, scale, memory, out):  # type: ignore[no-untyped-def]
    ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold = columns
    for i in range(start, stop):
        flow_row(ts_ns[i], bid_px[i], bid_lots[i], ask_px[i], ask_lots[i], bought[i], sold[i], scale, memory, out)


@compiled
def _lob44_features(columns, start, stop, scale, memory, out):  # type: ignore[no-untyped-def]
    _, bid_px, bid_lots, ask_px, ask_lots, _, _ = columns
    for i in range(start, stop):
        lob44_row(bid_px[i], bid_lots[i], ask_px[i], ask_lots[i], scale, out)


class FeatureLoop:
    """Ticks through the features, EVENTS at a call.

    Args:
        books: n ticks, at least EVENTS.
        flow: the `flow` features, which hold `lob44`; else `lob44` alone.
    """

    def __init__(self, books: BookSeries, flow: bool = True):
        self._run = _flow_features if flow else _lob44_features
        self._columns = (*books[:5], books.bought, books.sold)
        self._scale, self._memory = FeatureScale.of(books, 1.0), flow_memory()
        self._out, self._at, self._rows = np.zeros(len(FLOW_NAMES), np.float32), 0, books.rows

    def __call__(self, _: object = None) -> None:
        """The next EVENTS ticks."""
        if self._at + EVENTS > self._rows:
            self._at, self._memory = 0, flow_memory()
        self._run(self._columns, self._at, self._at + EVENTS, self._scale, self._memory, self._out)
        self._at += EVENTS


def market_events() -> NDArray[np.void]:
    """Events of a simulated market like a crypto perpetual's, from a snapshot on."""
    return synthetic_events(200_000, 0, MARKET)


def market_ticks(rows: int, features: FeatureSet) -> NDArray[np.float32]:
    """Features (rows, f) of a simulated market's ticks."""
    books = synthetic_books(rows, seed=0)
    return features.rows(books, 100.0, features.new_memory())


def market_stages(events: NDArray[np.void]) -> list[Candidate]:
    """The book under `market_events`, and the features of such a market's ticks."""
    books = synthetic_books(50_000, 0, MARKET)
    return [
        Candidate("book_apply", "stage", lambda: EventLoop(events, MARKET.tick_size, MARKET.lot_size), EVENTS),
        Candidate("features", "stage", lambda: FeatureLoop(books), EVENTS),
        Candidate("features_lob44", "stage", lambda: FeatureLoop(books, flow=False), EVENTS),
    ]
