"""Accounts equal the sums of their fills, by hftbacktest's own account too, and what is wrong is told."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.market import event as ev
from nanoarb_jax.market.event import BUY, EVENT, EXCH_EVENT, LOCAL_EVENT, SELL
from nanoarb_jax.trading.backtest.reconcile import reconcile
from nanoarb_jax.trading.backtest.records import ACCOUNT, Market, Recorded, equity
from support.recorded import INVERSE, LINEAR, made_fills, made_orders, made_run, made_ticks

ROWS = [(1, 201.0, 2.0, 0.5, 0), (1, 199.0, 1.0, -0.1, 1), (-1, 203.0, 5.0, 0.7, 0), (1, 198.0, 1.0, 0.0, 1)]
MIDS = [200, 200, 202, 199, 197, 198]


@pytest.mark.parametrize("market", [LINEAR, INVERSE])
def test_an_account_that_agrees(market: Market) -> None:
    found = reconcile(made_run(MIDS, ROWS, market), market)
    assert all(found[name] < 1e-9 for name in ("position", "balance", "fee", "trading_value", "num_trades"))
    assert found["equity"] != 0
    assert found["equity_relative"] < 1e-12


def test_the_equity_by_hand() -> None:
    found = reconcile(made_run(MIDS, ROWS), LINEAR)
    # bought 2 at 100.5, 1 at 99.5, 1 at 99; sold 5 at 101.5; short 1 at the mid of 99; ten units a contract; fees 1.1
    assert found["equity"] == pytest.approx(10 * (5 * 101.5 - 2 * 100.5 - 99.5 - 99 - 99) - 1.1)
    assert found["traded"] == pytest.approx(10 * (5 * 101.5 + 2 * 100.5 + 99.5 + 99))


@pytest.mark.parametrize(("name", "by"), [("position", 1.0), ("balance", 0.25), ("fee", 0.125), ("num_trades", 1)])
def test_one_wrong_record_is_found(name: str, by: float) -> None:
    run = made_run(MIDS, ROWS)
    run.account[name][3] += by
    found = reconcile(run, LINEAR)
    assert found[name] == pytest.approx(by)
    assert found["equity_relative"] < 1e-12, "the end is right"


def test_a_lost_fill_is_found() -> None:
    run = made_run(MIDS, ROWS)
    found = reconcile(run._replace(fills=run.fills[:-1]), LINEAR)
    assert found["position"] == 1.0
    assert found["num_trades"] == 1.0


def test_no_trades_and_no_price() -> None:
    run = made_run([200, 200], [])
    run.account["price"] = math.nan
    assert set(reconcile(run, INVERSE).values()) == {0.0}


fills = st.lists(
    st.tuples(
        st.sampled_from([-1, 1]),
        st.integers(100, 1000).map(float),
        st.integers(1, 50).map(float),
        st.floats(-5, 5),
        st.integers(0, 1),
    ),
    max_size=12,
)


@given(fills, st.sampled_from([LINEAR, INVERSE]))
def test_any_fills(rows: list[tuple[int, float, float, float, int]], market: Market) -> None:
    run = made_run([500.0] * (len(rows) + 2), rows, market)
    found = reconcile(run, market)
    assert found["position"] == found["num_trades"] == 0
    assert max(found["balance"], found["trading_value"]) <= 1e-12 * max(found["traded"], 1.0)
    assert found["equity_relative_to_traded"] < 1e-12
    assert np.isfinite(list(found.values())).all()


def book_events() -> NDArray:
    """A book around 50.25, five quiet messages, a trade that a resting buy order at 50 needs, and the bid falls."""
    quiet = (ev.DEPTH | SELL, 52.0, 9.0)
    rows = [(ev.DEPTH | BUY, 50.0, 5.0), (ev.DEPTH | BUY, 49.5, 5.0), (ev.DEPTH | SELL, 50.5, 4.0), *[quiet] * 5]
    rows += [(ev.TRADE | SELL, 49.5, 50.0), *[quiet] * 9]
    events = np.zeros(len(rows), EVENT)
    code, events["px"], events["qty"] = np.array(rows).T
    events["ev"] = code.astype(np.uint64) | np.uint64(EXCH_EVENT | LOCAL_EVENT)
    events["exch_ts"] = events["local_ts"] = np.arange(1, len(rows) + 1) * 1_000
    return events


def note(account: NDArray, row: int, hbt: Any, mid: float) -> None:
    values = hbt.state_values(0)
    account[row] = (
        hbt.current_timestamp, mid, values.position, values.balance, values.fee,
        values.num_trades, values.trading_volume, values.trading_value,
    )  # fmt: skip


@pytest.mark.filterwarnings("default")  # what hftbacktest warns of when it is compiled is not ours to judge
@pytest.mark.parametrize("market", [LINEAR, INVERSE])
def test_hftbacktest_itself_has_these_signs(market: Market) -> None:
    """Buys 2 at the ask, 3 by a resting order, sells 4 at the bid: its account equals sums over the fills."""
    hft = pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
    from hftbacktest.stats import InverseAssetRecord, LinearAssetRecord

    events = book_events()  # kept: hftbacktest reads the array where it lies
    asset = hft.BacktestAsset().data(events)
    size = market.contract_size
    asset = (asset.inverse_asset(size) if market.inverse else asset.linear_asset(size)).constant_order_latency(100, 200)
    asset = asset.risk_adverse_queue_model().no_partial_fill_exchange().trading_value_fee_model(-1e-4, 5e-4)
    hbt = hft.HashMapMarketDepthBacktest([asset.tick_size(0.5).lot_size(1.0).last_trades_capacity(0)])
    account, gtx, ioc = np.zeros(4, ACCOUNT), 1, 3
    hbt.elapse(0)  # only now does its time begin, at the first event
    hbt.elapse(6_000)
    note(account, 0, hbt, 50.25)
    hbt.submit_buy_order(0, 1, 50.5, 2.0, ioc, 0, False)
    hbt.elapse(500)
    note(account, 1, hbt, 50.25)
    hbt.submit_buy_order(0, 2, 50.0, 3.0, gtx, 0, False)
    hbt.elapse(4_000)
    note(account, 2, hbt, 50.25)
    hbt.submit_sell_order(0, 3, 50.0, 4.0, ioc, 0, False)
    hbt.elapse(500)
    note(account, 3, hbt, 50.25)
    hbt.close()
    assert account["position"].tolist() == [0, 2, 5, 1]

    rates = [5e-4, -1e-4, 5e-4]
    rows = [(1, 101.0, 2.0, 0.0, 0), (1, 100.0, 3.0, 0.0, 1), (-1, 100.0, 4.0, 0.0, 0)]
    made, ticks = made_fills(rows), made_ticks([100.5] * 3)
    price = made["price_ticks"] * market.tick_size
    worth = made["qty"] * (size / price if market.inverse else size * price)
    made["fee"], made["local_ns"] = rates * worth, account["timestamp"][1:]
    run = Recorded(ticks, np.zeros((3, 2, 3), np.float32), account, made_orders(made, ticks), made, "", 0, 0, 0)
    found = reconcile(run, market)
    assert max(found[name] for name in ("position", "balance", "fee", "trading_value", "num_trades")) < 1e-12
    assert found["equity_relative"] < 1e-9
    assert abs(found["equity"]) > 1e-6

    record = InverseAssetRecord if market.inverse else LinearAssetRecord
    theirs = record(account).contract_size(size).resample(None).stats([]).entire
    np.testing.assert_allclose(theirs["equity_wo_fee"] - theirs["fee"], equity(account, market), rtol=0, atol=1e-15)
