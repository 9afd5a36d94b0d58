"""How long does a backtest take, and what of it is the engine, the book and features, the model, the strategy?

    taskset -c 1 python benchmarks/backtest_speed.py --data ../shared/data/binance/usdm/btcusdt_20240808.gz \\
      --json benchmarks/results/backtest_speed.json

Each stage runs by itself or with those before it, in turns; medians over rounds. "engine" is hftbacktest alone, woken
at the same ticks; "book and features" are the ticks without a model; "model" and "strategy and orders" are what the
predictor and the whole loop take beyond them.
"""

from __future__ import annotations

import json
import platform
import time
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from numba import njit

from nanoarb_jax.data.events import read_events
from nanoarb_jax.data.exchange_day import exchange_day
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.market.compiled import compiled
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.trading.backtest.exchange import ExchangeSettings, open_exchange
from nanoarb_jax.trading.backtest.records import TICK
from nanoarb_jax.trading.backtest.run import Venue, trade_live
from nanoarb_jax.trading.backtest.ticks import ADVANCED, LiveSource, advance_unpredicted
from nanoarb_jax.trading.taker import TakerSettings, taker

MODELS = ("nano", "small", "base")


@njit
def wake(hbt: Any, times_ns: Any) -> None:
    """hftbacktest alone."""
    hbt.elapse(0)
    for time_ns in times_ns:
        if time_ns > hbt.current_timestamp and hbt.elapse(time_ns - hbt.current_timestamp) != 0:
            break


@compiled
def all_ticks(source: Any, ticks: Any, nothing: Any) -> int:
    """Book, clock and features of all events."""
    cursor, count, status = 0, 0, ADVANCED
    while status == ADVANCED:
        status, cursor = advance_unpredicted(source, cursor, ticks, 0, nothing)
        count += 1
    return count


def timed(work: Callable[[], Any]) -> float:
    began = time.perf_counter()
    work()
    return time.perf_counter() - began


def main(
    data: Annotated[Path, typer.Option()],
    rounds: int = 15,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    events = read_events(data)
    day = exchange_day(events, str(data))
    instrument = Instrument.measure(data)
    settings = ExchangeSettings(entry_latency_ns=5_000_000, response_latency_ns=5_000_000)
    venue = Venue(day, instrument.tick_size, 0.001, settings)
    lives = {name: LivePredictor.load(f"checkpoints/{name}", instrument) for name in MODELS}
    strategy = {
        name: taker(TakerSettings(threshold=0.5, order_qty=0.01), live.horizons) for name, live in lives.items()
    }
    first = trade_live(venue, lives["nano"], events, strategy["nano"])
    times_ns, room, nothing = first.ticks["local_ns"].copy(), np.zeros(1, TICK), np.zeros((1, 1, 3), np.float32)

    def engine() -> float:
        hbt = open_exchange(day, settings, venue.tick_size, venue.lot_size)
        took = timed(lambda: wake(hbt, times_ns))
        hbt.close()
        return took

    def book() -> float:
        live = lives["nano"]
        live.reset()
        stop, at = np.iinfo(np.int64).max, np.zeros(2, np.int64)
        source = LiveSource(live.weights, live.state, events, 0, 1 / instrument.lot_size, 0, stop, at)
        return timed(lambda: all_ticks(source, room, nothing))

    def model(name: str) -> float:
        lives[name].reset()
        return timed(lambda: lives[name].apply_many(events))

    def whole(name: str) -> float:
        lives[name].reset()
        return timed(lambda: trade_live(venue, lives[name], events, strategy[name]))

    stages: dict[str, Callable[[], float]] = {"engine": engine, "book and features": book}
    stages |= {f"predictions {name}": lambda name=name: model(name) for name in MODELS}  # type: ignore[misc]
    stages |= {f"whole {name}": lambda name=name: whole(name) for name in MODELS}  # type: ignore[misc]
    for stage in stages.values():
        stage()
    taken: dict[str, list[float]] = {name: [] for name in stages}
    for _ in range(rounds):
        for name, stage in stages.items():
            taken[name].append(stage())
    ms = {name: 1e3 * float(np.median(of)) for name, of in taken.items()}
    rows = {}
    for name in MODELS:
        total = ms[f"whole {name}"]
        rows[name] = {
            "ms": total,
            "events_per_s": len(day.events) / total * 1e3,
            "times_engine": total / ms["engine"],
            "engine": ms["engine"] / total,
            "book_and_features": ms["book and features"] / total,
            "model": (ms[f"predictions {name}"] - ms["book and features"]) / total,
            "strategy_and_orders": (total - ms["engine"] - ms[f"predictions {name}"]) / total,
        }
        print(name, {key: round(value, 3) for key, value in rows[name].items()})
    print({name: round(of, 1) for name, of in ms.items()}, len(day.events), "events", len(times_ns), "ticks")
    about = {"events": len(day.events), "ticks": len(times_ns), "rounds": rounds, "machine": platform.processor()}
    if json_path is not None:
        json_path.write_text(json.dumps({**about, "ms": ms, "models": rows}, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
