"""`nanoarb-jax backtest`."""

from __future__ import annotations

import dataclasses
import math
import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.files import new_file
from nanoarb_jax.units.workers import Workers

from .backtest_tables import print_run, print_series, print_sweep
from .output import JsonOption, claim_json, noting, say, write_json
from .predict import Backend, Precision, ScalesFromOption, SeriesOption, Split, WarmUpOption
from .reader_options import Reader, reader_options
from .workers_options import workers_options

if TYPE_CHECKING:
    from nanoarb_jax.studies.backtest_plan import BacktestPlan
    from nanoarb_jax.studies.backtest_units import Outcome
    from nanoarb_jax.trading.backtest.predicted import Model

Queue = Literal["risk-averse", "power", "log"]
Fills = Literal["partial", "whole"]
FeeUnit = Literal["value", "quantity"]
Contract = Literal["linear", "inverse"]
LatencyOption = Annotated[
    int | None, typer.Option(metavar="NS", min=0, help="In ns.  [default: the feed's own latency, its median]")
]


@workers_options("different series, with --output, or models of --walk-forward", default=1)
@reader_options
def backtest(
    *,
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, output folder of a run, or exported file.")],
    data: Annotated[list[Path], typer.Option(metavar="FEED", help="Market data, file or folder; repeat for several.")],
    strategy: Annotated[str, typer.Option(metavar="taker|maker|FILE.py:NAME", help="What decides.")] = "taker",
    threshold: Annotated[float, typer.Option(help="Probability to act on (maker: to pull a quote).")] = 0.6,
    horizon: Annotated[int | None, typer.Option(help="In ticks.  [default: the model's shortest]")] = None,
    order_qty: Annotated[
        float | None, typer.Option(help="Of an order.  [default: a hundredth of the usual quantity at the best prices]")
    ] = None,
    max_position: Annotated[float | None, typer.Option(help="[default: one order; maker: five]")] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="Other settings of the strategy; repeat.")
    ] = None,
    sweep: Annotated[
        list[str] | None, typer.Option(metavar="NAME=V1,V2,…", help="Try all of these settings, too; repeat.")
    ] = None,
    calibration: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Table of calibrate: act on the expected move after costs.")
    ] = None,
    maker_fee: Annotated[float, typer.Option(help="0.0002 is 2 basis points of the value; below 0: a rebate.")] = 0.0,
    taker_fee: Annotated[float, typer.Option(help="Of orders that take.")] = 0.0,
    fee_unit: Annotated[FeeUnit, typer.Option(help="What fees are of: the value, or each unit of quantity.")] = "value",
    entry_latency: LatencyOption = None,
    response_latency: LatencyOption = None,
    inference: Annotated[
        str, typer.Option(metavar="measured|sampled|NS", help="What a prediction takes, on the simulated clock.")
    ] = "measured",
    fills: Annotated[Fills, typer.Option(help="In parts, as far as quantities go, or whole.")] = "partial",
    queue: Annotated[Queue, typer.Option(help="How resting orders come forward.")] = "risk-averse",
    contract: Annotated[Contract | None, typer.Option(help="[default: as the series' name says]")] = None,
    contract_size: Annotated[float | None, typer.Option(help="[default: as the series' name says, else 1]")] = None,
    max_drawdown: Annotated[
        float | None, typer.Option(help="Loss from the highest equity that ends trading.  [default: none]")
    ] = None,
    stale_ms: Annotated[
        float | None, typer.Option(help="Time without a tick after which orders are withdrawn.  [default: none]")
    ] = None,
    capital: Annotated[float | None, typer.Option(help="That profit and turnover are compared with.")] = None,
    trading_days: Annotated[float, typer.Option(help="In a year, for the Sharpe ratio.")] = 365,
    backend: Annotated[Backend, typer.Option(help="What computes predictions.")] = "native",
    precision: Annotated[Precision, typer.Option(help="Of the native step's weights.")] = "fp32",
    split: Annotated[Split, typer.Option(help="Which part of each series to trade.")] = "all",
    folds: Annotated[
        int | None,
        typer.Option("--walk-forward", metavar="FOLDS", min=2, help="Train a model for every block, as this one was."),
    ] = None,
    output: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Keeps results, and the models of --walk-forward.")
    ] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Only the run, nothing beside it.")] = False,
    seeds: Annotated[int, typer.Option(min=1, help="Random controls.")] = 99,
    seed: Annotated[int, typer.Option(help="Of sampled latencies.")] = 0,
    report: Annotated[Path | None, typer.Option(metavar="FILE.html", help="Page to write.")] = None,
    scales_from: ScalesFromOption = None,
    series: SeriesOption = None,
    warm_up: WarmUpOption = 1_000,
    reader: Reader,
    workers: Workers,
    json_path: JsonOption = None,
) -> None:
    """Trade on predictions in hftbacktest, latency and costs charged."""
    claim_json(json_path)
    from nanoarb_jax.files import claim_file
    from nanoarb_jax.studies.backtest_plan import BacktestPlan, series_of
    from nanoarb_jax.trading.backtest.exchange import ExchangeSettings
    from nanoarb_jax.trading.backtest.inference import read_inference
    from nanoarb_jax.trading.backtest.predicted import open_model
    from nanoarb_jax.trading.limits import Limits

    if report is not None:
        claim_file(report, "--report", (".html",))
    exchange = ExchangeSettings(
        maker_fee, taker_fee, fee_unit, entry_latency, response_latency, fills, queue, contract, contract_size
    )
    given = {"threshold": threshold, "horizon": horizon, "order_qty": order_qty, "max_position": max_position}
    plan = BacktestPlan(
        checkpoint, strategy,
        {name: value for name, value in given.items() if value is not None} | _settings(settings),
        _swept(sweep), calibration, exchange,
        Limits(*(math.inf if one is None else one for one in (max_position, max_drawdown, stale_ms))),
        backend=backend, precision=precision, split=None if split == "all" else split,
        scales_from=scales_from, scales_series=series, warm_up=warm_up,
        options=reader.options, policy=reader.policy,
        capital=capital, trading_days=trading_days, seeds=0 if quick else seeds,
    )  # fmt: skip
    latency, model, found = (
        read_inference(inference),
        open_model(checkpoint, backend, precision),
        series_of(data, reader.options),
    )
    if report is not None and (len(found) > 1 or folds is not None):
        raise ConfigError(f"--report {report}: the page of one series, --data has {len(found)}; give one of them")
    if folds is not None:
        reports = _trade_folds(plan, model, found, folds, output, latency, workers)
    else:
        plan = _timed(plan, model, found[0], latency, seed)
        outcomes = _trade(plan, found, output, workers)
        reports = [{"command": _command(), **one.report} for one in outcomes]
        if report is not None:
            _write_page(report, outcomes[0], reports[0])
    _print(reports, report)
    write_json(json_path, {"command": _command(), **_together(reports)})


