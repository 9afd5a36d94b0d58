"""What is a prediction worth in a market whose future is known up to chance, and how fast does that go with latency?

    nanoarb-jax data synth --output feeds --events --rows 60000 --streams 8
    nanoarb-jax data prepare feeds --output dataset --feature-set flow
    nanoarb-jax train --data dataset --preset nano --epochs 3 --output run
    python benchmarks/backtest_synthetic.py --checkpoint run --json benchmarks/results/backtest_synthetic.json

The market is "shallow", in which an order comes every 30 ms or so, played a thousand times as fast, so that
microseconds and milliseconds matter: all times are divided by 1,000 after the model has read it. The same taker trades
on the oracle's probabilities (`simulation.oracle`, Monte Carlo from the state of the market), the model's, either in
another order, and either a hundred ticks late, when the move that was predicted is over. Latency is that of orders on
their way to the exchange. Every market has a seed of its own; profits are in ticks of one lot, after the spread,
without fees.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numpy.typing import NDArray

from nanoarb_jax.data.exchange_day import exchange_day
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.market import synthetic_events
from nanoarb_jax.simulation.oracle import class_probabilities
from nanoarb_jax.trading.backtest import controls
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings
from nanoarb_jax.trading.backtest.records import Market, Recorded, equity
from nanoarb_jax.trading.backtest.run import Venue, trade_live, trade_recorded
from nanoarb_jax.trading.limits import Limits
from nanoarb_jax.trading.taker import TakerSettings, taker

HORIZONS = (10, 50, 100)
LATENCIES_NS = (0, 1_000, 10_000, 100_000, 1_000_000, 10_000_000)
FASTER = 1_000


def faster(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Times since the first, a thousandth as long."""
    return times_ns[0] + (times_ns - times_ns[0]) // FASTER


def profit(recorded: Recorded, market: Market) -> tuple[float, int]:
    """Net profit in ticks of one lot, and trades."""
    worth = equity(recorded.account, market)
    return float(worth[-1] - worth[0]) / market.tick_size, len(recorded.fills)


def one_market(live: LivePredictor, seed: int, messages: int, futures: int, threshold: float) -> dict[str, Any]:
    config = dataclasses.replace(MarketConfig(), latency_ns=0)
    events = synthetic_events(messages, seed, config)
    market = Market("synthetic", config.tick_size, config.lot_size, 1.0, False, HORIZONS)
    strategy = taker(TakerSettings(horizon=100, threshold=threshold), HORIZONS)
    slow = Venue(exchange_day(events, "synthetic"), config.tick_size, config.lot_size, ExchangeSettings())
    live.reset()
    own = trade_live(slow, live, events, strategy, Limits())
    rows = tick_messages(live, events)
    known = class_probabilities(config, seed, rows, HORIZONS, futures=futures).probabilities.astype(np.float32)
    fast, ticks = events.copy(), own.ticks.copy()
    for name in ("exch_ts", "local_ts"):
        fast[name] = faster(events[name])
    ticks["local_ns"] = ticks["exch_ns"] = faster(events["local_ts"])[
        np.searchsorted(events["local_ts"], own.ticks["local_ns"])
    ]
    day, ready = exchange_day(fast, "synthetic"), ticks["ready"] == 1
    late_ns = int(100 * np.mean(np.diff(ticks["local_ns"])))

    def traded(said: NDArray[np.float32], latency_ns: int = 0) -> tuple[float, int]:
        venue = slow._replace(day=day, settings=ExchangeSettings(entry_latency_ns=latency_ns))
        return profit(trade_recorded(venue, ticks, said, strategy), market)

    found: dict[str, Any] = {"ticks": len(ticks), "ns_between_ticks": float(np.mean(np.diff(ticks["local_ns"])))}
    for who, said in (("oracle", known), ("model", own.probabilities)):
        found[who] = traded(said)
        found[f"shuffled {who}"] = traded(controls.shuffled(said, ready, seed))
        found[f"{who} after the move"] = traded(controls.delayed(said, ticks, late_ns))
        found[f"{who} by latency"] = [traded(said, latency) for latency in LATENCIES_NS]
    return found


def tick_messages(live: LivePredictor, events: NDArray[np.void]) -> NDArray[np.int64]:
    """(n,) number of the message that made each tick: the oracle's row."""
    live.reset()
    at, _ = live.apply_many(events)
    ends = (events["ival"] & 128) > 0
    return (np.cumsum(ends) - ends)[at]


def main(
    checkpoint: Annotated[Path, typer.Option()],
    markets: int = 8,
    messages: int = 20_000,
    futures: int = 200,
    threshold: float = 0.6,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    live = LivePredictor.load(checkpoint, Instrument(0.25, 1.0, 9.0, 1.0))
    found = []
    for seed in range(1_000, 1_000 + markets):
        found.append(one_market(live, seed, messages, futures, threshold))
        print(seed, {name: value for name, value in found[-1].items()}, flush=True)
    ticks = np.array([one["ticks"] for one in found])
    rows: dict[str, Any] = {}
    for name in (
        "oracle",
        "model",
        "shuffled oracle",
        "shuffled model",
        "oracle after the move",
        "model after the move",
    ):
        rows[name] = shown(np.array([one[name] for one in found]), ticks)
        print(f"{name:24s} {rows[name]}")
    for who in ("oracle", "model"):
        for place, latency in enumerate(LATENCIES_NS):
            name = f"{who} at {latency:,} ns"
            rows[name] = shown(np.array([one[f"{who} by latency"][place] for one in found]), ticks)
            print(f"{name:24s} {rows[name]}")
    rows["share of the oracle's"] = rows["model"]["per_1000_ticks"] / rows["oracle"]["per_1000_ticks"]
    print("share of the oracle's", rows["share of the oracle's"])
    if json_path is not None:
        between = float(np.mean([one["ns_between_ticks"] for one in found]))
        about = {"markets": markets, "messages": messages, "threshold": threshold, "ns_between_ticks": between}
        json_path.write_text(json.dumps({"question": "worth of predictions", **about, "rows": rows}, indent=1) + "\n")


def shown(of: NDArray[np.float64], ticks: NDArray[np.int64]) -> dict[str, float]:
    """Profit of a thousand ticks, its standard error over markets, and per trade; `of` holds (profit, trades)."""
    each = 1_000 * of[:, 0] / ticks
    error = each.std(ddof=1) / np.sqrt(len(each)) if len(each) > 1 else float("nan")
    trips = of[:, 1].sum() / 2
    return {
        "per_1000_ticks": float(each.mean()),
        "error": float(error),
        "per_round_trip": float(of[:, 0].sum() / trips) if trips else 0.0,
        "round_trips": float(trips),
    }


if __name__ == "__main__":
    typer.run(main)
