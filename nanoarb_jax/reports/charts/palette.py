"""The colours of charts, in a light and in a dark scheme: Okabe and Ito's, which the colour-blind tell apart.

    Okabe, M. and Ito, K. (2008), Color universal design. https://jfly.uni-koeln.de/color/

Figures are drawn in the light scheme's colours. `schemes` is what a page needs to exchange them for the dark scheme's:
a table from the one to the other, and what text, axes and grids look like. Every colour that carries meaning differs
from its background at least 3 : 1 in luminance, and dashes or symbols tell the same as the colours do.
"""

from __future__ import annotations

from typing import Any

# light scheme → dark scheme
BLUE, ORANGE, GREEN, PURPLE, INK, GREY = "#0072B2", "#D55E00", "#009E73", "#CC79A7", "#222222", "#767676"
DARK = {BLUE: "#56B4E9", ORANGE: "#E69F00", GREEN: "#2FBF95", PURPLE: "#CC79A7", INK: "#F0F0F0", GREY: "#9A9A9A"}
# of a scale from loss through nothing to gain, pale (light) or deep (dark), so that text can be read on all of it
LOSS, NOTHING, GAIN = "#EE9A62", "#F7F7F7", "#6FB1DB"
DARK_SCALE = {LOSS: "#96620A", NOTHING: "#20252B", GAIN: "#20699B"}
GROUNDS = {"light": "#FFFFFF", "dark": "#0D1117"}  # of the page and its charts
LINES = (BLUE, ORANGE, GREEN, PURPLE, INK)  # in this order, where lines have no meaning of their own
DASHES = ("solid", "dash", "dot", "dashdot", "longdash")
BAND = 0.18  # opacity of an area between two lines


def faint(colour: str, opacity: float = BAND) -> str:
    """A colour that what lies behind shines through.

    >>> from nanoarb_jax.reports.charts.palette import faint
    >>> faint("#0072B2")
    'rgba(0,114,178,0.18)'
    """
    red, green, blue = (int(colour[i : i + 2], 16) for i in (1, 3, 5))
    return f"rgba({red},{green},{blue},{opacity:g})"


def gains() -> list[tuple[float, str]]:
    """A colour scale from loss (orange) through nothing to gain (blue)."""
    return [(0.0, LOSS), (0.5, NOTHING), (1.0, GAIN)]


def schemes() -> dict[str, Any]:
    """What a page's script needs: `dark`, {light colour: dark one}, and a Plotly template for each scheme."""
    exchange = {**DARK, **DARK_SCALE} | {faint(light): faint(dark) for light, dark in DARK.items()}
    return {
        "dark": exchange,
        "templates": {
            "light": _template(ground="light", text="#1F2328", grid="#E4E7EB", line="#8C959F", box="#FFFFFF"),
            "dark": _template(ground="dark", text="#E6EDF3", grid="#2E353D", line="#6E7681", box="#1C2128"),
        },
    }


def _template(ground: str, text: str, grid: str, line: str, box: str) -> dict[str, Any]:
    axis = {
        "gridcolor": grid, "zerolinecolor": line, "linecolor": line, "tickcolor": line, "zerolinewidth": 1,
        "automargin": True, "title": {"standoff": 8}, "ticks": "outside", "ticklen": 4, "exponentformat": "none",
        "separatethousands": True,
    }  # fmt: skip
    clear = "rgba(0,0,0,0)"
    return {
        "layout": {
            "paper_bgcolor": GROUNDS[ground],
            "plot_bgcolor": GROUNDS[ground],
            "font": {"color": text, "size": 13, "family": "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"},
            "xaxis": axis,
            "yaxis": axis,
            "hoverlabel": {"bgcolor": box, "bordercolor": line, "font": {"color": text}},
            "legend": {"bgcolor": clear},
            "modebar": {"bgcolor": clear, "color": line, "activecolor": text},
        }
    }
