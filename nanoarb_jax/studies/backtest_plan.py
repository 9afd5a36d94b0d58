"""A backtest as settings: everything that its result depends on, so that it can be named, kept, and run elsewhere."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.config import DataConfig, config_from_dict
from nanoarb_jax.data.provenance import how_learnt
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.market.anomaly import Policy
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.serving.scales import ScaleSource
from nanoarb_jax.studies.backtest_sweep import sweep_beside
from nanoarb_jax.studies.backtests import Recast, Run, fee_share, figures_of, runs_beside
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings
from nanoarb_jax.trading.backtest.market import TradedSeries, open_markets
from nanoarb_jax.trading.backtest.predicted import Model, trade_model, traded_rows
from nanoarb_jax.trading.backtest.records import Recorded
from nanoarb_jax.trading.calibration_file import read_calibration
from nanoarb_jax.trading.choose import make_strategy
from nanoarb_jax.trading.contract import Strategy, as_tuple
from nanoarb_jax.trading.limits import Limits
from nanoarb_jax.units.key import software


@dataclass(frozen=True)
class BacktestPlan:
    """How one series is traded.

    Args:
        checkpoint: Checkpoint folder, run folder or exported file.
        strategy: See `make_strategy`.
        given: Settings of the strategy by name; without a quantity, a hundredth of the usual one at the best prices.
        swept: Settings that are tried besides, each with its values.
        calibration: Table that the strategy acts on.
        exchange: Costs and latencies.
        limits: Hold whatever the strategy decides; without a largest position, the strategy's.
        waits_ns: How long predictions take, in ns, taken in turn; none: no time.
        waits_how: How that is known, for people.
        backend: What computes predictions.
        precision: Of the native step's weights.
        split: Part of the series that is traded; None: all of it.
        scales_from: Where the scales come from, see `ScaleSource`.
        scales_series: The series there.
        warm_up: Ticks measured first, where no scales are known.
        options: What the files do not say.
        policy: What is done about anomalies.
        capital: That profit is compared with.
        trading_days: In a year.
        seeds: Random controls; 0: nothing is set beside the run.
    """

    checkpoint: Path
    strategy: str = "taker"
    given: Mapping[str, Any] = field(default_factory=dict)
    swept: tuple[tuple[str, tuple[float, ...]], ...] = ()
    calibration: Path | None = None
    exchange: ExchangeSettings = field(default_factory=ExchangeSettings)
    limits: Limits = field(default_factory=Limits)
    waits_ns: tuple[int, ...] = ()
    waits_how: str = "given"
    backend: str = "native"
    precision: str = "fp32"
    split: str | None = None
    scales_from: Path | None = None
    scales_series: str | None = None
    warm_up: int = 1_000
    options: ReadOptions = field(default_factory=ReadOptions)
    policy: Mapping[str, Policy] = field(default_factory=dict)
    capital: float | None = None
    trading_days: float = 365.0
    seeds: int = 99

    @property
    def scales(self) -> ScaleSource:
        """Where scales come from, without what the model knows."""
        return ScaleSource(self.scales_from, self.scales_series, (), self.warm_up)


def open_series(plan: BacktestPlan, model: Model, feed: Path, name: str) -> TradedSeries:
    """One series of a feed, as the plan reads it."""
    scales = replace(plan.scales, trained=model.card.data.get("streams", []))
    config = data_config(model)
    options = {"split": plan.split, "options": plan.options, "policy": plan.policy, "only": name}
    return open_markets(feed, config, plan.exchange, scales, **options)[0]  # type: ignore[arg-type]


def data_config(model: Model) -> DataConfig:
    """How the model's data were made, with its horizons."""
    shared = {"horizons": list(model.horizons)}
    made = model.card.data.get("config") or {**asdict(model.card.input)}  # type: ignore[arg-type]
    return config_from_dict({"model": shared, "data": {**made, **shared}}, str(model.path)).data


def run_plan(
    plan: BacktestPlan, model: Model, series: TradedSeries, note: Note = silent
) -> tuple[Run, dict[str, Recorded], dict[str, Any]]:
    """Trade a series; returns the run, what was recorded under other queue models, and the report, plain values."""
    rows = traded_rows(series, plan.split)
    strategy, limits = strategy_of(plan, model, series)
    waits = np.array(plan.waits_ns or (0,), np.int64)
    own = strategy(fee_share(series.venue.settings, series))
    recorded = trade_model(model, series, own, limits, waits, rows, lambda ns: note(f"traded until {_clock(ns)}"))
    run = run_of(plan, model, series, recorded, strategy, limits, rows)
    return run, *report_of(plan, model, run, note)


