"""A run of a strategy, and what stands beside it: controls, rivals, other queues, other latencies and fees.

All of them are traded by the same strategy in the same loop over the same ticks; only the predictions, or the exchange,
are others.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.evaluation.baselines import baseline_forecasts
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.trading.backtest import controls
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings, Queue, rules_of
from nanoarb_jax.trading.backtest.lookahead import flag_lookahead
from nanoarb_jax.trading.backtest.market import TradedSeries
from nanoarb_jax.trading.backtest.markouts import adverse_selection, fill_probability, markouts, signal_decay
from nanoarb_jax.trading.backtest.reconcile import reconcile
from nanoarb_jax.trading.backtest.records import Recorded, equity
from nanoarb_jax.trading.backtest.results import summarise
from nanoarb_jax.trading.backtest.run import Venue, trade_recorded
from nanoarb_jax.trading.backtest.working import value_of
from nanoarb_jax.trading.contract import Strategy
from nanoarb_jax.trading.limits import Limits

QUEUES: tuple[Queue, ...] = ("risk-averse", "power", "log")
LATENCIES_NS = (0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FEES = (0.0, 0.25, 0.5, 1.0)  # of the fees asked for; without any, basis points of the value
FEES_BP = (0.0, 1.0, 2.0, 5.0)

Recast = Callable[[Mapping[str, Any]], Strategy]  # the strategy with these settings changed


class Run(NamedTuple):
    """A run that others are set beside.

    Attributes:
        series: that was traded.
        recorded: what happened.
        strategy: makes the strategy, given what is to be changed of its settings.
        limits: held.
        waits_ns: charged.
        rows: (first, stop) of the series' ticks that were traded.
        horizon: place of the horizon that the strategy trades on.
        capital, trading_days: for the statistics.
    """

    series: TradedSeries
    recorded: Recorded
    strategy: Recast
    limits: Limits
    waits_ns: NDArray[np.int64]
    rows: tuple[int, int]
    horizon: int
    capital: float | None
    trading_days: float


def figures_of(run: Run) -> dict[str, Any]:
    """The figures of the run itself: its summary, markouts, signal decay, fills, and how its accounts reconcile."""
    recorded, market = run.recorded, run.series.market
    return {
        **summarise(recorded, market, run.capital, run.trading_days),
        "currency": run.series.currency,
        "swept": recorded.swept,
        "differs": recorded.differs,
        "account_off": recorded.off,
        "markouts": markouts(recorded, run.horizon),
        "signal_decay": signal_decay(recorded, market),
        "adverse_selection": adverse_selection(recorded),
        "fill_probability": fill_probability(recorded),
        "reconciliation": reconcile(recorded, market),
    }


class Beside(NamedTuple):
    """What stands beside a run.

    Attributes:
        report: plain values: "controls", "look_ahead", "rivals", "queue_models" and "heat_map".
        queue_models: what was recorded under each.
    """

    report: dict[str, Any]
    queue_models: dict[str, Recorded]


def runs_beside(run: Run, seeds: int = 99, rivals: bool = False, note: Note = silent) -> Beside:
    """Controls, rivals, queue models, and a map of latencies and fees.

    Args:
        run: that they stand beside.
        seeds: random controls.
        rivals: also gradient boosting fitted on the series' training part: all traded ticks must lie behind it.
        note: told what is at work.
    """
    queues: dict[str, Recorded] = {}
    own = run.series.venue.settings.queue
    for queue in QUEUES if own != "fifo" else (own,):
        note(f"queue model {queue}")
        settings = dataclasses.replace(run.series.venue.settings, queue=queue)
        queues[queue] = again(run, run.recorded.probabilities, run.series.venue._replace(settings=settings))
    report = {
        "controls": _controls(run, seeds, note),
        "look_ahead": flag_lookahead(run.recorded.probabilities, run.recorded.ticks, run.horizon),
        "rivals": _rivals(run, rivals, note),
        "queue_models": {name: _short(run, one) for name, one in queues.items()},
        "heat_map": _heat_map(run, note),
    }
    return Beside(report, queues)


def fee_share(settings: ExchangeSettings, series: TradedSeries) -> dict[str, float]:
    """The setting of strategies that says what it costs to take: a share of the value, also where fees are amounts."""
    fee = settings.taker_fee
    if settings.fee_unit == "quantity":
        mid = float(np.median(series.stream.mid))
        fee /= value_of(rules_of(settings, 1.0, 1.0), mid, 1.0)
    return {"taker_fee": fee}


def again(
    run: Run,
    probabilities: NDArray[np.float32],
    venue: Venue | None = None,
    waits_ns: NDArray[np.int64] | None = None,
    strategy: Strategy | None = None,
) -> Recorded:
    """The same ticks with other predictions, another exchange or other latencies."""
    venue = venue or run.series.venue
    strategy = strategy or run.strategy(fee_share(venue.settings, run.series))
    waits_ns = run.waits_ns if waits_ns is None else waits_ns
    return trade_recorded(venue, run.recorded.ticks, probabilities, strategy, run.limits, waits_ns)


def _short(run: Run, recorded: Recorded) -> dict[str, Any]:
    """The figures that runs are compared by."""
    whole = summarise(recorded, run.series.market, run.capital, run.trading_days)
    names = (
        "net_pnl", "gross_pnl", "fees", "trades", "round_trips", "hit_rate", "sharpe", "max_drawdown",
        "round_trip_ticks", "fill_ratio",
    )  # fmt: skip
    return {name: whole[name] for name in names}


def net_pnl(run: Run, recorded: Recorded) -> float:
    """Net profit of a run alone."""
    worth = equity(recorded.account, run.series.market)
    return float(worth[-1] - worth[0]) if len(worth) else 0.0


def _controls(run: Run, seeds: int, note: Note) -> dict[str, Any]:
    """Predictions without merit. The percentile is that of the profit per trade: as many signals are not always filled
    as often, and fees would then favour whoever trades less."""
    said, ready = run.recorded.probabilities, run.recorded.ticks["ready"] == 1
    profits, trades = [], []
    for seed in range(seeds):
        note(f"random signals {seed + 1}/{seeds}")
        one = again(run, controls.random_signals(said, ready, seed, run.horizon))
        profits.append(net_pnl(run, one))
        trades.append(len(one.fills))
    own = net_pnl(run, run.recorded)
    each = [profit / count if count else 0.0 for profit, count in zip(profits, trades, strict=True)]
    own_each = own / len(run.recorded.fills) if len(run.recorded.fills) else 0.0
    apart_ns = int(np.median(np.diff(run.recorded.ticks["local_ns"]))) if len(ready) > 1 else 0
    return {
        "random": {
            "net_pnl": profits,
            "trades": trades,
            "percentile": controls.percentile_of(own_each, each),
            "model_net_pnl": own,
        },
        "shuffled": _short(run, again(run, controls.shuffled(said, ready, 0))),
        "inverted": _short(run, again(run, controls.inverted(said))),
        "one_tick_late": _short(run, again(run, controls.delayed(said, run.recorded.ticks, max(apart_ns, 1)))),
    }


def _rivals(run: Run, fitted: bool, note: Note) -> dict[str, Any]:
    """Rivals that are as confident as often as the model, see `controls.matched`."""
    recorded = run.recorded
    said, ready, ticks = recorded.probabilities, recorded.ticks["ready"] == 1, recorded.ticks
    found = {"queue_imbalance": controls.queue_imbalance(ticks, said.shape[1])}
    if fitted:
        note("gradient boosting is fitted")
        stream = run.series.stream
        horizons = run.series.market.horizons
        made = baseline_forecasts([stream], horizons, only=("gradient_boosting",), note=note)
        log_probs = made.log_probs["gradient_boosting"][0][slice(*run.rows)]
        found["gradient_boosting"] = np.exp(log_probs).astype(np.float32)
    return {name: _short(run, again(run, controls.matched(one, said, ready))) for name, one in found.items()}


def _heat_map(run: Run, note: Note) -> dict[str, Any]:
    """Net profit by inference latency and fees: the fees asked for times a factor, or basis points without any."""
    venue, said = run.series.venue, run.recorded.probabilities
    own = venue.settings
    free = own.maker_fee == 0 and own.taker_fee == 0
    rows = []
    for latency_ns in LATENCIES_NS:
        note(f"latency {latency_ns:,} ns")
        row = []
        for fee in FEES_BP if free else FEES:
            costs = (fee * 1e-4, fee * 1e-4) if free else (fee * own.maker_fee, fee * own.taker_fee)
            settings = dataclasses.replace(own, maker_fee=costs[0], taker_fee=costs[1])
            one = again(run, said, venue._replace(settings=settings), np.array([latency_ns]))
            row.append(net_pnl(run, one))
        rows.append(row)
    unit = "basis points of the value, maker and taker" if free else "times the fees of the run"
    return {
        "latency_ns": list(LATENCIES_NS),
        "fees": list(FEES_BP if free else FEES),
        "fee_unit": unit,
        "net_pnl": rows,
    }
