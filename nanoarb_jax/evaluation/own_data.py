"""How the result of `studies.own_data.own_data_curve` is read: which means are compared, and where curves cross."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np

# {judge: {"h10": {figure: value}}}
Means = dict[str, dict[str, dict[str, float]]]


class Point(NamedTuple):
    """One duration of the curve.

    Attributes:
        minutes: of own data; None: all.
        means: over series.
    """

    minutes: float | None
    means: Means


def compared_points(result: Mapping[str, Any]) -> list[Point]:
    """The durations that some series has, with means over the series that have all of these durations; where no series
    has, over those that have each."""
    means = result["common"]["means"]
    if not result["common"]["series"]:
        means = [duration["mean"] for duration in result["durations"]]
    return [Point(of["minutes"], mean) for of, mean in zip(result["durations"], means, strict=True) if mean]


def describe_compared(result: Mapping[str, Any]) -> str:
    """Which series the means of `compared_points` are over, in words."""
    common = result["common"]["series"]
    if len(common) == 1:
        return common[0]
    if common:
        return f"mean over {len(common)} series, the same everywhere"
    counts = [len(duration["series"]) for duration in result["durations"] if duration["series"]]
    return f"mean over {min(counts)} to {max(counts)} series, not the same everywhere"


def first_from(result: Mapping[str, Any], judge: str, other: str) -> str | None:
    """The shortest duration, such as "5 min", from which on one judge has a lower log loss than another.

    That is the mean over series and horizons, at this duration and at every longer one.

    Args:
        result: of `own_data_curve`.
        judge: that is to have the lower one, such as "adapted".
        other: such as "model".

    Returns:
        None: it has not, with all of its past.
    """
    found = None
    for minutes, means in reversed(compared_points(result)):
        if mean_over_horizons(means[judge], "log_loss") >= mean_over_horizons(means[other], "log_loss"):
            break
        found = say_minutes(minutes)
    return found


def mean_over_horizons(of: Mapping[str, Mapping[str, float]], figure: str) -> float:
    """The mean of a figure of one judge."""
    return float(np.mean([figures[figure] for figures in of.values()]))


def say_minutes(minutes: float | None) -> str:
    """5 min, or all."""
    return "all" if minutes is None else f"{minutes:g} min"
