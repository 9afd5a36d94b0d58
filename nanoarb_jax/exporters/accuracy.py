"""How far an exported file is from the JAX model, measured as it is served, with the state carried."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import Dataset, check_fit
from nanoarb_jax.data.streams import make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.evaluation.metrics import confusion_counts, mcc_from_confusion
from nanoarb_jax.features.feature_set import feature_set_of
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.backends.native import NativeStep
from nanoarb_jax.serving.backends.onnx.file import ModelInfo, load_session
from nanoarb_jax.serving.backends.onnx.step import OnnxStep
from nanoarb_jax.simulation.market import synthetic_books

ROWS = 2_000  # of each series
WINDOWS, AT_ONCE = 64, 16  # of each series, and per call

_scan = nnx.jit(lambda model, x: model.scan(x)[0])
_window = nnx.jit(lambda model, x: model(x))


class Sample(NamedTuple):
    """A stream to compare on: features (n, f) float32; labels (n, h) int8, or None where there are none."""

    features: np.ndarray
    labels: np.ndarray | None


class Outputs(NamedTuple):
    """Of one path at n ticks: logits and probabilities (n, h, c); the native step gives no logits."""

    logits: np.ndarray | None
    probabilities: np.ndarray


@dataclass(frozen=True)
class Accuracy:
    """What a file loses against the JAX model in float32.

    Args:
        measured_on: the data, in words.
        ticks: compared.
        max_logit_difference, max_probability_difference: largest over ticks, horizons, classes; None without logits.
        changed_directions: share of ticks and horizons whose most probable class is another.
        mcc: of the JAX model's most probable class, mean over series and horizons; None without labels.
        mcc_change: the file's less that.
    """

    measured_on: str
    ticks: int
    max_logit_difference: float | None
    max_probability_difference: float
    changed_directions: float
    mcc: float | None
    mcc_change: float | None


def labelled_samples(model: MambaLOB, data: Dataset) -> list[Sample]:
    """The test part of each series, `ROWS` rows at most; a window of rows before it where it is shorter than that.

    Raises:
        DataError: the dataset has other features or horizons, or a series shorter than a window.
    """
    check_fit(data, model.config)
    samples = []
    for stream in data.streams:
        start, stop = stream.test
        start = max(0, min(start, stop - model.config.window))
        rows = slice(start, min(stop, start + ROWS))
        if rows.stop - start < model.config.window:
            raise DataError(f"stream {stream.name!r}: {stop} rows; expected a window of {model.config.window} at least")
        samples.append(Sample(np.ascontiguousarray(stream.features[rows]), stream.labels[rows]))
    return samples


def synthetic_sample(model: MambaLOB) -> Sample:
    """A labelled stream of a seeded simulated market; noise where the features have no names."""
    config, made = model.config, feature_set_of(model.config.input_dim)
    if made is None:
        return Sample(np.random.default_rng(0).standard_normal((ROWS, config.input_dim), np.float32), None)
    rows = max(ROWS, config.window, 20 * max(config.horizons))
    stream = make_stream(synthetic_books(rows, seed=0), DataConfig(horizons=config.horizons, feature_set=made.name))
    return Sample(stream.features[-ROWS:], stream.labels[-ROWS:])


def compare(content: bytes, info: ModelInfo, model: MambaLOB, samples: Sequence[Sample], measured_on: str) -> Accuracy:
    """Run an ONNX file and the JAX model over the same streams.

    Args:
        content, info: of the file.
        model: what it was exported from.
        samples: streams of a window at least.
        measured_on: what they are, in words.
    """
    if info.kind == "window":
        met = [_run_windows(content, info, model, sample.features) for sample in samples]
    else:
        met = [_run_steps(OnnxStep(load_session(content), info), model, sample.features) for sample in samples]
    return _accuracy(met, samples, measured_on)


def compare_native(step: NativeStep, model: MambaLOB, samples: Sequence[Sample], measured_on: str) -> Accuracy:
    """Run the native step and the JAX model over the same streams; arguments as for `compare`."""
    return _accuracy([_run_steps(step, model, sample.features) for sample in samples], samples, measured_on)


def _accuracy(
    met: Sequence[tuple[np.ndarray, Outputs, Outputs]], samples: Sequence[Sample], measured_on: str
) -> Accuracy:
    """Of (rows, what the file says there, what the model says there) of each sample."""
    rows, ours, theirs = zip(*met, strict=True)
    labels = [None if s.labels is None else s.labels[r] for s, r in zip(samples, rows, strict=True)]
    changed = [a.probabilities.argmax(-1) != b.probabilities.argmax(-1) for a, b in zip(ours, theirs, strict=True)]
    mcc = _mcc(theirs, labels) if all(one is not None for one in labels) else None
    return Accuracy(
        measured_on,
        sum(len(one) for one in changed),
        None if ours[0].logits is None else _worst(a.logits - b.logits for a, b in zip(ours, theirs, strict=True)),
        _worst(a.probabilities - b.probabilities for a, b in zip(ours, theirs, strict=True)),
        float(np.mean(np.concatenate(changed))),
        mcc,
        _mcc(ours, labels) - mcc if mcc is not None else None,
    )


def _worst(differences: Iterable[np.ndarray]) -> float:
    return float(np.max([np.abs(d).max() for d in differences]))  # numpy's, for which NaN is the largest


def _mcc(outputs: Sequence[Outputs], labels: Sequence[np.ndarray | None]) -> float:
    scores = []
    for one, truth in zip(outputs, labels, strict=True):
        assert truth is not None
        for i, decisions in enumerate(one.probabilities.argmax(-1).T):
            known = truth[:, i] >= 0
            scores.append(mcc_from_confusion(confusion_counts(truth[known, i], decisions[known])))
    return float(np.mean(scores))


def _run_steps(backend: OnnxStep | NativeStep, model: MambaLOB, x: np.ndarray) -> tuple[np.ndarray, Outputs, Outputs]:
    """Every tick of a stream, its state carried; rows, and what the backend and the model say there."""
    backend.reset()
    if isinstance(backend, NativeStep):
        met = Outputs(None, backend.scan(x))
    else:
        pairs = [(backend.step(tick), backend.logits) for tick in x]
        met = Outputs(np.array([b for _, b in pairs]), np.array([a for a, _ in pairs]))
    with jax.default_device(jax.devices("cpu")[0]):  # a GPU rounds the operands of float32 products
        logits = _scan(model, x[None])[0]
        expected = Outputs(np.asarray(logits), np.asarray(jax.nn.softmax(logits)))
    return np.arange(len(x)), met, expected


def _run_windows(
    content: bytes, info: ModelInfo, model: MambaLOB, x: np.ndarray
) -> tuple[np.ndarray, Outputs, Outputs]:
    """Windows spread over a stream, likewise."""
    session = load_session(content)
    rows = np.unique(np.linspace(info.window - 1, len(x) - 1, WINDOWS).astype(int))
    windows = sliding_window_view(x, info.window, axis=0).swapaxes(1, 2)[rows - info.window + 1]
    parts = [np.ascontiguousarray(windows[i : i + AT_ONCE]) for i in range(0, len(rows), AT_ONCE)]
    file = [session.run(["logits", "probabilities"], {"features": part}) for part in parts]
    with jax.default_device(jax.devices("cpu")[0]):
        logits = jnp.concatenate([_window(model, part) for part in parts])
        expected = Outputs(np.asarray(logits), np.asarray(jax.nn.softmax(logits)))
    return rows, Outputs(*(np.concatenate(found) for found in zip(*file, strict=True))), expected
