"""The reliability diagram: how often a forecast of some confidence is right, before and after temperature scaling."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.evaluation.calibration import ECE_BINS
from nanoarb_jax.reports.figure import claim_picture, save_picture

# Okabe and Ito's colours, which the colour-blind tell apart
COLOURS = {"model": "#0072B2", "gradient_boosting": "#D55E00"}
LEAST_SHARE = 0.002  # of all rows: a bin with less is not drawn, its accuracy is chance


def reliability_picture(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw accuracy against confidence, a panel per horizon, of all series together. PNG, SVG or PDF by suffix.

    The model and gradient boosting: dashed as they come, drawn through after temperature scaling. Below, the share of
    rows of each confidence after scaling.

    Args:
        result: of `evaluate` or `judge_streams`; judges of other names are left out.
        path: of a file that does not exist yet.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    from matplotlib.figure import Figure

    path = claim_picture(path)
    judges = {judge: colour for judge, colour in COLOURS.items() if judge in result["pooled"]}
    horizons = list(next(iter(result["pooled"].values())))
    figure = Figure(figsize=(4.2 * len(horizons) + 0.6, 5.6), layout="constrained")
    panels = figure.subplots(2, len(horizons), sharex=True, sharey="row", height_ratios=(4, 1), squeeze=False)
    for horizon, upper, lower in zip(horizons, *panels, strict=True):
        upper.plot([0, 1], [0, 1], color="0.6", linewidth=1)
        for i, (judge, colour) in enumerate(judges.items()):
            _lines(upper, judge, result["pooled"][judge][horizon], colour)
            _shares(lower, result["pooled"][judge][horizon], colour, i, len(judges))
        upper.set_title(f"{horizon.removeprefix('h')} ticks ahead")
        upper.legend(loc="upper left", fontsize="small", frameon=False)
        lower.set_xlabel("confidence")
    upper.set(xlim=(0.3, 1), ylim=(0.2, 1))
    panels[0, 0].set_ylabel("accuracy")
    panels[1, 0].set_ylabel("share of rows")
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    figure.suptitle(f"Reliability, {len(result['series'])} series together")
    save_picture(figure, path)


def _lines(axes: Any, judge: str, of: Mapping[str, Any], colour: str) -> None:
    name = judge.replace("_", " ")
    for key, ece, style in (("reliability_raw", "ece", "--"), ("reliability", "ece_scaled", "-")):
        n, confidence, accuracy = (np.array(of[key][row], dtype=np.float64) for row in ("n", "confidence", "accuracy"))
        drawn = n >= LEAST_SHARE
        label = f"{name}{', scaled' if style == '-' else ''}: ECE {of[ece]:.3f}"
        axes.plot(
            confidence[drawn], accuracy[drawn], style, color=colour, marker="o", markersize=3, label=label,
            alpha=1.0 if style == "-" else 0.6,
        )  # fmt: skip


def _shares(axes: Any, of: Mapping[str, Any], colour: str, i: int, judges: int) -> None:
    width = 1 / ECE_BINS / (judges + 0.5)
    left = (np.arange(ECE_BINS) + 0.5) / ECE_BINS + (i - judges / 2) * width
    axes.bar(left, of["reliability"]["n"], width, align="edge", color=colour)
