"""What do the book and the features cost per event, and how fast are raw feeds prepared?

    taskset -c 1 python benchmarks/market_speed.py --data ../shared/data --json benchmarks/results/market_speed.json

Events per call are looped over in compiled code (`nanoarb_jax.bench.market_stages`); streams take turns, round by
round, and every sample is kept. Without --data only simulated streams are measured.
"""

from __future__ import annotations

import itertools
import json
import tempfile
import time
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from nanoarb_jax.bench import machine
from nanoarb_jax.bench.market_stages import EVENTS, EventLoop
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.features.flow import FLOW_NAMES
from nanoarb_jax.features.live import LobFeatureExtractor
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.event import CLEAR, KIND_MASK
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.feed import EventFeed
from nanoarb_jax.readers.sources import find_sources, open_source
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.market import synthetic_events

LOOKS = {
    "book": (0, 10),
    "top 10": (1, 10),
    "top 20": (1, 20),
    "book + lob44": (44, 10),
    "book + flow": (len(FLOW_NAMES), 10),
}
REAL = {
    "CME ESH4, L3": "cme_es/esh4-glbx-mdp3-20231225.mbo.dbn.zst",
    "Nasdaq ARL, L3": "nasdaq_arl/mbo.csv.xz",
    "Binance USD-M BTC, L2": "binance/usdm/btcusdt_20240808.gz",
    "Binance USD-M ETH, L2": "binance/usdm/ethusdt_20240808.gz",
    "Binance COIN-M BTC, L2": "binance/cm/btcusd_perp_20240808.gz",
    "Binance spot BTC, L2": "binance/spot/btcusdt_20240808.gz",
    "Coinbase BTC, L2": "coinbase_btcusd",
}


class Stream(NamedTuple):
    events: np.ndarray
    tick_size: float
    lot_size: float


def streams(data: Path | None) -> dict[str, Stream]:
    """Simulated and real ones, each from its snapshot on."""
    found = {}
    for name, level in itertools.product(("es", "crypto"), ("l2", "l3")):
        market = MarketConfig.preset(name)
        events = synthetic_events(300_000, 0, market, level=level)
        found[f"simulated {name}, {level.upper()}"] = Stream(events, market.tick_size, market.lot_size)
    for name, path in REAL.items() if data else ():
        feed = open_source(find_sources([data / path])[0])
        assert isinstance(feed, EventFeed)
        events = np.concatenate(list(feed.chunks))
        start = int(np.argmax((events["ev"] & KIND_MASK) == CLEAR))
        found[name] = Stream(events[start:], feed.tick_size, feed.lot_size)
    return found


def loop_costs(found: dict[str, Stream], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Microseconds per event, by stream and by what is looked at after each event."""
    loops = {
        (name, look): EventLoop(stream.events, stream.tick_size, stream.lot_size, *LOOKS[look])
        for (name, stream), look in itertools.product(found.items(), LOOKS)
    }
    samples: dict[str, dict[str, list[float]]] = {name: {look: [] for look in LOOKS} for name in found}
    for number in range(rounds + 1):
        for (name, look), loop in loops.items():
            for _ in range(max(len(found[name].events) // EVENTS // 4, 5)):
                began = time.perf_counter_ns()
                loop()
                if number:
                    samples[name][look].append((time.perf_counter_ns() - began) / EVENTS / 1e3)
    return samples


def python_costs(stream: Stream, events: int) -> dict[str, float]:
    """Median microseconds of one call from Python."""
    book, extractor = OrderBook(stream.tick_size, stream.lot_size), LobFeatureExtractor(stream.tick_size)
    book.apply_all(stream.events[:20_000])
    out = np.empty(44, np.float32)
    applied, made = [], []
    for event in stream.events[20_000 : 20_000 + events]:
        began = time.perf_counter_ns()
        book.apply(event)
        between = time.perf_counter_ns()
        extractor.to_array(book, out)
        applied.append(between - began)
        made.append(time.perf_counter_ns() - between)
    return {"OrderBook.apply": float(np.median(applied)) / 1e3, "to_array": float(np.median(made)) / 1e3}


def prepare_rates(data: Path, rounds: int) -> dict[str, dict[str, Any]]:
    """Lines of raw Binance JSON per second, files in to datasets out, in one process."""
    rates = {}
    for market, features in itertools.product(("spot", "usdm", "cm"), ("lob44", "flow")):
        folder = data / "binance" / market
        lines = 0
        for file in sorted(folder.iterdir()):
            with open_bytes(file) as stream:
                lines += sum(block.count(b"\n") for block in iter(lambda stream=stream: stream.read(1 << 20), b""))
        seconds = []
        for _ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as out:
                began = time.perf_counter()
                prepare([folder], Path(out) / "dataset", DataConfig(feature_set=features))
                seconds.append(time.perf_counter() - began)
        median = float(np.median(seconds[1:]))
        rates[f"{market}, {features}"] = {"messages": lines, "seconds": seconds[1:], "per_second": lines / median}
    return rates


def main(
    data: Annotated[Path | None, typer.Option(help="Folder of real data.")] = None,
    rounds: int = 10,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    found = streams(data)
    samples = loop_costs(found, rounds)
    medians = {name: {look: float(np.median(s)) for look, s in looks.items()} for name, looks in samples.items()}
    print(f"{'µs per event, median':28s}" + "".join(f"{look:>14s}" for look in LOOKS))
    for name, looks in medians.items():
        print(f"{name:28s}" + "".join(f"{value:14.3f}" for value in looks.values()))
    calls = {name: python_costs(found[name], 20_000) for name in ("simulated crypto, L2", "simulated es, L3")}
    for name, call in calls.items():
        print(f"{name:28s}" + ", ".join(f"{what} {us:.2f} µs" for what, us in call.items()))
    rates = prepare_rates(data, 3) if data else {}
    for name, rate in rates.items():
        print(f"prepare {name:20s} {rate['per_second']:12,.0f} messages/s")
    if json_path is not None:
        figures = {
            "question": "microseconds per event in a compiled loop; messages per second of data prepare",
            "machine": machine(),
            "events_per_call": EVENTS,
            "median_us": medians,
            "python_call_us": calls,
            "prepare": rates,
            "samples_us": {n: {k: [round(s, 4) for s in v] for k, v in looks.items()} for n, looks in samples.items()},
        }
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