def strategy_of(plan: BacktestPlan, model: Model, series: TradedSeries) -> tuple[Recast, Limits]:
    """What makes the plan's strategy for a series, and the limits with the strategy's largest position."""
    given, moves = with_quantity(plan.given, series), None
    if plan.calibration is not None:
        table = read_calibration(plan.calibration, model.card.version, model.horizons)
        moves = table.moves_ticks(series.stream.name)

    def strategy(changed: Mapping[str, Any]) -> Strategy:
        return make_strategy(plan.strategy, {**given, **changed}, model.horizons, moves)

    limits = plan.limits
    if not np.isfinite(limits.max_position):
        most = getattr(strategy({}).settings, "max_position", np.inf)
        limits = replace(limits, max_position=float(most))
    return strategy, limits


def run_of(
    plan: BacktestPlan,
    model: Model,
    series: TradedSeries,
    recorded: Recorded,
    strategy: Recast,
    limits: Limits,
    rows: tuple[int, int],
) -> Run:
    """A run with what the plan says of it."""
    waits = np.array(plan.waits_ns or (0,), np.int64)
    horizon = plan.given.get("horizon")
    place = model.horizons.index(horizon) if horizon in model.horizons else 0
    return Run(series, recorded, strategy, limits, waits, rows, place, plan.capital, plan.trading_days)


def report_of(
    plan: BacktestPlan, model: Model, run: Run, note: Note = silent
) -> tuple[dict[str, Recorded], dict[str, Any]]:
    """What was recorded under other queue models, and the report of a run, with what the plan wants beside it."""
    stream = run.series.stream
    report = {"name": stream.name, **figures_of(run), **_about(plan, model, run)}
    queues: dict[str, Recorded] = {}
    if plan.swept:
        report["sweep"] = sweep_beside(run, plan.swept, report, note)
    if plan.seeds:
        fitted = bool(not run.series.unlabelled and run.rows[0] >= stream.validation[1] > 0)
        beside = runs_beside(run, plan.seeds, fitted, note)
        report, queues = report | beside.report, beside.queue_models
    return queues, report


def _clock(time_ns: int) -> str:
    return datetime.fromtimestamp(time_ns / 1e9, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def with_quantity(given: Mapping[str, Any], series: TradedSeries) -> dict[str, Any]:
    """The settings with a quantity in whole lots: a hundredth of the usual one at the best prices where none is given.

    Raises:
        ConfigError: a quantity that is less than a lot, or not of whole lots.
    """
    lot, found = series.market.lot_size, dict(given)
    if "order_qty" not in found:
        found["order_qty"] = max(1, round(series.instrument.quantity_scale / 100 / lot)) * lot
    for name in ("order_qty", "max_position"):
        lots = found.get(name, lot) / lot
        if not (lots > 0.5 and abs(lots - round(lots)) < 1e-6):
            raise ConfigError(
                f"{name}={found[name]!r}: series {series.stream.name!r} trades in steps of {lot:g}; expected a multiple"
            )
    return found


def _about(plan: BacktestPlan, model: Model, run: Run) -> dict[str, Any]:
    """How the run was made."""
    series, waits = run.series, run.waits_ns
    strategy = run.strategy(fee_share(series.venue.settings, series))
    return {
        "strategy": strategy.name,
        "checkpoint": {"path": str(plan.checkpoint), "version": model.card.version, "backend": plan.backend},
        "input": asdict(model.card.input),  # type: ignore[arg-type]
        "settings": {
            "strategy": _numbers(strategy.settings),
            "exchange": asdict(series.venue.settings),
            "limits": {name: value for name, value in asdict(run.limits).items() if np.isfinite(value)},
            "inference": {"how": plan.waits_how, "median_ns": int(np.median(waits)), "most_ns": int(waits.max())},
            "split": plan.split or "all",
            "scales": series.scales.origin,
        },
        "account": series.account,
        "notes": series.notes,
        "learnt": how_learnt(series.stream, model.card.learnt),
        "versions": dict(software()),
    }


def _numbers(settings: Any) -> dict[str, Any]:
    """A strategy's settings as plain values; those that are off are left out."""
    found = {}
    for name, value in as_tuple(settings)._asdict().items():
        plain = value.tolist() if isinstance(value, np.ndarray) else value
        if not (isinstance(plain, float) and not np.isfinite(plain)):
            found[name] = plain
    return found


def series_of(feeds: Sequence[Path], options: ReadOptions) -> list[tuple[Path, str]]:
    """Every series of feeds: (feed, name).

    Raises:
        DataError: nothing usable, or two series of one name.
    """
    found = [(feed, source.name) for feed in feeds for source in find_sources([feed], options.symbol)]
    names = [name for _, name in found]
    for name in names:
        if names.count(name) > 1:
            raise DataError(f"data: two series are called {name!r}; give their folder, or one of them")
    return found
