"""Which choices of the recipe matter? Every row changes one of them and trains anew, seed by seed.

    python benchmarks/ablation.py --data DATASET --epochs 10 --json benchmarks/results/ablation.json

Runs are added to the file one by one, those that are there are not made again: stop it when you like, and give some
rows with --only. Choose by the validation columns; the test columns are there to see whether the choice was worth it.
"""

from __future__ import annotations

import dataclasses
import json
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from flax import nnx
from gru import GRUBlock

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.bench import parameters
from nanoarb_jax.bench.environment import machine
from nanoarb_jax.config import Config, load_config
from nanoarb_jax.data.dataset import Dataset, open_dataset
from nanoarb_jax.data.streams import Stream, make_stream, mirror_stream
from nanoarb_jax.evaluation.judging import judge_streams
from nanoarb_jax.evaluation.scoring import make_score, score_streams
from nanoarb_jax.features import outcomes
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.model import mamba
from nanoarb_jax.simulation.config import MarketConfig, Preset
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.training.loop import train

LOB44 = {"data.feature_set": "lob44", "model.feature_set": "lob44"}
SMALL = {"model.hidden_dim": 64, "model.num_layers": 2, "model.d_state": 16}
BASE = {"model.hidden_dim": 128, "model.num_layers": 4, "model.d_state": 16}
COST_AWARE = {"train.loss": "cost-aware"}
TRADES = ("signed_volume", "volume", "taker_bought", "taker_sold", "vpin")
SIMULATED = "simulated"  # instead of a checkpoint: train one on simulated markets first, by the same recipe
RECIPE = Path(__file__).parents[1] / "checkpoints" / "nano.toml"
# What each row changes in the recipe. "mamba.NAME" is a constant or class of model/mamba.py; "without" names features
# that are 0; "judge.mirrored" judges the mean of the forecasts for a market and for its mirror image.
ROWS: dict[str, dict[str, Any]] = {
    "recipe": {},
    "features: lob44": LOB44,
    "loss: cost-aware, logarithm": COST_AWARE | {"train.magnitude_weight": "log"},
    "loss: cost-aware, root": COST_AWARE | {"train.magnitude_weight": "root"},
    "loss: cost-aware, cap 1": COST_AWARE | {"train.magnitude_weight": "capped", "train.magnitude_cap": 1.0},
    "loss: cost-aware, cap 4": COST_AWARE | {"train.magnitude_weight": "capped", "train.magnitude_cap": 4.0},
    "loss: cross-entropy": {"train.loss": "cross-entropy"},
    "not calibrated": {"train.calibrate": False},
    "no mirror": {"train.mirror": False},
    "class weights": {"train.class_weights": True},
    "logit adjustment 0.5": {"train.logit_adjustment": 0.5},
    "no jitter": {"train.input_jitter": 0.0},
    "jitter 0.5": {"train.input_jitter": 0.5},
    "jitter 1": {"train.input_jitter": 1.0},
    "chunk 16": {"train.chunk_length": 16},
    "chunk 256": {"train.chunk_length": 256},
    "chunk 1024": {"train.chunk_length": 1024},
    "streams 4": {"train.batch_size": 4},
    "streams 64": {"train.batch_size": 64},
    "burn-in 50": {"train.burn_in": 50},
    "dropout 0.1": {"model.dropout": 0.1},
    "dropout 0.3": {"model.dropout": 0.3},
    "weight decay 0.01": {"train.weight_decay": 0.01},
    "weight decay 1": {"train.weight_decay": 1.0},
    "no weight average": {"train.ema_decay": 0.0},
    "weight average 0.998": {"train.ema_decay": 0.998},
    "lr 0.003": {"train.lr": 0.003},
    "lr 0.02": {"train.lr": 0.02},
    "half the epochs": {"train.epochs": 0.5},
    "twice the epochs": {"train.epochs": 2},
    "last epoch kept": {"train.keep": "last"},
    "Δ from 0.01 to 1": {"mamba.DELTA_MIN": 0.01, "mamba.DELTA_MAX": 1.0},
    "Δ from 0.0001 to 0.01": {"mamba.DELTA_MIN": 1e-4, "mamba.DELTA_MAX": 0.01},
    "all A = -1": {"mamba.initial_A": lambda n: np.ones(n)},
    "six horizons": {"data.horizons": (5, 10, 20, 50, 100, 200), "model.horizons": (5, 10, 20, 50, 100, 200)},
    "instruments weigh alike": {"train.sampling": "instrument"},
    "sampling: rows": {"train.sampling": "rows"},
    "without counts of outcomes": {"without": outcomes.NAMES},
    "without trades": {"without": TRADES},
    "a GRU in place of the Mamba block": {"mamba.MambaBlock": GRUBlock},
    "mean with the mirrored market's forecast": {"judge.mirrored": True},
    "distilled from base": {"train.teacher": str(RECIPE.parent / "base")},
    "begun on a simulated market": {"train.init": SIMULATED},
    "two layers": {"model.num_layers": 2},
    # one epoch: a window has one label for its 100 ticks; about as many updates, three times as many ticks scanned
    "windows": {"train.objective": "window", "train.batch_size": 32, "train.epochs": 0},
    "small": SMALL | {"model.dropout": 0.3, "train.lr": 0.005, "train.epochs": 0.5},
    "base": BASE | {"model.dropout": 0.3, "train.lr": 0.002, "train.epochs": 0.25},
}
JUDGED = (10, 50, 100)


