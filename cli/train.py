"""`nanoarb-jax train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nanoarb_jax.config import Config, ModelConfig, TrainConfig, load_config
from nanoarb_jax.errors import ConfigError

from .bench import show as show_latencies
from .export import export
from .output import JsonOption, claim_json, console, mcc, noting, say, write_json

if TYPE_CHECKING:
    from nanoarb_jax.data.dataset import Dataset
    from nanoarb_jax.training.loop import TrainResult


DEFAULT = TrainConfig()


def _option(says: str, default: object) -> Any:
    """An option that a file may set instead; the help names the default."""
    return typer.Option(help=f"{says}  [default: {default}]")


def train(
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of book-npz books.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    preset: Annotated[str | None, _option("Model size: base, small or nano.", "base")] = None,
    epochs: Annotated[int | None, _option("Passes over the training rows.", DEFAULT.epochs)] = None,
    batch_size: Annotated[int | None, _option("Parallel streams, or windows, per update.", "by device")] = None,
    accumulate: Annotated[
        int | None, _option("Groups that they are worked through in, to save memory.", DEFAULT.accumulate)
    ] = None,
    sampling: Annotated[
        Literal["rows", "instrument"] | None,
        _option("Share of a stream in an epoch: by its rows, or the same for every instrument.", DEFAULT.sampling),
    ] = None,
    chunk_length: Annotated[
        int | None, _option("Ticks per update of each parallel stream.", DEFAULT.chunk_length)
    ] = None,
    lr: Annotated[float | None, _option("Peak learning rate.", DEFAULT.lr)] = None,
    dropout: Annotated[float | None, _option("Dropout rate.", ModelConfig().dropout)] = None,
    objective: Annotated[
        Literal["stream", "window"] | None,
        _option("Loss at every tick of streams, or at the end of windows.", DEFAULT.objective),
    ] = None,
    loss: Annotated[
        Literal["cost-aware", "cross-entropy", "expected-pnl"] | None, _option("Training loss.", DEFAULT.loss)
    ] = None,
    class_weights: Annotated[
        bool | None,
        typer.Option("--class-weights/--no-class-weights", help="Weight classes by inverse frequency.  [default: no]"),
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Swap bid and ask half of the time.  [default: yes]")
    ] = None,
    init: Annotated[
        Path | None,
        _option("Checkpoint or run folder to begin from; without --preset and --config its shape holds.", "none"),
    ] = None,
    keep: Annotated[
        Literal["loss", "mcc", "last"] | None,
        _option("Epoch whose weights are kept: least validation log loss, best MCC, or the last.", DEFAULT.keep),
    ] = None,
    teacher: Annotated[
        Path | None, _option("Checkpoint or run folder of a larger model to learn from beside the labels.", "none")
    ] = None,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard/--no-tensorboard", help="Write event files.  [default: yes]")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "gpu"] | None, _option("Where to train.", DEFAULT.device)] = None,
    devices: Annotated[int | None, _option("How many of them share the streams.", "all")] = None,
    seed: Annotated[int | None, _option("Seed of weights, order and dropout.", DEFAULT.seed)] = None,
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML settings; options given beside it win.")
    ] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output-dir, with its own settings.")
    ] = False,
    export_onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Afterwards export the best weights to this file.")
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Afterwards measure latencies of the best weights.")
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """Train a model on order book streams, or resume a run."""
    changes = {
        "epochs": epochs, "batch_size": batch_size, "chunk_length": chunk_length, "lr": lr, "objective": objective,
        "loss": loss, "class_weights": class_weights, "mirror": mirror, "tensorboard": tensorboard, "device": device,
        "seed": seed, "sampling": sampling, "accumulate": accumulate, "devices": devices, "keep": keep,
        "init": None if init is None else str(init), "teacher": None if teacher is None else str(teacher),
    }  # fmt: skip
    changes = {name: value for name, value in changes.items() if value is not None}
    claim_json(json_path)
    if resume:
        given = [
            *changes,
            *(name for name, v in (("preset", preset), ("dropout", dropout), ("config", config)) if v is not None),
        ]
        if given:
            raise ConfigError(
                f"--{given[0].replace('_', '-')}: the run's own settings hold with --resume; leave it out"
            )
        if not (output_dir / "config.toml").is_file():
            raise ConfigError(f"--output-dir {output_dir}: holds no run to resume; start one without --resume")
        settings = load_config(output_dir / "config.toml")
    else:
        settings = _settings(config, preset, dropout, changes)
    if export_onnx is not None:
        from nanoarb_jax.exporters import claim_output

        claim_output(export_onnx)
    if benchmark:
        from nanoarb_jax.bench import bench_checkpoint  # before the training: it sets JAX up for short calls
    from nanoarb_jax.data.dataset import open_dataset

    with console.status("reading"):
        dataset = open_dataset(data, settings.data if config is not None or resume else None)
    if config is None and not resume:  # without a file the data says what is read and predicted
        features = dataset.config.feature_set
        model = dataclasses.replace(
            settings.model,
            horizons=dataset.horizons,
            feature_set=features,
        )
        settings = dataclasses.replace(settings, data=dataset.config, model=model)
    try:
        result = run(settings, dataset, output_dir, resume)
    except KeyboardInterrupt:
        if any((output_dir / "latest").glob("[0-9]*")):
            say(f"stopped; go on with: nanoarb-jax train --data {data} --output-dir {output_dir} --resume")
        raise
    figures: dict[str, Any] = {
        key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(result).items()
    }
    if export_onnx is not None:
        export(checkpoint=result.best, output=export_onnx)
    if benchmark:
        with noting("measuring") as note:
            figures["bench"] = bench_checkpoint(result.best, note=note)
        show_latencies(figures["bench"])
    write_json(json_path, figures)


def run(settings: Config, dataset: Dataset, output_dir: Path, resume: bool = False) -> TrainResult:
    """Train with a progress bar and a line per epoch."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nanoarb_jax.training.loop import train as train_model

    rows = sum(stream.train[1] - stream.train[0] for stream in dataset.streams)
    epochs, keys = settings.train.epochs, [f"h{horizon}" for horizon in settings.model.horizons]
    say(f"{settings.model.preset_name} preset, {len(dataset.streams)} streams with {rows:,} training rows")
    for name, place in (("begins from", settings.train.init), ("teacher", settings.train.teacher)):
        if place is not None:
            say(f"{name}: {place}")
    heading = f"{'epoch':>9}{'loss':>8}{'valid.':>8}  " + "".join(f"{key:>7}" for key in [*keys, "mean"])
    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("train", total=None, epoch="–", note="compiling")

        def on_update(p: Any) -> None:
            note = f"loss {p.loss:.3f} · {p.ticks_per_second:,.0f} ticks/s"
            bar.update(task, total=p.updates, completed=p.update, epoch=f"{p.epoch + 1}/{p.epochs}", note=note)

        def on_epoch(record: dict[str, Any]) -> None:
            nonlocal heading
            if heading:
                say(f"{heading}  validation MCC, * kept")
                heading = ""
            scores = "".join(f"{mcc(record['validation_mcc'][key], 3):>7}" for key in [*keys, "mean"])
            kept = " *" if (output_dir / "best" / str(record["update"])).is_dir() else ""
            losses = f"{record['loss']:>8.4f}{record['validation_loss']['mean']:>8.4f}"
            say(f"{record['epoch'] + 1:>4}/{epochs:<4}{losses}  {scores}{kept}")

        result = train_model(settings, dataset, output_dir, resume=resume, on_update=on_update, on_epoch=on_epoch)
    if result.epochs < epochs:
        measure = {"loss": "log loss", "mcc": "MCC"}[settings.train.keep]
        say(f"stopped early: no better validation {measure} for {settings.train.patience} epochs")
    figures = f"validation log loss {result.best_loss:.4f}, MCC {mcc(result.best_mcc, 3)}"
    say(f"kept: epoch {result.best_epoch + 1}, mean {figures}, in {result.best}")
    if result.ticks:
        device, memory = result.device.partition(":")[2], result.peak_memory_bytes / 2**20
        device = device if result.devices == 1 else f"{result.devices} × {device}"
        say(f"{result.ticks_per_second:,.0f} labelled ticks/s on {device}, peak memory {memory:,.0f} MiB")
    else:
        say("nothing was left to train")
    return result


def _settings(config: Path | None, preset: str | None, dropout: float | None, changes: dict[str, Any]) -> Config:
    base = load_config(config) if config is not None else Config()
    if "init" in changes and config is None and preset is None:
        from nanoarb_jax.artifacts.checkpoint import load_checkpoint

        model = load_checkpoint(changes["init"]).config
        base = dataclasses.replace(base, model=model, data=dataclasses.replace(base.data, horizons=model.horizons))
    model = base.model
    if preset is not None:
        model = dataclasses.replace(ModelConfig.preset(preset), horizons=model.horizons, dropout=model.dropout)
    if dropout is not None:
        model = dataclasses.replace(model, dropout=dropout)
    train_config: TrainConfig = dataclasses.replace(base.train, **changes)
    return dataclasses.replace(base, model=model, train=train_config)
