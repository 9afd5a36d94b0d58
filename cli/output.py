"""What several commands print and write: JSON files, tables of metrics and of latencies."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from nanoarb_jax.errors import ConfigError

JsonOption = Annotated[Path | None, typer.Option("--json", help="Also write the figures to this file.")]

console = Console()


def claim_json(path: Path | None) -> None:
    """Fail before the work, not after it, if the JSON file cannot be made.

    Raises:
        ConfigError: it exists, or its folder does not.
    """
    if path is None:
        return
    if path.exists():
        raise ConfigError(f"--json {path}: exists already; give another name or remove it first")
    if not path.absolute().parent.is_dir():
        raise ConfigError(f"--json {path}: no such folder {path.absolute().parent}; make it first")


def write_json(path: Path | None, figures: Mapping[str, Any]) -> None:
    """Write the figures where `--json` asked for them."""
    if path is not None:
        path.write_text(json.dumps(figures, indent=1) + "\n")


def metrics_table(result: Mapping[str, Any]) -> Table:
    """MCC and macro-F1 of each judge per series and horizon."""
    horizons = list(next(iter(result["mean"].values())))
    table = Table(title=f"{result['split']} part, prior-corrected decisions: MCC / macro-F1")
    table.add_column("series")
    table.add_column("judge")
    for horizon in horizons:
        table.add_column(f"{horizon[1:]} ticks", justify="right")
    for name, judges in [*result["series"].items(), ("mean", result["mean"])]:
        for judge, by_horizon in judges.items():
            cells = [f"{by_horizon[h]['mcc']:.3f} / {by_horizon[h]['macro_f1']:.3f}" for h in horizons]
            table.add_row(name if judge == "model" else "", judge, *cells)
        table.add_section()
    return table


def latency_table(result: Mapping[str, Any]) -> Table:
    """Latency percentiles per path."""
    columns = ("mean_us", "p50_us", "p95_us", "p99_us", "p999_us", "iterations")
    model = result["model"]
    table = Table(title=f"{model['preset']} preset, {model['parameters']:,} parameters: µs per prediction")
    table.add_column("path")
    table.add_column("kind")
    for column in columns:
        table.add_column(column.removesuffix("_us"), justify="right")
    for row in result["rows"]:
        cells = [f"{row[c]:,.1f}" if c.endswith("_us") else f"{row[c]:,}" for c in columns]
        table.add_row(row["path"], row["kind"], *cells)
    return table