def changed(recipe: Config, changes: Mapping[str, Any]) -> Config:
    """The recipe with a row's changes; a factor for `train.epochs`, at least one epoch."""
    tables: dict[str, dict[str, Any]] = {"model": {}, "data": {}, "train": {}}
    for key, value in changes.items():
        table, _, name = key.partition(".")
        if key == "train.epochs":
            value = max(1, round(value * recipe.train.epochs))
        if table in tables:
            tables[table][name] = value
    return Config(*(dataclasses.replace(getattr(recipe, name), **values) for name, values in tables.items()))


@contextmanager
def patched(changes: Mapping[str, Any]) -> Iterator[None]:
    """A row's changes of model/mamba.py, for as long as it trains."""
    new = {key.partition(".")[2]: value for key, value in changes.items() if key.startswith("mamba.")}
    old = {name: getattr(mamba, name) for name in new}
    for name, value in new.items():
        setattr(mamba, name, value)
    try:
        yield
    finally:
        for name, value in old.items():
            setattr(mamba, name, value)


def pretrained(config: Config, folder: Path) -> Path:
    """A run of the recipe's on simulated markets, four times 50,000 books."""
    markets: list[tuple[Preset, int]] = [("es", 1), ("es", 2), ("crypto", 1), ("crypto", 2)]
    streams = [
        make_stream(synthetic_books(50_000, seed, MarketConfig.preset(market)), config.data)._replace(
            name=f"{market}_{seed}"
        )
        for market, seed in markets
    ]
    settings = dataclasses.replace(config, train=dataclasses.replace(config.train, init=None, epochs=8))
    return train(settings, Dataset(tuple(streams), config.data, []), folder).best


def without(dataset: Dataset, names: Sequence[str]) -> Dataset:
    """The dataset with these features 0, as they are where nothing is known of them."""
    columns = [FEATURE_SETS["flow"].names.index(name) for name in names]

    def blank(stream: Stream) -> Stream:
        features = np.array(stream.features)
        features[:, columns] = 0
        return stream._replace(features=features)

    return dataclasses.replace(dataset, streams=tuple(map(blank, dataset.streams))) if columns else dataset


def forecast(model: mamba.MambaLOB, streams: Sequence[Stream], mirrored: bool) -> list[np.ndarray]:
    """Log-probabilities (n, h, c) of every stream; with `mirrored`, means of its forecasts and its mirror image's."""
    rows = [(0, stream.rows) for stream in streams]
    score, weights = make_score(model), nnx.state(model, nnx.Param)
    scored = score_streams(score, weights, model, streams, rows)
    if not mirrored:
        return scored
    twins = score_streams(score, weights, model, [mirror_stream(stream) for stream in streams], rows)
    return [np.logaddexp(one, twin[..., ::-1]) - np.log(2) for one, twin in zip(scored, twins, strict=True)]


