"""The whole state of a training run on disk, so that a run goes on bit for bit as if it had never stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import numpy as np

from nanoarb_jax.errors import CheckpointError


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
