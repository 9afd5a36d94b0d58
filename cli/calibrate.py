"""`nanoarb-jax calibrate`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarb_jax.errors import ConfigError

from .output import JsonOption, claim_json, console, noting, say, write_json
from .predict import SeriesOption, model_settings
from .reader_options import Reader, reader_options
from .tables import figure_table

if TYPE_CHECKING:
    from rich.console import RenderableType

    from nanoarb_jax.trading.calibration import Calibration


@reader_options
def calibrate(
    *,
    checkpoint: Annotated[Path, typer.Option(help="Checkpoint folder, output folder of a run, or native file.")],
    data: Annotated[Path, typer.Option(help="Prepared dataset, or a folder or file of market data.")],
    output: Annotated[Path, typer.Option(metavar="FILE.json", help="File to write.")],
    taker_fee: Annotated[float, typer.Option(help="Share of the value, each way: 0.0005 is 5 basis points.")] = 0.0,
    scales_from: Annotated[
        Path | None,
        typer.Option(
            metavar="FEED|DATASET",
            help="What is usual for the instrument: its past.  [default: the model's series of that name, else the "
            "training part]",
        ),
    ] = None,
    series: SeriesOption = None,
    reader: Reader,
    json_path: JsonOption = None,
) -> None:
    """Measure what probabilities are worth in ticks, for strategies.

    The expected move of each class comes from the training part of every series, the trades at each threshold from the
    validation part. The test part is not read.
    """
    claim_json(json_path)
    from nanoarb_jax.data.provenance import how_learnt
    from nanoarb_jax.files import claim_file
    from nanoarb_jax.serving.feeds import open_feeds
    from nanoarb_jax.serving.loading import read_card
    from nanoarb_jax.serving.predictor import StepPredictor
    from nanoarb_jax.serving.scales import ScaleSource
    from nanoarb_jax.trading.calibrating import calibrate as make_table
    from nanoarb_jax.trading.calibration_file import write_calibration

    claim_file(output, "--output", (".json",))
    if not abs(taker_fee) < 1:
        raise ConfigError(f"--taker-fee {taker_fee}: expected a share of the value, e.g. 0.0005")
    began = time.perf_counter()
    with console.status("reading"):
        card = read_card(checkpoint, "native")
        predictor = StepPredictor.load(checkpoint)
        scales = ScaleSource(scales_from, series, card.data.get("streams", []))
        settings = model_settings(card, checkpoint, data)
        feeds = open_feeds(data, settings, scales, split="validation", options=reader.options, policy=reader.policy)
    with noting("calibrating") as note:
        table = make_table(predictor, feeds, card.config.horizons, taker_fee, note)
    write_calibration(output, table)
    for shown in _tables(table):
        console.print(shown)
    learnt = {one.name: how_learnt(one, card.learnt) for one in feeds.dataset.streams}
    left_out = {name: feeds.unlabelled.get(name, "a class has no training row") for name in learnt}
    left_out = {name: why for name, why in left_out.items() if name not in table.series}
    _say(output, table, {name: why for name, why in learnt.items() if why}, left_out)
    figures = {"output": str(output), "seconds": time.perf_counter() - began, "learnt": learnt, "left_out": left_out}
    write_json(json_path, figures | table.as_dict())


def _tables(table: Calibration) -> list[RenderableType]:
    """Moves by class, and trades by threshold, of all series together."""
    moves = [
        [f"{horizon} ticks", *(f"{move:+.2f}" for move in of.moves_ticks), f"{sum(of.class_rows):,}"]
        for horizon, of in zip(table.horizons, table.pooled, strict=True)
    ]
    columns = [name for horizon in table.horizons for name in (f"trades {horizon}", f"bp {horizon}")]
    rows = []
    for steps in zip(*(of.thresholds for of in table.pooled), strict=True):
        if any(one.trades for one in steps):
            cells = [cell for one in steps for cell in (f"{one.trades:,}", _signed(one.net_bp))]
            rows.append([f"{steps[0].threshold:.2f}", *cells])
    return [
        figure_table(["mean move in ticks", "down", "neutral", "up", "training rows"], moves),
        "",
        figure_table(["p from", *columns], rows) if rows else "no probability of the validation part reaches .40",
    ]


def _signed(value: float | None) -> str:
    return "" if value is None else f"{value:+.2f}"


def _say(output: Path, table: Calibration, learnt: dict[str, Any], left_out: dict[str, str]) -> None:
    fee = f", less {1e4 * table.taker_fee:g} bp of fees each way" if table.taker_fee else ""
    say(f"\nbp: mean of a trade after the spread{fee} (validation)")
    for name, why in learnt.items():
        say(f"the model learnt from {name}, or a part of it ({why}): its trades may be judged too kindly here")
    for name, why in left_out.items():
        say(f"{name} has no table of its own: {why}")
    say(f"{output}: table of {len(table.series)} series, for weights {table.version}")
