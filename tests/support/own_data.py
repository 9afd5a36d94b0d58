"""A made result of `own_data_curve`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

MINUTES = (1.0, 5.0, 15.0, None)
SERIES = ("one", "other")


def curve(losses: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    """Two series alike, at two horizons whose mean log losses are these, one for each of `MINUTES`."""
    durations, means = [], []
    for i, minutes in enumerate(MINUTES):
        mean = {judge: _horizons(values[i]) for judge, values in losses.items()}
        series, rows = dict.fromkeys(SERIES, mean), dict.fromkeys(SERIES, 100 * (i + 1))
        durations.append({"minutes": minutes, "series": series, "rows": rows, "left_out": {}, "mean": mean})
        means.append(mean)
    return {"durations": durations, "common": {"series": list(SERIES), "means": means}}


def _horizons(loss: float) -> dict[str, dict[str, float]]:
    return {
        horizon: {"log_loss": loss + excess, "mcc": 0.3 - loss / 10, "macro_f1": 0.4}
        for horizon, excess in (("h10", -0.1), ("h100", 0.1))
    }
