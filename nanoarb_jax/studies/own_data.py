"""How much of an instrument's own past is worth what: model and rivals that learn from its last minutes.

result = own_data_curve(load_checkpoint("checkpoints/nano"), dataset, "runs/own-data")
first_from(result, "fine_tuned", "adapted")  # minutes from which fine-tuning beats adapting
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.adaptation.fit import Evidence, adapted_log_probs
from nanoarb_jax.artifacts.checkpoint import Checkpoint
from nanoarb_jax.config import Config
from nanoarb_jax.data.dataset import Dataset, check_fit
from nanoarb_jax.data.labelling import Block
from nanoarb_jax.data.splits import Parts
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import CheckpointError, DataError, ShortSeriesError
from nanoarb_jax.evaluation.baselines import baseline_forecasts
from nanoarb_jax.evaluation.judging import LEAST_HISTORY, judge
from nanoarb_jax.evaluation.metrics import mean_over_series
from nanoarb_jax.evaluation.own_data import say_minutes
from nanoarb_jax.evaluation.own_past import adapt_each
from nanoarb_jax.evaluation.prior import with_own_prior
from nanoarb_jax.evaluation.scoring import read_out_streams
from nanoarb_jax.files import first_line
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.studies.forecasts import train_and_forecast, training_settings_of
from nanoarb_jax.training.run_plan import trained_sessions

MINUTES = (1.0, 5.0, 15.0, 60.0, None)
BASELINES = ("logistic", "gradient_boosting", "gradient_boosting_flow")
FIGURES = ("mcc", "log_loss", "macro_f1")
VALIDATION_SHARE = 0.2  # of the own rows
# Labelled rows that each part must have at every horizon. It is few on purpose: the curve is to show what little data
# do, and where they do harm.
LEAST_ROWS = 30
EPOCHS = 6  # of fine-tuning
LR_SHARE = 1 / 3  # of the learning rate of the model's own training
NS_PER_MINUTE = 60 * 10**9


def own_data_curve(
    checkpoint: Checkpoint,
    dataset: Dataset,
    work_dir: str | Path,
    *,
    minutes: Sequence[float | None] = MINUTES,
    note: Note = silent,
) -> dict[str, Any]:
    """Judge what a model, and rivals that start from nothing, make of the last minutes before each test part.

    Every series is a case of its own. Of its last so many minutes, by its clock, the first 80 % of the rows are learnt
    from and the others validate; the rows before validation and test part whose labels look into them are left out, as
    everywhere. Labels, their thresholds and the scales of the features stay those of the series, learnt from its whole
    training part, and forecasts carry a state of the rows before: so that the question, and what is seen at a test row,
    is the same for every duration. Only what is learnt differs.

    Judges, on the same test rows: "model" as it is; "model_own_prior", see `prior`; "adapted", see `adaptation.fit`;
    "fine_tuned", trained on from the model's weights, see `fine_tuning_settings`; and `BASELINES`, as far as the
    features allow. Decisions of all of them are corrected by the class frequencies of the rows learnt from, with a τ
    chosen on those that validate. So the log loss of "model" is the same for every duration, and its MCC nearly so.

    Args:
        checkpoint: a model, not an adapted one. If it learnt from these series, it is judged too kindly.
        dataset: the series; those without real times are left out.
        work_dir: folder where the runs of fine-tuning and the forecasts of baselines are kept and found again.
        minutes: durations, ascending; None, last: all rows before the test part.
        note: told which series' turn it is.

    Returns:
        Plain JSON values.
        "durations": for each {"minutes", "series": {name: {judge: {"h10": {"mcc", "log_loss", "macro_f1"}}}}, "rows":
        {name: rows learnt from and validated with}, "left_out": {name: why}, "mean": {judge: …} over the series that
        have this duration}.
        "common": {"series": names of those that have every duration that any has, "means": their means, one for each
        duration}.

    Raises:
        DataError: no series with real times and enough rows, or data of another model.
        CheckpointError: an adapted checkpoint, or one that does not say how it was trained.
        others: see `train`.
    """
    check_fit(dataset, checkpoint.config)
    settings = fine_tuning_settings(checkpoint)
    timed = [stream for stream in dataset.streams if stream.timed]
    if not timed:
        raise DataError("own-data curve: no series with real times; minutes of their past cannot be told")
    durations: list[dict[str, Any]] = [{"minutes": one, "series": {}, "rows": {}, "left_out": {}} for one in minutes]
    for number, stream in enumerate(timed, 1):
        _judge_series(checkpoint, dataset, stream, settings, Path(work_dir), durations, note)
        note(f"{number} of {len(timed)} series")
    return _with_means(durations)


def fine_tuning_settings(checkpoint: Checkpoint) -> Config:
    """How a model is trained on: as it was trained, from its weights, a few epochs at a third of the learning rate.

    Raises:
        CheckpointError: an adapted checkpoint, or one that is not in a folder or does not say how it was trained.
    """
    if checkpoint.config.linear_term:
        raise CheckpointError(
            f"checkpoint {checkpoint.path}: adapted already, and a linear term is not trained; give the model that it "
            "was adapted from"
        )
    settings = training_settings_of(checkpoint)
    train = dataclasses.replace(
        settings.train, init=str(checkpoint.path), teacher=None, lr=settings.train.lr * LR_SHARE, epochs=EPOCHS,
        keep="loss", devices=1, tensorboard=False,
    )  # fmt: skip
    return dataclasses.replace(settings, train=train)


def last_minutes(stream: Stream, minutes: float | None, purge: int) -> Stream:
    """The stream with the last minutes before its test part to learn from, cut to these, what follows, and the
    `LEAST_HISTORY` rows before, from which nothing is learnt.

    Args:
        stream: with real times.
        minutes: how many, by the clock; None: all rows before the test part that have labels.
        purge: rows left out before validation and test part, see `splits`.

    Raises:
        ShortSeriesError: it has not so many minutes, or fewer than `LEAST_ROWS` labelled rows in a part.
    """
    test, start = stream.test[0], stream.train[0]
    if minutes is not None:
        begin_ns = int(stream.ts_ns[test]) - int(minutes * NS_PER_MINUTE)
        if begin_ns < stream.ts_ns[start]:
            past = (int(stream.ts_ns[test]) - int(stream.ts_ns[start])) / NS_PER_MINUTE
            raise ShortSeriesError(f"stream {stream.name!r}: only {past:.1f} minutes before its test part")
        start = max(start, int(np.searchsorted(stream.ts_ns, begin_ns)))
    stop = max(test - purge, start)
    validation = stop - int(VALIDATION_SHARE * (stop - start))
    own = _cut(stream, Parts((start, max(validation - purge, start)), (validation, stop), stream.test))
    judged = (max(own.validation[0], LEAST_HISTORY), own.validation[1])
    met = [_labelled(own, part) for part in (own.train, judged)]
    if min(met) < LEAST_ROWS:
        raise ShortSeriesError(
            f"stream {stream.name!r}: {stop - start} rows, of which {met[0]} to learn from and {met[1]} to validate "
            f"with have all labels; expected at least {LEAST_ROWS} of both"
        )
    return own


def _cut(stream: Stream, parts: Parts) -> Stream:
    """The stream with these parts, without what is more than `LEAST_HISTORY` rows before them."""
    first = max(parts.train[0] - LEAST_HISTORY, 0)
    # by name: those of a prepared dataset are no arrays until they are asked for
    changed: dict[str, Any] = {name: getattr(stream, name)[first:] for name in Block._fields}
    changed |= {name: (start - first, stop - first) for name, (start, stop) in parts._asdict().items()}
    return stream._replace(**changed)


def _labelled(stream: Stream, part: tuple[int, int]) -> int:
    """Rows of a part that have a label, at the horizon that has fewest."""
    return int((stream.labels[slice(*part)] >= 0).sum(axis=0).min())


def _judge_series(
    checkpoint: Checkpoint,
    dataset: Dataset,
    stream: Stream,
    settings: Config,
    work_dir: Path,
    durations: list[dict[str, Any]],
    note: Note,
) -> None:
    """Add one series to each of the durations."""
    known: list[Evidence] = []  # read when the first duration needs it
    for duration in durations:
        minutes = say_minutes(duration["minutes"])
        note(f"{stream.name}, {minutes}")
        try:
            own = last_minutes(stream, duration["minutes"], dataset.config.purge)
            trained_sessions(settings, [own])
        except ShortSeriesError as error:
            duration["left_out"][stream.name] = first_line(error)
            continue
        known = known or read_out_streams(checkpoint.model, [stream])
        data = dataclasses.replace(dataset, streams=(own,))
        name = f"{stream.name}_{minutes.replace(' ', '_')}"
        duration["series"][stream.name] = _judge(known[0], data, settings, work_dir, name)
        duration["rows"][stream.name] = own.validation[1] - own.train[0]


def _judge(known: Evidence, data: Dataset, settings: Config, work_dir: Path, name: str) -> dict[str, Any]:
    """All judges on the test part of one stream that is cut to its own last minutes.

    Args:
        known: of the whole stream.
        data: the cut one.
        settings: of fine-tuning.
        work_dir, name: where runs and baselines are kept, and the name of this run.
    """
    horizons, (own,) = data.horizons, data.streams
    known = Evidence(*(part[len(part) - own.rows :] for part in known))
    as_it_is = adapted_log_probs(known, ())
    (adaptation,) = adapt_each([known], [own], horizons)
    _, fine_tuned = train_and_forecast(settings, data, work_dir / "fine_tuned" / name, [own], adapted=False)
    baselines = baseline_forecasts([own], horizons, keep=work_dir / "baselines", only=BASELINES)
    judges: dict[str, NDArray[np.float32]] = {
        "model": as_it_is,
        "model_own_prior": with_own_prior(as_it_is, own),
        "adapted": adapted_log_probs(known, adaptation.terms),
        "fine_tuned": fine_tuned.log_probs[0],
        **{baseline: log_probs for baseline, (log_probs,) in baselines.log_probs.items()},
    }
    return {
        judge_name: {
            horizon: {figure: metrics[figure] for figure in FIGURES}
            for horizon, metrics in judge(own, log_probs, "test", horizons).items()
        }
        for judge_name, log_probs in judges.items()
    }


def _with_means(durations: list[dict[str, Any]]) -> dict[str, Any]:
    """The result, given the series of each duration."""
    met = [duration["series"] for duration in durations if duration["series"]]
    if not met:
        why = next(why for duration in durations for why in duration["left_out"].values())
        raise DataError(f"own-data curve: no series has enough of a past; {why}")
    common = [name for name in met[-1] if all(name in series for series in met)]
    for duration in durations:
        duration["mean"] = mean_over_series(duration["series"], FIGURES)
    means = [
        mean_over_series({name: series[name] for name in common} if series else {}, FIGURES)
        for series in (duration["series"] for duration in durations)
    ]
    return {"durations": durations, "common": {"series": common, "means": means}}
