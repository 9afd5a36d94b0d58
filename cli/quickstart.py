"""`nanoarb-jax quickstart`: the whole way once, on a synthetic market."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.files import claim_folder

from .bench import show as show_latencies
from .data import write_synthetic
from .output import JsonOption, claim_json, console, noting, say, write_json
from .tables import mcc, metrics_table, strongest
from .train import run as train

STREAMS, ROWS, ROUNDS = 4, 25_000, 3
# enough to pass the baselines, not the best that more epochs and more data reach
CONFIG = Config(
    model=dataclasses.replace(ModelConfig.preset("nano"), feature_set="flow"),
    data=DataConfig(feature_set="flow"),
    train=TrainConfig(epochs=12, batch_size=8, chunk_length=64, lr=1e-2, ema_decay=0.98, input_jitter=0.0),
)


def quickstart(
    output: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(min=0, max=2**32 - 1, help="Seed of the market and of the weights.")] = 0,
    json_path: JsonOption = None,
) -> None:
    """Go the whole way once, on a synthetic market.

    Simulates it, trains a small model, judges it, exports it and measures it, in under four minutes on two cores.
    """
    claim_json(json_path)
    claim_folder(output, "--output")
    began = time.perf_counter()
    figures = run(output, seed)
    figures["seconds"] = round(time.perf_counter() - began, 1)
    _summarise(figures)
    write_json(json_path, figures)


def _summarise(figures: dict[str, Any]) -> None:
    p50 = {row["path"]: row["p50_us"] for row in figures["bench"]["rows"]}
    mean, horizons = figures["evaluate"]["mean"], "/".join(map(str, CONFIG.model.horizons))
    console.rule("summary")
    say(f"MCC on unseen rows, {horizons} ticks ahead:")
    for judge in ("model", *strongest(mean, 2)):
        say(f"  {judge} {_mccs(mean[judge])}")
    say(
        f"one prediction, p50: native step {p50['native_step']:,.1f} µs, JAX step {p50['jax_step']:,.0f} µs, "
        f"JAX window {p50['jax_window']:,.0f} µs"
    )
    say(f"checkpoint: {figures['checkpoint']}\nONNX:       {figures['onnx']}\ntook {figures['seconds']:.0f} s")
    say("next: nanoarb-jax train --data FOLDER_OF_FEEDS --preset nano")


def run(folder: Path, seed: int) -> dict[str, Any]:
    """All stages, each printing what it found."""
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.bench import bench_checkpoint
    from nanoarb_jax.data.dataset import open_dataset
    from nanoarb_jax.evaluation.validation import evaluate
    from nanoarb_jax.exporters import export_window

    console.rule("1/5 a synthetic market")
    books = folder / "books"
    write_synthetic(books, rows=ROWS, streams=STREAMS, seed=seed)
    with console.status("reading"):
        dataset = open_dataset(books, CONFIG.data)
    say(f"{STREAMS} streams of {ROWS:,} books in {books}")
    console.rule("2/5 train")
    settings = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, seed=seed))
    trained = train(settings, dataset, folder / "run")
    console.rule("3/5 evaluate")
    with console.status("judging"):
        checkpoint = load_checkpoint(trained.best)
        judged = evaluate(checkpoint, dataset)
    console.print(metrics_table(judged))
    console.rule("4/5 export")
    with console.status("exporting"):
        onnx = export_window(checkpoint, folder / "model.onnx")
    say(f"{onnx.path}: {onnx.bytes / 1e6:.2f} MB, differs from JAX by {onnx.accuracy.max_probability_difference:.1e}")
    console.rule("5/5 bench")
    with noting("measuring") as note:
        measured = bench_checkpoint(trained.best, rounds=ROUNDS, note=note)
    show_latencies(measured)
    return {"checkpoint": str(trained.best), "onnx": str(onnx.path), "evaluate": judged, "bench": measured}


def _mccs(judge: dict[str, dict[str, float]]) -> str:
    return "/".join(mcc(metrics["mcc"]) for metrics in judge.values())
