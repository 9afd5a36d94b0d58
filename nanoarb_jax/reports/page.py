"""One self-contained HTML page out of sections: prose, tables, commands and charts.

The page asks nothing of any network: Plotly's JavaScript, the style and all data are in it, and its own policy forbids
the browser to fetch anything. Whatever is put into it is escaped, so that a name of a file or a column is never read as
HTML or as a script.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby
from typing import Any, NamedTuple

import orjson

from nanoarb_jax.errors import DataError
from nanoarb_jax.reports.charts.palette import schemes
from nanoarb_jax.reports.charts.registry import Figure
from nanoarb_jax.reports.page_script import SCRIPT
from nanoarb_jax.reports.page_style import STYLE
from nanoarb_jax.reports.page_tables import Table, is_narrow, numbers_of, render_table, slug

_POLICY = (
    "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:; "
    "base-uri 'none'; form-action 'none'"
)


class Prose(NamedTuple):
    """A paragraph of plain text."""

    text: str


class Command(NamedTuple):
    """Text that is shown as it is, in a typewriter face: a command, a path, a list of settings.

    Attributes:
        text: of one or several lines.
        label: what it is, for those who hear the page.
    """

    text: str
    label: str = "command"


class Chart(NamedTuple):
    """A figure with its caption.

    Attributes:
        figure: of `charts.draw`.
        title: what it shows, in a few words.
        caption: how to read it.
    """

    figure: Figure
    title: str
    caption: str = ""


class Section(NamedTuple):
    """A heading and what stands below it; sections in sections have smaller headings.

    Attributes:
        title: of the section.
        parts: in the order in which they are shown.
    """

    title: str
    parts: Sequence[Prose | Command | Table | Chart | Section]


Part = Prose | Command | Table | Chart | Section


def page(title: str, verdict: str, sections: Sequence[Section], footer: str = "") -> str:
    """Put a page together.

    Args:
        title: of the page.
        verdict: a sentence or two that a reader who reads nothing else should read.
        sections: of the page, each an entry of its table of contents.
        footer: a last line, such as who made the page and when.

    Returns:
        HTML, complete; 5 MB with Plotly's JavaScript, which is in it only where there is a chart.

    Raises:
        DataError: there are charts, and plotly, which brings its JavaScript, is not installed.

    >>> from nanoarb_jax.reports.page import Prose, Section, page
    >>> html = page("A & B", "Nothing was lost.", [Section("How", [Prose("1 < 2")])])
    >>> "<h1>A &amp; B</h1>" in html and "<p>1 &lt; 2</p>" in html and "<script" not in html
    True
    """
    figures: list[Figure] = []
    body = "\n".join(_section(section, 2, str(i), figures) for i, section in enumerate(sections, 1))
    contents = "".join(
        f'<li><a href="#{slug(one.title, str(i))}">{escape(one.title)}</a></li>' for i, one in enumerate(sections, 1)
    )
    return "\n".join([
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">',
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">',
        '<meta name="viewport" content="width=device-width, initial-scale=1">',
        f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>',
        '<a class="skip" href="#content">To the content</a>',
        f'<header>\n<h1>{escape(title)}</h1>\n<p class="verdict">{escape(verdict)}</p>',
        f'<nav aria-label="Contents"><ul>{contents}</ul></nav>\n</header>\n<main id="content">',
        body,
        f"</main>\n<footer><p>{escape(footer)}</p></footer>" if footer else "</main>",
        *_scripts(figures),
        "</body>\n</html>\n",
    ])  # fmt: skip


def embedded(data: Any) -> str:
    """JSON that may stand in a script element: no character of it can end the element, and NaN is null.

    Raises:
        DataError: there is something in it that JSON cannot hold.

    >>> from nanoarb_jax.reports.page import embedded
    >>> embedded({"</script>": float("nan")})
    '{"\\\\u003c/script\\\\u003e":null}'
    """
    options = orjson.OPT_SERIALIZE_NUMPY | orjson.OPT_NON_STR_KEYS
    try:
        text = orjson.dumps(data, default=_plain, option=options).decode()
    except orjson.JSONEncodeError as error:
        raise DataError(f"a chart's data: {error.__cause__ or error}") from error
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text


def plotly_script() -> str:
    """Plotly's JavaScript, as the installed package brings it.

    Raises:
        DataError: plotly is not installed.
    """
    try:
        from plotly.offline import get_plotlyjs
    except ImportError as error:
        raise DataError(
            "the page's charts need plotly, which is not installed; pip install 'nanoarb-jax[report]'"
        ) from error
    return str(get_plotlyjs()).replace("</script", "<\\/script").replace("<!--", "<\\!--")


def _plain(value: Any) -> Any:
    if hasattr(value, "tolist"):  # numpy's, of a kind that orjson does not know, such as arrays that are not contiguous
        return value.tolist()
    raise TypeError(f"{type(value).__name__} {value!r}: expected numbers, text, lists and arrays")


def _scripts(figures: Sequence[Figure]) -> Iterator[str]:
    if not figures:
        return
    yield "<noscript><p>The charts need JavaScript; the tables do not.</p></noscript>"
    yield f'<script type="application/json" id="schemes">{embedded(schemes())}</script>'
    for i, figure in enumerate(figures):
        yield f'<script type="application/json" id="figure-{i}">{embedded(figure)}</script>'
    yield f"<script>{plotly_script()}</script>"
    yield f"<script>{SCRIPT}</script>"


def _section(section: Section, level: int, number: str, figures: list[Figure]) -> str:
    name = slug(section.title, number)
    parts: list[str] = []
    for beside, group in groupby(enumerate(section.parts, 1), lambda part: is_narrow(part[1])):
        shown = [
            _section(part, min(level + 1, 6), f"{number}-{i}", figures)
            if isinstance(part, Section)
            else _part(part, figures)
            for i, part in group
        ]
        parts += [f'<div class="tables">{"".join(shown)}</div>'] if beside and len(shown) > 1 else shown
    heading = f'<h{level} id="{name}">{escape(section.title)}</h{level}>'
    return "\n".join([f'<section aria-labelledby="{name}">', heading, *parts, "</section>"])


def _part(part: Prose | Command | Table | Chart, figures: list[Figure]) -> str:
    if isinstance(part, Prose):
        return f"<p>{escape(part.text)}</p>"
    if isinstance(part, Command):
        return f'<pre aria-label="{escape(part.label)}"><code>{_unbroken(part.text)}</code></pre>'
    if isinstance(part, Table):
        return render_table(part)
    return _chart(part, figures)


def _unbroken(text: str) -> str:
    """Words that are broken into lines only where they are longer than a line, not at hyphens."""
    lines = text.splitlines()
    return "\n".join(" ".join(f"<span>{escape(word)}</span>" for word in line.split(" ")) for line in lines)


def _chart(chart: Chart, figures: list[Figure]) -> str:
    number = len(figures)
    figures.append(chart.figure)
    height = int(chart.figure["layout"].get("height", 380))
    caption = f"<strong>{escape(chart.title)}.</strong> {escape(chart.caption)}".strip()
    label = escape(f"Chart: {chart.title}. Keys: plus and minus zoom, arrows move, 0 shows everything.")
    numbers = numbers_of(chart.figure, f"Numbers of the chart “{chart.title}”")
    details = f"<details><summary>Its numbers</summary>{render_table(numbers)}</details>" if numbers else ""
    return (
        f'<figure><div class="chart" id="chart-{number}" data-figure="figure-{number}" tabindex="0" role="group" '
        f'aria-label="{label}" style="height:{height}px"></div>'
        f"<figcaption>{caption}</figcaption>{details}</figure>"
    )
