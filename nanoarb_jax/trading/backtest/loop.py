"""The compiled loop of a backtest: tick, prediction, decision, orders, with the predictor's own time on the clock.

A tick is received when its event is. The predictor works on one tick at a time: a tick that comes while it computes
waits. What is decided rests on what was known when its computation began; its orders leave when it ends.
"""

from __future__ import annotations

from numba import njit

from nanoarb_jax.trading.backtest.ticks import ADVANCED
from nanoarb_jax.trading.backtest.working import SLOTS, cancel, hear, value_of, want, working_on
from nanoarb_jax.trading.contract import NO_QUOTES, Moment, Quotes

FULL = -3  # status of `trade`: no room for another tick, order or fill
_DRAWDOWN, _POSITION, _EXCHANGE = 1, 2, 3
_WORTH_OF_A_TICK = SLOTS + 2  # orders and fills that one tick can make, at most


@njit(error_model="numpy")
def trade(hbt, desk, source, advance, decide, settings, memory, rules, limits, waits_ns, ticks, probabilities, account):  # type: ignore[no-untyped-def]
    """Trade until the data end, or the room does.

    Args:
        hbt: hftbacktest.
        desk: see `Desk`.
        source, advance: see `ticks`.
        decide, settings, memory: of the `Strategy`; the memory is its state.
        rules, limits: see `Rules` and `Limits`.
        waits_ns: (k,) int64, how long the predictor computes, taken in turn.
        ticks, probabilities, account: room for those of this call.

    Returns:
        (ticks of this call, status, memory): ENDED, FULL, or the status of an event that could not be applied.
    """
    trader, row = desk.trader[0], 0
    while row < len(ticks):
        if min(len(desk.orders) - desk.counts[0], len(desk.fills) - desk.counts[1]) < _WORTH_OF_A_TICK:
            return row, FULL, memory
        status, trader.cursor = advance(source, trader.cursor, ticks, row, probabilities)
        if status != ADVANCED:
            return row, status, memory
        tick = ticks[row]
        trader.tick += 1
        received_ns = max(tick.local_ns, trader.last_ns)
        _withdraw_if_stale(hbt, desk, rules, limits, received_ns)
        trader.last_ns = received_ns
        start_ns = max(received_ns, trader.busy_ns)
        wait_ns = waits_ns[(trader.tick - 1) % len(waits_ns)]
        tick.sent_ns = trader.busy_ns = start_ns + wait_ns
        _elapse_to(hbt, trader, start_ns)
        hear(hbt, desk, rules, start_ns)
        if start_ns == received_ns:
            _compare(hbt, trader, tick)
        worth = _record(hbt, trader, tick, start_ns, rules, account[row])
        _check_limits(trader, limits, rules, worth)
        if trader.stopped == 0:
            quotes, memory = decide(settings, memory, _moment(desk, tick, probabilities[row]))
        else:
            quotes = _flat(trader, tick)
        _act(hbt, desk, rules, limits, tick, quotes)
        row += 1
    return row, FULL, memory


@njit(error_model="numpy")
def settle(hbt, desk, rules, tick, account):  # type: ignore[no-untyped-def]
    """After the last tick: let the last orders reach the exchange and the news of them come back; the last record.

    Args:
        tick: (1,) TICK, the last one: the position is worth its mid.
        account: (1,) ACCOUNT, overwritten.
    """
    trader = desk.trader[0]
    _elapse_to(hbt, trader, trader.busy_ns + rules.round_trip_ns)
    now_ns = max(hbt.current_timestamp, trader.busy_ns)
    hear(hbt, desk, rules, now_ns)
    _record(hbt, trader, tick[0], now_ns, rules, account[0])


@njit(error_model="numpy")
def _elapse_to(hbt, trader, time_ns):  # type: ignore[no-untyped-def]
    now_ns = hbt.current_timestamp
    if time_ns > now_ns and trader.ended == 0:
        status = hbt.elapse(time_ns - now_ns)
        if status == 1:
            trader.ended = 1
        elif status != 0 and trader.stopped == 0:
            trader.stopped, trader.error = _EXCHANGE, status


@njit(error_model="numpy")
def _withdraw_if_stale(hbt, desk, rules, limits, received_ns):  # type: ignore[no-untyped-def]
    """Cancel what rests where the next tick is too long in coming, at the time when that is noticed."""
    trader = desk.trader[0]
    noticed_ns = max(trader.last_ns + limits.stale_ns, trader.busy_ns)
    if trader.last_ns == 0 or received_ns <= noticed_ns or (working_on(desk, 1) < 0 and working_on(desk, -1) < 0):
        return
    _elapse_to(hbt, trader, noticed_ns)
    hear(hbt, desk, rules, noticed_ns)
    for side in (1, -1):
        k = working_on(desk, side)
        if k >= 0 and cancel(hbt, desk, k):
            trader.withdrawn += 1


