"""How far an exported file is from the JAX model, measured as it is served, with the state carried."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from numpy.lib.stride_tricks import sliding_window_view

from nanoarb_jax.artifacts.card import ModelCard
from nanoarb_jax.evaluation.metrics import confusion_counts, mcc_from_confusion
from nanoarb_jax.exporters.samples import Sample
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.serving.backends.native import NativeStep
from nanoarb_jax.serving.backends.onnx.session import load_session
from nanoarb_jax.serving.backends.onnx.step import OnnxStep

WINDOWS, AT_ONCE = 64, 16  # of each series, and per call

_scan = nnx.jit(lambda model, x: model.scan(x)[0])
_window = nnx.jit(lambda model, x: model(x))


class Outputs(NamedTuple):
    """What a file or the model gives at n ticks: logits and probabilities (n, h, c). The native step has no logits."""

    logits: np.ndarray | None
    probabilities: np.ndarray


class Compared(NamedTuple):
    """Both at the same ticks of one stream; rows (n,) int says which ticks."""

    rows: np.ndarray
    file: Outputs
    model: Outputs


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


def compare(content: bytes, card: ModelCard, model: MambaLOB, samples: Sequence[Sample], measured_on: str) -> Accuracy:
    """Run an ONNX file and the JAX model over the same streams.

    Args:
        content, card: of the file.
        model: what it was exported from.
        samples: streams of a window at least.
        measured_on: what they are, in words.
    """
    if card.kind == "window":
        compared = [_run_windows(content, card.config.window, model, sample.features) for sample in samples]
    else:
        compared = [_run_steps(OnnxStep(load_session(content), card), model, sample.features) for sample in samples]
    return _accuracy(compared, samples, measured_on)


def compare_native(step: NativeStep, model: MambaLOB, samples: Sequence[Sample], measured_on: str) -> Accuracy:
    """Run the native step and the JAX model over the same streams; arguments as for `compare`."""
    return _accuracy([_run_steps(step, model, sample.features) for sample in samples], samples, measured_on)


def _accuracy(compared: Sequence[Compared], samples: Sequence[Sample], measured_on: str) -> Accuracy:
    """The accuracy over all samples, each of which was compared."""
    files, models = [one.file for one in compared], [one.model for one in compared]
    pairs = list(zip(files, models, strict=True))
    logits = [a.logits - b.logits for a, b in pairs if a.logits is not None and b.logits is not None]
    changed = [file.probabilities.argmax(-1) != model.probabilities.argmax(-1) for file, model in pairs]
    labels = [s.labels[one.rows] for s, one in zip(samples, compared, strict=True) if s.labels is not None]
    mcc = _mcc(models, labels) if len(labels) == len(samples) else None
    return Accuracy(
        measured_on,
        sum(len(one) for one in changed),
        _largest(logits) if logits else None,
        _largest([file.probabilities - model.probabilities for file, model in pairs]),
        float(np.mean(np.concatenate(changed))),
        mcc,
        _mcc(files, labels) - mcc if mcc is not None else None,
    )


def _largest(differences: Sequence[np.ndarray]) -> float:
    """The largest size of a difference; NaN where one is NaN, since numpy's maximum keeps it and Python's does not."""
    return float(np.max([np.abs(d).max() for d in differences]))


def _mcc(outputs: Sequence[Outputs], labels: Sequence[np.ndarray]) -> float:
    """MCC of the most probable class, mean over streams and horizons."""
    scores = []
    for one, truth in zip(outputs, labels, strict=True):
        for i, decisions in enumerate(one.probabilities.argmax(-1).T):
            known = truth[:, i] >= 0
            scores.append(mcc_from_confusion(confusion_counts(truth[known, i], decisions[known])))
    return float(np.mean(scores))


def _run_steps(backend: OnnxStep | NativeStep, model: MambaLOB, x: np.ndarray) -> Compared:
    """A step backend and the model at every tick of a stream (n, f), the state carried."""
    backend.reset()
    if isinstance(backend, NativeStep):
        met = Outputs(None, backend.scan(x))
    else:
        pairs = [(backend.step(tick), backend.logits) for tick in x]
        met = Outputs(np.array([b for _, b in pairs]), np.array([a for a, _ in pairs]))
    with _on_cpu():
        expected = _outputs(_scan(model, x[None])[0])
    return Compared(np.arange(len(x)), met, expected)


def _run_windows(content: bytes, length: int, model: MambaLOB, x: np.ndarray) -> Compared:
    """A window file and the model on some windows of `length` ticks, spread over a stream (n, f)."""
    session = load_session(content)
    rows = np.unique(np.linspace(length - 1, len(x) - 1, WINDOWS).astype(int))
    windows = sliding_window_view(x, length, axis=0).swapaxes(1, 2)[rows - length + 1]
    parts = [np.ascontiguousarray(windows[i : i + AT_ONCE]) for i in range(0, len(rows), AT_ONCE)]
    found = [session.run(["logits", "probabilities"], {"features": part}) for part in parts]
    met = Outputs(*(np.concatenate(arrays) for arrays in zip(*found, strict=True)))
    with _on_cpu():
        expected = _outputs(jnp.concatenate([_window(model, part) for part in parts]))
    return Compared(rows, met, expected)


def _on_cpu() -> AbstractContextManager[None]:
    """The model computes on the CPU here: a GPU rounds the operands of float32 products."""
    return jax.default_device(jax.devices("cpu")[0])


def _outputs(logits: jax.Array) -> Outputs:
    return Outputs(np.asarray(logits), np.asarray(jax.nn.softmax(logits)))
