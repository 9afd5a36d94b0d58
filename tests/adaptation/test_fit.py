"""The fit of a linear term: what it finds, what it leaves alone, and what it may not see."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.adaptation import fit
from nanoarb_jax.adaptation.fit import Evidence, Past, adapt, adapted_log_probs
from nanoarb_jax.adaptation.fold import adapted_model
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.evaluation.calibration import log_loss
from nanoarb_jax.model.mamba import MambaLOB, Readout
from support.random_model import random_model

ROWS, HORIZONS = 6_000, (2, 5)
PARTS = {"train": (0, 3_000), "validation": (3_010, 4_000)}
TEST = slice(4_010, ROWS)


def evidence(seed: int = 0, rows: int = ROWS) -> Evidence:
    rng = np.random.default_rng(seed)
    parts = (rng.normal(size=(rows, *shape)).astype(np.float32) for shape in ((2, 3), (4,), (5,)))
    return Evidence(*parts)


def draw(logits: np.ndarray, seed: int = 1) -> np.ndarray:
    """Labels that come true with softmax(logits), (n, h)."""
    noise = np.random.default_rng(seed).gumbel(size=logits.shape)
    return (logits + noise).argmax(axis=-1).astype(np.int8)


def loss(log_probs: np.ndarray, labels: np.ndarray) -> list[float]:
    return [log_loss(log_probs[TEST, i], labels[TEST, i]) for i in range(labels.shape[1])]


def test_what_the_instrument_knows_is_found() -> None:
    """Class frequencies, temperature, and effects of an input and of a feature, at once: close to the truth's loss."""
    known = evidence()
    effect = 0.8 * known.inputs[:, :1] * np.array([[-1, 0, 1]]) + 0.5 * known.last[:, 1:2] * np.array([[0, 1, 0]])
    truth = 0.4 * known.logits + effect[:, None] + np.array([-0.5, 1.0, -0.5])
    labels = draw(truth)
    found = adapt([Past(known, labels, **PARTS)], HORIZONS)
    adapted = loss(adapted_log_probs(known, found.terms), labels)
    as_it_was, best = (loss(adapted_log_probs(known._replace(logits=z), ()), labels) for z in (known.logits, truth))
    for after, before, least in zip(adapted, as_it_was, best, strict=True):
        assert least - 0.05 < after < least + 0.05 < before - 0.1
    report = found.report["h2"]
    assert report["rows"] == 3_000 and report["validation_loss"] < report["model_validation_loss"]


def test_noise_is_not_learnt() -> None:
    """Where the model is right already, adaptation costs next to nothing."""
    known = evidence()
    labels = draw(known.logits)
    adapted = loss(adapted_log_probs(known, adapt([Past(known, labels, **PARTS)], HORIZONS).terms), labels)
    as_it_was = loss(adapted_log_probs(known, ()), labels)
    assert all(after < before + 0.006 for after, before in zip(adapted, as_it_was, strict=True))


def test_fit_is_a_ridge_logistic_regression() -> None:
    """scikit-learn's finds the same weights, where the model says nothing."""
    from sklearn.linear_model import LogisticRegression

    known = evidence()._replace(logits=np.zeros((ROWS, 2, 3), np.float32))
    labels = draw(known.inputs[:, None, :3] * np.ones((1, 2, 1)))
    rows = fit._rows([Past(known, labels, **PARTS)], 0, "train")
    penalty = 0.02
    ours = fit._Problem(rows).solve(penalty)
    theirs = LogisticRegression(C=1 / (penalty * len(rows.labels)), fit_intercept=False, tol=1e-8, max_iter=1_000)
    theirs.fit(rows.x.astype(np.float64), rows.labels)
    np.testing.assert_allclose(ours, theirs.coef_.T, atol=2e-3)


