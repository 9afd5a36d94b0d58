"""Log-probabilities of a model over streams: state carried from tick to tick as in production, or window by window."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from flax import nnx

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.model.transform import Statistic

CHUNK = 512
WINDOWS = 128  # scored at a time

Score = Callable[[Any, np.ndarray, ModelState], tuple[jax.Array, ModelState]]


def make_score(model: MambaLOB) -> Score:
    """Compile `(params, x (s, l, f), state) -> (log-probabilities (s, l, h, c), state)`."""
    graph, _, *frozen = nnx.split(model, nnx.Param, Statistic)

    def score(params: Any, x: jax.Array, state: ModelState) -> tuple[jax.Array, ModelState]:
        logits, state = nnx.merge(graph, params, *frozen).scan(x, state)
        return jax.nn.log_softmax(logits), state

    return jax.jit(score, donate_argnums=2)


def score_streams(
    score: Score, params: Any, model: MambaLOB, streams: Sequence[Stream], rows: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """Score the given rows of each stream, all streams side by side.

    Args:
        score: from `make_score`, compiled once and used for many weights.
        params: weights to use.
        model: gives the initial state.
        streams: any lengths.
        rows: (first, past the last) of each stream; the state starts fresh at the first, so begin early to warm up, and
            again at the first row of every later session.

    Returns:
        One (rows, h, c) array of log-probabilities per stream.
    """
    lanes = [(s, *part) for s, (start, stop) in zip(streams, rows, strict=True) for part in s.sessions(start, stop)]
    longest = max(stop - start for _, start, stop in lanes)
    state, parts = model.initial_state(len(lanes)), []
    for begin in range(0, longest, CHUNK):
        x = np.stack([_chunk(stream, start + begin, stop) for stream, start, stop in lanes])
        log_p, state = score(params, x, state)
        parts.append(np.asarray(log_p))
    joined = np.concatenate(parts, axis=1)
    scored = iter([joined[i, : stop - start] for i, (_, start, stop) in enumerate(lanes)])
    return [np.concatenate([next(scored) for _ in s.sessions(*part)]) for s, part in zip(streams, rows, strict=True)]


def _chunk(stream: Stream, start: int, stop: int) -> np.ndarray:
    """CHUNK rows from `start`; past `stop` the last row repeats, and what is scored there is thrown away."""
    return stream.features[np.clip(np.arange(start, start + CHUNK), 0, stop - 1)]


def score_windows(
    model: MambaLOB, streams: Sequence[Stream], rows: Sequence[Sequence[tuple[int, int]]]
) -> list[np.ndarray]:
    """Score rows as a window model does: a fresh state and the last `config.window` ticks for each.

    Where a session has fewer ticks so far, its first tick is repeated at the old end, as `WindowPredictor` does.

    Args:
        model: as trained.
        streams: any lengths.
        rows: ranges (first, past the last) of each stream to score.

    Returns:
        One (n, h, c) array of log-probabilities per stream, NaN at rows that were not asked for.

    Raises:
        DataError: a row has fewer earlier rows than a window needs.
    """
    graph, weights = nnx.split(model)
    window, horizons, classes = model.config.window, len(model.config.horizons), model.config.num_classes

    @jax.jit
    def score(weights: Any, x: jax.Array) -> jax.Array:
        return jax.nn.log_softmax(nnx.merge(graph, weights)(x))

    scored = []
    for stream, ranges in zip(streams, rows, strict=True):
        log_probs = np.full((stream.rows, horizons, classes), np.nan, np.float32)
        asked = np.unique(np.concatenate([np.arange(*part) for part in ranges]))
        if asked[0] < window - 1:
            raise DataError(
                f"stream {stream.name!r}: row {asked[0]} has no window of {window} ticks; expected rows from "
                f"{window - 1} on"
            )
        first = _session_starts(stream)
        for begin in range(0, len(asked), WINDOWS):
            at = asked[begin : begin + WINDOWS]
            # one shape for all: past the last the last repeats
            full = np.pad(at, (0, WINDOWS - len(at)), mode="edge")
            ticks = np.maximum(full[:, None] + np.arange(1 - window, 1), first[full][:, None])
            log_probs[at] = np.asarray(score(weights, stream.features[ticks]))[: len(at)]
        scored.append(log_probs)
    return scored


def _session_starts(stream: Stream) -> np.ndarray:
    """The first row of every row's session, (n,)."""
    sessions = stream.sessions(0, stream.rows)
    return np.repeat([start for start, _ in sessions], [stop - start for start, stop in sessions])
