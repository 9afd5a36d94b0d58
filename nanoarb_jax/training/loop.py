"""The training loop: epochs of planned updates, validation on averaged weights, checkpoints, early stopping.

Folder of a run:  config.toml · run.json (what it learns from) · metrics.jsonl (a line per epoch) ·
tensorboard/ · latest/ (whole state, for --resume) · best/<update>/ (the model to evaluate, export and serve)
"""

from __future__ import annotations

import dataclasses
import json
import math
import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from flax import nnx
from jax.sharding import Mesh

from nanoarb_jax.artifacts.checkpoint import save_checkpoint
from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset, check_fit
from nanoarb_jax.data.streams import describe_stream
from nanoarb_jax.errors import DeviceError, TrainingError
from nanoarb_jax.evaluation.judging import WARM_UP
from nanoarb_jax.evaluation.scoring import make_score, score_streams
from nanoarb_jax.evaluation.validation import validation_loss, validation_mcc
from nanoarb_jax.model.mamba import MambaLOB, abstract_model
from nanoarb_jax.training.advance import make_advance
from nanoarb_jax.training.balance import class_weights, log_prior
from nanoarb_jax.training.batch import Picks, Rows
from nanoarb_jax.training.device import choose_devices, default_batch, matmul_dtype, peak_memory_bytes
from nanoarb_jax.training.lineage import load_initial, load_teacher, origin
from nanoarb_jax.training.log import RunLog, require_tensorboard
from nanoarb_jax.training.normalise import fit_transform
from nanoarb_jax.training.optimizer import make_optimizer
from nanoarb_jax.training.plan import Plan, plan_streams, plan_windows, training_lengths
from nanoarb_jax.training.resume import RunCheckpoints, claim_folder
from nanoarb_jax.training.source import make_source
from nanoarb_jax.training.update import initial_state, make_update, shardings

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
    on_update: Callable[[Progress], None] = lambda progress: None,
    on_epoch: Callable[[dict[str, Any]], None] = lambda record: None,
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
        ConfigError, DataError: settings, teacher or data do not fit each other or the run.
        CheckpointError: nothing to resume, the folder holds a run already, or the teacher is missing or another.
        DeviceError: no such device, or several processes.
        TrainingError: the loss stopped being finite.

    Example:
        >>> result = train(Config(), open_dataset("books/"), "runs/first")
        >>> predictor = StepPredictor.load(result.best)
    """
    if jax.process_count() > 1:
        raise DeviceError(
            f"train: {jax.process_count()} processes of jax.distributed, each of which would write the run; expected "
            "one per run; see docs/training.md for an update shared by several hosts"
        )
    devices = choose_devices(config.train.device, config.train.devices)
    with jax.default_device(devices[0]):
        run = _Run(config, dataset, Path(output_dir), resume, devices)
        try:
            return run.go(on_update, on_epoch)
        finally:
            run.close()


class _Run:
    """The mutable shell around the pure update: where the run stands, and its files."""

    def __init__(self, config: Config, dataset: Dataset, folder: Path, resume: bool, devices: Sequence[jax.Device]):
        self.config, self.dataset, self.folder, self.devices = config, dataset, folder, devices
        self.device = device = devices[0]
        settings = config.train
        if settings.tensorboard:
            require_tensorboard()
        check_fit(dataset, config.model)
        self.window = settings.objective == "window"
        self.ticks = config.model.window if self.window else settings.chunk_length
        setting = "window" if self.window else "chunk_length"
        self.lengths = training_lengths(dataset.streams, self.ticks, setting, settings.burn_in)
        self.batch = settings.batch_size or default_batch(
            device, sum(self.lengths), self.ticks, self.window, len(devices)
        )
        first = self.plan(0)
        self.updates_per_epoch, self.lanes = first.start.shape
        self.updates = self.updates_per_epoch * settings.epochs
        streams = [describe_stream(s, dataset.horizons) for s in dataset.streams]
        dtype = matmul_dtype(settings.matmul_dtype, device)
        learnt_from = {"initial": load_initial(config, dtype), "teacher": load_teacher(config, dtype)}
        given = {name: checkpoint for name, checkpoint in learnt_from.items() if checkpoint is not None}
        record = {"streams": streams, "config": dataclasses.asdict(dataset.config)}
        record |= {name: origin(checkpoint) for name, checkpoint in given.items()}
        self.record = json.loads(json.dumps(record))  # as it reads back, so that a resumed run can compare
        claim_folder(folder, config, self.record, resume)

        if "initial" in given:
            self.model = abstract_model(config.model, dtype)
            nnx.update(self.model, nnx.state(given["initial"].model))
        else:
            self.model = MambaLOB(config.model, rngs=nnx.Rngs(settings.seed), dtype=dtype)
            fit_transform(self.model, dataset.streams)
        teacher = given["teacher"].model if "teacher" in given else None
        optimizer = make_optimizer(settings, self.updates)
        weights = class_weights(dataset.streams) if settings.class_weights else None
        offset = settings.logit_adjustment * log_prior(dataset.streams) if settings.logit_adjustment else None
        mesh = Mesh(np.array(devices), ("data",)) if len(devices) > 1 else None
        placed, everywhere = (device, device) if mesh is None else shardings(mesh)[:2]
        update = make_update(self.model, optimizer, settings, weights, teacher, logit_offset=offset)
        self.advance = make_advance(update, self.ticks, settings, mesh)
        self.source = make_source(dataset.streams, self.ticks, settings, lambda rows: jax.device_put(rows, everywhere))
        self.score = make_score(self.model)
        self.state = initial_state(self.model, optimizer, self.lanes, teacher)
        # epoch under way, and of the record of the best so far what tells which it is; saved beside the state
        self.progress: dict[str, Any] = {"epoch": 0, "best": None}
        self.checkpoints = RunCheckpoints(folder / "latest")
        # a run that was stopped before it kept anything begins anew
        if resume and any(any((folder / name).glob("[0-9]*")) for name in ("latest", "best")):
            self.state, self.progress = self.checkpoints.restore(self.state)
            self._drop_newer_than_state()
        # put where it stays: an update compiled for arrays that may be anywhere would be compiled anew for its result
        self.state = jax.device_put(self.state, placed)
        self.log = RunLog(folder, int(self.state.update), self.progress["epoch"], settings.tensorboard)

    def plan(self, epoch: int) -> Plan:
        """The epoch's plan, the same whenever it is asked for."""
        rng = np.random.default_rng([self.config.train.seed, epoch])
        build = plan_windows if self.window else plan_streams
        by_instrument = self.config.train.sampling == "instrument"
        instruments = [stream.instrument for stream in self.dataset.streams] if by_instrument else None
        multiple = len(self.devices) * self.config.train.accumulate
        return build(self.lengths, self.ticks, self.batch, rng, instruments=instruments, multiple=multiple)

    def go(self, on_update: Callable[[Progress], None], on_epoch: Callable[[dict[str, Any]], None]) -> TrainResult:
        settings = self.config.train
        began, start = time.perf_counter(), int(self.state.update)
        labelled = self.lanes * (1 if self.window else self.ticks)
        done = start
        while self.progress["epoch"] < settings.epochs and not self._stale():
            epoch = self.progress["epoch"]
            plan, epoch_began, epoch_start = self.plan(epoch), time.perf_counter(), done
            spans = self._spans(done, (epoch + 1) * self.updates_per_epoch, start)
            given = (self._given(plan, *span) for span in spans)
            following = next(given)
            for first, done in spans:
                self.state = self.advance(self.state, *following, done - first)
                following = next(given, following)  # read from the streams while the device computes
                loss = self._mean_loss(done - epoch * self.updates_per_epoch)
                speed = (done - start) * labelled / (time.perf_counter() - began)
                on_update(Progress(epoch, settings.epochs, done, self.updates, loss, speed))
                if done % settings.checkpoint_every == 0 and done != spans[-1][1]:
                    self._save(done)
            seconds = time.perf_counter() - epoch_began
            record = self._finish_epoch(epoch, done, loss, (done - epoch_start) * labelled / seconds)
            on_epoch(record)
        speed = (done - start) * labelled / max(time.perf_counter() - began, 1e-9)
        best = self.progress["best"]
        return TrainResult(
            best=self.folder / "best" / str(best["update"]),
            best_epoch=best["epoch"],
            best_loss=best["validation_loss"]["mean"],
            best_mcc=best["validation_mcc"]["mean"],
            epochs=self.progress["epoch"],
            updates=done,
            ticks=(done - start) * labelled,
            ticks_per_second=speed,
            peak_memory_bytes=peak_memory_bytes(self.device),
            device=f"{self.device.platform}:{self.device.device_kind}",
            devices=len(self.devices),
        )

    def _spans(self, done: int, end: int, start: int) -> list[tuple[int, int]]:
        """Cut the updates from `done` to `end` where the loss is looked at or the state kept, and after the very first
        since `start`."""
        every = (LOOK_EVERY, self.config.train.checkpoint_every)
        cuts = {start + 1, *(u for u in range(done, end) if not all(u % n for n in every))}
        return list(pairwise([done, *sorted(u for u in cuts if done < u < end), end]))

    def _given(self, plan: Plan, first: int, stop: int) -> tuple[Rows, Picks]:
        """Rows and picks of these updates; the last is repeated to one length for all, so that one program serves."""
        at = np.minimum(np.arange(first, first + LOOK_EVERY), stop - 1) % self.updates_per_epoch
        return self.source(Plan(*(column[at] for column in plan)))

    def close(self) -> None:
        """Let go of the run's files, also when it was stopped."""
        self.log.close()
        self.checkpoints.close()

    def _finish_epoch(self, epoch: int, done: int, loss: float, speed: float) -> dict[str, Any]:
        met = {"epoch": epoch, "update": done, **self._validate()}
        record = {
            **met,
            "loss": loss,
            "ticks_per_second": round(speed, 1),
            "peak_memory_bytes": peak_memory_bytes(self.device),
        }
        best = self.progress["best"]
        if best is None or self._merit(met) > self._merit(best):
            self.progress["best"] = met
            self._keep_best(record)
        self.progress["epoch"] = epoch + 1
        self.state = self.state._replace(loss=jax.numpy.zeros_like(self.state.loss))
        self.log.epoch(record)
        self._save(done)
        return record

    def _merit(self, record: dict[str, Any]) -> float:
        """What the epoch that is kept has most of."""
        keep = self.config.train.keep
        if keep == "last":
            return record["epoch"]
        return record["validation_mcc"]["mean"] if keep == "mcc" else -record["validation_loss"]["mean"]

    def _validate(self) -> dict[str, dict[str, float]]:
        streams = self.dataset.streams
        rows = [(max(0, s.validation[0] - WARM_UP), s.validation[1]) for s in streams]
        average = jax.device_get(self.state.average)  # bound to no device: several would all do the same
        scored = score_streams(self.score, average, self.model, streams, rows)
        if not all(np.isfinite(log_p).all() for log_p in scored):
            raise self._diverged("validation scores are NaN or infinite")
        log_probs = [p[s.validation[0] - r[0] :] for p, s, r in zip(scored, streams, rows, strict=True)]
        measures = {"validation_loss": validation_loss, "validation_mcc": validation_mcc}
        return {name: of(streams, log_probs, self.config.model.horizons) for name, of in measures.items()}

    def _keep_best(self, record: dict[str, Any]) -> None:
        """Write the averaged weights as a checkpoint, then let go of the one before."""
        nnx.update(self.model, self.state.average)
        kept = save_checkpoint(
            self.folder / "best" / str(record["update"]),
            self.model,
            metrics={key: record[key] for key in ("validation_loss", "validation_mcc", "loss")},
            data=self.record,
            training={
                **dataclasses.asdict(self.config.train),
                "epoch_kept": record["epoch"],
                "update_kept": record["update"],
                "device": f"{self.device.platform}:{self.device.device_kind}",
                "devices": len(self.devices),
            },
        )
        for other in kept.parent.iterdir():
            if other != kept and other.name.isdigit():
                shutil.rmtree(other)

    def _stale(self) -> bool:
        patience = self.config.train.patience
        best = self.progress["best"]
        return patience > 0 and best is not None and self.progress["epoch"] - 1 - best["epoch"] >= patience

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
            f"{met} at update {int(self.state.update)}, expected finite numbers; lower --lr or check the data; {kept}"
        )

    def _save(self, done: int) -> None:
        self.checkpoints.save(done, self.state, self.progress)

    def _drop_newer_than_state(self) -> None:
        """A best kept after the state that is resumed will be made again, the same."""
        for kept in (self.folder / "best").glob("[0-9]*"):
            if kept.name.isdigit() and int(kept.name) > int(self.state.update):
                shutil.rmtree(kept)
