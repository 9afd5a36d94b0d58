"""`nanoarb-jax train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nanoarb_jax.config import Config, DataConfig, ModelConfig, TrainConfig, load_config
from nanoarb_jax.errors import ConfigError

from .output import JsonOption, claim_json, console, write_json

if TYPE_CHECKING:
    from nanoarb_jax.dataset import Dataset
    from nanoarb_jax.training.loop import TrainResult


def train(
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of book-npz books.")],
    output_dir: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    preset: Annotated[str | None, typer.Option(help="Model size: base, small or nano.")] = None,
    epochs: Annotated[int | None, typer.Option(help="Passes over the training rows.")] = None,
    batch_size: Annotated[int | None, typer.Option(help="Parallel streams, or windows, per update.")] = None,
    chunk_length: Annotated[int | None, typer.Option(help="Ticks per update of each parallel stream.")] = None,
    lr: Annotated[float | None, typer.Option(help="Peak learning rate.")] = None,
    dropout: Annotated[float | None, typer.Option(help="Dropout rate.")] = None,
    objective: Annotated[
        Literal["stream", "window"] | None,
        typer.Option(help="Loss at every tick of streams, or at the end of windows."),
    ] = None,
    loss: Annotated[Literal["cost-aware", "cross-entropy"] | None, typer.Option(help="Training loss.")] = None,
    class_weights: Annotated[
        bool | None, typer.Option("--class-weights/--no-class-weights", help="Weight classes by inverse frequency.")
    ] = None,
    mirror: Annotated[
        bool | None, typer.Option("--mirror/--no-mirror", help="Swap bid and ask half of the time.")
    ] = None,
    tensorboard: Annotated[
        bool | None, typer.Option("--tensorboard/--no-tensorboard", help="Write event files.")
    ] = None,
    device: Annotated[Literal["auto", "cpu", "gpu"] | None, typer.Option(help="Where to train.")] = None,
    seed: Annotated[int | None, typer.Option(help="Seed of weights, order and dropout.")] = None,
    config: Annotated[Path | None, typer.Option(help="TOML file; options given beside it win.")] = None,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output-dir, with its own settings.")
    ] = False,
    export_onnx: Annotated[Path | None, typer.Option(help="Afterwards export the best weights to this file.")] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Afterwards measure latencies of the best weights.")
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """Train a model on order book streams; keep its best and latest weights."""
    changes = {
        "epochs": epochs, "batch_size": batch_size, "chunk_length": chunk_length, "lr": lr, "objective": objective,
        "loss": loss, "class_weights": class_weights, "mirror": mirror, "tensorboard": tensorboard, "device": device,
        "seed": seed,
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
        settings = load_config(output_dir / "config.toml")
    else:
        settings = _settings(config, preset, dropout, changes)
    from nanoarb_jax.dataset import open_dataset

    dataset = open_dataset(data, settings.data if config is not None or resume else None)
    if config is None and not resume:
        settings = dataclasses.replace(
            settings, data=dataset.config, model=_with_horizons(settings.model, dataset.config)
        )
    result = run(settings, dataset, output_dir, resume)
    figures = {
        key: str(value) if isinstance(value, Path) else value for key, value in dataclasses.asdict(result).items()
    }
    if export_onnx is not None:
        from .export import export

        export(checkpoint=result.best, output=export_onnx)
    if benchmark:
        from nanoarb_jax.bench import bench_checkpoint

        from .output import latency_table

        measured = bench_checkpoint(result.best)
        figures["bench"] = measured
        console.print(latency_table(measured))
    write_json(json_path, figures)


def run(settings: Config, dataset: Dataset, output_dir: Path, resume: bool = False) -> TrainResult:
    """Train with a progress bar and a line per epoch."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    from nanoarb_jax.training.loop import train as train_model

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, TimeRemainingColumn(), console=console) as bar:
        task = bar.add_task("train", total=None, epoch="–", note="compiling")

        def on_update(p: Any) -> None:
            note = f"loss {p.loss:.4f} · {p.ticks_per_second:,.0f} ticks/s"
            bar.update(task, total=p.updates, completed=p.update, epoch=f"{p.epoch + 1}/{p.epochs}", note=note)

        def on_epoch(record: dict[str, Any]) -> None:
            mcc = "  ".join(f"{key} {value:.3f}" for key, value in record["validation_mcc"].items())
            bar.console.print(f"epoch {record['epoch'] + 1}: loss {record['loss']:.4f}  validation MCC: {mcc}")

        result = train_model(settings, dataset, output_dir, resume=resume, on_update=on_update, on_epoch=on_epoch)
    console.print(
        f"best: epoch {result.best_epoch + 1}, mean validation MCC {result.best_mcc:.3f}, in {result.best}\n"
        f"{result.ticks_per_second:,.0f} labelled ticks/s on {result.device}, "
        f"peak memory {result.peak_memory_bytes / 2**20:,.0f} MiB"
    )
    return result


def _settings(config: Path | None, preset: str | None, dropout: float | None, changes: dict[str, Any]) -> Config:
    base = load_config(config) if config is not None else Config()
    model = base.model
    if preset is not None:
        model = dataclasses.replace(ModelConfig.preset(preset), horizons=model.horizons, dropout=model.dropout)
    if dropout is not None:
        model = dataclasses.replace(model, dropout=dropout)
    train_config: TrainConfig = dataclasses.replace(base.train, **changes)
    return dataclasses.replace(base, model=model, train=train_config)


def _with_horizons(model: ModelConfig, data: DataConfig) -> ModelConfig:
    """Without a config file the data says what is predicted."""
    return dataclasses.replace(model, horizons=data.horizons)
