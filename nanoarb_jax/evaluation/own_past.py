"""What the own past of each series adds to forecasts: to the model's by adaptation, to all of them by recalibration."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.adaptation.fit import Adaptation, Evidence, Past, adapt, adapted_log_probs
from nanoarb_jax.adaptation.online import recalibrate_stream
from nanoarb_jax.data.prepare import usable_cores
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.tuned_models import one_thread
from nanoarb_jax.evaluation.uncertainty import FITTED_BASELINES, ONLINE

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.checkpoint import Checkpoint


class ModelForecasts(NamedTuple):
    """What a model says of streams, one entry for each.

    Attributes:
        log_probs: (n, h, c) arrays, state carried from the first row.
        adapted: the same after adaptation to the stream's training and validation rows; None: not asked for.
        reports: how each was adapted, see `Adaptation.report`.
    """

    log_probs: list[NDArray[np.float32]]
    adapted: list[NDArray[np.float32]] | None = None
    reports: list[dict[str, dict[str, Any]]] | None = None

    def join(self, other: ModelForecasts) -> ModelForecasts:
        """These, then those of other streams; both adapted, or neither."""
        return ModelForecasts(
            *(None if a is None or b is None else a + b for a, b in zip(self, other, strict=True))  # type: ignore[arg-type]
        )

    def select(self, order: Sequence[int]) -> ModelForecasts:
        """Those of some streams, in this order."""
        return ModelForecasts(*(None if part is None else [part[i] for i in order] for part in self))  # type: ignore[arg-type]


def forecast_streams(checkpoint: Checkpoint, streams: Sequence[Stream], adapted: bool = False) -> ModelForecasts:
    """Let a model forecast whole streams, as it is and, if asked, adapted to each of them."""
    from flax import nnx

    from nanoarb_jax.evaluation.scoring import make_score, read_out_streams, score_streams

    model = checkpoint.model
    if not adapted:
        rows = [(0, stream.rows) for stream in streams]
        return ModelForecasts(score_streams(make_score(model), nnx.state(model, nnx.Param), model, streams, rows))
    evidence, horizons = read_out_streams(model, streams), checkpoint.config.horizons
    found = adapt_each(evidence, streams, horizons)
    return ModelForecasts(
        [adapted_log_probs(one, ()) for one in evidence],
        [adapted_log_probs(one, adaptation.terms) for one, adaptation in zip(evidence, found, strict=True)],
        [adaptation.report for adaptation in found],
    )


def adapt_each(evidence: Sequence[Evidence], streams: Sequence[Stream], horizons: Sequence[int]) -> list[Adaptation]:
    """An adaptation to each stream, as many at once as there are cores for this process."""

    def one(pair: tuple[Evidence, Stream]) -> Adaptation:
        known, stream = pair
        return adapt([Past(known, stream.labels, stream.train, stream.validation)], horizons)

    with one_thread(), ThreadPoolExecutor(usable_cores()) as pool:
        return list(pool.map(one, zip(evidence, streams, strict=True)))


def with_recalibrated(
    judges: Mapping[str, Sequence[NDArray[np.floating]]],
    streams: Sequence[Stream],
    horizons: Sequence[int],
    forgetting: float | None,
) -> Mapping[str, Sequence[NDArray[np.floating]]]:
    """Judges, and those that learnt from data once more, recalibrated as labels become known, as "NAME_online".

    The first judge and every fitted baseline learn, all in the same way, from the first row after the training part on:
    what was fitted to the training rows is too sure of them to be recalibrated there. "FIRST_online" comes second.

    Args:
        judges: {name: log-probabilities of each stream}, see `judge_streams`.
        streams, horizons: as there.
        forgetting: see `recalibrate_stream`; None: the judges as they are.
    """
    if forgetting is None:
        return judges
    first = next(iter(judges))
    online = {
        f"{name}{ONLINE}": [
            recalibrate_stream(log_p, stream.labels, stream.session_starts, horizons, forgetting, stream.train[1])
            for log_p, stream in zip(log_probs, streams, strict=True)
        ]
        for name, log_probs in judges.items()
        if name == first or name in FITTED_BASELINES
    }
    return {first: judges[first], f"{first}{ONLINE}": online.pop(f"{first}{ONLINE}"), **judges, **online}
