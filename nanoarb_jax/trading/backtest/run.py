"""One strategy over one market: `run_backtest`, from a feed's events to what was recorded."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.exchange_day import ExchangeDay
from nanoarb_jax.errors import DataError
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings, Rules, open_exchange, rules_of
from nanoarb_jax.trading.backtest.loop import FULL, settle, trade
from nanoarb_jax.trading.backtest.records import ACCOUNT, FILL, ORDER, TICK, Recorded
from nanoarb_jax.trading.backtest.ticks import ENDED, LiveSource, RecordedSource, advance_live, advance_recorded
from nanoarb_jax.trading.backtest.working import SLOTS, STOPPED, TRADER, WORKING, Desk
from nanoarb_jax.trading.contract import Strategy, as_tuple
from nanoarb_jax.trading.limits import Limits

_CHUNK = 1 << 15  # ticks of one compiled call
Note = Callable[[int], None]  # is told the time of the market, ns


class Venue(NamedTuple):
    """The market of a run, as the exchange knows it.

    Attributes:
        day: the events in the exchange's form.
        tick_size, lot_size: of the instrument.
        settings: costs and latencies.
    """

    day: ExchangeDay
    tick_size: float
    lot_size: float
    settings: ExchangeSettings


class _Limits(NamedTuple):
    max_position: float
    max_drawdown: float
    stale_ns: int


def trade_live(
    venue: Venue,
    live: LivePredictor,
    events: NDArray[np.void],
    strategy: Strategy,
    limits: Limits = Limits(),  # noqa: B008
    waits_ns: NDArray[np.int64] | None = None,
    note: Note | None = None,
    rows: tuple[int, int] | None = None,
) -> Recorded:
    """Trade with a predictor that reads the events as they come.

    Args:
        venue: the exchange's side of the same events.
        live: the predictor; it goes on from where it is.
        events: (n,) EVENT, as `read_events` gives them.
        strategy: what decides.
        limits: hold whatever it decides.
        waits_ns: (k,) how long the predictor computes, ns, taken in turn; None: no time at all.
        note: is told how far the market's time has come, now and then.
        rows: (first, stop) ticks to trade at; the predictor reads those before, too, and they are not recorded. None:
            all.

    Raises:
        DataError: as `LivePredictor.apply`, where hftbacktest is not installed, or stops with an error.
    """
    lots_per_unit = 1.0 / live.instrument.lot_size
    events = np.require(events, None, ["C", "A", "W"])

    at, (first, stop) = np.zeros(2, np.int64), rows or (0, np.iinfo(np.int64).max)

    def source() -> LiveSource:  # the state may be another array after the book has grown
        shift_ns = venue.day.local_shift_ns
        return LiveSource(live.weights, live.state, events, shift_ns, lots_per_unit, first, stop, at)

    def attend(status: int, cursor: int) -> None:
        live.attend(status, events[cursor])

    recorded = _run(venue, source, advance_live, len(live.horizons), strategy, limits, waits_ns, note, attend)
    return _behind(recorded, first)


def trade_recorded(
    venue: Venue,
    ticks: NDArray[np.void],
    probabilities: NDArray[np.float32],
    strategy: Strategy,
    limits: Limits = Limits(),  # noqa: B008
    waits_ns: NDArray[np.int64] | None = None,
    note: Note | None = None,
) -> Recorded:
    """Trade on predictions that were made before: of another backend, a control, a rival.

    Args:
        ticks: (n,) TICK, of an earlier run over the same events.
        probabilities: (n, h, 3) float32.
        venue, strategy, limits, waits_ns, note: as for `trade_live`.
    """
    recorded = RecordedSource(ticks, np.ascontiguousarray(probabilities, np.float32))

    def attend(status: int, cursor: int) -> None:
        raise AssertionError(f"a record has no status {status}")

    horizons = probabilities.shape[1]
    return _run(venue, lambda: recorded, advance_recorded, horizons, strategy, limits, waits_ns, note, attend)


def _run(
    venue: Venue,
    source: Callable[[], Any],
    advance: Any,
    horizons: int,
    strategy: Strategy,
    limits: Limits,
    waits_ns: NDArray[np.int64] | None,
    note: Note | None,
    attend: Callable[[int, int], None],
) -> Recorded:
    rules = rules_of(venue.settings, venue.tick_size, venue.lot_size)
    stale_ns = int(min(limits.stale_ms * 1e6, 2.0**62))
    numbers = _Limits(float(limits.max_position), float(limits.max_drawdown), stale_ns)
    waits = np.zeros(1, np.int64) if waits_ns is None else np.ascontiguousarray(waits_ns, np.int64)
    desk = _new_desk()
    made: list[tuple[NDArray[np.void], NDArray[np.float32], NDArray[np.void]]] = []
    settings, memory, status = as_tuple(strategy.settings), strategy.state, FULL
    hbt = open_exchange(venue.day, venue.settings, venue.tick_size, venue.lot_size)
    try:
        hbt.elapse(0)  # its time begins at the first event
        while status != ENDED:
            room = np.zeros(_CHUNK, TICK), np.zeros((_CHUNK, horizons, 3), np.float32), np.zeros(_CHUNK, ACCOUNT)
            count, status, memory = trade(
                hbt, desk, source(), advance, strategy.decide, settings, memory, rules, numbers, waits, *room
            )
            made.append((room[0][:count], room[1][:count], room[2][:count]))
            if status == FULL:
                desk = _with_room(desk)
            elif status != ENDED:
                attend(status, int(desk.trader["cursor"][0]))
            if note is not None:
                note(int(desk.trader["last_ns"][0]))
            _check_exchange(desk)
        last = _settle(hbt, desk, rules, made)
    finally:
        hbt.close()
    return _recorded(made, last, desk, venue)


def _check_exchange(desk: Desk) -> None:
    """Refuse to go on where hftbacktest has given up: what comes after would look like results.

    Raises:
        DataError: it ended with an error.
    """
    trader = desk.trader[0]
    if trader["error"]:
        raise DataError(
            f"hftbacktest stopped with its error {int(trader['error'])} before tick {int(trader['tick']):,}, at "
            f"{int(trader['last_ns'])} ns; feeds that tell every order must tell those that rest at the beginning, too"
        )


def _settle(hbt: Any, desk: Desk, rules: Rules, made: list[Any]) -> NDArray[np.void]:
    """The last record: after the last orders' news, at the last tick's mid."""
    last = np.zeros(1, ACCOUNT)
    if desk.trader["tick"][0]:
        settle(hbt, desk, rules, next(ticks[-1:] for ticks, _, _ in reversed(made) if len(ticks)), last)
    return last


def _new_desk() -> Desk:
    return Desk(
        np.zeros(1, TRADER),
        np.zeros(SLOTS, WORKING),
        np.zeros(1024, ORDER),
        np.zeros(1024, FILL),
        np.zeros(2, np.int64),
    )


def _with_room(desk: Desk) -> Desk:
    """The same with room for at least as many orders and fills again as there are."""
    orders, fills = desk.orders, desk.fills
    if desk.counts[0] > len(orders) // 2:
        orders = np.concatenate([orders, np.zeros(len(orders), ORDER)])
    if desk.counts[1] > len(fills) // 2:
        fills = np.concatenate([fills, np.zeros(len(fills), FILL)])
    return desk._replace(orders=orders, fills=fills)


def _recorded(made: list[Any], last: NDArray[np.void], desk: Desk, venue: Venue) -> Recorded:
    ticks, probabilities, account = (np.concatenate(parts) for parts in zip(*made, strict=True))
    trader = desk.trader[0]
    return Recorded(
        ticks,
        probabilities,
        np.concatenate([account, last]) if len(account) else account,
        desk.orders[: desk.counts[0]].copy(),
        desk.fills[: desk.counts[1]].copy(),
        STOPPED[int(trader["stopped"])],
        int(trader["withdrawn"]),
        int(trader["refused"]),
        len(venue.day.events),
        int(trader["swept"]),
        float(trader["off"]) if venue.settings.fills == "whole" else None,
        int(trader["differs"]),
    )


def _behind(recorded: Recorded, first: int) -> Recorded:
    """Without the ticks before the first that may be traded at, at which there are no orders."""
    first = min(first, len(recorded.ticks))
    orders, fills = recorded.orders.copy(), recorded.fills.copy()
    orders["tick"] -= first
    fills["tick"] -= first
    return recorded._replace(
        ticks=recorded.ticks[first:],
        probabilities=recorded.probabilities[first:],
        account=recorded.account[first:],
        orders=orders,
        fills=fills,
    )
