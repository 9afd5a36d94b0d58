"""The latency picture: how the samples of every path are distributed, and medians with their tails."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.reports.figure import claim_picture, save_picture

# Okabe and Ito's colours, which the colour-blind tell apart: one for a family of paths, whose line styles differ
FAMILIES = {
    "jax": "#0072B2", "onnx": "#E69F00", "native": "#009E73", "tick": "#CC79A7", "live": "#F0E442",
    "transformer": "#D55E00", "torch": "#000000",
}  # fmt: skip
OTHER = "#56B4E9"
DASHES: dict[str, Any] = {
    "native_predictor": ":",
    "native_step_inloop": (0, (5, 1.2, 1, 1.2)),
    "jax_scan": (0, (5, 1.2, 1, 1.2)),
    "live_apply_event": ":",
    "live_apply_many": (0, (5, 1.2, 1, 1.2)),
}
FLOORS = {"null": "empty JAX call", "native_null": "empty compiled call", "weight_read": "weights read once"}
PERCENTILES = (0, 50, 90, 99, 99.9)
VARIANTS = ("_fp16", "_bf16", "_int8", "_optimized", "_any_batch")  # of a path that is drawn
_GREY = "0.35"


def latency_picture(result: Mapping[str, Any], path: str | Path) -> None:
    """Draw what `bench` measured, on logarithmic axes. PNG, SVG or PDF by suffix.

    Left, the share of samples below a latency, stretched so that the tail shows: windows dashed, steps drawn through,
    variants left out. Right, medians, with whiskers to p99. Floors are lines in both.

    Args:
        result: of `bench`.
        path: of a file that does not exist yet.

    Raises:
        OutputError: the file exists or cannot be written.
    """
    from matplotlib.figure import Figure

    path = claim_picture(path)
    rows = [row for row in result["rows"] if row["kind"] != "floor"]
    figure = Figure(figsize=(14, 0.9 + 0.27 * len(rows) + 2.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(1, 1.3))
    _distributions(left, rows, result["samples_us"])
    _bars(right, sorted(rows, key=lambda row: row["p50_us"]))
    for axes in (left, right):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter(lambda us, _: _time(us))
        axes.grid(axis="x", color="0.9", linewidth=0.8)
        axes.set_axisbelow(True)
        axes.spines[["top", "right"]].set_visible(False)
        for row in result["rows"]:
            if row["path"] in FLOORS:
                axes.axvline(row["p50_us"], color=_GREY, linestyle=(0, (1, 1.5)), linewidth=1.2, zorder=0.5)
    left.set_xlabel("time of one prediction")
    right.set_xlabel("median, whisker to p99 (stages: of one event or tick)")
    _name_floors(right, result["rows"])
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=6, frameon=False)
    model = result["model"]
    figure.suptitle(f"one prediction, {model['preset']} preset ({model['parameters']:,} parameters), one core")
    save_picture(figure, path)


def _colour(path: str) -> str:
    return FAMILIES.get(path.partition("_")[0], OTHER)


def _distributions(axes: Any, rows: list[dict[str, Any]], samples: Mapping[str, list[float]]) -> None:
    fastest = np.inf
    for row in rows:
        path = row["path"]
        if row["kind"] == "stage" or path.endswith(VARIANTS):
            continue
        latency = np.sort(samples[path])
        share = np.arange(len(latency)) / len(latency)
        style = DASHES.get(path, "--" if row["kind"] == "window" else "-")
        fastest = min(fastest, latency[0])
        axes.plot(latency, -np.log10(1 - share), color=_colour(path), linestyle=style, linewidth=1.8, label=path)
    axes.set_yticks([-np.log10(1 - p / 100) for p in PERCENTILES], [f"{p:g} %" for p in PERCENTILES])
    axes.set_ylim(0, 3.3)
    axes.grid(axis="y", color="0.9", linewidth=0.8)
    axes.set_ylabel("samples at most so slow")
    axes.set_xlim(left=fastest / 3)


def _bars(axes: Any, rows: list[dict[str, Any]]) -> None:
    names = [row["path"] if row["repeats"] == 1 else f"{row['path']} (means of {row['repeats']:,})" for row in rows]
    places = np.arange(len(rows))[::-1]
    p50, p99 = (np.array([row[key] for row in rows]) for key in ("p50_us", "p99_us"))
    low = 10 ** np.floor(np.log10(p50.min()))
    axes.barh(places, p50 - low, left=low, height=0.66, color=[_colour(row["path"]) for row in rows], alpha=0.85)
    axes.hlines(places, p50, p99, color="black", linewidth=1)
    axes.plot(p99, places, "|", color="black", markersize=7)
    for place, median, tail in zip(places, p50, p99, strict=True):
        axes.annotate(
            f"{_time(median)}, p99 {_time(tail)}", (tail, place), (6, 0), textcoords="offset points", va="center",
            fontsize="small", bbox={"facecolor": "white", "edgecolor": "none", "pad": 0.8},
        )  # fmt: skip
    axes.set_yticks(places, names)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(low, p99.max() * (p99.max() / low) ** 0.33)  # room for the last text


def _time(us: float) -> str:
    """Three digits and a unit: 45.4 ns, 28.3 µs, 12.7 ms."""
    for unit, size in (("ns", 1e-3), ("µs", 1.0), ("ms", 1e3)):
        if us < 999.5 * size:
            return f"{us / size:.3g} {unit}"
    return f"{us / 1e6:.3g} s"


def _name_floors(axes: Any, rows: list[dict[str, Any]]) -> None:
    for row in rows:
        if row["path"] in FLOORS:
            axes.annotate(
                FLOORS[row["path"]], (row["p50_us"], 1), (2, 3), xycoords=("data", "axes fraction"),
                textcoords="offset points", rotation=25, fontsize="small", color=_GREY,
            )  # fmt: skip