def test_strength_is_the_usual_one_unless_another_is_clearly_better() -> None:
    rng = np.random.default_rng(0)
    even = rng.normal(1.0, 0.1, size=(3, 1_000))
    assert fit._choose(even, usual=1, block=10) == 1
    better = even.copy()
    better[2] = even[1] - 0.05
    assert fit._choose(better, usual=1, block=10) == 2
    assert fit._choose(better, usual=1, block=100) == 1  # ten blocks are too few
    # by chance only: a few blocks make the whole difference
    chance = np.tile(even[1], (2, 1))
    chance[0, :10] -= 5.0
    assert fit._choose(chance, usual=1, block=10) == 1


def test_nothing_after_the_validation_rows_is_read() -> None:
    known = evidence()
    labels = draw(known.logits)
    other_labels, other = labels.copy(), Evidence(*(part.copy() for part in known))
    other_labels[4_000:] = 2 - other_labels[4_000:]
    for part in other:
        part[4_000:] = 1e6
    first, again = (adapt([Past(*both, **PARTS)], HORIZONS) for both in ((known, labels), (other, other_labels)))
    assert first.report == again.report
    for one, two in zip(first.terms, again.terms, strict=True):
        assert all(np.array_equal(a, b) for a, b in zip(one, two, strict=True))


def test_several_streams_are_learnt_from_together() -> None:
    """Two halves are what one stream is whose parts they are."""
    known = evidence()
    labels = draw(0.5 * known.logits)
    parts = [Past(known, labels, train, (3_010, 3_010)) for train in ((0, 1_500), (1_500, 3_000))]
    parts[1] = parts[1]._replace(validation=PARTS["validation"])
    whole, halves = adapt([Past(known, labels, **PARTS)], HORIZONS), adapt(parts, HORIZONS)
    np.testing.assert_allclose(halves.terms[0].inputs, whole.terms[0].inputs, atol=1e-5)


@pytest.mark.parametrize("part", ["train", "validation"])
def test_a_horizon_without_labels_stays(part: str) -> None:
    known = evidence()
    labels = draw(known.logits)
    labels[slice(*PARTS[part]), 1] = -1
    found = adapt([Past(known, labels, **PARTS)], HORIZONS)
    assert found.report["h5"]["strength"] is None
    assert not any(part.any() for part in found.terms[1])
    said = adapted_log_probs(known, found.terms)[:, 1]
    np.testing.assert_allclose(said, adapted_log_probs(known, ())[:, 1], atol=1e-6)


def terms_of(config: ModelConfig, seed: int) -> tuple[fit.Term, ...]:
    rng = np.random.default_rng(seed)
    widths = (config.hidden_dim, random_model(config).transform.output_dim)

    def some(*shape: int) -> Any:
        return 0.2 * rng.normal(size=shape)

    return tuple(fit.Term(some(3), some(3, 3), *(some(width, 3) for width in widths)) for _ in config.horizons)


def test_folded_weights_say_what_the_terms_say() -> None:
    """Once, and a second time on top."""
    config = ModelConfig.preset("nano")
    model, x = random_model(config), np.random.default_rng(0).normal(size=(1, 50, 44)).astype(np.float32)
    for seed in (1, 2):
        terms = terms_of(config, seed)
        (logits, _), readout = nnx.jit(MambaLOB.scan)(model, x), read_out(model, x)
        known = Evidence(np.asarray(logits[0]), *(np.asarray(part[0]) for part in readout))
        model = adapted_model(model, terms)
        assert model.config.linear_term and model.config.preset_name == "nano"
        folded = np.asarray(nnx.jit(MambaLOB.scan)(model, x)[0][0])
        said = adapted_log_probs(known._replace(logits=folded), ())
        np.testing.assert_allclose(said, adapted_log_probs(known, terms), atol=2e-4)


def read_out(model: MambaLOB, x: np.ndarray) -> Readout:
    readout, _ = nnx.jit(MambaLOB.read_out)(model, x, model.initial_state(1))
    return readout
