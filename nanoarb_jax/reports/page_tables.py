"""Tables of a page, and the numbers of small charts as a table for those who do not see them."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from html import escape, unescape
from typing import Any, NamedTuple

import numpy as np

from nanoarb_jax.reports.charts.registry import Figure

MOST_NUMBERS = 60  # of one line of a chart that is given as a table too
NARROW = 7  # columns of a table that may stand beside another one
SHORT = 24  # characters of a cell that is not broken into lines
_FIGURE = re.compile(r"[−-]?[\d.,]+(e[−-]?\d+)?( %| [nµm]?s)?|–|−?∞")


class Table(NamedTuple):
    """A table; the first cell of each row is the row's heading.

    Attributes:
        caption: what the table shows, and in which units.
        columns: headings.
        rows: of values, as many as there are columns: text, numbers, truth values, None for what is not known.
    """

    caption: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


def render_table(table: Table) -> str:
    """A table in a box that scrolls sideways by itself where the screen is narrow."""
    texts = [[shown(value) for value in row] for row in table.rows]
    kinds = [
        "number" if texts and all(_FIGURE.fullmatch(row[i]) for row in texts) else "words"
        for i in range(len(table.columns))
    ]
    head = "".join(
        f'<th scope="col" class="{kind}">{escape(str(one))}</th>'
        for kind, one in zip(kinds, table.columns, strict=True)
    )
    rows = "\n".join(_row(row, kinds) for row in texts)
    caption = escape(table.caption)
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{caption}"><table>'
        f"<caption><span>{caption}</span></caption>\n"
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{rows}\n</tbody></table></div>"
    )


def is_narrow(part: object) -> bool:
    """Whether something is a table that may stand beside another one."""
    return isinstance(part, Table) and len(part.columns) <= NARROW


def shown(value: Any) -> str:
    """A value as a reader wants it: six digits at most, thousands apart, and a dash for what is not known.

    >>> from nanoarb_jax.reports.page_tables import shown
    >>> [shown(one) for one in (1234567, 0.000123456789, float("nan"), None, True, "x", -12.5)]
    ['1,234,567', '0.000123457', '–', '–', 'yes', 'x', '−12.5']
    """
    if value is None:
        return "–"
    if isinstance(value, bool | np.bool_):
        return "yes" if value else "no"
    if isinstance(value, int | np.integer):
        return f"{value:,}".replace("-", "−")
    if isinstance(value, float | np.floating):
        return _of_float(float(value))
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {shown(one)}" for key, one in value.items())
    if isinstance(value, list | tuple | np.ndarray):
        return ", ".join(shown(one) for one in value)
    return str(value)


def slug(title: str, number: str) -> str:
    """A name for an element, safe in an address, with a number that makes it the only one."""
    return f"{re.sub('[^a-z0-9]+', '-', title.lower()).strip('-') or 'section'}-{number}"


def numbers_of(figure: Figure, caption: str) -> Table | None:
    """The points of a chart as a table; None of charts of more points than one wants to read."""
    traces = [one for one in figure["data"] if one.get("hoverinfo") != "skip"]
    if not traces or any(len(one["x"]) > MOST_NUMBERS for one in traces):
        return None
    if traces[0]["type"] == "heatmap":
        one = traces[0]
        rows = [[unescape(str(y)), *z] for y, z in zip(one["y"], np.asarray(one["z"]).tolist(), strict=True)]
        return Table(caption, [_axis(figure, "y"), *(unescape(str(x)) for x in one["x"])], rows)
    rows = [
        [unescape(str(one.get("name", ""))), x, y]
        for one in traces
        for x, y in zip(_cells(one, "x"), _cells(one, "y"), strict=True)
    ]
    columns = ["", _axis(figure, "x"), _axis(figure, "y")]
    return Table(caption, columns, rows) if len(traces) > 1 else Table(caption, columns[1:], [row[1:] for row in rows])


def _cells(trace: Mapping[str, Any], key: str) -> list[Any]:
    of_bars = key == "x" and trace["type"] == "bar" and "text" in trace  # from where to where each reaches
    values = trace["text"] if of_bars else np.asarray(trace[key]).tolist()
    return [unescape(one) if isinstance(one, str) else one for one in values]


def _axis(figure: Figure, which: str) -> str:
    return unescape(str(figure["layout"][f"{which}axis"]["title"]["text"]))


def _row(row: Sequence[str], kinds: Sequence[str]) -> str:
    cells = [_cell(value, kind, first=i == 0) for i, (value, kind) in enumerate(zip(row, kinds, strict=True))]
    return f"<tr>{''.join(cells)}</tr>"


def _cell(text: str, kind: str, first: bool) -> str:
    tag, scope = ("th", ' scope="row"') if first else ("td", "")
    short = " short" if len(text) <= SHORT else ""
    return f'<{tag}{scope} class="{kind}{short}">{escape(text)}</{tag}>'


def _of_float(value: float) -> str:
    if math.isnan(value):
        return "–"
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    size = abs(value)
    digits = f"{value + 0:,.0f}" if 1e5 <= size < 1e15 else f"{value + 0:,.6g}"  # + 0: no -0
    return digits.replace("-", "−")
