"""Backtests of many series as units of work: each is kept by what it is made of, and made anywhere."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.files import new_file
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.studies.backtest_plan import BacktestPlan, open_series, run_plan
from nanoarb_jax.studies.backtests import Run
from nanoarb_jax.trading.backtest.predicted import open_model
from nanoarb_jax.trading.backtest.records import Market, Recorded
from nanoarb_jax.units.run import make_unit, run_units
from nanoarb_jax.units.workers import Workers

REPORT, SERIES = "report.json", "series.npz"  # files of a unit


class Outcome(NamedTuple):
    """What came of one series.

    Attributes:
        report: plain values, see docs/backtesting.md.
        arrays: see `arrays_of`.
        market: that was traded.
        horizon: place of the horizon that the strategy trades on.
    """

    report: dict[str, Any]
    arrays: dict[str, NDArray[Any]]
    market: Market
    horizon: int


def backtest_series(plan: BacktestPlan, feed: Path, name: str, note: Note = silent) -> Outcome:
    """Trade one series.

    Args:
        plan: how it is traded.
        feed: file or folder of market data.
        name: of the series there.
        note: told what is at work.

    Raises:
        DataError, ConfigError: see `open_markets`, `make_strategy`, `trade_model`.
    """
    model = open_model(plan.checkpoint, plan.backend, plan.precision)  # type: ignore[arg-type]
    note("reading")
    series = open_series(plan, model, feed, name)
    note("trading (the loop is compiled first)")
    run, queues, report = run_plan(plan, model, series, note)
    return Outcome(report, arrays_of(run, queues), series.market, run.horizon)


def write_backtest(folder: Path, feed: Path, name: str, plan: BacktestPlan) -> None:
    """`backtest_series` as a unit of work: writes `report.json` and `series.npz` into a new folder."""
    outcome = backtest_series(plan, feed, name)
    about = {"report": outcome.report, "market": outcome.market._asdict(), "horizon": outcome.horizon}
    with new_file(folder / REPORT, "backtest") as file:
        file.write(json.dumps(about, indent=1, allow_nan=False).encode())
    with new_file(folder / SERIES, "backtest") as file:
        np.savez_compressed(file, allow_pickle=False, **outcome.arrays)


def read_backtest(folder: Path) -> Outcome:
    """What `write_backtest` wrote."""
    about = json.loads((folder / REPORT).read_text())
    market = Market(**{**about["market"], "horizons": tuple(about["market"]["horizons"])})
    with np.load(folder / SERIES, allow_pickle=False) as file:
        return Outcome(about["report"], dict(file), market, about["horizon"])


def backtest_units(
    plan: BacktestPlan, series: Sequence[tuple[Path, str]], output: Path, workers: Workers, note: Note = silent
) -> list[Outcome]:
    """Trade many series, each a unit of work that is kept in `output` by what it is made of, see `run_units`.

    Args:
        plan: how they are traded.
        series: feed and name of each.
        output: folder of the results.
        workers: at work on different series.
        note: told how far it is.
    """
    units = [make_unit(name, write_backtest, feed, name, plan) for feed, name in series]
    return [read_backtest(result.folder) for result in run_units(units, output, workers, note)]


def arrays_of(run: Run, queues: Mapping[str, Recorded]) -> dict[str, NDArray[Any]]:
    """What was recorded, by name, and the account under other queue models as "queue_NAME"."""
    names = ("ticks", "account", "orders", "fills", "probabilities")
    recorded = {name: getattr(run.recorded, name) for name in names}
    return recorded | {f"queue_{name}": one.account for name, one in queues.items()}
