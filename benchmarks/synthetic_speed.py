"""How many events and books per second does the synthetic market make?

    python benchmarks/synthetic_speed.py --json benchmarks/results/synthetic_speed.json

Times whole calls of `synthetic_events` and `synthetic_books` on one core, memory of the result included, after one that
compiles; every sample is kept.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import typer

from nanoarb_jax.bench import machine
from nanoarb_jax.simulation.config import MarketConfig, Preset
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events

order_events = partial(synthetic_events, level="l3")


def sample(call: Callable[[], object], rounds: int) -> list[float]:
    """Seconds of `rounds` calls."""
    seconds = []
    for _ in range(rounds):
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return seconds


def main(
    count: int = 1_000_000,
    rounds: int = 5,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    rows = []
    for preset in get_args(Preset):
        config = MarketConfig.preset(preset)
        for what, make in (("events", synthetic_events), ("orders' events", order_events), ("books", synthetic_books)):
            make(10, 0, config)
            seconds = sample(partial(make, count, 0, config), rounds)
            per_second = round(count / float(np.median(seconds)))
            rows.append({"preset": preset, "what": what, "per_second": per_second, "seconds": seconds})
            print(f"{preset}: {per_second:,} {what}/s (median of {rounds} calls of {count:,})")
    figures = {
        "question": "events and books per second of the synthetic market",
        "machine": machine(),
        "count": count,
        "rows": rows,
    }
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
