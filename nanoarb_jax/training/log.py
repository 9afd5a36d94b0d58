"""A run's log: metrics.jsonl, and the same figures for TensorBoard."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from typing import Any

from nanoarb_jax.errors import SettingError


def require_tensorboard() -> None:
    """See that event files can be written, before a run begins.

    Raises:
        SettingError: tensorboardX is not installed.
    """
    if importlib.util.find_spec("tensorboardX") is None:
        expected = "false, on the command line --no-tensorboard, without tensorboardX; or pip install tensorboardX"
        raise SettingError("train.tensorboard", True, expected)


class RunLog:
    """Append epoch records to a run's folder.

    Args:
        folder: of the run.
        update, epoch: where the run stands; later records of an interrupted run are dropped and made again.
        tensorboard: also write event files.
    """

    def __init__(self, folder: Path, update: int, epoch: int, tensorboard: bool):
        self.path = folder / "metrics.jsonl"
        lines = self.path.read_text().splitlines() if self.path.exists() else []
        self.path.write_text("".join(f"{line}\n" for line in lines[:epoch]))  # a line per epoch
        self.writer: Any = None
        if tensorboard:
            from tensorboardX import SummaryWriter

            self.writer = SummaryWriter(str(folder / "tensorboard"), purge_step=update)

    def epoch(self, record: dict[str, Any]) -> None:
        """Append one record."""
        with self.path.open("a") as file:
            file.write(json.dumps(record) + "\n")
        if self.writer is not None:
            self.writer.add_scalar("train/loss", record["loss"], record["update"])
            self.writer.add_scalar("train/ticks_per_second", record["ticks_per_second"], record["update"])
            for measure in ("validation_loss", "validation_mcc"):
                for horizon, value in record[measure].items():
                    self.writer.add_scalar(f"{measure}/{horizon}", value, record["update"])
            self.writer.flush()

    def close(self) -> None:
        if self.writer is not None:
            self.writer.close()
