"""The compiled loop: equal to plain Python, no look-ahead, latency charged, limits kept, the same twice."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.trading.contract import NO_QUOTES, Moment, Quotes, Strategy
from nanoarb_jax.trading.limits import Limits

pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
from nanoarb_jax.trading.backtest.records import Market, Recorded, equity
from nanoarb_jax.trading.backtest.run import trade_live, trade_recorded
from support.plain_backtest import plain_backtest
from support.venues import SmallMarket, fresh_predictor, small_market

pytestmark = pytest.mark.filterwarnings("default")  # what hftbacktest warns of when it is compiled is not ours to judge
MARKET = Market("synthetic", 0.25, 1.0, 1.0, False, (10, 50, 100))


class Numbers(NamedTuple):
    threshold: float
    qty: float
    take: bool


def decide(settings: Any, state: Any, moment: Any) -> Any:
    """Takes where the model is sure, or rests at the touch on the side that it does not speak against."""
    up, down = moment.probabilities[1, 2], moment.probabilities[1, 0]
    if not moment.ready:
        return NO_QUOTES, state
    if settings.take:
        if up > settings.threshold and moment.position <= 0 and moment.buy_qty == 0:
            return Quotes(moment.ask_ticks, settings.qty - moment.position, 0, 0.0, True), state
        if down > settings.threshold and moment.position >= 0 and moment.sell_qty == 0:
            return Quotes(0, 0.0, moment.bid_ticks, settings.qty + moment.position, True), state
        return NO_QUOTES, state
    buy_qty = settings.qty if up >= down else 0.0
    return Quotes(moment.bid_ticks, buy_qty, moment.ask_ticks, settings.qty if down >= up else 0.0, False), state


def strategy(**settings: Any) -> Strategy:
    from numba import njit

    if not hasattr(strategy, "compiled"):
        strategy.compiled = njit(decide)  # type: ignore[attr-defined]
    numbers = Numbers(**{"threshold": 0.4, "qty": 2.0, "take": True} | settings)
    return Strategy(strategy.compiled, numbers, (), "test")  # type: ignore[attr-defined]


def run(market: SmallMarket, wanted: Strategy, limits: Limits = Limits(), **options: Any) -> Recorded:  # noqa: B008
    return trade_live(market.venue, fresh_predictor(), market.events, wanted, limits, **options)


LATENCIES = {"entry_latency_ns": 3_000_000, "response_latency_ns": 2_000_000, "maker_fee": -1e-4, "taker_fee": 3e-4}


@pytest.mark.parametrize("take", [True, False])
@pytest.mark.parametrize(("wait_ns", "fills"), [(0, "partial"), (40_000_000, "partial"), (40_000_000, "whole")])
def test_plain_python_gives_the_same_orders_and_fills(take: bool, wait_ns: int, fills: str) -> None:
    market, wanted = small_market(**LATENCIES, fills=fills), strategy(take=take)
    compiled = run(market, wanted, Limits(max_position=6.0), waits_ns=np.array([wait_ns]))
    plain = plain_backtest(market.venue, fresh_predictor(), market.events, wanted, 6.0, wait_ns)
    orders, filled = compiled.orders, compiled.fills
    assert len(orders) > 20 and len(filled) > 10
    names = ("tick", "sent_ns", "side", "price_ticks", "qty", "take")
    assert [tuple(order[name] for name in names) for order in orders] == plain.orders
    names = ("order", "side", "qty", "price_ticks", "maker")
    assert [tuple(fill[name] for name in names) for fill in filled] == plain.fills
    assert compiled.account[-1]["position"] == plain.position


@pytest.mark.parametrize("take", [True, False])
@pytest.mark.parametrize("fills", ["partial", "whole"])
def test_fills_make_the_account(take: bool, fills: str) -> None:
    recorded = run(small_market(**LATENCIES, fills=fills), strategy(take=take))
    if fills == "whole":  # hftbacktest's own account, at every tick
        assert recorded.off is not None and recorded.off < 1e-9 * np.abs(recorded.account["balance"]).max()
    else:
        assert recorded.off is None
    filled, end = recorded.fills, recorded.account[-1]
    cash = -np.sum(filled["side"] * filled["price_ticks"] * 0.25 * filled["qty"])
    np.testing.assert_allclose(cash, end["balance"], rtol=1e-9)
    np.testing.assert_allclose(filled["fee"].sum(), end["fee"], rtol=1e-9)
    assert (filled["maker"] == (not take)).all()
    assert np.isfinite(equity(recorded.account, MARKET)).all()


def test_two_runs_are_identical_and_a_record_trades_alike() -> None:
    market, wanted = small_market(**LATENCIES), strategy(take=False)
    first, second = run(market, wanted), run(market, wanted)
    again = trade_recorded(market.venue, first.ticks, first.probabilities, wanted)
    for name, array in zip(Recorded._fields, first, strict=True):
        for other in (second, again):
            same = getattr(other, name)
            assert array.tobytes() == same.tobytes() if isinstance(array, np.ndarray) else array == same


def test_later_events_change_no_earlier_order() -> None:
    market, wanted = small_market(**LATENCIES), strategy(take=False)
    whole = run(market, wanted)
    cut = len(market.events) // 2
    other = market.events.copy()
    other["qty"][cut:] *= 3
    half = SmallMarket(other, small_market(**LATENCIES).venue._replace(day=_day(other)))
    changed = run(half, wanted)
    before_ns = int(market.events["local_ts"][cut])
    for record, time in (("ticks", "local_ns"), ("orders", "sent_ns"), ("fills", "local_ns")):
        first, second = (getattr(one, record) for one in (whole, changed))
        first, second = first[first[time] < before_ns], second[second[time] < before_ns]
        if record == "orders":  # what became of an order is known later
            names = ["tick", "sent_ns", "side", "price_ticks", "qty", "take"]
            first, second = first[names], second[names]
        assert len(first) > 3
        assert first.tolist() == second.tolist()


def _day(events: Any) -> Any:
    from nanoarb_jax.data.exchange_day import exchange_day

    return exchange_day(events, "altered")


def test_inference_is_on_the_clock_and_ticks_wait_their_turn() -> None:
    market, wait_ns = small_market(), 50_000_000
    recorded = run(market, strategy(), waits_ns=np.array([wait_ns]))
    ticks = recorded.ticks
    assert (ticks["sent_ns"] - ticks["local_ns"] >= wait_ns).all()
    assert (np.diff(ticks["sent_ns"]) >= wait_ns).all()
    assert (ticks["sent_ns"] - ticks["local_ns"] > wait_ns).any()  # some had to wait
    assert (recorded.orders["sent_ns"] == ticks["sent_ns"][recorded.orders["tick"]]).all()


def test_the_largest_position_holds_with_all_orders_on_their_way() -> None:
    recorded = run(small_market(**LATENCIES), strategy(take=False, qty=3.0), Limits(max_position=4.0))
    assert np.abs(recorded.account["position"]).max() <= 4.0
    assert recorded.refused > 0


def test_a_drawdown_ends_trading_without_a_position() -> None:
    market, wanted = small_market(**LATENCIES | {"taker_fee": 0.01}), strategy()
    recorded = run(market, wanted, Limits(max_drawdown=100.0))
    assert recorded.stopped == "drawdown"
    assert recorded.account["position"][-1] == 0
    worth = equity(recorded.account, MARKET)
    stop = int(np.argmax(np.maximum.accumulate(worth) - worth > 100.0))
    assert (recorded.orders["tick"] <= stop + 50).all()
    assert len(run(market, wanted).orders) > len(recorded.orders)


def test_orders_are_withdrawn_where_data_are_stale() -> None:
    recorded = run(small_market(), strategy(take=False), Limits(stale_ms=150.0))
    assert recorded.withdrawn > 0
    assert (recorded.orders["status"] == 4).sum() >= recorded.withdrawn


@pytest.mark.parametrize("take", [True, False])
def test_a_feed_of_orders_has_known_queues(take: bool) -> None:
    market = small_market(level="l3", fills="whole", queue="fifo", **LATENCIES)
    recorded = run(market, strategy(take=take))
    assert len(recorded.fills) > 5 and recorded.differs == 0
    assert recorded.off is not None and recorded.off < 1e-9 * np.abs(recorded.account["balance"]).max()


def test_an_exchange_that_gives_up_is_told() -> None:
    """hftbacktest refuses orders that are cancelled and were never told."""
    market = small_market(level="l3", fills="whole", queue="fifo", **LATENCIES)
    late = market.events[np.flatnonzero(market.events["ival"] & 128)[200] + 1 :]
    venue = market.venue._replace(day=_day(late))
    with pytest.raises(DataError, match="hftbacktest stopped with its error"):
        trade_live(venue, fresh_predictor(), market.events, strategy(), Limits())


def test_the_news_of_the_last_orders_is_waited_for() -> None:
    """Also where trading ends in the middle of the data."""
    market = small_market(**LATENCIES)
    last = run(market, strategy()).orders["tick"][-1]
    recorded = run(market, strategy(), rows=(200, int(last) + 1))
    assert recorded.orders["tick"][-1] == last - 200
    assert (recorded.orders["status"] > 1).all()


def test_ticks_are_those_of_the_predictor() -> None:
    market = small_market()
    recorded = run(market, strategy())
    live = fresh_predictor()
    at, probabilities = live.apply_many(market.events)
    np.testing.assert_array_equal(recorded.probabilities, probabilities)
    np.testing.assert_array_equal(recorded.ticks["local_ns"], market.events["local_ts"][at])
    assert recorded.differs == 0
    assert recorded.ticks["ready"].sum() == len(at) - live.warm_up + 1
    assert Moment._fields[0] == "tick"
