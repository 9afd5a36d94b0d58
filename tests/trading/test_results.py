"""Results of made runs, by hand; hftbacktest's measures; and runs in which nothing happened."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.trading.backtest import resampling
from nanoarb_jax.trading.backtest.records import ACCOUNT, ORDER, Market, Recorded, equity
from nanoarb_jax.trading.backtest.resampling import clustered_means, length_of_blocks, mean_and_median
from nanoarb_jax.trading.backtest.results import summarise
from nanoarb_jax.trading.backtest.round_trips import round_trips
from nanoarb_jax.trading.backtest.sampled import measures, moments, sampled
from support.recorded import INVERSE, LINEAR, MS, made_fills, made_run

pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
SECOND = 1000 * MS
# long 2 from 201, half closed with a rebate, turned at 203: two there, one closed at 204; then nothing
ROWS = [(1, 201.0, 2.0, 0.4, 0), (-1, 202.0, 1.0, -0.1, 1), (-1, 203.0, 3.0, 0.9, 0), (1, 204.0, 2.0, 0.2, 0)]
MIDS = [200, 200, 204, 203, 203]


def test_the_results_of_a_run_by_hand() -> None:
    run = made_run(MIDS, ROWS)
    run.ticks["ready"][0] = 0
    found = summarise(run, LINEAR, capital=1000.0)
    # a tick is 0.5, a contract ten units: 5 a tick
    gross = 5 * ((202 - 201) + (203 - 201) + 2 * (203 - 204))
    assert found["gross_pnl"] == pytest.approx(gross)
    assert found["fees"] == pytest.approx(1.4)
    assert found["net_pnl"] == pytest.approx(gross - 1.4)
    assert found["spread_paid"] == pytest.approx(5 * (2 * 1 + 3 * (204 - 203) + 2 * (204 - 203)))
    assert found["spread_earned"] == pytest.approx(5 * (202 - 200))
    assert found["trading_value"] == pytest.approx(5 * (402 + 202 + 609 + 408))
    assert found["turnover"] == pytest.approx(found["trading_value"] / 1000)
    assert found["return"] == pytest.approx(found["net_pnl"] / 1000)
    assert (found["trades"], found["maker_fills"], found["taker_fills"]) == (4, 1, 3)
    assert (found["round_trips"], found["hit_rate"]) == (2, 0.5)
    assert found["profit_per_round_trip"] == pytest.approx(found["net_pnl"] / 2)
    ticks = found["round_trip_ticks"]
    assert ticks["gross"]["mean"] == pytest.approx((1.5 - 1) / 2)
    assert ticks["net"]["mean"] == pytest.approx((1.5 - (0.4 - 0.1 + 0.3) / 10 - 1 - (0.6 + 0.2) / 10) / 2)
    assert ticks["net"]["low"] is None, "two round trips say nothing of others"
    assert (found["orders"], found["maker_orders"], found["taker_orders"]) == (4, 1, 3)
    assert found["fill_ratio"] == {"maker": 1, "maker_whole": 1, "maker_quantity": 1, "taker_quantity": 1}
    assert (found["predictions"], found["ready_share"], found["max_position"]) == (5, 0.8, 2)
    assert found["latency_ns_charged"] == found["latency_ns_p50"] == found["latency_ns_p99"] == 2 * MS
    assert (found["first_tick_ns"], found["last_tick_ns"], found["span_s"]) == (MS, 401 * MS, 0.4)
    # known at 15 ms, seen at the second tick, over 100 ms; flat again at the fifth: three of four intervals and an end
    assert found["time_in_market"] == pytest.approx(300 / 401)
    assert found["sharpe"] is None, "all of it lies in one sample"
    json.dumps(found, allow_nan=False)


def test_inverse_contracts_are_accounted_for_in_the_asset() -> None:
    found = summarise(made_run(MIDS, ROWS, INVERSE), INVERSE)
    coins = [10 / (0.5 * price) for price in (201, 202, 203, 204)]
    assert found["gross_pnl"] == pytest.approx(2 * coins[0] - coins[1] - 3 * coins[2] + 2 * coins[3])
    assert found["spread_earned"] == pytest.approx(10 / (0.5 * 200) - coins[1])
    paid = [2 * (10 / 100 - coins[0]), 3 * (coins[2] - 10 / 102), 2 * (10 / 101.5 - coins[3])]
    assert found["spread_paid"] == pytest.approx(sum(paid))
    assert found["round_trip_ticks"]["gross"]["mean"] == pytest.approx(0.25)
    assert (found["turnover"], found["return"]) == (None, None)


@pytest.mark.parametrize("ticks", [0, 1, 400])
@pytest.mark.parametrize("market", [LINEAR, INVERSE])
def test_nothing_traded(ticks: int, market: Market) -> None:
    run = made_run([200] * max(ticks, 1), [], market)
    run = run._replace(
        ticks=run.ticks[:ticks], account=run.account[: ticks and ticks + 1], probabilities=run.probabilities[:ticks]
    )
    found = summarise(run, market, capital=10.0)
    assert {found[name] for name in ("net_pnl", "gross_pnl", "fees", "trades", "max_drawdown", "round_trips")} == {0}
    assert found["sharpe"] is found["hit_rate"] is found["return_over_max_drawdown"] is None
    assert found["predictions"] == ticks
    json.dumps(found, allow_nan=False)


def test_orders_as_they_ended() -> None:
    run, orders = made_run([200] * 9, []), np.zeros(8, ORDER)
    orders["take"] = [1, 1, 0, 0, 0, 0, 0, 0]
    orders["qty"] = [4, 4, 1, 1, 2, 2, 2, 1]
    orders["filled_qty"] = [4, 1, 1, 0, 1, 0, 0, 0]
    orders["status"] = [3, 2, 3, 4, 4, 2, 6, 1]
    found = summarise(run._replace(orders=orders, stopped="drawdown", withdrawn=3, refused=2), LINEAR)
    assert (found["cancels"], found["expired"], found["rejected"]) == (2, 2, 1)
    ratio = {"maker": 2 / 6, "maker_whole": 1 / 6, "maker_quantity": 2 / 9, "taker_quantity": 5 / 8}
    assert found["fill_ratio"] == pytest.approx(ratio)
    assert (found["stopped"], found["withdrawn"], found["refused"], found["events"]) == ("drawdown", 3, 2, 7)


trips = st.lists(st.tuples(st.sampled_from([-1, 1]), st.integers(90, 110), st.integers(1, 5)), max_size=30)


@given(trips)
def test_round_trips_are_those_of_a_plain_loop(rows: list[tuple[int, int, int]]) -> None:
    """Unit by unit: a trip ends whenever the position is 0; so a fill that turns the position needs no rule."""
    found = round_trips(made_fills([(side, price, qty, 0.25 * qty, 0) for side, price, qty in rows]), LINEAR)
    position, profit, units, expected = 0, 0.0, 0, []
    for side, price, qty in rows:
        for _ in range(qty):
            position, profit, units = position + side, profit - side * price, units + 1
            if position == 0:
                expected.append((profit * 5 - 0.25 * units, profit / (units / 2), units / 2))
                profit, units = 0.0, 0
    np.testing.assert_allclose(found.net, [one[0] for one in expected], atol=1e-9)
    np.testing.assert_allclose(found.gross_ticks, [one[1] for one in expected], atol=1e-9)
    np.testing.assert_allclose(found.qty, [one[2] for one in expected], atol=1e-9)
    assert (np.diff(found.closed_ns) > 0).all()


def test_fractions_of_lots_come_back_to_zero() -> None:
    rows = [(1, 100.0, 0.1, 0.0, 0), (1, 100.0, 0.2, 0.0, 0), (-1, 101.0, 0.3, 0.0, 0)] * 2
    found = round_trips(made_fills(rows), LINEAR._replace(lot_size=0.1))
    np.testing.assert_allclose(found.gross_ticks, [1.0, 1.0])


def account_of(equities: list[float], apart_s: float, market: Market = LINEAR) -> np.ndarray:
    account = np.zeros(len(equities), ACCOUNT)
    account["timestamp"] = (1_700_000_000 + np.arange(len(equities)) * apart_s) * 1e9
    account["price"], account["balance"] = 100.0, equities
    if market.inverse:
        account["balance"] *= -1
    return account


@pytest.mark.parametrize("market", [LINEAR, INVERSE])
def test_ratios_are_those_of_ten_seconds(market: Market) -> None:
    equities = np.random.default_rng(0).normal(0.3, 1, 500).cumsum()
    account = account_of(list(equities), 3.0, market)
    account["fee"] = np.linspace(0, 20, 500)
    found, shares = measures(account, market), measures(account, market, trading_days=252)
    worth = equity(account, market)
    samples = worth[np.flatnonzero(np.append(np.diff(account["timestamp"] // (10 * SECOND)) > 0, True))]
    profits = np.diff(samples)
    assert found["sharpe"] == pytest.approx(profits.mean() / profits.std(ddof=1) * math.sqrt(8640 * 365))
    assert found["sortino"] == pytest.approx(
        profits.mean() / math.sqrt((np.minimum(profits, 0) ** 2).mean()) * math.sqrt(8640 * 365)
    )
    assert shares["sharpe"] == pytest.approx(found["sharpe"] * math.sqrt(252 / 365))
    assert found["max_drawdown"] == pytest.approx((np.maximum.accumulate(worth) - worth).max())
    assert found["return_over_max_drawdown"] == pytest.approx((worth[-1] - worth[0]) / found["max_drawdown"])
    told = moments(account, market)
    assert told["samples"] == len(profits)
    assert told["sharpe_per_sample"] == pytest.approx(found["sharpe"] / math.sqrt(8640 * 365))


def test_hftbacktest_resamples_alike_where_there_are_no_pauses() -> None:
    from hftbacktest.stats import LinearAssetRecord

    account = account_of(list(range(200)), 4.0)
    theirs = LinearAssetRecord(account).contract_size(10.0).resample("10s").stats([]).entire
    samples = sampled(account)
    np.testing.assert_array_equal(theirs["balance"], samples["balance"])
    np.testing.assert_array_equal(theirs["timestamp"].cast(int), samples["timestamp"])


def test_pauses_count_as_time() -> None:
    account = account_of([0.0, 1.0, 1.5, 4.0], 10.0)
    account["timestamp"][2:] += 30 * SECOND
    assert sampled(account)["balance"].tolist() == [0, 1, 1, 1, 1, 1.5, 4]
    assert measures(account, LINEAR)["sharpe"] > 0, "no warning of samples that are not equally far apart"


def test_records_without_a_price_are_left_out() -> None:
    account = account_of([0.0, 1.0, 2.0, 4.0, 3.0], 10.0)
    account["price"][[1, 4]] = math.nan
    run: dict[str, Any] = summarise(made_run([200] * 4, [])._replace(account=account), LINEAR)
    assert run["net_pnl"] == 4
    assert run["max_drawdown"] == 0


def test_intervals_cover_what_they_promise() -> None:
    """Sums of three neighbours are dependent: the interval is wider than for independent values, and holds the mean."""
    rng, held, runs = np.random.default_rng(0), 0, 60
    for seed in range(runs):
        noise = rng.normal(size=402)
        found = mean_and_median(noise[:-2] + noise[1:-1] + noise[2:], seed)
        held += found["low"] < 0 < found["high"]
        assert found["low"] < found["mean"] < found["high"]
        assert found["median_low"] <= found["median"] <= found["median_high"]
    assert held / runs > 0.85


def test_resampling_in_parts_and_of_few(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resampling, "_AT_ONCE", 1000)
    values = np.arange(30.0)
    found = mean_and_median(values)
    assert found == mean_and_median(values), "the same draws"
    assert found["low"] < 14.5 < found["high"]
    assert mean_and_median(values[:3]) == dict.fromkeys(("low", "high", "median_low", "median_high")) | {
        "mean": 1.0,
        "median": 1.0,
    }
    assert set(mean_and_median(values[:0]).values()) == {None}
    assert length_of_blocks(1) == 1


def test_errors_are_clustered_by_time() -> None:
    """Values that are equal within a block count once: the error is that of as many means as there are blocks."""
    of_blocks = np.random.default_rng(1).normal(size=40)
    values, times = np.repeat(of_blocks, 25), np.arange(1000) * 400 * MS  # 25 in ten seconds
    found = clustered_means(values, times, MS, np.zeros(1000, np.int64), 2)
    assert found["mean"] == [pytest.approx(of_blocks.mean()), None]
    assert found["error"] == [pytest.approx(of_blocks.std(ddof=1) / math.sqrt(40)), None]
    assert (found["counted"], found["blocks"]) == ([1000, 0], [40, 0])
    longer = clustered_means(values, times, 20 * SECOND, np.zeros(1000, np.int64), 1)
    assert longer["blocks"] == [10]


def test_nothing_at_all() -> None:
    empty = made_run([200], [])
    run = Recorded(empty.ticks[:0], empty.probabilities[:0], empty.account[:0], empty.orders, empty.fills, "", 0, 0, 0)
    assert summarise(run, LINEAR)["predictions"] == 0
