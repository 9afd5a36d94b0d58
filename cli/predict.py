"""`nanoarb-jax predict`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

if TYPE_CHECKING:
    from nanoarb_jax.config import DataConfig
    from nanoarb_jax.serving.predictor import StepPredictor
    from nanoarb_jax.serving.window import WindowPredictor

from .options import data_settings
from .output import JsonOption, claim_json, console, noting, say, write_json
from .tables import mcc

Split = Literal["all", "train", "validation", "test"]


def predict(
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, output folder of a run, or exported file.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of market data.")],
    output: Annotated[Path, typer.Option(help="File to write: .npz, .csv or .parquet.")],
    backend: Annotated[Literal["native", "jax", "onnx"], typer.Option(help="What computes.")] = "native",
    precision: Annotated[Literal["fp32", "bf16", "int8"], typer.Option(help="Of the native step's weights.")] = "fp32",
    split: Annotated[Split, typer.Option(help="Which part of each stream to write.")] = "all",
    json_path: JsonOption = None,
) -> None:
    """Replay market data tick by tick and write predictions."""
    claim_json(json_path)
    from nanoarb_jax.files import claim_file
    from nanoarb_jax.serving.metrics import ModelMetrics
    from nanoarb_jax.serving.predictions import SUFFIXES, write_predictions
    from nanoarb_jax.serving.replay import accuracy, open_streams, replay_dataset

    claim_file(output, "--output", SUFFIXES)
    with console.status("reading"):
        loading = time.perf_counter()
        predictor = _load(checkpoint, backend, precision)
        load_seconds = time.perf_counter() - loading
        settings, trained_on = _about(checkpoint, backend)
        dataset, unlabelled = open_streams(data, settings)
    metrics, part, began = ModelMetrics(), None if split == "all" else split, time.perf_counter()
    with noting("replaying") as note:
        replayed = replay_dataset(predictor, dataset, settings.horizons, metrics, part, note)
    seconds = time.perf_counter() - began
    write_predictions(output, replayed, settings.horizons, predictor.version)
    ticks = sum(getattr(stream, part)[1] if part else stream.rows for stream in dataset.streams)
    figures = {
        "output": str(output), "version": predictor.version, "backend": backend,
        "precision": None if checkpoint.is_file() else precision,  # an exported file has its own
        "split": split, "series": {one.name: len(one.ts_ns) for one in replayed}, "predictions": metrics.total,
        "unseen": sorted({one.name for one in replayed} - trained_on),
        "unlabelled": unlabelled, "ticks": ticks, "seconds": seconds, "ticks_per_second": ticks / seconds,
        "load_seconds": load_seconds,
        "latency_ns": metrics.snapshot()["latency_ns"], "average_confidence": metrics.average_confidence,
        "accuracy": accuracy(replayed, settings.horizons),
    }  # fmt: skip
    _print(figures)
    write_json(json_path, figures)


def _load(checkpoint: Path, backend: str, precision: str) -> StepPredictor | WindowPredictor:
    """The predictor; an exported window takes the place of a step, and reads the last ticks at every one."""
    from nanoarb_jax.serving.loading import read_card
    from nanoarb_jax.serving.predictor import StepPredictor
    from nanoarb_jax.serving.window import WindowPredictor

    if backend == "onnx" and checkpoint.is_file() and read_card(checkpoint, backend).kind == "window":
        return WindowPredictor.load(checkpoint)
    return StepPredictor.load(checkpoint, backend=backend, precision=precision)


def _about(checkpoint: Path, backend: str) -> tuple[DataConfig, set[str]]:
    """How the model's data were made, with its horizons, and the names of the series it was trained on."""
    from nanoarb_jax.features.feature_set import feature_set_of
    from nanoarb_jax.serving.loading import read_card

    card = read_card(checkpoint, backend)
    made = card.data.get("config")
    if made is None:  # a model that does not say still reads the features of one set
        known = feature_set_of(card.config.input_dim)
        made = {} if known is None else {"feature_set": known.name}
    return data_settings(card.config.horizons, made, str(checkpoint)), set(card.stream_names)


def _print(figures: dict[str, Any]) -> None:
    latency, backend = figures["latency_ns"], " ".join(filter(None, (figures["backend"], figures["precision"])))
    say(f"{figures['output']}: {figures['predictions']:,} predictions of {len(figures['series'])} series")
    say(f"model read and compiled in {figures['load_seconds']:.1f} s")
    say(
        f"{figures['ticks_per_second']:,.0f} ticks/s with {backend}, "
        f"latency p50 {latency['p50'] / 1e3:.1f}, p99 {latency['p99'] / 1e3:.1f} µs"
    )
    known = {h: f for h, f in figures["accuracy"].items() if f["n"]}
    if known:
        rows = "all rows, those trained on too" if figures["split"] == "all" else f"{figures['split']} rows"
        say("accuracy " + ", ".join(f"{h} {mcc(f['accuracy'], 3)}" for h, f in known.items()) + f" ({rows})")
    for reason in figures["unlabelled"].values():
        say(f"no labels: {reason}")
    if figures["unseen"]:
        say("no series of these names among those trained on; quantities scaled by their own")
        say(f"training part: {', '.join(figures['unseen'])}")
