"""`nanoarb-jax train`."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarb_jax.config import PRESETS, Config, DataConfig, ModelConfig, TrainConfig, load_config
from nanoarb_jax.errors import CheckpointError, ConfigError

from .bench import show as show_latencies
from .export import export
from .output import JsonOption, claim_json, console, noting, say, write_json
from .settings_options import Given, settings_of, settings_options
from .training_display import epoch_lines, say_result, say_what_is_trained, update_bar

if TYPE_CHECKING:
    from nanoarb_jax.data.dataset import Dataset
    from nanoarb_jax.training.loop import TrainResult


@settings_options(*settings_of("train", TrainConfig), *settings_of("model", ModelConfig, ["dropout"], Config().model))
def train(
    *,
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of market data.")],
    output: Annotated[Path, typer.Option(help="Folder of the run.")] = Path("runs/train"),
    config: Annotated[
        Path | None, typer.Option(metavar="FILE", help="TOML settings; options given beside it win.")
    ] = None,
    preset: Annotated[str | None, typer.Option(help="Model size: base, small or nano.  [default: base]")] = None,
    given: Given,
    resume: Annotated[
        bool, typer.Option("--resume", help="Go on with the run in --output, with its own settings.")
    ] = False,
    export_onnx: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Afterwards export the best weights to this file.")
    ] = None,
    benchmark: Annotated[
        bool, typer.Option("--benchmark", help="Afterwards measure latencies of the best weights.")
    ] = False,
    json_path: JsonOption = None,
) -> None:
    """Train a model on order book streams, or resume a run.

    Settings of the run come from options, then from the file of --config, then from the recipe of the --preset. With
    --init and without --preset and --config the model has the shape of the checkpoint that it begins from.
    """
    claim_json(json_path)
    settings = _resumed(output, config, preset, given) if resume else _chosen(config, preset, given)
    if export_onnx is not None:
        from nanoarb_jax.exporters import claim_output

        claim_output(export_onnx, what="--export-onnx")
    if benchmark:
        from nanoarb_jax.bench import bench_checkpoint  # before the training: it sets JAX up for short calls
    settings, dataset = _with_data(settings, data, data_are_set=resume or config is not None)
    result = _run_until_stopped(settings, dataset, output, resume, data)
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


def run(settings: Config, dataset: Dataset, output: Path, resume: bool = False) -> TrainResult:
    """Train with a progress bar and a line per epoch."""
    from nanoarb_jax.training.loop import train as train_model

    say_what_is_trained(settings, dataset)
    with update_bar() as on_update:
        on_epoch = epoch_lines(settings, output)
        result = train_model(settings, dataset, output, resume=resume, on_update=on_update, on_epoch=on_epoch)
    say_result(settings, result)
    return result


def _run_until_stopped(settings: Config, dataset: Dataset, output: Path, resume: bool, data: Path) -> TrainResult:
    """Train; who stops it is told how to go on."""
    try:
        return run(settings, dataset, output, resume)
    except KeyboardInterrupt:
        if any((output / "latest").glob("[0-9]*")):
            say(f"stopped; go on with: nanoarb-jax train --data {data} --output {output} --resume")
        raise


def _resumed(output: Path, config: Path | None, preset: str | None, given: Given) -> Config:
    """The settings of the run in a folder.

    Raises:
        ConfigError: there is no run, or other settings are given.
    """
    beside = {**given["train"], "preset": preset, **given["model"], "config": config}
    for name, value in beside.items():
        if value is not None:
            option = f"--{name.replace('_', '-')}"
            raise ConfigError(f"{option}: the run's own settings hold with --resume; leave it out")
    if not (output / "config.toml").is_file():
        raise ConfigError(f"--output {output}: holds no run to resume; start one without --resume")
    return load_config(output / "config.toml")


def _chosen(config: Path | None, preset: str | None, given: Given) -> Config:
    """The settings of a new run: those given, beside those of a file, a preset or the checkpoint to begin from."""
    base = load_config(config) if config is not None else Config.recipe(preset or "base")
    train_config: TrainConfig = dataclasses.replace(base.train, **given["train"])
    if "init" in given["train"] and config is None and preset is None:
        from nanoarb_jax.artifacts.checkpoint import load_checkpoint

        try:
            model = load_checkpoint(str(train_config.init)).config
        except CheckpointError as error:
            raise CheckpointError(f"--init: {error}") from error
        if model.preset_name in PRESETS:
            train_config = dataclasses.replace(Config.recipe(model.preset_name).train, **given["train"])
        base = dataclasses.replace(base, model=model, data=_read_by(model, base.data))
    model = base.model
    if preset is not None and config is not None:
        kept: dict[str, Any] = {"horizons": model.horizons, "feature_set": model.feature_set, "dropout": model.dropout}
        model = dataclasses.replace(ModelConfig.preset(preset), **kept)
    model = dataclasses.replace(model, **given["model"])
    return dataclasses.replace(base, model=model, train=train_config)


def _read_by(model: ModelConfig, data: DataConfig) -> DataConfig:
    """The settings of data with the horizons and the features of a model."""
    features = data.feature_set if isinstance(model.feature_set, int) else model.feature_set
    return dataclasses.replace(data, horizons=model.horizons, feature_set=features)


def _with_data(settings: Config, data: Path, data_are_set: bool) -> tuple[Config, Dataset]:
    """Open the data. The settings say how they are made if `data_are_set`; else the data say what a model reads."""
    from nanoarb_jax.data.dataset import open_dataset

    with console.status("reading"):
        dataset = open_dataset(data, settings.data if data_are_set else None, verify=True)
    if data_are_set:
        return settings, dataset
    model = dataclasses.replace(settings.model, horizons=dataset.horizons, feature_set=dataset.config.feature_set)
    return dataclasses.replace(settings, data=dataset.config, model=model), dataset
