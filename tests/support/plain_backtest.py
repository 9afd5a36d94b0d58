"""A backtest as one would write it in plain Python: an event at a time, orders in a dictionary. Slow, and a twin of the
compiled loop that shares nothing with it but the strategy and hftbacktest."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.trading.backtest.exchange import open_exchange
from nanoarb_jax.trading.backtest.run import Venue
from nanoarb_jax.trading.contract import Moment, Strategy, as_tuple

_RESTS = (1, 5)  # new, partly filled
_LIMIT, _POST_ONLY, _IMMEDIATE = 0, 1, 3


class PlainRun(NamedTuple):
    """Orders (tick, sent_ns, side, price_ticks, qty, take), fills (order, side, qty, price_ticks, maker), the end."""

    orders: list[tuple[Any, ...]]
    fills: list[tuple[Any, ...]]
    position: float


class _Order:
    def __init__(self, row: int, side: int, ticks: int, qty: float, take: bool):
        self.row, self.side, self.ticks, self.qty, self.take = row, side, ticks, qty, take
        self.filled, self.leaving = 0.0, False


def plain_backtest(
    venue: Venue, live: LivePredictor, events: NDArray[np.void], strategy: Strategy, most: float, wait_ns: int
) -> PlainRun:
    """Trade every tick of the events; `most` is the largest position, `wait_ns` how long a prediction takes."""
    decide = getattr(strategy.decide, "py_func", strategy.decide)
    settings, memory = as_tuple(strategy.settings), strategy.state
    hbt = open_exchange(venue.day, venue.settings, venue.tick_size, venue.lot_size)
    hbt.elapse(0)
    working: dict[int, _Order] = {}
    run = PlainRun([], [], 0.0)
    position = entry = 0.0
    opened_ns = opened_tick = busy_ns = last_ns = 0
    tick, ended = -1, False

    def elapse_to(time_ns: int) -> None:
        nonlocal ended
        if time_ns > hbt.current_timestamp and not ended:
            ended = hbt.elapse(time_ns - hbt.current_timestamp) == 1

    def hear() -> None:
        nonlocal position, entry, opened_ns, opened_tick
        for number, mine in list(working.items()):
            order = hbt.orders(0).get(number)
            new = round((order.qty - order.leaves_qty) / venue.lot_size) * venue.lot_size - mine.filled
            if new > venue.lot_size / 2:
                mine.filled += new
                price = mine.ticks if not mine.take else order.exec_price_tick
                run.fills.append((mine.row, mine.side, new, price, not mine.take))
                before, position = position, position + mine.side * new
                if abs(position) < venue.lot_size / 2:
                    position = entry = 0.0
                    opened_ns = opened_tick = 0
                elif before == 0 or before * position < 0:
                    entry, opened_ns, opened_tick = float(price), start_ns, tick
                elif before * mine.side > 0:
                    entry = (entry * abs(before) + price * new) / abs(position)
            if order.status not in _RESTS and order.req == 0:
                del working[number]

    def on(side: int) -> _Order | None:
        return next((one for one in working.values() if one.side == side and not one.leaving), None)

    for event in events:
        prediction = live.apply(event)
        if prediction is None:
            continue
        tick += 1
        last_ns = max(last_ns, int(event["local_ts"]) + venue.day.local_shift_ns)
        start_ns = max(last_ns, busy_ns)
        busy_ns = start_ns + wait_ns
        elapse_to(start_ns)
        hear()
        buy, sell = on(1), on(-1)
        top = live.book.top(1)
        bid_ticks, ask_ticks = int(top.bid_px[0]), int(top.ask_px[0])
        bid_qty, ask_qty = float(top.bid_lots[0] * live.book.lot_size), float(top.ask_lots[0] * live.book.lot_size)
        moment = Moment(
            tick, last_ns, prediction.ready, bid_ticks, ask_ticks, bid_qty, ask_qty, prediction.probabilities,
            position, entry, opened_ns, opened_tick,
            buy.ticks if buy else 0, buy.qty - buy.filled if buy else 0.0,
            sell.ticks if sell else 0, sell.qty - sell.filled if sell else 0.0,
        )  # fmt: skip
        quotes, memory = decide(settings, memory, moment)
        if ended or not (quotes.buy_qty or quotes.sell_qty or buy or sell):
            continue
        elapse_to(busy_ns)
        wanted = ((1, quotes.buy_ticks, quotes.buy_qty), (-1, quotes.sell_ticks, quotes.sell_qty))
        for side, ticks, qty in wanted:
            mine = on(side)
            if mine:
                if mine.take or (qty > 0 and not quotes.take and mine.ticks == ticks):
                    continue
                number = mine.row + 1
                if not hbt.orders(0).get(number).cancellable:
                    continue
                hbt.cancel(0, number, False)
                mine.leaving = True
            exposed = side * position + sum(one.qty - one.filled for one in working.values() if one.side == side)
            if qty < venue.lot_size / 2 or exposed + qty > most + venue.lot_size / 2:
                continue
            row = len(run.orders)
            working[row + 1] = _Order(row, side, ticks, qty, quotes.take)
            run.orders.append((tick, busy_ns, side, ticks, qty, quotes.take))
            submit = hbt.submit_buy_order if side > 0 else hbt.submit_sell_order
            sent = qty if venue.settings.fills == "whole" else qty - 0.001 * venue.lot_size
            submit(0, row + 1, ticks * venue.tick_size, sent, _IMMEDIATE if quotes.take else _POST_ONLY, _LIMIT, False)
    elapse_to(busy_ns + (venue.settings.entry_latency_ns or 0) + (venue.settings.response_latency_ns or 0))
    start_ns = hbt.current_timestamp
    hear()
    hbt.close()
    return run._replace(position=position)
