"""What `train` shows: a bar of updates, a line for each epoch, what the run came to."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoarb_jax.config import Config

from .output import console, say
from .tables import mcc

if TYPE_CHECKING:
    from nanoarb_jax.data.dataset import Dataset
    from nanoarb_jax.training.loop import Progress, TrainResult


def say_what_is_trained(settings: Config, dataset: Dataset) -> None:
    rows = sum(stream.train[1] - stream.train[0] for stream in dataset.streams)
    say(f"{settings.model.preset_name} preset, {len(dataset.streams)} streams with {rows:,} training rows")
    train = settings.train
    ticks = settings.model.window if train.objective == "window" else train.chunk_length
    sessions = [part for stream in dataset.streams for part in stream.sessions(*stream.train)]
    if short := sum(stop - start for start, stop in sessions if stop - start < ticks):
        say(f"left out: {short:,} of them, in sessions shorter than {ticks} ticks")
    for name, place in (("begins from", settings.train.init), ("teacher", settings.train.teacher)):
        if place is not None:
            say(f"{name}: {place}")


@contextmanager
def update_bar() -> Iterator[Callable[[Progress], None]]:
    """A progress bar of the updates, on a terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("epoch {task.fields[epoch]}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}"),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console, disable=not console.is_terminal) as bar:
        task = bar.add_task("train", total=None, epoch="–", note="compiling")

        def on_update(p: Any) -> None:
            note = f"loss {p.loss:.3f} · {p.ticks_per_second:,.0f} ticks/s"
            bar.update(task, total=p.updates, completed=p.update, epoch=f"{p.epoch + 1}/{p.epochs}", note=note)

        yield on_update


def epoch_lines(settings: Config, folder: Path) -> Callable[[dict[str, Any]], None]:
    """Prints an epoch's record as a line of a table, and the headings before the first one."""
    columns = [*(f"h{horizon}" for horizon in settings.model.horizons), "mean"]
    heading = f"{'epoch':>9}{'loss':>8}{'valid.':>8}  {''.join(f'{name:>7}' for name in columns)}"

    def on_epoch(record: dict[str, Any]) -> None:
        nonlocal heading
        if heading:
            say(f"{heading}  validation MCC, * kept")
            heading = ""
        scores = "".join(f"{mcc(record['validation_mcc'][name], 3):>7}" for name in columns)
        kept = " *" if (folder / "best" / str(record["update"])).is_dir() else ""
        losses = f"{record['loss']:>8.4f}{record['validation_loss']['mean']:>8.4f}"
        say(f"{record['epoch'] + 1:>4}/{settings.train.epochs:<4}{losses}  {scores}{kept}")

    return on_epoch


def say_result(settings: Config, result: TrainResult) -> None:
    """Which epoch was kept, and how fast the run was."""
    if result.epochs < settings.train.epochs:
        measure = {"loss": "log loss", "mcc": "MCC"}[settings.train.keep]
        say(f"stopped early: no better validation {measure} for {settings.train.patience} epochs")
    figures = f"validation log loss {result.best_loss:.4f}, MCC {mcc(result.best_mcc, 3)}"
    say(f"kept: epoch {result.best_epoch + 1}, mean {figures}, in {result.best}")
    if not result.ticks:
        say("nothing was left to train")
        return
    device, memory = result.device.partition(":")[2], result.peak_memory_bytes / 2**20
    device = device if result.devices == 1 else f"{result.devices} × {device}"
    say(f"{result.ticks_per_second:,.0f} labelled ticks/s on {device}, peak memory {memory:,.0f} MiB")
