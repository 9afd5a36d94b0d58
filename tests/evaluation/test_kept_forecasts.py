"""Forecasts are fitted once: read again where nothing changed, made anew where anything did or a file is damaged."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import OutputError
from nanoarb_jax.evaluation import baselines
from nanoarb_jax.evaluation.baselines import Forecast, baseline_forecasts
from nanoarb_jax.evaluation.kept_forecasts import forecast_file, keep_forecast, kept_forecast
from nanoarb_jax.evaluation.tuned_models import Tuning
from support.made_stream import random_features, stream_of

QUICK = Tuning(strengths=(1e-3,), leaves=(4,), usual_rounds=2)
LABELS = np.random.default_rng(0).integers(0, 3, (300, 1))


def stream(name: str = "made") -> Stream:
    return stream_of(LABELS, random_features(300), (0, 200), name)


def refuse(*_: object) -> Forecast:
    pytest.fail("fitted again")


def test_kept_ones_are_not_fitted_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    streams = [stream("a"), stream("b")]
    made = baseline_forecasts(streams, (1,), keep=tmp_path / "kept", tuning=QUICK)
    assert len(list((tmp_path / "kept").iterdir())) == 2 * 4  # those that learn
    fitted = baselines.gradient_boosting
    for name in ("queue_imbalance", "ofi_logistic", "logistic", "gradient_boosting"):
        monkeypatch.setitem(baselines.BASELINES, name, refuse)
    again = baseline_forecasts(streams, (1,), keep=tmp_path / "kept", tuning=QUICK)
    assert again.choices == made.choices
    for name, log_probs in made.log_probs.items():
        np.testing.assert_array_equal(again.log_probs[name], log_probs)
    monkeypatch.setitem(baselines.BASELINES, "gradient_boosting", fitted)
    damaged = next((tmp_path / "kept").glob("b_gradient*"))
    whole = damaged.read_bytes()
    damaged.write_bytes(whole[:-30])
    baseline_forecasts(streams, (1,), keep=tmp_path / "kept", tuning=QUICK)
    assert kept_forecast(damaged, (300, 1, 3)) is not None


def test_what_a_forecast_follows_from(tmp_path: Path) -> None:
    one = stream()
    features, mid = one.features.copy(), one.mid.copy()
    features[299, 43] += 1
    mid[0] += 1
    others = [
        one._replace(features=features), one._replace(mid=mid), one._replace(labels=2 - one.labels),
        one._replace(train=(0, 199)), one._replace(validation=(250, 300)), one._replace(tick_size=0.1),
    ]  # fmt: skip
    names = {forecast_file(tmp_path, "logistic", of, (1,), QUICK) for of in (one, *others)}
    names |= {forecast_file(tmp_path, "logistic", one, horizons, QUICK) for horizons in ((1,), (2,))}
    names |= {forecast_file(tmp_path, "logistic", one, (1,), replace(QUICK, patience=3))}
    names |= {forecast_file(tmp_path, "ofi_logistic", one, (1,), QUICK)}
    assert len(names) == 1 + len(others) + 3


def test_damaged_files_are_none(tmp_path: Path) -> None:
    path, log_probs = tmp_path / "one.npz", np.zeros((5, 2, 3), np.float32)
    keep_forecast(path, log_probs, [{"C": 0.1}, {}])
    met = kept_forecast(path, (5, 2, 3))
    assert met is not None and met[1] == [{"C": 0.1}, {}]
    assert kept_forecast(path, (6, 2, 3)) is None and kept_forecast(tmp_path / "none.npz", (5, 2, 3)) is None
    whole, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(100):
        content = bytearray(whole[: rng.integers(len(whole) + 1)] if rng.random() < 0.5 else whole)
        for at in rng.integers(max(len(content), 1), size=5):
            content[at:at] = rng.bytes(1)
        path.write_bytes(content)
        found = kept_forecast(path, (5, 2, 3))  # raises nothing
        assert found is None or not found[0].any()


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="give another folder"):
        baseline_forecasts([stream()], (1,), keep=tmp_path / "file", tuning=QUICK)