@njit(error_model="numpy")
def _compare(hbt, trader, tick):  # type: ignore[no-untyped-def]
    depth = hbt.depth(0)
    if depth.best_bid_tick != tick.bid_ticks or depth.best_ask_tick != tick.ask_ticks:
        trader.differs += 1


@njit(error_model="numpy")
def _record(hbt, trader, tick, now_ns, rules, record):  # type: ignore[no-untyped-def]
    """Write the account as it is known; returns the net equity at the tick's mid."""
    record.timestamp = now_ns
    record.price = 0.5 * (tick.bid_ticks + tick.ask_ticks) * rules.tick_size
    record.position, record.balance, record.fee = trader.position, trader.balance, trader.fee
    record.num_trades, record.trading_volume, record.trading_value = trader.trades, trader.volume, trader.value
    if rules.whole:
        values = hbt.state_values(0)
        off = max(abs(values.balance - trader.balance), abs(values.fee - trader.fee))
        trader.off = max(trader.off, off, abs(values.position - trader.position))
    worth = trader.balance + value_of(rules, record.price, trader.position)
    return (-worth if rules.inverse else worth) - trader.fee


@njit(error_model="numpy")
def _check_limits(trader, limits, rules, worth):  # type: ignore[no-untyped-def]
    trader.peak = max(trader.peak, worth)
    if trader.stopped == 0:
        if trader.peak - worth > limits.max_drawdown:
            trader.stopped = _DRAWDOWN
        elif abs(trader.position) > limits.max_position + 0.5 * rules.lot_size:
            trader.stopped = _POSITION


@njit(error_model="numpy")
def _moment(desk, tick, probabilities):  # type: ignore[no-untyped-def]
    trader, buy, sell = desk.trader[0], working_on(desk, 1), working_on(desk, -1)
    buy_ticks, buy_qty, sell_ticks, sell_qty = 0, 0.0, 0, 0.0
    if buy >= 0:
        buy_ticks, buy_qty = desk.working[buy].price_ticks, desk.working[buy].qty - desk.working[buy].filled
    if sell >= 0:
        sell_ticks, sell_qty = desk.working[sell].price_ticks, desk.working[sell].qty - desk.working[sell].filled
    return Moment(
        trader.tick - 1, trader.last_ns, tick.ready == 1, tick.bid_ticks, tick.ask_ticks, tick.bid_qty, tick.ask_qty,
        probabilities, trader.position, trader.entry_ticks, trader.opened_ns, trader.opened_tick,
        buy_ticks, buy_qty, sell_ticks, sell_qty,
    )  # fmt: skip


@njit(error_model="numpy")
def _flat(trader, tick):  # type: ignore[no-untyped-def]
    """What is wanted after a stop: no position."""
    if trader.position > 0:
        return Quotes(0, 0.0, tick.bid_ticks, trader.position, True)
    if trader.position < 0:
        return Quotes(tick.ask_ticks, -trader.position, 0, 0.0, True)
    return NO_QUOTES


@njit(error_model="numpy")
def _act(hbt, desk, rules, limits, tick, quotes):  # type: ignore[no-untyped-def]
    """Send what the quotes ask for, once the predictor is done; nothing is waited for where nothing is to be sent."""
    trader, idle = desk.trader[0], quotes.buy_qty == 0.0 and quotes.sell_qty == 0.0
    if trader.ended == 1 or (idle and working_on(desk, 1) < 0 and working_on(desk, -1) < 0):
        return
    _elapse_to(hbt, trader, tick.sent_ns)
    for side in (1, -1):
        if side > 0:
            price_ticks, qty = quotes.buy_ticks, quotes.buy_qty
            ahead_qty = tick.bid_qty if price_ticks == tick.bid_ticks else 0.0
        else:
            price_ticks, qty = quotes.sell_ticks, quotes.sell_qty
            ahead_qty = tick.ask_qty if price_ticks == tick.ask_ticks else 0.0
        error = want(hbt, desk, rules, limits, side, price_ticks, qty, quotes.take, ahead_qty, tick.sent_ns)
        if error != 0 and error != 1 and trader.stopped == 0:
            trader.stopped, trader.error = _EXCHANGE, error
