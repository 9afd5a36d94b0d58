"""A training run on disk, so that it goes on bit for bit after it was stopped.

config.toml      the settings
run.json         what it learns from
metrics.jsonl    a line for each epoch
tensorboard/     the same for TensorBoard
latest/          the whole state, for --resume
best/<update>/   the model to evaluate, export and serve
"""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import jax
import numpy as np
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import save_checkpoint
from nanoarb_jax.config import Config, load_config
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError, OutputError
from nanoarb_jax.files import check_open_files, first_line
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.training.calibrate import fold_calibration
from nanoarb_jax.training.run_plan import RunPlan

_CONFIG, _RECORD = "config.toml", "run.json"


def begin_run(folder: Path, config: Config, record: dict[str, Any]) -> None:
    """Make the folder of a new run.

    Args:
        folder: must not hold a run; made where it is missing.
        config: the settings.
        record: what the run learns from, see `run_plan.describe_run`.

    Raises:
        OutputError: the folder holds a run already, or cannot be written.
    """
    for name in (_CONFIG, _RECORD, "metrics.jsonl", "latest", "best", "tensorboard"):
        if (folder / name).exists():
            raise OutputError(
                f"{folder}: holds a training run ({name}); resume it, on the command line with --resume, or choose "
                "another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _CONFIG).write_text(config.to_toml(), encoding="utf-8")
        (folder / _RECORD).write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise OutputError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


def check_resumed_run(folder: Path, config: Config, record: dict[str, Any]) -> None:
    """See that the run in a folder was begun with the same settings, on the same data, from the same weights.

    Args:
        folder: of the run.
        config: the settings to go on with.
        record: what it would learn from, see `run_plan.describe_run`.

    Raises:
        CheckpointError: there is no run, or the teacher or the weights to begin from are others than it had.
        ConfigError, DataError: other settings or data than the run's.
    """
    if not (folder / _CONFIG).is_file() or not (folder / _RECORD).is_file():
        raise CheckpointError(f"{folder}: no run to resume; start one without --resume")
    if load_config(folder / _CONFIG) != config:
        raise ConfigError(f"{folder}: its config.toml differs from the settings given; resume with its own")
    began = json.loads((folder / _RECORD).read_text())
    for name, place in (("teacher", config.train.teacher), ("initial", config.train.init)):
        was, now = (about.get(name, {}).get("version") for about in (began, record))
        if was != now:
            raise CheckpointError(
                f"{folder}: began with {name} weights {was}, {place} holds {now}; put back the checkpoint it began with"
            )
    if began != _as_noted(record, began):
        raise DataError(f"{folder}: trained on other data than given; resume with the same --data")


def _as_noted(record: Any, began: Any) -> Any:
    """Of a record what an earlier one says, too: a run that an earlier version began is compared by what that noted.

    Weights that a run begins from, and its teacher, are compared by their versions, not here.
    """
    if isinstance(record, dict) and isinstance(began, dict):
        told = {key: began[key] if key in ("initial", "teacher") else record.get(key) for key in began}
        return {key: _as_noted(value, began[key]) for key, value in told.items()}
    if isinstance(record, list) and isinstance(began, list) and len(record) == len(began):
        return [_as_noted(*pair) for pair in zip(record, began, strict=True)]
    return record


def holds_state(folder: Path) -> bool:
    """Whether a run kept a state or weights before it was stopped."""
    return any(any((folder / name).glob("[0-9]*")) for name in ("latest", "best"))


def keep_best(
    folder: Path, model: MambaLOB, weights: Any, metrics: dict[str, Any], plan: RunPlan, record: dict[str, Any]
) -> None:
    """Write the best weights so far as a checkpoint, then remove the one before.

    Args:
        folder: of the run.
        model: takes on what is kept.
        weights: to keep, calibrated.
        metrics: line of metrics.jsonl of the epoch that they are of, with the calibration if there is one.
        plan: of the run.
        record: what the run learns from.
    """
    nnx.update(model, weights)
    calibration = metrics.get("calibration")
    if calibration is not None:
        fold_calibration(model, calibration)
    update = metrics["update"]
    kept = save_checkpoint(
        folder / "best" / str(update),
        model,
        metrics={key: metrics[key] for key in ("validation_loss", "validation_mcc", "loss")},
        data=record,
        training={
            **dataclasses.asdict(plan.config.train),
            "epoch_kept": metrics["epoch"],
            "update_kept": update,
            "calibration": calibration,
            "device": plan.device_name,
            "devices": len(plan.devices),
        },
    )
    for other in kept.parent.iterdir():
        if other != kept and other.name.isdigit():
            shutil.rmtree(other)


def drop_newer_best(folder: Path, update: int) -> None:
    """Remove best weights that were kept after the state of this update: they will be made again, the same."""
    for kept in (folder / "best").glob("[0-9]*"):
        if kept.name.isdigit() and int(kept.name) > update:
            shutil.rmtree(kept)


class RunCheckpoints:
    """The latest states of a run: an orbax `CheckpointManager` that keeps two.

    Args:
        folder: made where it is missing.
    """

    def __init__(self, folder: Path):
        import orbax.checkpoint as ocp

        self._ocp = ocp
        self.folder = folder.absolute()
        # saving in the background would overlap with the donated buffers of the next update
        options = ocp.CheckpointManagerOptions(max_to_keep=2, enable_async_checkpointing=False)
        self._manager = ocp.CheckpointManager(self.folder, options=options)

    def save(self, update: int, state: Any, progress: dict[str, Any]) -> None:
        """Keep the state after `update` updates, and the plain JSON values beside it; atomic."""
        args = self._ocp.args
        items = args.Composite(state=args.StandardSave(_named(state)), progress=args.JsonSave(progress))
        self._manager.save(update, args=items)

    def restore(self, template: Any) -> tuple[Any, dict[str, Any]]:
        """The newest state, in the structure and on the devices of `template`, and the values beside it.

        Raises:
            CheckpointError: none was kept, it is damaged, or it has another structure.
        """
        update = self._manager.latest_step()
        if update is None:
            raise CheckpointError(f"{self.folder}: no state to resume from; start without --resume in a new folder")
        args, expected = self._ocp.args, _named(template)
        try:
            items = self._manager.restore(
                update, args=args.Composite(state=args.StandardRestore(expected), progress=args.JsonRestore())
            )
        except Exception as error:  # orbax and tensorstore raise many kinds on a damaged folder
            check_open_files(error)
            raise CheckpointError(
                f"{self.folder}/{update}: cannot be read ({first_line(error)}); remove that folder to resume from the "
                "last"
            ) from error
        for name, leaf in expected.items():  # orbax hands out whatever shape it finds
            met = items.state[name]
            if (met.shape, met.dtype) != (leaf.shape, leaf.dtype):
                raise CheckpointError(
                    f"{self.folder}/{update}: {name} is {met.dtype}{met.shape}, expected {leaf.dtype}{leaf.shape}; "
                    "resume on the kind of device that the run began on"
                )
        leaves = [jax.numpy.asarray(items.state[name]) for name in expected]
        return jax.tree.unflatten(jax.tree.structure(template), leaves), items.progress

    def close(self) -> None:
        self._manager.close()


def _named(tree: Any) -> dict[str, np.ndarray]:
    """Leaves by their path: a flat dict can still be read after the types of its containers have changed."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