def _settings(words: list[str] | None) -> dict[str, Any]:
    """Those of `--set`."""
    from nanoarb_jax.trading.choose import read_setting

    found = {}
    for word in words or ():
        name, values = read_setting(word)
        if len(values) > 1:
            raise ConfigError(f"--set {word}: expected one value; several are tried with --sweep")
        found[name] = values[0]
    return found


def _swept(words: list[str] | None) -> tuple[tuple[str, tuple[float, ...]], ...]:
    from nanoarb_jax.trading.choose import read_setting

    return tuple((name, tuple(values)) for name, values in map(read_setting, words or ()))


def _timed(plan: BacktestPlan, model: Model, first: tuple[Path, str], latency: Any, seed: int) -> BacktestPlan:
    """The plan with what predictions are charged; what is measured on the first series holds for all."""
    from nanoarb_jax.studies.backtest_plan import open_series
    from nanoarb_jax.trading.backtest.inference import waits_of
    from nanoarb_jax.trading.backtest.predicted import time_model

    times = None
    if not isinstance(latency, int):
        with noting(first[1]) as note:
            note("timing predictions")
            times = time_model(model, open_series(plan, model, *first))
    waits = waits_of(latency, times, seed)
    return dataclasses.replace(plan, waits_ns=tuple(waits.waits_ns.tolist()), waits_how=str(waits.figures["how"]))


def _trade(plan: BacktestPlan, found: list[tuple[Path, str]], output: Path | None, workers: Workers) -> list[Outcome]:
    """Trade every series: here, or as units of work that are kept in a folder."""
    from nanoarb_jax.studies.backtest_units import backtest_series, backtest_units

    if output is not None:
        with noting("backtest") as note:
            return backtest_units(plan, found, output, workers, note)
    outcomes = []
    for feed, name in found:
        with noting(name) as note:
            outcomes.append(backtest_series(plan, feed, name, note))
    return outcomes


def _write_page(path: Path, outcome: Outcome, report: dict[str, Any]) -> None:
    from nanoarb_jax.studies.backtest_page import page_of

    with new_file(path, "--report") as file:
        file.write(page_of(report, outcome.arrays, outcome.market, outcome.horizon).encode())


def _trade_folds(
    plan: BacktestPlan, model: Model, found: list[tuple[Path, str]], folds: int, output: Path | None, latency: Any,
    workers: Workers,
) -> list[dict[str, Any]]:  # fmt: skip
    """The reports of `--walk-forward`."""
    from nanoarb_jax.studies.backtest_folds import backtest_folds

    if output is None:
        raise ConfigError("--walk-forward: give --output FOLDER for the models that it trains")
    if not isinstance(latency, int):
        raise ConfigError("--walk-forward: give --inference NS; its predictions are made before the market is played")
    plan = dataclasses.replace(plan, waits_ns=(latency,))
    with noting("walk-forward") as note:
        return backtest_folds(plan, model, found, folds, output, workers, note)


def _command() -> str:
    return shlex.join(["nanoarb-jax", *sys.argv[1:]])


def _together(reports: list[dict[str, Any]]) -> dict[str, Any]:
    """The report of one series; of several, all of them and the sums that have one currency."""
    if len(reports) == 1:
        return reports[0]
    sums: dict[str, Any] = {name: sum(one[name] for one in reports) for name in ("trades", "predictions")}
    if len({one["currency"] for one in reports}) == 1:
        sums |= {name: sum(one[name] for one in reports) for name in ("net_pnl", "gross_pnl", "fees")}
    return {**sums, "series": {one["name"]: one for one in reports}}


def _print(reports: list[dict[str, Any]], page: Path | None) -> None:
    if len(reports) == 1:
        print_run(reports[0])
    else:
        print_series(reports)
    for one in reports:
        if "sweep" in one:
            print_sweep(one["sweep"])
    if page is not None:
        say(f"{page}: the page")
