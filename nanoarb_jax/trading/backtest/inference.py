"""How long predictions take on this machine, to be charged to the simulated clock."""

from __future__ import annotations

import time
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.market.book.state import APPLIED
from nanoarb_jax.serving.backends.native.live import TICKED, apply_events
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor

Inference = Literal["measured", "sampled"] | int
_TIMED = 2_000  # ticks
_SAMPLES = 1 << 16


class Waits(NamedTuple):
    """What predictions are charged.

    Attributes:
        waits_ns: (k,) int64, taken in turn.
        figures: how it is known, plain values: "how", and of what was measured "p50_ns", "p99_ns", "ticks".
    """

    waits_ns: NDArray[np.int64]
    figures: dict[str, Any]


def read_inference(text: str) -> Inference:
    """What `--inference` says: "measured", "sampled", or a number of ns.

    Raises:
        ConfigError: anything else.

    >>> from nanoarb_jax.trading.backtest.inference import read_inference
    >>> read_inference("2500")
    2500
    """
    if text in ("measured", "sampled"):
        return text  # type: ignore[return-value]
    if not text.isdigit() or int(text) > 60_000_000_000:
        raise ConfigError(f"inference {text!r}: expected measured, sampled, or ns from 0 to 60 s, e.g. 2500")
    return int(text)


def waits_of(inference: Inference, times_ns: NDArray[np.int64] | None, seed: int = 0) -> Waits:
    """What is charged for each prediction.

    Args:
        inference: a number of ns; "measured": the median of `times_ns` for all; "sampled": drawn from them.
        times_ns: of predictions on this machine; not needed for a number.
        seed: of the draws.
    """
    if isinstance(inference, int):
        return Waits(np.array([inference], np.int64), {"how": "given"})
    assert times_ns is not None
    p50, p99 = (int(of) for of in np.percentile(times_ns, [50, 99]))
    figures = {"how": inference, "p50_ns": p50, "p99_ns": p99, "ticks": len(times_ns)}
    if inference == "measured":
        return Waits(np.array([p50], np.int64), figures)
    return Waits(np.random.default_rng(seed).choice(times_ns, _SAMPLES), figures)


def time_live(live: LivePredictor, events: NDArray[np.void]) -> NDArray[np.int64]:
    """(k,) ns from the first event after one tick to the prediction of the next, in one compiled call each.

    The predictor is reset before and after.
    """
    events = np.require(events[: 200 * _TIMED], None, ["C", "A", "W"])
    live.reset()
    ends = live.apply_many(events)[0][:_TIMED].tolist()
    live.reset()
    at, probabilities = np.zeros(1, np.int64), np.zeros((1, len(live.horizons), 3), np.float32)
    times, start, clock = [], 0, time.perf_counter_ns
    for end in ends:
        began = clock()
        start, _, status = apply_events(live.weights, live.state, events, start, at, probabilities)
        times.append(clock() - began)
        if status not in (APPLIED, TICKED) or at[0] != end:
            break  # the book has no room here yet; what was timed so far is told
    live.reset()
    return np.array(times or [0], np.int64)


def time_steps(predictor: StepPredictor | WindowPredictor, features: NDArray[np.float32]) -> NDArray[np.int64]:
    """(k,) ns of `update`, without the book and the features; the predictor is reset before and after."""
    predictor.reset()
    times = []
    for tick in np.array(features[:_TIMED]):
        began = time.perf_counter_ns()
        predictor.update(tick)
        times.append(time.perf_counter_ns() - began)
    predictor.reset()
    return np.array(times or [0], np.int64)
