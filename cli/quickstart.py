"""`nanoarb-jax quickstart`: the whole way once, on a synthetic market."""

from __future__ import annotations

import dataclasses
import time
from pathlib import Path
from typing import Annotated, Any

import typer

from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig
from nanoarb_jax.errors import DataError

from .output import JsonOption, claim_json, console, latency_table, metrics_table, write_json

STREAMS, ROWS = 6, 15_000
CONFIG = Config(
    model=ModelConfig.preset("small"), data=DataConfig(), train=TrainConfig(epochs=8, batch_size=32, chunk_length=128)
)


def quickstart(
    output_dir: Annotated[Path, typer.Option(help="Folder for everything that is made.")] = Path("quickstart"),
    seed: Annotated[int, typer.Option(help="Seed of the market and of the weights.")] = 0,
    json_path: JsonOption = None,
) -> None:
    """Simulate a market, train on it, evaluate, export, serve, measure: under four minutes on two cores."""
    claim_json(json_path)
    if output_dir.exists():
        raise DataError(f"{output_dir}: exists already; give another --output-dir or remove it first")
    began = time.perf_counter()
    figures = run(output_dir, seed)
    figures["seconds"] = round(time.perf_counter() - began, 1)
    p50 = {row["path"]: row["p50_us"] for row in figures["bench"]["rows"]}
    mean = figures["evaluate"]["mean"]
    console.rule("summary")
    console.print(
        f"MCC on unseen rows at 10/50/100 ticks: model {_mcc(mean['model'])}, logistic {_mcc(mean['logistic'])}"
    )
    console.print(
        f"one prediction: {p50['jax_step']:,.0f} µs by step, {p50['jax_window']:,.0f} µs by JAX window, "
        f"{p50['onnx_window']:,.0f} µs by ONNX window"
    )
    console.print(f"checkpoint {figures['checkpoint']}, ONNX {figures['onnx']}; {figures['seconds']:.0f} s in all")
    console.print("next: nanoarb-jax train --data YOUR_BOOKS --preset small (see nanoarb-jax train --help)")
    write_json(json_path, figures)


def run(folder: Path, seed: int) -> dict[str, Any]:
    """All stages, each printing what it found."""
    from nanoarb_jax.bench import bench_checkpoint
    from nanoarb_jax.checkpoint import load_checkpoint
    from nanoarb_jax.dataset import open_dataset
    from nanoarb_jax.evaluation.validation import evaluate
    from nanoarb_jax.export import export_window

    from .data import write_synthetic
    from .train import run as train

    console.rule("1/5 a synthetic market")
    books = folder / "books"
    write_synthetic(books, rows=ROWS, streams=STREAMS, seed=seed)
    dataset = open_dataset(books, CONFIG.data)
    console.rule("2/5 train")
    settings = dataclasses.replace(CONFIG, train=dataclasses.replace(CONFIG.train, seed=seed))
    trained = train(settings, dataset, folder / "run")
    checkpoint = load_checkpoint(trained.best)
    console.rule("3/5 evaluate")
    with console.status("judging"):
        judged = evaluate(checkpoint, dataset)
    console.print(metrics_table({**judged, "series": {}}))
    console.rule("4/5 export")
    onnx = export_window(checkpoint, folder / "model.onnx")
    console.print(f"{onnx.path}: {onnx.bytes / 1e6:.2f} MB, differs from JAX by {onnx.max_logit_difference:.1e}")
    console.rule("5/5 bench")
    with console.status("measuring") as status:
        measured = bench_checkpoint(trained.best, rounds=10, note=lambda text: status.update(f"measuring: {text}"))
    console.print(latency_table(measured))
    return {"checkpoint": str(trained.best), "onnx": str(onnx.path), "evaluate": judged, "bench": measured}


def _mcc(judge: dict[str, dict[str, float]]) -> str:
    return " / ".join(f"{metrics['mcc']:.2f}" for metrics in judge.values())
