"""Markouts, signal decay, adverse selection and fill probability of made runs, by hand and by plain loops."""

from __future__ import annotations

import json

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.markouts import (
    DELTAS_NS,
    adverse_selection,
    fill_probability,
    markouts,
    signal_decay,
)
from nanoarb_jax.trading.backtest.records import FILL, ORDER, Recorded
from support.recorded import LINEAR, MS, made_account, made_orders, made_run, made_ticks


def random_run(seed: int, ticks: int = 400, fills: int = 60) -> Recorded:
    """Fills at any time, also between ticks and near both ends."""
    rng = np.random.default_rng(seed)
    made = made_ticks(2 * rng.integers(-3, 4, ticks).cumsum() // 2 + 1000)
    made["exch_ns"] += rng.integers(-80, 80, ticks) * MS  # some before their predecessor
    made["ready"] = rng.random(ticks) < 0.9
    records = np.zeros(fills, FILL)
    records["exch_ns"] = np.sort(rng.integers(50 * MS, int(made["exch_ns"].max()), fills))
    records["local_ns"] = records["exch_ns"] + MS
    records["tick"] = np.searchsorted(made["local_ns"], records["local_ns"]) - 1
    records["order"], records["side"] = np.arange(fills), rng.choice([-1, 1], fills)
    records["maker"], records["qty"] = rng.integers(0, 2, fills), rng.integers(1, 9, fills)
    records["price_ticks"] = 1000 + rng.integers(-9, 9, fills)
    records["tick"] = np.maximum(records["tick"], 0)
    probabilities = rng.dirichlet(np.ones(3), (ticks, 2)).astype(np.float32)
    account = made_account(made, records, LINEAR)
    return Recorded(made, probabilities, account, made_orders(records, made), records, "", 0, 0, 0)


def mid_at(ticks: NDArray, time_ns: int, at_it: bool = True) -> float:
    """Of the tick that was received last of those that had happened, and of those received before them."""
    happened = np.flatnonzero(ticks["exch_ns"] <= time_ns if at_it else ticks["exch_ns"] < time_ns)
    later = np.flatnonzero(ticks["exch_ns"] > time_ns if at_it else ticks["exch_ns"] >= time_ns)
    row = later.min() - 1 if len(later) else happened.max()
    return (ticks["bid_ticks"][row] + ticks["ask_ticks"][row]) / 2 if row >= 0 else np.nan


def test_markouts_by_hand() -> None:
    # bought at 201 just after a mid of 200, sold at 203 just after 202; mids every 100 ms
    run = made_run([200, 202, 205, 205], [(1, 201.0, 1.0, 0.0, 0), (-1, 203.0, 1.0, 0.0, 1)])
    found = markouts(run, deltas_ns=(MS, 100 * MS, 200 * MS, 1000 * MS))
    assert found["taker"]["all"]["mean_ticks"] == [-1, 1, 4, None]
    assert found["maker"]["all"]["mean_ticks"] == [1, -2, None, None]
    assert found["maker"]["all"]["left_out"] == [0, 0, 1, 1]
    assert found["maker"]["all"]["counted"] == [1, 1, 0, 0]
    assert found["maker"]["all"]["error_ticks"] == [None] * 4
    kept = adverse_selection(run, deltas_ns=(MS, 100 * MS, 200 * MS))
    assert kept["half_spread_ticks"] == [1, 1, None]
    assert kept["adverse_ticks"] == [0, 3, None]
    assert kept["kept_share"] == [1, -2, None]
    assert kept["counted"] == [1, 1, 0]


@pytest.mark.parametrize("seed", range(3))
def test_markouts_are_those_of_a_plain_loop(seed: int) -> None:
    run = random_run(seed)
    found, kept = markouts(run, horizon=1), adverse_selection(run)
    last, maker = run.ticks["exch_ns"].max(), run.fills["maker"] == 1
    of = run.probabilities[run.orders["tick"][run.fills["order"]], 1]
    confidence = np.maximum(of[:, 0], of[:, 2]).astype(float)
    edges = np.quantile(confidence, [0, 1 / 3, 2 / 3, 1])
    terciles = [confidence < edges[1], (confidence >= edges[1]) & (confidence < edges[2]), confidence >= edges[2]]
    for place, delta in enumerate(DELTAS_NS):
        values = [
            fill["side"] * (mid_at(run.ticks, fill["exch_ns"] + delta) - fill["price_ticks"])
            if fill["exch_ns"] + delta <= last
            else np.nan
            for fill in run.fills
        ]
        moved = np.array(values)
        for name, chosen in (("maker", maker), ("taker", ~maker)):
            curves = [found[name]["all"], *found[name]["by_confidence"]["curves"]]
            for curve, among in zip(curves, [chosen, *(chosen & one for one in terciles)], strict=True):
                known = moved[among & np.isfinite(moved)]
                assert curve["counted"][place] == len(known)
                assert curve["left_out"][place] == among.sum() - len(known)
                assert curve["mean_ticks"][place] == (pytest.approx(known.mean()) if len(known) else None)
        befores = [mid_at(run.ticks, fill["exch_ns"], at_it=False) for fill in run.fills]
        half = np.array(befores) - run.fills["price_ticks"]
        adverse = (run.fills["side"] * half - moved)[maker]
        assert kept["counted"][place] == np.isfinite(adverse).sum()
        if kept["counted"][place]:
            assert kept["adverse_ticks"][place] == pytest.approx(np.nanmean(adverse))
    assert found["maker"]["all"]["left_out"][-1] > 0
    json.dumps([found, kept, signal_decay(run, LINEAR), fill_probability(run)], allow_nan=False)


def test_signal_decay_by_hand() -> None:
    """Sure of up where the mid rises by 3 in the next tick and by 1 after it; unsure of down where it stays."""
    probabilities = np.tile(np.array([0, 1, 0], np.float32), (8, 2, 1))
    probabilities[0, 0] = probabilities[2, 0] = [0.1, 0, 0.9]
    probabilities[[4, 5], 0] = [0.6, 0.4, 0]
    probabilities[5, 1] = [0.6, 0.4, 0]
    run = made_run([200, 203, 204, 207, 208, 208, 208, 208], [], probabilities=probabilities)
    run.ticks["ready"][4] = 0
    found = signal_decay(run, LINEAR, bins=2, deltas_ns=(100 * MS, 200 * MS, 300 * MS))
    assert found["delta_ns"] == [100 * MS, 200 * MS, 300 * MS]
    assert found["h10"]["decisions"] == 3
    assert [curve["mean_ticks"] for curve in found["h10"]["curves"]] == [[0, 0, None], [3, 4, 5.5]]
    assert found["h10"]["all"]["mean_ticks"] == [2, pytest.approx(8 / 3), 5.5]
    assert found["h10"]["all"]["left_out"] == [0, 0, 1]
    assert found["h50"]["decisions"] == 1


def test_decay_of_chance_is_zero_within_its_error() -> None:
    rng = np.random.default_rng(0)
    ticks = made_ticks(1000 + 2 * rng.choice([-1, 1], 20_000).cumsum())
    probabilities = rng.dirichlet(np.ones(3), (20_000, 2)).astype(np.float32)
    run = made_run([200], [])._replace(ticks=ticks, probabilities=probabilities)
    for name in ("h10", "h50"):
        curve = signal_decay(run, LINEAR)[name]["all"]
        scores = np.array(curve["mean_ticks"][4:]) / np.array(curve["error_ticks"][4:])  # from one tick ahead on
        assert np.abs(scores).max() < 4
        assert curve["mean_ticks"][:4] == curve["error_ticks"][:4] == [0] * 4, "no tick is so near"
        assert curve["blocks"][0] == 200


def test_fill_probability_by_hand() -> None:
    orders, fills = np.zeros(9, ORDER), np.zeros(4, FILL)
    orders["take"][0] = 1
    orders["ahead_qty"] = [0, 0, 0, 1, 2, 3, 4, 9, 9]
    orders["filled_qty"] = [1, 1, 0, 1, 0, 0, 1, 0, 0]
    orders["status"] = [3, 3, 4, 3, 4, 1, 4, 2, 0]  # the last two never rested
    fills["order"], fills["exch_ns"] = [0, 1, 3, 3], [5, 20, 60, 50]
    orders["sent_ns"] = 10
    found = fill_probability(made_run([200], [])._replace(orders=orders, fills=fills), bins=2)
    assert (found["orders"], found["never_rested"]) == (6, 2)
    at_front, near, far = found["bins"]
    assert at_front == {
        "low": 0, "high": 0, "orders": 2,
        "filled_share": 0.5, "filled_whole_share": 0.5, "median_ns_to_fill": 10,
    }  # fmt: skip
    assert (near["low"], near["high"], near["filled_share"], near["median_ns_to_fill"]) == (1, 2, 0.5, 40)
    assert (far["low"], far["high"], far["filled_share"], far["filled_whole_share"]) == (3, 4, 0.5, 0)
    assert far["median_ns_to_fill"] is None, "its fill is not among the records"


def test_nothing_traded_and_nothing_seen() -> None:
    run = made_run([200, 200], [])
    for one in (run, run._replace(ticks=run.ticks[:0], probabilities=run.probabilities[:0])):
        assert markouts(one)["maker"]["all"]["counted"] == [0] * len(DELTAS_NS)
        assert markouts(one)["taker"]["by_confidence"]["edges"] == []
        assert adverse_selection(one)["kept_share"] == [None] * len(DELTAS_NS)
        assert fill_probability(one) == {"orders": 0, "never_rested": 0, "bins": []}
        assert signal_decay(one, LINEAR)["h10"]["decisions"] == 0
