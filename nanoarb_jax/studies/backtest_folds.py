"""Walk-forward backtests: every block of a series is traded by a model that was trained on the rows before it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.data.dataset import Dataset
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.studies.backtest_plan import BacktestPlan, open_series, report_of, run_of, strategy_of
from nanoarb_jax.studies.backtests import fee_share
from nanoarb_jax.studies.forecasts import training_settings_of
from nanoarb_jax.studies.walk_forward import walk_forward
from nanoarb_jax.trading.backtest.market import TradedSeries
from nanoarb_jax.trading.backtest.predicted import Model, check_ticks, read_ticks
from nanoarb_jax.trading.backtest.run import trade_recorded
from nanoarb_jax.units.workers import Workers


def backtest_folds(
    plan: BacktestPlan,
    model: Model,
    series: Sequence[tuple[Path, str]],
    folds: int,
    work_dir: Path,
    workers: Workers = Workers("serial"),  # noqa: B008
    note: Note = silent,
) -> list[dict[str, Any]]:
    """Train models as the checkpoint was trained, and trade each on its own future only.

    Predictions are those of `walk_forward`, so they are computed by JAX; they are charged the plan's latency.

    Args:
        plan: how series are traded.
        model: whose settings every fold's model is trained with.
        series: feed and name of each.
        folds: blocks of each series.
        work_dir: folder of the models, one run a fold, which are continued and used again.
        workers: at work on different folds.
        note: told what is at work.

    Returns:
        the report of every block, named "NAME fold 1" and so on.

    Raises:
        DataError: series too short; others: see `walk_forward` and `run_plan`.
    """
    opened = {name: open_series(dataclasses.replace(plan, split=None), model, feed, name) for feed, name in series}
    settings = training_settings_of(load_checkpoint(plan.checkpoint))
    streams = tuple(one.stream for one in opened.values())
    dataset = Dataset(streams, dataclasses.replace(settings.data, horizons=model.horizons), [])
    forecasts = walk_forward(settings, dataset, work_dir, folds, workers=workers, note=note)
    reports = []
    for stream, log_probs, origin in zip(forecasts.streams, forecasts.models.log_probs, forecasts.origins, strict=True):
        name = stream.name.rpartition(" fold ")[0]
        note(f"{stream.name}: trading")
        rows = stream.test
        traded: TradedSeries = opened[name]._replace(stream=stream)
        assert model.card.input is not None
        ticks = read_ticks(traded, model.card.input, model.card.config.window, rows)
        probabilities = np.exp(log_probs[slice(*rows)]).astype(np.float32)
        strategy, limits = strategy_of(plan, model, traded)
        waits = np.array(plan.waits_ns or (0,), np.int64)
        own = strategy(fee_share(traded.venue.settings, traded))
        recorded = trade_recorded(traded.venue, ticks, probabilities, own, limits, waits)
        check_ticks(recorded.ticks, traded, rows)
        run = run_of(plan, model, traded, recorded, strategy, limits, rows)
        _, report = report_of(plan, model, run, note)
        reports.append(report | {"name": stream.name, "learnt": None, "fold": origin})
    return reports