def run(config: Config, dataset: Dataset, folder: Path, mirrored: bool = False) -> dict[str, Any]:
    """Train, and judge the weights that were kept on validation and test rows, at the horizons of the recipe."""
    began = time.perf_counter()
    if config.train.init == SIMULATED:
        begin = str(pretrained(config, folder.with_name("simulated")))
        config = dataclasses.replace(config, train=dataclasses.replace(config.train, init=begin))
    result = train(config, dataset, folder)
    seconds = time.perf_counter() - began
    model = load_checkpoint(result.best).model
    scored = forecast(model, dataset.streams, mirrored)
    at = [config.model.horizons.index(horizon) for horizon in JUDGED]
    streams = [s._replace(labels=s.labels[:, at]) for s in dataset.streams]
    record: dict[str, Any] = {"parameters": parameters(model), "epoch_kept": result.best_epoch + 1}
    for split in ("validation", "test"):
        judged = judge_streams({"model": [p[:, at] for p in scored]}, streams, JUDGED, split)
        means, pooled = judged["mean"]["model"], judged["pooled"]["model"]
        record[split] = {
            "mcc": [round(m["mcc"], 4) for m in means.values()],
            "log_loss": [round(m["log_loss"], 4) for m in means.values()],
            "ece_scaled": [round(m["ece_scaled"], 4) for m in pooled.values()],
        }
    return record | {"seconds": round(seconds, 1), "ticks_per_second": round(result.ticks_per_second)}


def show(runs: list[dict[str, Any]]) -> None:
    """A Markdown table, a line per row: means over its seeds, ± the standard deviation of one seed."""
    print("| what changes | seeds | validation loss | validation MCC | test loss | test MCC at 10 / 50 / 100 |")
    print("|---|---|---|---|---|---|")
    for name in [row for row in ROWS if any(one["row"] == row for one in runs)]:
        mine = [one for one in runs if one["row"] == name]
        spread = {"ddof": 1} if len(mine) > 1 else {}
        cells = [name, str(len(mine))]
        for split, key in (("validation", "log_loss"), ("validation", "mcc"), ("test", "log_loss")):
            each = np.mean([one[split][key] for one in mine], axis=1)
            cells.append(f"{each.mean():.3f} ± {each.std(**spread):.3f}")
        cells.append(" / ".join(f"{m:.3f}" for m in np.mean([one["test"]["mcc"] for one in mine], axis=0)))
        print(f"| {' | '.join(cells)} |")


def main(
    data: Annotated[Path, typer.Option(help="Books to train on and judge.")],
    json_path: Annotated[Path, typer.Option("--json")],
    recipe: Path = RECIPE,
    only: Annotated[list[str] | None, typer.Option(help="Rows to run; none: all.")] = None,
    seeds: int = 3,
    epochs: Annotated[int | None, typer.Option(help="Instead of the recipe's.")] = None,
) -> None:
    settings = load_config(recipe)
    if epochs is not None:
        settings = dataclasses.replace(settings, train=dataclasses.replace(settings.train, epochs=epochs))
    datasets: dict[Any, Dataset] = {}
    for seed in range(seeds):
        for name in only or ROWS:
            if any((one["row"], one["seed"]) == (name, seed) for one in _runs(json_path)):
                continue
            config = changed(settings, ROWS[name] | {"train.seed": seed, "train.tensorboard": False})
            if config.data not in datasets:
                datasets[config.data] = open_dataset(data, config.data)
            changes = ROWS[name]
            rows = without(datasets[config.data], changes.get("without", ()))
            with patched(changes), tempfile.TemporaryDirectory() as folder:
                record = run(config, rows, Path(folder) / "run", changes.get("judge.mirrored", False))
            runs = [*_runs(json_path), {"row": name, "seed": seed, **record}]  # read again: others may add rows too
            json_path.write_text(json.dumps({"machine": machine(), "runs": runs}, indent=1) + "\n")
            print(f"{name}, seed {seed}: {record['validation']['mcc']} {record['test']['mcc']}", flush=True)
    show(_runs(json_path))


def _runs(json_path: Path) -> list[dict[str, Any]]:
    """What the file has so far."""
    return json.loads(json_path.read_text())["runs"] if json_path.is_file() else []


if __name__ == "__main__":
    typer.run(main)
