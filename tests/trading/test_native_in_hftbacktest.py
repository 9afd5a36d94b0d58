"""Inside an hftbacktest strategy the native step says what offline scoring says of the same ticks of any features."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import jax
import numpy as np
import pytest
from flax import nnx
from numba import njit
from numpy.typing import NDArray

from nanoarb_jax.artifacts.checkpoint import load_checkpoint, named_arrays
from nanoarb_jax.config import InputSpec, ModelConfig
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.features.flow import flow
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import LAST
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.readers.binance.feed import open_binance
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.backends.native.live import depth_step
from nanoarb_jax.serving.live import LivePredictor
from support.random_model import random_model
from support.series import joined

pytest.importorskip("hftbacktest", reason="needs the package hftbacktest")
from support.strategies import APART, LOT, REACH, REAL, SCALE, TICK, backtest, one_by_one, synthetic_events

pytestmark = [
    pytest.mark.usefixtures("compile_quickly"),
    pytest.mark.filterwarnings("default"),  # what hftbacktest warns of when it is compiled is not ours to judge
]
CHECKPOINT, SPREAD_SCALE = Path(__file__).parents[2] / "checkpoints" / "small", 2.5


@njit
def strategy(hbt, ends, weights, state, least, out, orders):  # type: ignore[no-untyped-def]
    """Wakes at the end of every message, predicts at every tick, quotes where it is sure; returns the ticks."""
    ticks, lot = 0, hbt.depth(0).lot_size
    hbt.elapse(0)  # only now does its time begin, at the first event
    for end in ends:
        if hbt.elapse(end + APART // 2 - hbt.current_timestamp) != 0:
            break
        if not depth_step(weights, state, hbt, 0, REACH, out[ticks]):
            continue
        depth = hbt.depth(0)
        if out[ticks, 0, 2] > least and hbt.position(0) < lot:
            hbt.submit_buy_order(0, ticks, depth.best_ask, lot, 0, 0, False)  # good till cancelled, limit
            orders[0] += 1
        elif out[ticks, 0, 0] > least and hbt.position(0) > -lot:
            hbt.submit_sell_order(0, ticks, depth.best_bid, lot, 0, 0, False)
            orders[1] += 1
        ticks += 1
    return ticks


def both_ways(model: MambaLOB, events: NDArray, tick_size: float) -> int:
    """Compares a strategy with offline scoring; returns how many orders it sent."""
    events = one_by_one(events)
    books = joined(list(tick_chunks([events], empty_state(tick_size, LOT, levels=20_000), TickClock(), "x")))
    assert books is not None
    native = NativeStep(pack(named_arrays(model), model.config), model.config, "v")
    spec = InputSpec(model.config.feature_set)  # type: ignore[arg-type]
    live = LivePredictor(native, spec, Instrument(tick_size, LOT, SCALE, SPREAD_SCALE))
    ends = events["local_ts"][(events["ival"] & LAST) > 0]
    out, orders = np.empty((len(ends), 3, 3), np.float32), np.zeros(2, np.int64)
    hbt = backtest(events, tick_size)
    ticks = strategy(hbt, ends, live.weights, live.state, 0.5, out, orders)
    hbt.close()
    assert ticks == books.rows == live.ticks
    offline = lob44(books, SCALE) if live.features.size == 44 else flow(books, SCALE, spread_scale=SPREAD_SCALE)
    np.testing.assert_array_equal(out[:ticks], native.scan(offline))
    np.testing.assert_array_equal(live.features, offline[-1])
    logits, _ = nnx.jit(lambda model, x: model.scan(x))(model, offline[None])
    np.testing.assert_allclose(out[:ticks], jax.nn.softmax(logits[0]), rtol=0, atol=1e-5)
    return int(orders.sum())


@pytest.mark.parametrize("feature_set", ["lob44", "flow"])
def test_a_synthetic_market(feature_set: Any) -> None:
    config = dataclasses.replace(ModelConfig.preset("small"), feature_set=feature_set)
    both_ways(random_model(config), synthetic_events(1), TICK)


def test_a_real_market(shared: Path) -> None:
    feed = open_binance([shared / REAL])
    model = load_checkpoint(CHECKPOINT).model
    assert both_ways(model, np.concatenate(list(feed.chunks)), feed.tick_size) > 0
