"""A page is whole, asks nothing of any network, and shows what it is given as it is."""

from __future__ import annotations

import builtins
import json
import re
from html.parser import HTMLParser
from typing import Any

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports import charts
from nanoarb_jax.reports.backtest import BacktestSeries, backtest_page
from nanoarb_jax.reports.backtest.verdict import verdict
from nanoarb_jax.reports.page import Chart, Command, Prose, Section, embedded, page
from nanoarb_jax.reports.page_tables import Table, numbers_of
from support.backtest_page import made_report, made_series

HOSTILE = "</script><img src=x onerror=alert(1)>&\"'\u2028"
VOID = {"meta", "link", "br", "img"}


class Read(HTMLParser):
    """Tags, addresses, text and JSON of a page; fails where tags do not match."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[str] = []
        self.addresses: list[str] = []
        self.ids: list[str] = []
        self.headers: list[dict[str, str | None]] = []
        self.json: dict[str, Any] = {}
        self.text = ""
        self._open: list[tuple[str, dict[str, str | None]]] = []
        self._script = ""
        self.feed(html)
        assert not self._open, "a tag is not closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        self.addresses += [value or "" for name, value in attrs if name in ("src", "href", "action", "srcset")]
        self.ids += [value or "" for name, value in attrs if name == "id"]
        self.headers += [found] if tag == "th" else []
        if tag not in VOID:
            self._open.append((tag, found))

    def handle_endtag(self, tag: str) -> None:
        name, attributes = self._open.pop()
        assert name == tag
        if tag == "script" and attributes.get("type") == "application/json":
            self.json[str(attributes["id"])] = json.loads(self._script)
        self._script = ""

    def handle_data(self, data: str) -> None:
        if self._open and self._open[-1][0] == "script":
            self._script += data
        elif self._open and self._open[-1][0] != "style":
            self.text += data


@pytest.fixture(scope="module")
def series() -> BacktestSeries:
    return made_series(6_000)


@pytest.fixture(scope="module")
def plotly() -> None:
    pytest.importorskip("plotly", reason="plotly, which brings the JavaScript of charts, is not installed")


def test_page_is_semantic_and_refers_to_nothing_outside(series: BacktestSeries, plotly: None) -> None:
    html = backtest_page(made_report(series), series)
    read = Read(html)
    assert read.tags.count("h1") == 1 and {"main", "nav", "section", "caption", "figcaption"} <= set(read.tags)
    assert read.headers and all(one.get("scope") in ("row", "col") for one in read.headers)
    assert len(read.ids) == len(set(read.ids))
    assert all(one.startswith(("#", "data:")) for one in read.addresses)
    assert all(one[1:] in read.ids for one in read.addresses if one.startswith("#"))
    assert html.count("plotly.js v") == 1
    assert "default-src 'none'" in html and "<html lang=" in html and "viewport" in html


def test_every_chart_of_the_page_is_json_that_plotly_knows(series: BacktestSeries, plotly: None) -> None:
    from plotly import graph_objects

    read = Read(backtest_page(made_report(series), series))
    figures = [one for name, one in read.json.items() if name.startswith("figure-")]
    assert len(figures) == read.tags.count("figure") == 16
    for one in figures:
        graph_objects.Figure(one)  # raises where a name or a value is not Plotly's
    for template in read.json["schemes"]["templates"].values():
        graph_objects.layout.Template(template)


def test_hostile_names_are_shown_as_they_are(series: BacktestSeries, plotly: None) -> None:
    report = made_report(series) | {
        "name": HOSTILE, "strategy": HOSTILE, "currency": HOSTILE, "command": HOSTILE, "versions": {HOSTILE: HOSTILE},
        "rivals": {HOSTILE: {"round_trip_ticks": {"net": {"mean": 1.0, "low": 0.0, "high": 2.0}}}},
        "queue_models": {HOSTILE: {"net_pnl": 1.0}}, "controls": {HOSTILE: {"net_pnl": 1.0}}, "settings": HOSTILE,
    }  # fmt: skip
    named = series._replace(queue_models={HOSTILE: series.queue_models["log"]})
    read = Read(backtest_page(report, named))
    assert "img" not in read.tags and read.tags.count("script") == 1 + 15 + 2
    assert read.text.count(HOSTILE) >= 8
    labels = [trace["name"] for one in read.json.values() for trace in one.get("data", []) if "name" in trace]
    assert any("&lt;img" in label for label in labels) and not any("<" in label for label in labels)


def test_what_is_absent_is_left_out(plotly: None) -> None:
    nothing = made_series(100, trades=0)
    bare = nothing._replace(time_ns=nothing.time_ns[:0], account_ns=nothing.account_ns[:0], queue_models={})
    html = backtest_page({"net_pnl": 0.0, "trades": 0}, bare._replace(latency_ns=np.zeros(0)))
    read = Read(html)
    assert "figure" not in read.tags and "script" not in read.tags and read.tags.count("h2") == 1
    assert "No trade was made." in read.text
    with_market = Read(backtest_page({"net_pnl": 0.0, "trades": 0}, nothing))
    assert with_market.tags.count("figure") == 5  # equity, drawdown, trades, latency, queue models


def test_unknown_sections_and_figures_that_are_none(series: BacktestSeries, plotly: None) -> None:
    report = {key: None for key in made_report(series)} | {"something_else": 12.5, "trades": 3}
    read = Read(backtest_page(report, series))
    assert "something_else" in read.text and "12.5" in read.text and "nan" not in read.text.lower().split()


@pytest.mark.parametrize(
    ("report", "said"),
    [
        ({"net_pnl": 5.0, "gross_pnl": 4.0, "fees": -1.0, "trades": 2},
         "earned 5 in 2 trades: it gained 4 before fees, and rebates were 1."),
        ({"net_pnl": -5.0, "gross_pnl": -4.0, "fees": 1.0}, "lost 5: it lost 4 before fees"),
        ({"trades": 0, "stopped": "drawdown"}, "No trade was made; trading was stopped by drawdown."),
        ({"net_pnl": 1.0, "stopped": "exchange"}, "stopped by exchange before the data ended"),
        ({"net_pnl": 1.0, "round_trip_ticks": {"net": {"mean": 1.0, "low": 0.5, "high": 2.0}}}, "0.5 to 2)."),
        ({"net_pnl": 1.0, "round_trip_ticks": {"net": {"mean": 1.0, "low": -1, "high": 2.0}}}, "is certain"),
        ({"net_pnl": 1.0, "round_trip_ticks": {"net": {"mean": 1.0, "low": None, "high": None}}}, "too few"),
        ({"net_pnl": 1.0, "look_ahead": {"flagged": True}}, "do not trust this result"),
        ({"net_pnl": 1.0, "controls": {"random": {"percentile": 97.5}}}, "97.5 % of as many random signals"),
    ],
)  # fmt: skip
def test_verdict_says_what_came_of_it(report: dict[str, Any], said: str) -> None:
    assert said in verdict(report)


def test_sections_in_sections_and_tables_beside_each_other() -> None:
    table = Table("numbers", ["a", "b"], [["x", 1], ["y", None]])
    wide = Table("wide", [str(i) for i in range(9)], [range(9)])
    inner = Section("Inner", [table, table, wide, Command("run --it\nnow")])
    read = Read(page("t", "v", [Section("Same", [inner]), Section("Same", [Prose("p")])], footer="made"))
    assert read.tags.count("h2") == 2 and read.tags.count("h3") == 1 and len(set(read.ids)) == len(read.ids)
    assert page("t", "v", [inner]).count('<div class="tables">') == 1
    assert "run --it\nnow" in read.text and "script" not in read.tags


def test_embedded_takes_arrays_of_every_kind() -> None:
    rows = np.zeros(3, dtype=[("a", "i8"), ("b", "f8")])
    data = {"views": rows["b"], "two": np.eye(2)[:, :1], "gaps": [np.nan, np.inf, None], 3: np.float64(1.5)}
    assert json.loads(embedded(data)) == {"views": [0, 0, 0], "two": [[1], [0]], "gaps": [None] * 3, "3": 1.5}
    with pytest.raises(DataError, match=r"object.*expected numbers"):
        embedded({"x": object()})


def test_small_charts_have_their_numbers_as_a_table() -> None:
    heat = charts.draw("heat_map", {"latencies": ["<1 µs"], "fees": ["0", "1"], "pnl": [[1.0, None]]})
    assert numbers_of(heat, "c") == Table(
        "c", ["inference latency", "0", "1"], [["<1 µs", 1.0, pytest.approx(np.nan, nan_ok=True)]]
    )
    bars = charts.draw("histogram", {"values": [1.0, 1.0, 3.0], "label": "µs"})
    found = numbers_of(bars, "c")
    assert found is not None and found.columns == ["µs", "number"] and sum(row[1] for row in found.rows) == 3
    assert numbers_of(charts.draw("drawdown", {"time_ns": range(99), "net": range(99)}), "c") is None


def test_plotly_that_is_missing_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def refuse(name: str, *rest: Any, **more: Any) -> Any:
        if re.match(r"plotly\b", name):
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", refuse)
    figure = charts.draw("histogram", {"values": [1.0, 2.0], "label": "x"})
    with pytest.raises(DataError, match=r"pip install 'nanoarb-jax\[report\]'"):
        page("t", "v", [Section("s", [Chart(figure, "c")])])
