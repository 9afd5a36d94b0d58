"""Which means of an own-data curve are compared, and from how much data on one judge beats another."""

from __future__ import annotations

import pytest

from nanoarb_jax.evaluation.own_data import compared_points, describe_compared, first_from, mean_over_horizons
from support.own_data import curve


def test_where_curves_cross() -> None:
    result = curve({"model": [0.5, 0.5, 0.5, 0.5], "adapted": [0.6, 0.4, 0.5, 0.4], "boosting": [0.9, 0.8, 0.45, 0.3]})
    assert first_from(result, "adapted", "model") == "all"  # the dip at 5 minutes did not last
    assert first_from(result, "boosting", "model") == "15 min"
    assert first_from(result, "boosting", "adapted") == "15 min"
    assert first_from(result, "model", "adapted") is None
    assert first_from(curve({"a": [1.0, 1.0, 1.0, 1.0], "b": [2.0, 2.0, 2.0, 2.0]}), "a", "b") == "1 min"


def test_the_same_series_are_compared_where_there_are_some() -> None:
    result = curve({"model": [0.5, 0.5, 0.5, 0.5]})
    result["durations"][0]["mean"] = {"model": {"h10": {"log_loss": 9.0, "mcc": 0.0}}}
    assert mean_over_horizons(compared_points(result)[0].means["model"], "log_loss") == pytest.approx(0.5)
    assert describe_compared(result) == "mean over 2 series, the same everywhere"
    result["common"] = {"series": [], "means": [{}] * 4}
    assert compared_points(result)[0].means["model"]["h10"]["log_loss"] == 9.0
    assert describe_compared(result) == "mean over 2 to 2 series, not the same everywhere"


def test_durations_that_no_series_has_are_passed_over() -> None:
    result = curve({"model": [0.5, 0.5, 0.5, 0.5], "adapted": [0.4, 0.4, 0.4, 0.4]})
    result["common"]["means"][1] = {}
    assert [minutes for minutes, _ in compared_points(result)] == [1.0, 15.0, None]
    assert first_from(result, "adapted", "model") == "1 min"
