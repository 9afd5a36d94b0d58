"""`nanoarb-jax predict`."""

from __future__ import annotations

import dataclasses
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, NamedTuple

import typer

from nanoarb_jax.errors import ConfigError

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.card import ModelCard
    from nanoarb_jax.config import DataConfig
    from nanoarb_jax.serving.feeds import Feeds
    from nanoarb_jax.serving.predictor import StepPredictor
    from nanoarb_jax.serving.window import WindowPredictor

from .options import data_settings, labelled_as_trained
from .output import JsonOption, claim_json, console, noting, say, write_json
from .reader_options import Reader, reader_options
from .tables import counts, mcc

Split = Literal["all", "train", "validation", "test"]


Backend = Literal["native", "jax", "onnx"]
Precision = Literal["fp32", "bf16", "int8"]
ScalesFromOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FEED|DATASET",
        help="What is usual for the instrument: its past.  [default: the model's series of that name, else --warm-up]",
    ),
]
SeriesOption = Annotated[str | None, typer.Option(help="The series there, or of the model's own, whose scales hold.")]
AdaptOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FEED|DATASET",
        help="Adapt the model to this past of the instrument first, as adapt does; its scales hold, too.",
    ),
]
WarmUpOption = Annotated[int, typer.Option(min=1, help="Ticks measured first, not predicted, if no scales are known.")]


@reader_options
def predict(
    *,
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, output folder of a run, or exported file.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of market data.")],
    output: Annotated[Path, typer.Option(help="File to write: .npz, .csv or .parquet.")],
    backend: Annotated[Backend, typer.Option(help="What computes.")] = "native",
    precision: Annotated[Precision, typer.Option(help="Of the native step's weights.")] = "fp32",
    split: Annotated[Split, typer.Option(help="Which part of each stream to write.")] = "all",
    adapt: AdaptOption = None,
    scales_from: ScalesFromOption = None,
    series: SeriesOption = None,
    warm_up: WarmUpOption = 1_000,
    reader: Reader,
    json_path: JsonOption = None,
) -> None:
    """Replay market data tick by tick and write predictions."""
    claim_json(json_path)
    from nanoarb_jax.files import claim_file
    from nanoarb_jax.serving.feeds import open_feeds
    from nanoarb_jax.serving.predictions import SUFFIXES
    from nanoarb_jax.serving.scales import ScaleSource

    claim_file(output, "--output", SUFFIXES)
    part = None if split == "all" else split
    with console.status("reading"):
        served = _serve(checkpoint, backend, precision, adapt)
        scales = ScaleSource(scales_from or adapt, series, served.card.data.get("streams", []), warm_up)
        settings = model_settings(served.card, checkpoint, data)
        feeds = open_feeds(data, settings, scales, split=part, options=reader.options, policy=reader.policy)
    figures = {"output": str(output), "split": split, **served.figures, **_replay(served, feeds, part, output)}
    _print(figures)
    write_json(json_path, figures)


class _Served(NamedTuple):
    """A predictor, its card, and what is told of both."""

    predictor: StepPredictor | WindowPredictor
    card: ModelCard
    figures: dict[str, Any]


def _serve(checkpoint: Path, backend: str, precision: str, past: Path | None) -> _Served:
    """The predictor of a checkpoint, adapted to a past of the instrument if there is one."""
    from nanoarb_jax.serving.loading import read_card

    if past is not None:
        with tempfile.TemporaryDirectory() as folder:
            return _serve(_adapt(checkpoint, past, Path(folder) / "adapted"), backend, precision, None)
    began = time.perf_counter()
    predictor = _load(checkpoint, backend, precision)
    figures = {
        "version": predictor.version,
        "backend": backend,
        "precision": None if checkpoint.is_file() else precision,  # an exported file has its own
        "load_seconds": time.perf_counter() - began,
    }
    return _Served(predictor, read_card(checkpoint, backend), figures)


def _adapt(checkpoint: Path, past: Path, output: Path) -> Path:
    from nanoarb_jax.artifacts.checkpoint import load_checkpoint
    from nanoarb_jax.data.dataset import open_dataset
    from nanoarb_jax.training.adapt import adapt_checkpoint

    if checkpoint.is_file():
        raise ConfigError(f"--adapt {past}: --checkpoint {checkpoint} is an exported file; give the checkpoint itself")
    model = load_checkpoint(checkpoint)
    return adapt_checkpoint(model, open_dataset(past, labelled_as_trained(model, past)), output).path


