"""The registry of charts, and what each of them keeps of what it is given."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.reports import charts
from nanoarb_jax.reports.charts.decimation import MOST, kept, thinned
from nanoarb_jax.reports.charts.palette import DARK, GROUNDS, schemes
from nanoarb_jax.reports.page_style import STYLE

N = 12_000
TIME = 1_754_006_400_000_000_000 + np.arange(N) * 1_000_000
WALK = np.cumsum(np.random.default_rng(0).normal(size=N))
FILLS: dict[str, Any] = {
    "time_ns": TIME[[10, 500]], "price": [1.0, 2.0], "side": [1, -1], "qty": [3.0, 4.0], "maker": [0, 1],
    "confidence": [0.75, np.nan],
}  # fmt: skip
CURVE = {"name": "maker", "after_ms": [1, 10], "mean": [0.5, None], "low": [0.4, None], "high": [0.6, None]}
DATA: dict[str, dict[str, Any]] = {
    "equity": {"time_ns": TIME, "net": WALK, "gross": WALK + 1, "position": np.sign(WALK)},
    "drawdown": {"time_ns": TIME, "net": WALK},
    "trades": {"time_ns": TIME, "bid": WALK, "ask": WALK + 1, "fills": FILLS},
    "queue_models": {"time_ns": TIME, "models": {"a": WALK, "b": WALK + 1, "c": WALK - 1}},
    "markouts": {"curves": [CURVE]},
    "signal_decay": {"curves": [CURVE, CURVE | {"name": "other"}]},
    "fill_probability": {"ahead": [0, 2], "probability": [0.5, None], "low": [0.4, 0], "high": [0.6, 1], "n": [9, 4]},
    "latency": {"latency_ns": [900.0, 1_000.0, 95_000.0, np.nan, 0.0]},
    "histogram": {"values": WALK, "label": "x"},
    "heat_map": {"latencies": ["0", "1 µs"], "fees": ["1", "2", "3"], "pnl": [[1, -2, 3], [0, None, 1]]},
    "random_seeds": {"pnl": WALK[:50], "model": 99.0, "percentile": None},
    "rivals": {"names": ["model", "x"], "pnl": [1.0, 2.0], "low": [0.5, None], "high": [1.5, None]},
}


def test_all_charts_are_known_by_name() -> None:
    assert charts.names() == tuple(sorted(DATA))


@pytest.mark.parametrize("name", DATA)
def test_missing_keys_are_named(name: str) -> None:
    charts.draw(name, DATA[name])
    for key in charts.needs(name):
        less = {other: value for other, value in DATA[name].items() if other != key}
        with pytest.raises(DataError, match=rf"chart '{name}': the data have no '{key}'.*expected"):
            charts.draw(name, less)


def test_unknown_names_and_names_that_are_taken() -> None:
    with pytest.raises(ConfigError, match=r"chart 'equityy': there is none of this name; expected one of .*equity"):
        charts.draw("equityy", {})
    with pytest.raises(ConfigError, match="chart 'equity': there is one"):
        charts.chart("equity", needs=())(dict)


@pytest.mark.parametrize(
    ("name", "change", "said"),
    [
        ("equity", {"net": WALK[:-1]}, "values of 'net' and"),
        ("drawdown", {"net": ["x"] * N}, "'net': expected numbers"),
        ("heat_map", {"pnl": [[1.0]]}, r"shape \(1, 1\); expected \(2 latencies, 3 fees\)"),
        ("queue_models", {"models": {}}, "there is none"),
        ("trades", {"fills": {"price": []}}, "no time_ns, side, qty, maker"),
        ("markouts", {"curves": [{"name": "maker"}]}, "no after_ms"),
    ],
)
def test_data_that_do_not_fit_are_refused(name: str, change: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        charts.draw(name, DATA[name] | change)


@pytest.mark.parametrize("name", ["equity", "drawdown", "trades", "queue_models"])
def test_long_lines_keep_their_extremes(name: str) -> None:
    line = WALK.copy()
    line[[4_321, 7_654]] = 1e6, -1e6
    replaced = {"net": line, "bid": line, "models": {"a": line, "b": WALK, "c": WALK}}
    figure = charts.draw(name, DATA[name] | {k: v for k, v in replaced.items() if k in DATA[name]})
    drawn = np.concatenate([np.asarray(one["y"], float) for one in figure["data"]])
    assert drawn.min() <= -1e6 and (name == "drawdown" or drawn.max() >= 1e6)
    assert all(len(one["y"]) <= 2 * MOST for one in figure["data"])
    lines = [one for one in figure["data"] if one.get("fill") != "toself" and one["mode"] == "lines"]
    assert lines and all(len(one["y"]) <= MOST for one in lines)


@given(st.integers(0, 400), st.integers(8, 60), st.integers(0, 2**32 - 1), st.sampled_from([0.0, 0.05, 1.0]))
def test_decimation_keeps_lowest_highest_and_ends(n: int, most: int, seed: int, missing: float) -> None:
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(n) < missing, np.nan, rng.normal(size=n))
    rows = kept(values, most)
    assert len(rows) <= max(most, 0) and np.all(np.diff(rows) > 0)
    if n:
        assert rows[0] == 0 and rows[-1] == n - 1
    if np.isfinite(values).any():
        assert np.nanmin(values[rows]) == np.nanmin(values) and np.nanmax(values[rows]) == np.nanmax(values)
    assert np.isnan(values[rows]).any() == np.isnan(values).any()
    assert len(thinned(n, most)) == min(n, most)


def test_fills_lie_on_the_prices_that_they_met() -> None:
    bid = np.zeros(N)
    bid[6_000] = bid[6_001] = -0.5  # neither the lowest nor the highest of its part
    bid[5_999], bid[6_002] = -1, 1
    fills = FILLS | {key: FILLS[key][:1] for key in FILLS} | {"time_ns": TIME[[6_000]] + 1}
    figure = charts.draw("trades", {"time_ns": TIME, "bid": bid, "ask": bid + 1, "fills": fills})
    drawn = next(one for one in figure["data"] if one["name"] == "best bid")
    assert {TIME[6_000] / 1e6, TIME[6_001] / 1e6} <= set(drawn["x"])


def test_fills_are_told_apart_and_say_what_they_were() -> None:
    found = {one["name"]: one for one in charts.draw("trades", DATA["trades"])["data"]}
    assert set(found) == {"best ask", "best bid", "buy, taker", "sell, maker"}
    assert found["buy, taker"]["text"] == ["quantity 3<br>confidence 75.0%"]
    assert found["sell, maker"]["text"] == ["quantity 4"]
    assert found["buy, taker"]["marker"]["symbol"] == "triangle-up"
    assert found["sell, maker"]["marker"]["symbol"] == "triangle-down-open"


def test_drawdown_is_measured_from_the_highest_so_far() -> None:
    figure = charts.draw("drawdown", {"time_ns": [0, 1, 2, 3], "net": [1.0, 3.0, 2.0, 4.0]})
    assert figure["data"][0]["y"].tolist() == [0, 0, -1, 0]


def test_histogram_counts_every_value_and_values_that_are_alike() -> None:
    assert charts.draw("histogram", {"values": WALK, "label": "x"})["data"][0]["y"].sum() == N
    assert charts.draw("histogram", {"values": [5.0] * 3, "label": "x"})["data"][0]["y"].tolist() == [3]
    assert charts.draw("histogram", {"values": [], "label": "x"})["data"][0]["y"].tolist() == [0]
    assert charts.draw("latency", DATA["latency"])["data"][0]["y"].sum() == 3
    assert charts.draw("latency", {"latency_ns": []})["layout"]["xaxis"]["type"] == "linear"


@pytest.mark.parametrize("name", DATA)
def test_empty_data_are_drawn(name: str) -> None:
    empty = {key: [] if isinstance(value, list | np.ndarray) else value for key, value in DATA[name].items()}
    if name == "queue_models":
        empty["models"] = {"a": []}
    if name == "heat_map":
        empty["pnl"] = np.zeros((0, 0))
    if name == "trades":
        empty["fills"] = {key: [] for key in FILLS}
    assert isinstance(charts.draw(name, empty)["data"], list)


def test_colours_are_far_from_their_ground() -> None:
    """3 : 1 at least, as WCAG 2.1 asks of what is not text."""
    for light, dark in DARK.items():
        assert _contrast(light, GROUNDS["light"]) >= 3 and _contrast(dark, GROUNDS["dark"]) >= 3
    templates = schemes()["templates"]
    for name, ground in GROUNDS.items():
        assert f"--ground: {ground};" in STYLE
        assert _contrast(templates[name]["layout"]["font"]["color"], ground) >= 7


def _contrast(one: str, other: str) -> float:
    bright, dim = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (bright + 0.05) / (dim + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)]
    linear = [c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in parts]
    return float(np.dot(linear, [0.2126, 0.7152, 0.0722]))
