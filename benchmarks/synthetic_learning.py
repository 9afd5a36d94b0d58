"""How much of what can be known of a simulated market does a model learn, and how much of that without a memory?

    python benchmarks/synthetic_learning.py --json benchmarks/results/synthetic_learning.json

Trains on some series of the market and asks at ticks of another one that nobody has seen. There the oracle
(`simulation.oracle`) counts the classes among many futures of the market's true state. These frequencies q judge:
the expected log loss of a forecast p is -Σ q·log p, no luck of single labels in it. The least that can be reached is
the entropy of the true probabilities; that of q, too small by about (classes met - 1) / (2·futures), is corrected by
that (Miller 1955). The gap that is closed: (loss of the class frequencies - loss) / (… - least loss).

The model without memory is the same network, trained on and asked about windows of one tick.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.bench.environment import machine
from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.evaluation.judging import train_priors
from nanoarb_jax.evaluation.scoring import make_score, score_streams, score_windows
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.simulation.config import MarketConfig, Preset
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.simulation.oracle import class_probabilities
from nanoarb_jax.training.loop import train

TRAINING = TrainConfig(loss="cross-entropy", batch_size=32, chunk_length=256, input_jitter=0.0, tensorboard=False)
TEST_SEED, FIRST_SEED = 7, 1_000


def learn(config: Config, dataset: Dataset) -> tuple[MambaLOB, dict[str, Any]]:
    """The weights kept, and what the run took."""
    with tempfile.TemporaryDirectory() as folder:
        result = train(config, dataset, Path(folder) / "run", on_epoch=lambda record: print(record, flush=True))
        model = load_checkpoint(result.best).model
    return model, {"ticks": result.ticks, "ticks_per_second": result.ticks_per_second, "epoch": result.best_epoch + 1}


def expected_losses(
    forecasts: Mapping[str, np.ndarray], counts: np.ndarray, prior: np.ndarray
) -> dict[str, dict[str, float]]:
    """Expected log loss (nats) of every forecast at one horizon, and the share of the gap that it closes.

    Args:
        forecasts: (k, 3) log-probabilities by name.
        counts: (k, 3) futures that ended in each class.
        prior: (3,) class frequencies in training.
    """
    futures = counts.sum(axis=1, keepdims=True)
    q = counts / futures
    entropy = -(q * np.log(np.maximum(q, 1e-300))).sum(axis=1) + ((counts > 0).sum(axis=1) - 1) / (2 * futures[:, 0])
    named = {"frequencies": np.log(prior)[None]} | dict(forecasts)
    losses = {name: float(-(q * log_p).sum(axis=1).mean()) for name, log_p in named.items()}
    losses["oracle"] = float(entropy.mean())
    worst, best = losses["frequencies"], losses["oracle"]
    return {name: {"log_loss": loss, "gap_closed": (worst - loss) / (worst - best)} for name, loss in losses.items()}


def main(
    json_path: Annotated[Path, typer.Option("--json")],
    market: Preset = "shallow",
    preset: str = "nano",
    series: int = 8,
    rows: int = 250_000,
    epochs: int = 8,
    lr: float = 0.01,
    ticks: int = 1_500,
    futures: int = 800,
) -> None:
    settings = MarketConfig.preset(market)
    data = DataConfig(feature_set="flow")
    model = dataclasses.replace(ModelConfig.preset(preset), feature_set="flow", dropout=0.0)
    training = dataclasses.replace(TRAINING, epochs=epochs, lr=lr)
    seen = [make_stream(synthetic_books(rows, FIRST_SEED + i, settings), data) for i in range(series)]
    seen = [stream._replace(name=f"{stream.name}_{i}") for i, stream in enumerate(seen)]
    learnt, took = learn(Config(model, data, training), Dataset(tuple(seen), data, []))
    alone = dataclasses.replace(model, window=1)
    # the last epoch: validation carries a state, which this model never learnt to use
    windows = dataclasses.replace(training, objective="window", batch_size=4_096, keep="last")
    memoryless, took_alone = learn(Config(alone, data, windows), Dataset(tuple(map(_forgetful, seen)), data, []))

    test = make_stream(synthetic_books(rows, TEST_SEED, settings), data)
    at = np.linspace(test.test[0], test.test[1] - data.horizons[-1] - 1, ticks).astype(np.int64)
    oracle = class_probabilities(settings, TEST_SEED, at, data.horizons, test.threshold_ticks[0], futures=futures)
    counts = np.rint(oracle.probabilities * oracle.futures)
    forecasts = {
        "model": score_streams(make_score(learnt), nnx.state(learnt, nnx.Param), learnt, [test], [(0, test.rows)])[0],
        "memoryless": score_windows(memoryless, [_forgetful(test)], [[test.test]])[0],
    }
    figures: dict[str, Any] = {"machine": machine(), "market": market, "preset": preset, "horizons": {}}
    figures |= {"training_rows": sum(s.train[1] - s.train[0] for s in seen), "ticks": ticks, "futures": futures}
    figures |= {"model": took, "memoryless": took_alone}
    for i, (horizon, prior) in enumerate(zip(data.horizons, train_priors(test), strict=True)):
        result = expected_losses({k: p[at, i] for k, p in forecasts.items()}, counts[:, i], prior)
        figures["horizons"][f"h{horizon}"] = result
        print(horizon, {name: {key: round(value, 4) for key, value in one.items()} for name, one in result.items()})
    json_path.write_text(json.dumps(figures, indent=1) + "\n")


def _forgetful(stream: Stream) -> Stream:
    """The stream without features that remember earlier ticks: what a memoryless model may see."""
    features = stream.features.copy()
    features[:, 45:57] = features[:, 75:85] = 0.0
    return stream._replace(features=features)


if __name__ == "__main__":
    typer.run(main)
