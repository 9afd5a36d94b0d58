"""Training rows are brought from streams on the host to the device: all of them once, or those of a few updates."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from nanoarb_jax.config import TrainConfig
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.training.batch import Picks, TrainingRows
from nanoarb_jax.training.plan import EpochPlan
from nanoarb_jax.training.trade_weights import RowWeights, make_row_weights

# Training rows stay on the device for the whole run if their features take no more bytes than this.
# Otherwise the rows of each call are sent there before it.
RESIDENT_BYTES = 2 << 30

Source = Callable[[EpochPlan], tuple[TrainingRows, Picks]]
Put = Callable[[TrainingRows], TrainingRows]


def make_source(streams: Sequence[Stream], ticks: int, config: TrainConfig, put: Put) -> Source:
    """Build what gives updates their rows.

    Args:
        streams: as numbered in the plans.
        ticks: rows per lane and update.
        config: of the loss.
        put: moves rows to the device, or to all of several.

    Returns:
        `(plan of some updates) -> (rows on the device, which of them each update is shown)`. The rows are always the
        same, the whole training part, if their features take no more than `RESIDENT_BYTES`.
    """
    weights = [make_row_weights(stream, config) for stream in streams]
    references = np.array([stream.features[0, 0] for stream in streams], np.float32)
    lengths = [stream.train[1] - stream.train[0] for stream in streams]
    if sum(lengths) * 4 * streams[0].features.shape[1] > RESIDENT_BYTES:

        def send(plan: EpochPlan) -> tuple[TrainingRows, Picks]:
            lanes = zip(plan.stream.ravel(), plan.start.ravel(), strict=True)
            rows = _joined([_rows(streams[i], start, ticks, weights[i]) for i, start in lanes])
            return put(rows), _picks(plan, ticks * np.arange(plan.start.size).reshape(plan.start.shape), references)

        return send

    everything = zip(streams, lengths, weights, strict=True)
    resident = put(_joined([_rows(stream, 0, length, weigh) for stream, length, weigh in everything]))
    first = np.cumsum([0, *lengths[:-1]])
    return lambda plan: (resident, _picks(plan, first[plan.stream] + plan.start, references))


def _rows(stream: Stream, start: int, count: int, weigh: RowWeights) -> TrainingRows:
    """`count` rows of a stream's training part, from the row `start` of that part."""
    first = stream.train[0] + start
    at = slice(first, first + count)
    return TrainingRows(stream.features[at], stream.labels[at], weigh(at))


def _joined(parts: Sequence[TrainingRows]) -> TrainingRows:
    """The rows of all parts, one after the other."""
    return TrainingRows(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def _picks(plan: EpochPlan, start: np.ndarray, references: np.ndarray) -> Picks:
    """The plan's chunks, with `start` counted in the rows on the device and each stream's price to reflect about."""
    return Picks(start.astype(np.int32), plan.mirrored, references[plan.stream], plan.age.astype(np.int32))
