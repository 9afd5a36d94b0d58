"""How well can the simulated markets be predicted at best, and what does guessing the class frequencies give?

    python benchmarks/synthetic_ceiling.py --json benchmarks/results/synthetic_ceiling.json

Monte Carlo from the market's known state (`simulation.oracle`). τ of the MCC is chosen on one half of the sampled
ticks, and the MCC taken on the other.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, get_args

import numpy as np
import typer

from nanoarb_jax.evaluation.metrics import choose_tau, class_prior, horizon_metrics
from nanoarb_jax.simulation.config import MarketConfig, Preset
from nanoarb_jax.simulation.oracle import class_probabilities

HORIZONS = (10, 50, 100)


def main(
    ticks: int = 1_000,
    futures: int = 400,
    every: int = 500,
    seed: int = 7,
    json_path: Annotated[Path | None, typer.Option("--json")] = None,
) -> None:
    rows = []
    for preset in get_args(Preset):
        at = np.arange(1, ticks + 1) * every
        found = class_probabilities(MarketConfig.preset(preset), seed, at, HORIZONS, futures=futures)
        first, second = slice(0, ticks // 2), slice(ticks // 2, ticks)
        for column, horizon in enumerate(HORIZONS):
            labels, log_probs = found.labels[:, column], found.log_probabilities[:, column]
            prior = class_prior(labels[first])
            tau = choose_tau(log_probs[first], labels[first], prior)
            judged = horizon_metrics(log_probs[second], labels[second], prior, tau)
            losses = {
                "frequencies": float(-np.log(prior[labels[second]]).mean()),
                "oracle": float(-log_probs[second][np.arange(len(labels[second])), labels[second]].mean()),
            }
            rows.append({"preset": preset, "horizon": horizon, "log_loss": losses, "mcc": judged["mcc"]})
            loss = f"log-loss {losses['frequencies']:.3f} -> {losses['oracle']:.3f}"
            print(f"{preset:8s} {horizon:4d} ticks: {loss}, MCC {judged['mcc']:.2f}")
    figures = {"question": "ceiling of prediction", "ticks": ticks, "futures": futures, "seed": seed, "rows": rows}
    if json_path is not None:
        json_path.write_text(json.dumps(figures, indent=1) + "\n")


if __name__ == "__main__":
    typer.run(main)
