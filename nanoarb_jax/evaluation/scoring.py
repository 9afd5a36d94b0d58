"""Log-probabilities of a model over streams: state carried from tick to tick as in production, or window by window."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.adaptation.fit import Evidence
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.lanes import choose_shape, lay_out
from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.model.transform import Statistic

WINDOWS = 128  # scored at a time

# (params, x (s, l, f), state, fresh (s,) bool) -> (log-probabilities (s, l, h, c), state)
Score = Callable[[Any, np.ndarray, ModelState, np.ndarray], tuple[jax.Array, ModelState]]


def make_score(model: MambaLOB) -> Score:
    """The scoring of some rows of several lanes; the state of lanes that are `fresh` starts anew.

    Models of the same structure share one compiled program, whatever their weights and statistics are.
    """
    graph, _, *statistics = nnx.split(model, nnx.Param, Statistic)
    return functools.partial(_score, graph, jax.device_get(statistics))


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _score(
    graph: Any, statistics: Any, params: Any, x: jax.Array, state: ModelState, fresh: jax.Array
) -> tuple[jax.Array, ModelState]:
    model = nnx.merge(graph, params, *statistics)
    logits, state = model.scan(x, _begin_anew(model, state, fresh))
    return jax.nn.log_softmax(logits), state


def score_streams(
    score: Score, params: Any, model: MambaLOB, streams: Sequence[Stream], rows: Sequence[tuple[int, int]]
) -> list[np.ndarray]:
    """Score the given rows of each stream, as if each were scored alone.

    Sessions are laid into lanes that are scored side by side, see `lanes`; only the rows of a call are read at a time.

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
    shape = (len(model.config.horizons), model.config.num_classes)
    return _score_lanes(functools.partial(score, params), model, streams, rows, shape)


def _score_lanes(
    score: Callable[[np.ndarray, ModelState, np.ndarray], tuple[jax.Array, ModelState]],
    model: MambaLOB,
    streams: Sequence[Stream],
    rows: Sequence[tuple[int, int]],
    shape: tuple[int, ...],
) -> list[np.ndarray]:
    """`score_streams` for scores of any shape."""
    scored = [np.empty((stop - start, *shape), np.float32) for start, stop in rows]
    sessions = [
        (stream.features[first:last], out[first - start : last - start])
        for stream, out, (start, stop) in zip(streams, scored, rows, strict=True)
        for first, last in stream.sessions(start, stop)
    ]
    lengths = [len(features) for features, _ in sessions]
    lanes, chunk = choose_shape(lengths)
    state = model.initial_state(lanes)
    x = np.zeros((lanes, chunk, model.config.input_dim), np.float32)
    for session, first in zip(*lay_out(lengths, lanes, chunk), strict=True):
        turns = [(lane, *sessions[session[lane]], first[lane]) for lane in np.flatnonzero(session >= 0)]
        for lane, features, _, row in turns:
            _fill(x[lane], features[row : row + chunk])
        scores, state = score(x, state, first == 0)
        log_p = np.asarray(scores)  # waits, so that x may be written again
        for lane, _, out, row in turns:
            out[row : row + chunk] = log_p[lane, : len(out) - row]
    return scored


def read_out_streams(model: MambaLOB, streams: Sequence[Stream]) -> list[Evidence]:
    """What the model says and knows at every row of streams, state carried from their first row, see `Evidence`."""
    graph, weights, *statistics = nnx.split(model, nnx.Param, Statistic)
    config = model.config
    widths = np.cumsum([len(config.horizons) * config.num_classes, config.hidden_dim, model.transform.output_dim])
    read_out = functools.partial(_read_out, graph, jax.device_get(statistics), weights)
    rows = [(0, stream.rows) for stream in streams]
    found = []
    for flat in _score_lanes(read_out, model, streams, rows, (int(widths[-1]),)):
        logits, last, inputs = np.split(flat, widths[:-1], axis=1)
        found.append(Evidence(logits.reshape(len(flat), -1, config.num_classes), last, inputs))
    return found


@functools.partial(jax.jit, static_argnums=0, donate_argnums=4)
def _read_out(
    graph: Any, statistics: Any, params: Any, x: jax.Array, state: ModelState, fresh: jax.Array
) -> tuple[jax.Array, ModelState]:
    model = nnx.merge(graph, params, *statistics)
    readout, state = model.read_out(x, _begin_anew(model, state, fresh))
    logits = model.logits(readout)
    return jnp.concatenate([logits.reshape(*logits.shape[:2], -1), *readout], axis=-1), state


def _begin_anew(model: MambaLOB, state: ModelState, fresh: jax.Array) -> ModelState:
    """The state, in fresh lanes that before the first tick."""
    initial = model.initial_state(len(fresh))
    return jax.tree.map(lambda a, b: jnp.where(fresh.reshape(-1, *(1,) * (a.ndim - 1)), a, b), initial, state)


def _fill(x: np.ndarray, features: np.ndarray) -> None:
    """Write rows to the start of x; after the last it repeats, and what is scored there is thrown away."""
    x[: len(features)] = features
    x[len(features) :] = features[-1]


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

    scored = []
    for stream, ranges in zip(streams, rows, strict=True):
        log_probs = np.full((stream.rows, horizons, classes), np.nan, np.float32)
        asked = np.unique(np.concatenate([np.arange(*part) for part in ranges]))
        if asked[0] < window - 1:
            raise DataError(
                f"stream {stream.name!r}: row {asked[0]} has no window of {window} ticks; expected rows from "
                f"{window - 1} on"
            )
        first = stream.session_starts
        for begin in range(0, len(asked), WINDOWS):
            at = asked[begin : begin + WINDOWS]
            # one shape for all: past the last the last repeats
            full = np.pad(at, (0, WINDOWS - len(at)), mode="edge")
            ticks = np.maximum(full[:, None] + np.arange(1 - window, 1), first[full][:, None])
            log_probs[at] = np.asarray(_score_windows(graph, weights, stream.features[ticks]))[: len(at)]
        scored.append(log_probs)
    return scored


@functools.partial(jax.jit, static_argnums=0)
def _score_windows(graph: Any, weights: Any, x: jax.Array) -> jax.Array:
    return jax.nn.log_softmax(nnx.merge(graph, weights)(x))
