"""What `nanoarb-jax adapt --curve` prints."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.console import Group
from rich.text import Text

from nanoarb_jax.evaluation.own_data import (
    compared_points,
    describe_compared,
    first_from,
    mean_over_horizons,
    say_minutes,
)

from .tables import figure_table, mcc

HEADINGS = {
    "model": "model",
    "model_own_prior": "+ prior",
    "adapted": "adapted",
    "fine_tuned": "fine-tuned",
    "logistic": "logistic",
    "gradient_boosting": "boosting",
    "gradient_boosting_flow": "on flow",
}
# judge, what it is to beat, and how both are called
CROSSINGS = (
    ("adapted", "model", "adapting beats the model as it is"),
    ("gradient_boosting", "model", "boosting beats the model as it is"),
    ("fine_tuned", "adapted", "fine-tuning beats adapting"),
    ("gradient_boosting", "adapted", "boosting beats adapting"),
)


def own_data_tables(result: Mapping[str, Any]) -> Group:
    """Log loss and MCC, means over horizons: a row per duration, a column per judge."""
    points = compared_points(result)
    parts: list[Any] = [Text(f"test part, {describe_compared(result)}")]
    for figure, title in (("log_loss", "log loss"), ("mcc", "MCC, prior-corrected")):
        rows = [
            [say_minutes(minutes), *(_say(mean_over_horizons(of, figure), figure) for of in means.values())]
            for minutes, means in points
        ]
        parts.append(Text(f"\n{title}, mean over horizons", style="bold"))
        parts.append(figure_table(["own data", *(HEADINGS[judge] for judge in points[0].means)], rows))
    return Group(*parts)


def crossings(result: Mapping[str, Any]) -> Iterator[str]:
    """From how much own data on one beats another in log loss, one sentence each."""
    points = compared_points(result)
    shortest = say_minutes(points[0].minutes)
    for judge, other, words in CROSSINGS:
        found = first_from(result, judge, other)
        when = "at no duration, nor with all" if found is None else f"from {found} on"
        if found == "all":
            when = "with all own data only"
        if found == shortest and len(points) > 1:
            when = f"at every duration, from {found} on"
        yield f"{words}: {when}"


def _say(value: float, figure: str) -> str:
    return f"{value:.3f}" if figure == "log_loss" else mcc(value, 3)
