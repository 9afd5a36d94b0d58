"""The making of a calibration table: what moves followed each class, and what trades on probabilities were worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import CLASS_NAMES
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.errors import DataError
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.serving.feeds import Feeds
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.trading.calibration import Calibration, HorizonTable, Tables, ThresholdRow
from nanoarb_jax.trading.forecast import DOWN, UP
from nanoarb_jax.trading.outcomes import Outcomes, outcomes_of

THRESHOLDS = tuple(percent / 100 for percent in range(40, 100, 5))  # .40, .45, … .95


class _Counted(NamedTuple):
    """Of one series, in a form that adds up to that of several.

    Attributes:
        rows: (h, 3) training rows of each class.
        sums: (h, 3) their moves together, in ticks.
        trades: of every horizon and threshold (k, 3): gross ticks, net ticks, net basis points of each trade.
    """

    rows: NDArray[np.int64]
    sums: NDArray[np.float64]
    trades: list[list[NDArray[np.float64]]]


def calibrate(
    predictor: StepPredictor, feeds: Feeds, horizons: Sequence[int], taker_fee: float = 0.0, note: Note = silent
) -> Calibration:
    """The calibration table of a model on labelled series.

    Args:
        predictor: of the model; reset first.
        feeds: of `open_feeds`, with the model's horizons. Series that are too short for labels are left out.
        horizons: (h,) of the model, in ticks.
        taker_fee: share of the value, each way.
        note: called with the name of the series that begins.

    Raises:
        DataError: other horizons or features than the model's, no labelled series, or a class without a training row.
    """
    if tuple(feeds.dataset.horizons) != tuple(horizons):
        raise DataError(
            f"dataset: labelled at {tuple(feeds.dataset.horizons)} ticks, the model predicts {tuple(horizons)}; "
            "prepare it with the model's horizons"
        )
    outcomes = []
    for stream in feeds.dataset.streams:
        if stream.name not in feeds.unlabelled:
            note(stream.name)
            outcomes.append(outcomes_of(predictor, stream, horizons, feeds.scales[stream.name].warm_up))
    if not outcomes:
        raise DataError(f"no series is long enough to learn from: {'; '.join(feeds.unlabelled.values())}")
    return make_calibration(outcomes, horizons, predictor.version, taker_fee)


def make_calibration(
    outcomes: Sequence[Outcomes], horizons: Sequence[int], version: str, taker_fee: float = 0.0
) -> Calibration:
    """The table, of arrays alone: moves by class of training parts, trades by threshold of validation parts.

    A series without one of the classes in its training part has no table of its own; its rows count in the others.

    Args:
        outcomes: of every series.
        horizons: (h,) of the model, in ticks.
        version: of the weights.
        taker_fee: share of the value, each way.

    Raises:
        DataError: a class has no training row in any series.
    """
    counted = {one.name: _count(one, horizons, taker_fee) for one in outcomes}
    series = {name: _tables([of]) for name, of in counted.items() if of.rows.all()}
    by_instrument: dict[str, list[_Counted]] = {}
    for one in outcomes:
        by_instrument.setdefault(one.instrument, []).append(counted[one.name])
    instruments = {name: _tables(of) for name, of in by_instrument.items() if _rows(of).all()}
    for row, label in np.argwhere(_rows(list(counted.values())) == 0):
        raise DataError(f"no training row is labelled {CLASS_NAMES[label]} at {horizons[row]} ticks; give more data")
    pooled = _tables(list(counted.values()))
    return Calibration(version, tuple(horizons), float(taker_fee), series, instruments, pooled)


def _count(one: Outcomes, horizons: Sequence[int], taker_fee: float) -> _Counted:
    labels, moves = one.labels[slice(*one.train)], one.moves_ticks[slice(*one.train)]
    rows, sums = np.zeros((len(horizons), 3), np.int64), np.zeros((len(horizons), 3))
    for column in range(len(horizons)):
        known = (labels[:, column] != UNDEFINED) & np.isfinite(moves[:, column])
        chosen = labels[known, column].astype(np.int64)
        rows[column] = np.bincount(chosen, minlength=3)
        sums[column] = np.bincount(chosen, weights=moves[known, column], minlength=3)
    trades = [
        [threshold_trades(one, column, horizon, threshold, taker_fee) for threshold in THRESHOLDS]
        for column, horizon in enumerate(horizons)
    ]
    return _Counted(rows, sums, trades)


def threshold_trades(
    one: Outcomes, column: int, horizon: int, threshold: float, taker_fee: float = 0.0
) -> NDArray[np.float64]:
    """Trades of the validation part that open where up or down reaches a threshold and last a horizon.

    As `decide_taker` enters: the likelier one of up and down, if its probability reaches the threshold. As in
    `evaluation.trading.trades`, they do not overlap, and cross the spread at both ends.

    Args:
        one: the series.
        column: of the horizon.
        horizon: in ticks.
        threshold: least probability.
        taker_fee: share of the value, each way.

    Returns:
        (k, 3) of k trades: gross ticks, net ticks after the spread, net basis points of the mid after spread and fees.
    """
    rows = np.arange(*one.validation)
    p = one.probabilities[slice(*one.validation), column]
    direction = (p[:, UP] >= threshold).astype(np.int64) * (p[:, UP] > p[:, DOWN])
    direction -= (p[:, DOWN] >= threshold).astype(np.int64) * (p[:, DOWN] > p[:, UP])
    opening = (direction != 0) & one.ready[rows] & np.isfinite(one.moves_ticks[rows, column])
    chosen = _apart(rows[opening], horizon)
    entry, side = rows[opening][chosen], direction[opening][chosen]
    leave = entry + horizon
    gross = side * one.moves_ticks[entry, column]
    spread = one.spread.astype(np.float64)
    net = gross - (spread[entry] + spread[leave]) / 2
    bought, sold = one.mid[entry], one.mid[leave]
    fees = taker_fee * (np.abs(bought) + np.abs(sold))
    with np.errstate(divide="ignore", invalid="ignore"):  # a spread of contracts trades at 0, too
        net_bp = 1e4 * (net * one.tick_size - fees) / np.abs(bought)
    return np.stack([gross, net, net_bp], axis=1)


def _apart(rows: NDArray[np.int64], horizon: int) -> list[int]:
    """Positions in ascending rows: the first, then always the next that is at least a horizon later."""
    following = np.searchsorted(rows, rows + horizon)
    chosen, at = [], 0
    while at < len(rows):
        chosen.append(at)
        at = int(following[at])
    return chosen


def _rows(counted: Sequence[_Counted]) -> NDArray[np.int64]:
    return np.sum([one.rows for one in counted], axis=0)


def _tables(counted: Sequence[_Counted]) -> Tables:
    """Of some series together; every class has a row."""
    rows, sums = _rows(counted), np.sum([one.sums for one in counted], axis=0)
    tables = []
    for column in range(len(rows)):
        trades = [np.concatenate([one.trades[column][i] for one in counted]) for i in range(len(THRESHOLDS))]
        down, neutral, up = (sums[column] / rows[column]).tolist()
        of_rows = tuple(rows[column].tolist())
        thresholds = tuple(_row(threshold, of) for threshold, of in zip(THRESHOLDS, trades, strict=True))
        tables.append(HorizonTable((down, neutral, up), of_rows, thresholds))
    return tuple(tables)


def _row(threshold: float, trades: NDArray[np.float64]) -> ThresholdRow:
    gross, net, bp = (_mean(column) for column in trades.T)
    return ThresholdRow(threshold, len(trades), gross, net, bp)


def _mean(values: NDArray[np.float64]) -> float | None:
    """Of the finite ones; None without one."""
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None
