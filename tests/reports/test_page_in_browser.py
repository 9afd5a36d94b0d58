"""The page of a backtest in a real browser: it draws its charts, asks for nothing, and fits every screen and scheme."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from nanoarb_jax.reports.backtest import backtest_page
from support.backtest_page import made_report, made_series

pytestmark = pytest.mark.subprocess
TEXT = {"light": "rgb(31, 35, 40)", "dark": "rgb(230, 237, 243)"}  # of charts, as templates say
WIDTHS = (1400, 380)


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    api = pytest.importorskip("playwright.sync_api", reason="playwright, which drives the browser, is not installed")
    pytest.importorskip("plotly", reason="plotly, which brings the JavaScript of charts, is not installed")
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.skip("there is no chromium on the path; Debian's package of that name has it")
    with api.sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=chromium)
        yield started
        started.close()


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    series = made_series(8_000)
    path = tmp_path_factory.mktemp("page") / "page.html"
    path.write_text(backtest_page(made_report(series), series), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def opened(browser: Any, html: Path) -> tuple[Any, list[str]]:
    """The page, drawn once, and everything that went wrong or was asked for on the way."""
    tab = browser.new_page(viewport={"width": WIDTHS[0], "height": 900}, color_scheme="light")
    met: list[str] = []
    tab.on("console", lambda message: met.append(f"console {message.type}: {message.text}"))
    tab.on("pageerror", lambda error: met.append(f"error: {error}"))
    tab.on("request", lambda request: met.append(f"request: {request.url}"))
    tab.goto(html.as_uri())
    tab.wait_for_selector("html[data-drawn]", timeout=60_000)
    return tab, met


def wait_until(tab: Any, holds: str) -> None:
    """Ask again and again whether an expression holds; the page's policy forbids what `wait_for_function` does."""
    for _ in range(600):
        if tab.evaluate(holds):
            return
        tab.wait_for_timeout(50)
    raise AssertionError(f"{holds} did not become true in 30 s")


def test_every_chart_is_drawn_and_nothing_is_asked_for(opened: tuple[Any, list[str]], html: Path) -> None:
    tab, met = opened
    assert met == [f"request: {html.as_uri()}"]
    marks = "c.querySelectorAll('.cartesianlayer path, .cartesianlayer image').length"
    drawn = tab.evaluate(f"[...document.querySelectorAll('.chart')].map(c => {marks})")
    buttons = tab.evaluate("[...new Set([...document.querySelectorAll('.modebar-btn')].map(b => b.dataset.title))]")
    assert {title.split()[0] for title in buttons} <= {"Download", "Zoom", "Pan", "Autoscale", "Reset"}, buttons
    assert len(drawn) == 16 and min(drawn) > 5, drawn


@pytest.mark.parametrize("scheme", TEXT)
@pytest.mark.parametrize("width", WIDTHS)
def test_it_fits_every_screen_and_scheme(
    opened: tuple[Any, list[str]], html: Path, tmp_path: Path, scheme: str, width: int
) -> None:
    tab, met = opened
    tab.set_viewport_size({"width": width, "height": 900})
    tab.emulate_media(color_scheme=scheme)
    label = "getComputedStyle([...document.querySelectorAll('.chart .xtick text')].at(-1)).fill"
    wait_until(tab, f"{label} === '{TEXT[scheme]}'")
    within = "[...document.querySelectorAll('.chart .main-svg')].every(s => s.clientWidth <= innerWidth)"
    wait_until(tab, within)
    assert tab.evaluate("document.documentElement.scrollWidth") <= width
    assert tab.evaluate("getComputedStyle(document.body).color") == TEXT[scheme]
    assert met == [f"request: {html.as_uri()}"]
    shot = tmp_path / f"{scheme}-{width}.png"
    tab.screenshot(path=shot)
    assert shot.stat().st_size > 10_000


def test_a_chart_is_reached_and_zoomed_by_keys(opened: tuple[Any, list[str]]) -> None:
    tab, _ = opened
    tab.evaluate("document.querySelector('nav li:last-child a').focus()")
    tab.keyboard.press("Tab")
    assert tab.evaluate("document.activeElement.id") == "chart-0"
    span = (
        "(() => { const r = document.activeElement._fullLayout.xaxis; return r.r2l(r.range[1]) - r.r2l(r.range[0]) })()"
    )
    whole = tab.evaluate(span)
    tab.keyboard.press("+")
    assert tab.evaluate(span) == pytest.approx(whole / 2, rel=1e-3)
    tab.keyboard.press("0")
    wait_until(tab, f"Math.abs({span} - {whole}) < 1e-3 * {whole}")


def test_it_is_printed_in_light_colours(opened: tuple[Any, list[str]]) -> None:
    tab, _ = opened
    tab.emulate_media(color_scheme="dark")
    fill = "getComputedStyle([...document.querySelectorAll('.chart .xtick text')].at(-1)).fill"
    wait_until(tab, f"{fill} === '{TEXT['dark']}'")
    tab.evaluate("dispatchEvent(new Event('beforeprint'))")
    wait_until(tab, f"{fill} === '{TEXT['light']}'")
    tab.evaluate("dispatchEvent(new Event('afterprint'))")
    wait_until(tab, f"{fill} === '{TEXT['dark']}'")