def _load(checkpoint: Path, backend: str, precision: str) -> StepPredictor | WindowPredictor:
    """The predictor; an exported window takes the place of a step, and reads the last ticks at every one."""
    from nanoarb_jax.serving.loading import read_card
    from nanoarb_jax.serving.predictor import StepPredictor
    from nanoarb_jax.serving.window import WindowPredictor

    if backend == "onnx" and checkpoint.is_file() and read_card(checkpoint, backend).kind == "window":
        return WindowPredictor.load(checkpoint)
    return StepPredictor.load(checkpoint, backend=backend, precision=precision)


def model_settings(card: ModelCard, checkpoint: Path, data: Path) -> DataConfig | None:
    """How the model's data were made, with its horizons; None where neither it nor a dataset's own settings say."""
    from nanoarb_jax.data.stored import is_dataset
    from nanoarb_jax.features.feature_set import feature_set_of

    made = card.data.get("config")
    if made is None:  # a model that does not say still reads the features of one set
        if is_dataset(data):
            return None
        known = feature_set_of(card.config.input_dim)
        made = {} if known is None else {"feature_set": known.name}
    return data_settings(card.config.horizons, made, str(checkpoint))


def _replay(served: _Served, feeds: Feeds, part: str | None, output: Path) -> dict[str, Any]:
    """Predict, write the file, and tell what came of it."""
    from nanoarb_jax.data.provenance import how_learnt
    from nanoarb_jax.serving.metrics import ModelMetrics
    from nanoarb_jax.serving.predictions import write_predictions
    from nanoarb_jax.serving.replay import accuracy, replay_dataset

    predictor, card, _ = served
    metrics, horizons, began = ModelMetrics(), card.config.horizons, time.perf_counter()
    warm_up = {name: scales.warm_up for name, scales in feeds.scales.items()}
    with noting("replaying") as note:
        replayed = replay_dataset(predictor, feeds.dataset, horizons, metrics, part, note, warm_up=warm_up)
    seconds = time.perf_counter() - began
    about = {
        "input": dataclasses.asdict(feeds.dataset.config.input),
        "scales": {name: scales._asdict() for name, scales in feeds.scales.items()},
        "accounts": feeds.accounts,
    }
    write_predictions(output, replayed, horizons, predictor.version, about)
    streams = feeds.dataset.streams
    learnt = {stream.name: how_learnt(stream, card.learnt) for stream in streams}
    ticks = sum(getattr(stream, part)[1] if part else stream.rows for stream in streams)
    return {
        "series": {one.name: len(one.ts_ns) for one in replayed}, "predictions": metrics.total, **about,
        "learnt": {name: why for name, why in learnt.items() if why},
        "unseen": sorted(name for name, why in learnt.items() if not why),
        "unlabelled": feeds.unlabelled, "ticks": ticks, "seconds": seconds, "ticks_per_second": ticks / seconds,
        "latency_ns": metrics.snapshot()["latency_ns"], "average_confidence": metrics.average_confidence,
        "accuracy": accuracy(replayed, horizons),
    }  # fmt: skip


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
        rows = "all that are ready" if figures["split"] == "all" else f"{figures['split']} rows"
        say("accuracy " + ", ".join(f"{h} {mcc(f['accuracy'], 3)}" for h, f in known.items()) + f" ({rows})")
    elif not figures["unlabelled"]:
        say("no prediction is ready and labelled, so none is judged")
    for name, account in figures["accounts"].items():
        if lost := counts(account):
            say(f"{name}: {account['ticks']:,} ticks of {account['messages']:,} messages; {lost}")
    for reason in figures["unlabelled"].values():
        say(f"no labels: {reason}")
    for origin, names in _by(figures["scales"], lambda scales: scales["origin"]).items():
        say(f"scales of {names}: {origin}")
    for why, names in _by(figures["learnt"], str).items():
        say(f"the model learnt from {names}, or a part of it ({why})")
    if figures["unseen"]:
        say(f"not recognised as learnt from: {_joined(figures['unseen'])}")


def _by(values: dict[str, Any], key: Any) -> dict[str, str]:
    """Names that have the same key, joined: {key: "a, b"}."""
    found: dict[str, list[str]] = {}
    for name, value in values.items():
        found.setdefault(key(value), []).append(name)
    return {one: _joined(names) for one, names in found.items()}


def _joined(names: list[str]) -> str:
    """Three names at most."""
    return ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
