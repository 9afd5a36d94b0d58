"""The picture of how much own data is worth what: log loss and MCC against minutes of an instrument's past."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.evaluation.own_data import compared_points, describe_compared
from nanoarb_jax.reports.figure import claim_picture, save_picture

# Okabe and Ito's colours, which the colour-blind tell apart, and a marker each for who sees no colour
LINES: dict[str, dict[str, Any]] = {
    "model": {"label": "model as it is", "color": "#000000", "linestyle": "--", "marker": ""},
    "model_own_prior": {"label": "with the own class frequencies", "color": "#56B4E9", "marker": "s"},
    "adapted": {"label": "adapted", "color": "#0072B2", "marker": "o", "linewidth": 2.6},
    "fine_tuned": {"label": "fine-tuned", "color": "#009E73", "marker": "D"},
    "logistic": {"label": "logistic regression", "color": "#E69F00", "marker": "^"},
    "gradient_boosting": {"label": "gradient boosting", "color": "#D55E00", "marker": "v"},
    "gradient_boosting_flow": {"label": "gradient boosting on flow", "color": "#CC79A7", "marker": "P"},
}
ALL_FACTOR = 4.0  # where "all" stands: at so many times the longest duration
# A log loss of more than so many times the model's is written at the edge of the panel, not drawn: those who learn
# from a few rows are sure of what is wrong, and would press all others flat.
MOST_LOSS = 1.8


def own_data_picture(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw log loss (above) and MCC (below) against minutes, a column per horizon. PNG, SVG or PDF by suffix.

    Means are those of `compared_points`.

    Args:
        result: of `own_data_curve`.
        path: of a file that does not exist yet.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    from matplotlib.figure import Figure

    path = claim_picture(path)
    minutes, means = zip(*compared_points(result), strict=True)
    judges = [judge for judge in LINES if judge in means[0]]
    horizons = list(means[0]["model"])
    figure = Figure(figsize=(4.2 * len(horizons) + 0.6, 7.4), layout="constrained")
    panels = figure.subplots(2, len(horizons), sharex=True, squeeze=False)
    places = _places(minutes)
    for horizon, upper, lower in zip(horizons, *panels, strict=True):
        for judge in judges:
            for axes, key in ((upper, "log_loss"), (lower, "mcc")):
                axes.plot(places, [mean[judge][horizon][key] for mean in means], markersize=5, **LINES[judge])
        _limit_losses(upper, places, [[mean[judge][horizon]["log_loss"] for mean in means] for judge in judges], judges)
        upper.set_title(f"{horizon.removeprefix('h')} ticks ahead")
        lower.set_xlabel("minutes of the instrument's own past")
    panels[0, 0].set_ylabel("log loss (less is better)")
    panels[1, 0].set_ylabel("MCC (more is better)")
    _finish(panels, places, minutes)
    figure.legend(*panels[0, 0].get_legend_handles_labels(), loc="outside lower center", ncols=4, frameon=False)
    figure.suptitle(f"What own data are worth, {describe_compared(result)}")
    save_picture(figure, path)


def _places(minutes: Sequence[float | None]) -> list[float]:
    known = [one for one in minutes if one is not None]
    return [*known, *[max(known, default=1.0) * ALL_FACTOR] * (len(minutes) - len(known))]


def _limit_losses(axes: Any, places: Sequence[float], losses: Sequence[Sequence[float]], judges: Sequence[str]) -> None:
    """Cut the axis above `MOST_LOSS` times the loss of the first, the model; write at the edge what lies beyond."""
    best, most = np.min(losses), MOST_LOSS * np.max(losses[0])
    if np.max(losses) <= most:
        return
    axes.set_ylim(best - 0.05 * (most - best), most)
    for i, place in enumerate(places):
        beyond = sorted((series[i], judge) for series, judge in zip(losses, judges, strict=True) if series[i] > most)
        for line, (loss, judge) in enumerate(reversed(beyond)):
            axes.annotate(
                f"↑ {loss:.2f}", (place, 1), (4, -10 - 11 * line), xycoords=("data", "axes fraction"),
                textcoords="offset points", fontsize="small", color=LINES[judge]["color"],
            )  # fmt: skip


def _finish(panels: Any, places: Sequence[float], minutes: Sequence[float | None]) -> None:
    """Ticks at the durations, and lines that lead the eye."""
    for axes in panels.flat:
        axes.set_xscale("log")
        axes.set_xticks(places, ["all" if one is None else f"{one:g}" for one in minutes])
        axes.minorticks_off()
        axes.grid(color="0.92", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
