"""A model at work in a series: its predictions, whoever computes them, traded by a strategy."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.artifacts.card import ModelCard
from nanoarb_jax.config import InputSpec
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.features.live_state import grow_state, new_state
from nanoarb_jax.market.anomaly import FEED_DEFAULTS
from nanoarb_jax.market.book.state import NEEDS_LEVELS, NEEDS_ORDERS
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.serving.loading import read_card
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.window import WindowPredictor
from nanoarb_jax.trading.backtest.inference import time_live, time_steps
from nanoarb_jax.trading.backtest.market import TradedSeries
from nanoarb_jax.trading.backtest.records import TICK, Recorded
from nanoarb_jax.trading.backtest.run import Note, trade_live, trade_recorded
from nanoarb_jax.trading.backtest.ticks import ADVANCED, ENDED, LiveSource, advance_unpredicted
from nanoarb_jax.trading.contract import Strategy
from nanoarb_jax.trading.limits import Limits

Backend = Literal["native", "jax", "onnx"]


class Model(NamedTuple):
    """A model as a backtest uses it.

    Attributes:
        path: checkpoint folder, run folder or exported file.
        backend: what computes.
        precision: of the native step's weights.
        card: what it says of itself.
    """

    path: Path
    backend: Backend
    precision: str
    card: ModelCard

    @property
    def horizons(self) -> tuple[int, ...]:
        """In ticks."""
        return tuple(self.card.config.horizons)


def open_model(path: Path, backend: Backend = "native", precision: str = "fp32") -> Model:
    """Read a model's card.

    Raises:
        ConfigError: it does not say what it reads.
        CheckpointError, ExportError: see `StepPredictor.load`.
    """
    card = read_card(path, backend)
    if card.input is None:
        raise ConfigError(f"{path}: does not say what its model reads (features, clock); train or export it anew")
    return Model(path, backend, precision, card)


def traded_rows(series: TradedSeries, split: str | None) -> tuple[int, int]:
    """(first, stop) ticks of a series that are traded: of its part, without those that its scales were measured on.

    Raises:
        DataError: a part of a series that has none, or no ticks.
    """
    if split is None:
        first, stop = series.scales.warm_up, series.stream.rows
    elif series.unlabelled:
        raise DataError(f"series {series.stream.name!r}: has no {split} part ({series.unlabelled})")
    else:
        first, stop = getattr(series.stream, split)
    if stop <= first:
        raise DataError(f"series {series.stream.name!r}: {series.stream.rows:,} ticks, none of them to be traded")
    return first, stop


def trade_model(
    model: Model,
    series: TradedSeries,
    strategy: Strategy,
    limits: Limits,
    waits_ns: NDArray[np.int64],
    rows: tuple[int, int],
    note: Note | None = None,
) -> Recorded:
    """Trade on a model's predictions: in one compiled loop by the native backend, else on what was predicted before.

    Args:
        model: that predicts.
        series: that is traded.
        strategy: decides.
        limits: hold.
        waits_ns: (k,) how long predictions take, taken in turn.
        rows: (first, stop) ticks that are traded.
        note: told how far the market's time has come.

    Raises:
        DataError: the ticks of the events are not those of the stream, which would be a fault of this library.
        ConfigError: see `LivePredictor`.
    """
    try:
        recorded = _trade(model, series, strategy, limits, waits_ns, rows, note)
    except DataError as error:
        raise DataError(f"series {series.stream.name!r}: {error}") from error
    check_ticks(recorded.ticks, series, rows)
    return recorded


def _trade(
    model: Model,
    series: TradedSeries,
    strategy: Strategy,
    limits: Limits,
    waits_ns: NDArray[np.int64],
    rows: tuple[int, int],
    note: Note | None,
) -> Recorded:
    if model.backend == "native":
        live = LivePredictor.load(model.path, series.instrument, precision=model.precision, policy=series.policy)
        return trade_live(series.venue, live, series.events, strategy, limits, waits_ns, note, rows)
    predictor = _predictor(model)
    assert model.card.input is not None
    ticks = read_ticks(series, model.card.input, predictor.warm_up, rows)
    probabilities = predict(predictor, series.stream, rows[1])[rows[0] :]
    return trade_recorded(series.venue, ticks, probabilities, strategy, limits, waits_ns, note)


def time_model(model: Model, series: TradedSeries) -> NDArray[np.int64]:
    """(k,) ns that predictions take on this machine: by the native backend from the event on, else of `update`."""
    if model.backend == "native":
        live = LivePredictor.load(model.path, series.instrument, precision=model.precision, policy=series.policy)
        return time_live(live, series.events)
    return time_steps(_predictor(model), series.stream.features)


def _predictor(model: Model) -> StepPredictor | WindowPredictor:
    if model.backend == "onnx" and model.path.is_file() and model.card.kind == "window":
        return WindowPredictor.load(model.path)
    return StepPredictor.load(model.path, backend=model.backend, precision=model.precision)


def predict(predictor: StepPredictor | WindowPredictor, stream: Stream, stop: int) -> NDArray[np.float32]:
    """(stop, h, 3) probabilities of the first ticks, each session from a fresh state."""
    found = []
    for first, last in stream.sessions(0, stop):
        predictor.reset()
        features = np.array(stream.features[first:last])
        if isinstance(predictor, StepPredictor):
            found.append(predictor.score(features))
        else:
            found.append(np.stack([predictor.update(tick).probabilities for tick in features]))
    predictor.reset()
    return np.concatenate(found)


def read_ticks(series: TradedSeries, spec: InputSpec, warm_up: int, rows: tuple[int, int]) -> NDArray[np.void]:
    """(n,) TICK from rows[0] to rows[1], of the series' events, without a model.

    Args:
        series: whose events are read.
        spec: what a model reads.
        warm_up: ticks of a session until a model's predictions are ready.
        rows: (first, stop).
    """
    one = series.instrument
    sizes = (one.tick_size, one.lot_size, one.quantity_scale, one.spread_scale)
    state = new_state(spec, *sizes, policy={**FEED_DEFAULTS, **series.policy}, levels=8_192, warm_up=warm_up)
    events, at, cursor = np.require(series.events, None, ["C", "A", "W"]), np.zeros(2, np.int64), 0
    found, nothing = [], np.zeros((1, 1, 3), np.float32)
    room = np.zeros(1, TICK)
    while True:
        shift_ns = series.venue.day.local_shift_ns
        source = LiveSource(state[:0], state, events, shift_ns, 1.0 / one.lot_size, rows[0], rows[1], at)
        status, cursor = advance_unpredicted(source, cursor, room, 0, nothing)
        if status == ADVANCED:
            found.append(room.copy())
        elif status in (NEEDS_LEVELS, NEEDS_ORDERS):
            state = grow_state(state, status)
        elif status == ENDED:
            break
        else:
            raise DataError(f"series {series.stream.name!r}: an anomaly whose policy is to raise; see predict")
    return np.concatenate(found[rows[0] :])


def check_ticks(ticks: NDArray[np.void], series: TradedSeries, rows: tuple[int, int]) -> None:
    """Refuse a run over other ticks than the stream has.

    Raises:
        DataError: they differ.
    """
    mid = 0.5 * (ticks["bid_ticks"] + ticks["ask_ticks"]) * series.market.tick_size
    wanted = series.stream.mid[slice(*rows)]
    if len(mid) != len(wanted) or not np.allclose(mid, wanted, rtol=1e-9, atol=1e-9):
        raise DataError(
            f"series {series.stream.name!r}: its events make {len(mid):,} ticks, its books {len(wanted):,} or others; "
            "please report this"
        )
