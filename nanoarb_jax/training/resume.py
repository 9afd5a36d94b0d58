"""A training run on disk: what it was begun with, and its whole state, so that it goes on bit for bit when stopped."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jax
import numpy as np

from nanoarb_jax.config import Config, load_config
from nanoarb_jax.errors import CheckpointError, ConfigError, DataError


def claim_folder(folder: Path, config: Config, record: dict[str, Any], resume: bool) -> None:
    """Begin a run's folder, or with `resume` see that the run in it was begun alike.

    Args:
        folder: of the run.
        config: its settings, kept in config.toml.
        record: what it learns from, plain JSON values, kept in run.json: streams, how they were made, and of `initial`
            weights and a `teacher`, where there are any, their `version`.
        resume: whether to go on with the run that is there.

    Raises:
        CheckpointError: nothing to resume, a folder that holds a run already or cannot be written, or other weights
            of the teacher or to begin from than the run had.
        ConfigError, DataError: other settings or data than the run's.
    """
    settings, description = folder / "config.toml", folder / "run.json"
    if resume:
        if not settings.is_file() or not description.is_file():
            raise CheckpointError(f"{folder}: no run to resume; start one without --resume")
        if load_config(settings) != config:
            raise ConfigError(f"{folder}: its config.toml differs from the settings given; resume with its own")
        began = json.loads(description.read_text())
        for given, place in (("teacher", config.train.teacher), ("initial", config.train.init)):
            was, now = (about.get(given, {}).get("version") for about in (began, record))
            if was != now:
                raise CheckpointError(
                    f"{folder}: began with {given} weights {was}, {place} holds {now}; put back the checkpoint it "
                    "began with"
                )
        if began != record:
            raise DataError(f"{folder}: trained on other data than given; resume with the same --data")
        return
    for name in ("config.toml", "run.json", "metrics.jsonl", "latest", "best", "tensorboard"):
        if (folder / name).exists():
            raise CheckpointError(
                f"{folder}: holds a training run ({name}); resume it with --resume or choose another folder"
            )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        settings.write_text(config.to_toml(), encoding="utf-8")
        description.write_text(json.dumps(record, indent=1) + "\n")
    except OSError as error:
        raise CheckpointError(f"{folder}: cannot be written ({error.strerror}); choose another folder") from error


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
            line = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise CheckpointError(
                f"{self.folder}/{update}: cannot be read ({line[:200]}); remove that folder to resume from the last"
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
    """Leaves by their path: a flat dict survives changes of container types that a pickled structure would not."""
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)}
