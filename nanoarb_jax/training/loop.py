"""The training loop: epochs of planned updates, validation of averaged weights, checkpoints, early stopping.

A run is planned (`run_plan`), its folder is begun or checked (`run_folder`), its parts are built (`build`); then it
goes on, here, until its epochs are done.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.errors import DeviceError, TrainingError
from nanoarb_jax.training.batch import Picks, TrainingRows
from nanoarb_jax.training.build import RunParts, build_run
from nanoarb_jax.training.calibrate import calibrated, calibrates, fit_calibration
from nanoarb_jax.training.device import choose_devices, peak_memory_bytes
from nanoarb_jax.training.lineage import load_learnt_from
from nanoarb_jax.training.log import RunLog, require_tensorboard
from nanoarb_jax.training.plan import EpochPlan
from nanoarb_jax.training.run_folder import (
    RunCheckpoints,
    begin_run,
    check_resumed_run,
    drop_newer_best,
    holds_state,
    keep_best,
)
from nanoarb_jax.training.run_plan import RunPlan, describe_run, plan_run
from nanoarb_jax.training.update import TrainState
from nanoarb_jax.training.validate import out_of_patience, selection_score, validation_figures, validation_log_probs

# most updates that the device makes before the host looks at the loss again
LOOK_EVERY = 10


class Progress(NamedTuple):
    """Where a run is; handed to `on_update`."""

    epoch: int
    epochs: int
    update: int
    updates: int
    loss: float  # mean of the epoch so far
    ticks_per_second: float  # labelled ticks, since the run or its resumption began


OnUpdate = Callable[[Progress], None]
OnEpoch = Callable[[dict[str, Any]], None]


@dataclass(frozen=True)
class TrainResult:
    """What a run came to."""

    best: Path
    best_epoch: int
    best_loss: float  # mean validation log loss of the weights that were kept
    best_mcc: float  # and their mean validation MCC
    epochs: int
    updates: int
    ticks: int
    ticks_per_second: float
    peak_memory_bytes: int  # of the first device
    device: str
    devices: int


def train(
    config: Config,
    dataset: Dataset,
    output_dir: str | Path,
    *,
    resume: bool = False,
    on_update: OnUpdate = lambda progress: None,
    on_epoch: OnEpoch = lambda record: None,
) -> TrainResult:
    """Train a model and keep its best and latest states.

    Args:
        config: settings; with `resume` they must be those of the run.
        dataset: labelled streams.
        output_dir: folder of the run; must not hold one, unless `resume`.
        resume: go on from the latest state: every later weight and metric is bit for bit what it would have been. A
            teacher, or the weights it began from, are read again and must be the same.
        on_update: called every few updates.
        on_epoch: called with each line of metrics.jsonl.

    Raises:
        ConfigError, DataError: settings, devices, teacher or data do not fit each other or the run.
        CheckpointError: nothing to resume, or the teacher is missing or another.
        OutputError: the folder holds a run already, or cannot be written.
        DeviceError: several processes.
        TrainingError: the loss stopped being finite.

    Example:
        >>> from nanoarb_jax.training.loop import train
        >>> result = train(nj.Config(), nj.open_dataset("books"), "runs/first")  # doctest: +SKIP
        >>> predictor = nj.StepPredictor.load(result.best)  # doctest: +SKIP
    """
    devices = choose_devices(config.train.device, config.train.devices)
    if jax.process_count() > 1:
        raise DeviceError(
            f"train: {jax.process_count()} processes of jax.distributed, each of which would write the run; expected "
            "one per run; see docs/training.md for an update shared by several hosts"
        )
    with jax.default_device(devices[0]):
        run = _open_run(config, dataset, Path(output_dir), resume, devices)
        try:
            return run.go(on_update, on_epoch)
        finally:
            run.close()


def _open_run(config: Config, dataset: Dataset, folder: Path, resume: bool, devices: Sequence[jax.Device]) -> _Run:
    """Plan a run, begin or check its folder, build its parts."""
    if config.train.tensorboard:
        require_tensorboard()
    plan = plan_run(config, dataset, devices)
    learnt_from = load_learnt_from(config, plan.dtype)
    record = describe_run(dataset, learnt_from)
    (check_resumed_run if resume else begin_run)(folder, config, record)
    parts, state = build_run(plan, learnt_from)
    return _Run(plan, parts, state, folder, record)


class _Run:
    """The mutable shell around the pure update: where the run stands, and its files.

    Args:
        plan, parts: see there.
        state: before the first update; replaced by the latest one that the folder holds.
        folder: begun, or checked.
        record: what the run learns from.
    """

    def __init__(self, plan: RunPlan, parts: RunParts, state: TrainState, folder: Path, record: dict[str, Any]):
        self.plan, self.parts, self.folder, self.record = plan, parts, folder, record
        # the epoch under way, and the record of the best one so far; saved beside the state
        self.progress: dict[str, Any] = {"epoch": 0, "best": None}
        self.checkpoints = RunCheckpoints(folder / "latest")
        if holds_state(folder):  # a run that was stopped before it kept anything begins anew
            state, self.progress = self.checkpoints.restore(state)
            drop_newer_best(folder, int(state.update))
        # placed explicitly: otherwise the second update would be compiled again, because its input (the first one's
        # result) lies on a fixed device
        self.state = jax.device_put(state, parts.placement)
        self.log = RunLog(folder, int(self.state.update), self.progress["epoch"], plan.config.train.tensorboard)

    def close(self) -> None:
        """Let go of the run's files, also when it was stopped."""
        self.log.close()
        self.checkpoints.close()

    def go(self, on_update: OnUpdate, on_epoch: OnEpoch) -> TrainResult:
        """Train until the epochs are done or bring nothing better any more."""
        train = self.plan.config.train
        done = int(self.state.update)
        pace = _Pace(done, time.perf_counter(), self.plan.labelled_ticks)
        while self.progress["epoch"] < train.epochs and not self._out_of_patience():
            epoch_pace = _Pace(done, time.perf_counter(), self.plan.labelled_ticks)
            done, loss = self._make_updates(done, pace, on_update)
            on_epoch(self._finish_epoch(done, loss, epoch_pace.ticks_per_second(done)))
        return self._result(done, pace)

    def _make_updates(self, done: int, pace: _Pace, on_update: OnUpdate) -> tuple[int, float]:
        """Make the rest of the epoch's updates; returns how many are done then, and the epoch's mean loss."""
        epoch, every = self.progress["epoch"], self.plan.config.train.checkpoint_every
        first_of_epoch, end = epoch * self.plan.updates_per_epoch, (epoch + 1) * self.plan.updates_per_epoch
        plan, spans = self.plan.epoch(epoch), cut_updates(done, end, every, pace.update + 1)
        inputs = (self._inputs(plan, *span) for span in spans)
        following = next(inputs)
        for first, done in spans:
            self.state = self.parts.advance(self.state, *following, done - first)
            following = next(inputs, following)  # read from the streams while the device computes
            loss = self._mean_loss(done - first_of_epoch)
            speed = pace.ticks_per_second(done)
            on_update(Progress(epoch, self.plan.config.train.epochs, done, self.plan.updates, loss, speed))
            if done % every == 0 and done != end:
                self._save(done)
        return done, loss

    def _inputs(self, plan: EpochPlan, first: int, stop: int) -> tuple[TrainingRows, Picks]:
        """Rows and picks of these updates; the last is repeated to one length for all, so that one program serves."""
        at = np.minimum(np.arange(first, first + LOOK_EVERY), stop - 1) % self.plan.updates_per_epoch
        return self.parts.source(EpochPlan(*(column[at] for column in plan)))

    def _finish_epoch(self, done: int, loss: float, speed: float) -> dict[str, Any]:
        """Validate, keep the weights if they are the best so far, log, and save the state."""
        epoch, keep = self.progress["epoch"], self.plan.config.train.keep
        met = {"epoch": epoch, "update": done, **self._validate()}
        memory = peak_memory_bytes(self.plan.device)
        record = {**met, "loss": loss, "ticks_per_second": round(speed, 1), "peak_memory_bytes": memory}
        best = self.progress["best"]
        if best is None or selection_score(met, keep) > selection_score(best, keep):
            self.progress["best"] = met
            keep_best(self.folder, self.parts.model, self.state.average, record, self.plan, self.record)
        self.progress["epoch"] = epoch + 1
        self.state = self.state._replace(loss=jax.numpy.zeros_like(self.state.loss))
        self.log.epoch(record)
        self._save(done)
        return record

    def _validate(self) -> dict[str, Any]:
        """Figures of the averaged weights, and their calibration: figures are those that the calibrated ones have."""
        streams, parts = self.plan.dataset.streams, self.parts
        log_probs = validation_log_probs(parts.score, self.state.average, parts.model, streams)
        if not all(np.isfinite(log_p).all() for log_p in log_probs):
            raise self._diverged("validation scores are NaN or infinite")
        train, horizons = self.plan.config.train, self.plan.config.model.horizons
        if not calibrates(train):
            return validation_figures(streams, log_probs, horizons)
        calibration = fit_calibration(streams, log_probs, horizons, symmetric=train.mirror)
        log_probs = [calibrated(log_p, calibration) for log_p in log_probs]
        return {**validation_figures(streams, log_probs, horizons), "calibration": calibration}

    def _out_of_patience(self) -> bool:
        return out_of_patience(self.progress["epoch"], self.progress["best"], self.plan.config.train.patience)

    def _mean_loss(self, updates: int) -> float:
        loss = float(self.state.loss) / updates
        if not math.isfinite(loss):
            raise self._diverged(f"loss={loss}")
        return loss

    def _diverged(self, met: str) -> TrainingError:
        best = self.progress["best"]
        kept = "no weights were kept"
        if best is not None:
            kept = f"the best weights so far are in {self.folder / 'best' / str(best['update'])}"
        return TrainingError(
            f"{met} at update {int(self.state.update)}, expected finite numbers; lower train.lr, on the "
            f"command line --lr, or check the data; {kept}"
        )

    def _save(self, done: int) -> None:
        self.checkpoints.save(done, self.state, self.progress)

    def _result(self, done: int, pace: _Pace) -> TrainResult:
        best = self.progress["best"]
        return TrainResult(
            best=self.folder / "best" / str(best["update"]),
            best_epoch=best["epoch"],
            best_loss=best["validation_loss"]["mean"],
            best_mcc=best["validation_mcc"]["mean"],
            epochs=self.progress["epoch"],
            updates=done,
            ticks=(done - pace.update) * pace.labelled_ticks,
            ticks_per_second=pace.ticks_per_second(done),
            peak_memory_bytes=peak_memory_bytes(self.plan.device),
            device=self.plan.device_name,
            devices=len(self.plan.devices),
        )


class _Pace(NamedTuple):
    """The speed of updates since a moment."""

    update: int  # updates done then
    began: float  # of the performance counter
    labelled_ticks: int  # of an update

    def ticks_per_second(self, done: int) -> float:
        return (done - self.update) * self.labelled_ticks / max(time.perf_counter() - self.began, 1e-9)


def cut_updates(done: int, end: int, checkpoint_every: int, first: int) -> list[tuple[int, int]]:
    """Cut the updates from `done` to `end` into calls of the device.

    A call ends where the loss is looked at or the state is kept, and after the update `first`, the very first since
    the run or its resumption began: it shows that training works.

    >>> from nanoarb_jax.training.loop import cut_updates
    >>> cut_updates(0, 25, 500, first=1)
    [(0, 1), (1, 10), (10, 20), (20, 25)]
    """
    every = (LOOK_EVERY, checkpoint_every)
    cuts = {first, *(update for update in range(done, end) if not all(update % n for n in every))}
    return list(pairwise([done, *sorted(update for update in cuts if done < update < end), end]))
