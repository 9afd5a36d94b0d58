"""Inside an hftbacktest strategy the native step says what offline scoring says of the same ticks."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx
from numba import njit
from numpy.typing import NDArray
from test_ticks import joined

from nanoarb_jax.checkpoint import load_checkpoint, named_arrays
from nanoarb_jax.market.book import empty_state
from nanoarb_jax.market.depth import copy_depth
from nanoarb_jax.market.event import LAST
from nanoarb_jax.market.features import FeatureScale, lob44, lob44_row
from nanoarb_jax.market.readers.binance import open_binance
from nanoarb_jax.market.series import LEVELS
from nanoarb_jax.market.ticks import TickClock, tick_chunks
from nanoarb_jax.serving.native import NativeStep, initial_state, pack, step

pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
from test_hftbacktest import APART, LOT, REACH, REAL, SCALE, TICK, backtest, one_by_one, synthetic_events

pytestmark = pytest.mark.filterwarnings("default")  # what hftbacktest warns of when it is compiled is not ours to judge
CHECKPOINT = Path(__file__).parents[1] / "checkpoints" / "small"


@njit
def strategy(hbt, ends, scale, weights, state, least, top, before, features, out, orders):  # type: ignore[no-untyped-def]
    """Wakes at the end of every message, predicts at every tick, quotes where it is sure; returns the ticks."""
    ticks, lot = 0, hbt.depth(0).lot_size
    hbt.elapse(0)  # only now does its time begin, at the first event
    for end in ends:
        if hbt.elapse(end + APART // 2 - hbt.current_timestamp) != 0:
            break
        depth = hbt.depth(0)
        if not copy_depth(depth, LOT, REACH, top) or (top == before).all():
            continue
        before[:] = top
        lob44_row(top[0], top[1], top[2], top[3], scale, features)
        step(weights, state, features, out[ticks])
        if out[ticks, 0, 2] > least and hbt.position(0) < lot:
            hbt.submit_buy_order(0, ticks, depth.best_ask, lot, 0, 0, False)  # good till cancelled, limit
            orders[0] += 1
        elif out[ticks, 0, 0] > least and hbt.position(0) > -lot:
            hbt.submit_sell_order(0, ticks, depth.best_bid, lot, 0, 0, False)
            orders[1] += 1
        ticks += 1
    return ticks


def both_ways(events: NDArray, tick_size: float) -> int:
    """Compares a strategy with offline scoring; returns how many orders it sent."""
    events = one_by_one(events)
    books = joined(list(tick_chunks([events], empty_state(tick_size, LOT, levels=20_000), TickClock(), "x")))
    assert books is not None
    checkpoint = load_checkpoint(CHECKPOINT)
    weights = pack(named_arrays(checkpoint.model), checkpoint.config)
    ends = events["local_ts"][(events["ival"] & LAST) > 0]
    out, orders = np.empty((len(ends), 3, 3), np.float32), np.zeros(2, np.int64)
    top, before, features = *np.zeros((2, 4, LEVELS), np.int64), np.empty(44, np.float32)
    hbt = backtest(events, tick_size)
    scale, state = FeatureScale.of(books, SCALE), initial_state(weights)
    ticks = strategy(hbt, ends, scale, weights, state, 0.5, top, before, features, out, orders)
    hbt.close()
    assert ticks == books.rows
    offline = lob44(books, SCALE)
    np.testing.assert_array_equal(out[:ticks], NativeStep(weights, checkpoint.config, "v").scan(offline))
    logits, _ = nnx.jit(lambda model, x: model.scan(x))(checkpoint.model, offline[None])
    np.testing.assert_allclose(out[:ticks], jax.nn.softmax(logits[0]), rtol=0, atol=1e-5)
    return int(orders.sum())


def test_a_synthetic_market() -> None:
    both_ways(synthetic_events(1), TICK)


def test_a_real_market(shared: Path) -> None:
    feed = open_binance([shared / REAL])
    assert both_ways(np.concatenate(list(feed.chunks)), feed.tick_size) > 0
