"""Tables that several commands print: metrics of judges, latencies of paths."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

from rich.console import Group
from rich.table import Table
from rich.text import Text


def metrics_table(result: Mapping[str, Any]) -> Group:
    """Mean MCC of every judge with its interval; per series the first and the two strongest baselines, best in bold."""
    mean = result["mean"]
    first = next(iter(mean))
    shown, horizons = [first, *strongest(mean, 2)], list(mean[first])
    headings = [f"{horizon.removeprefix('h')} ticks" for horizon in horizons]
    means = [
        [name, *(with_interval(judge[h]["mcc"], result["intervals"][name][h]["mcc"]) for h in horizons)]
        for name, judge in mean.items()
    ]
    f1 = [[name, *(mcc(judge[h]["macro_f1"], 3) for h in horizons)] for name, judge in mean.items()]
    rows = [
        [name, *(_mcc_cell([judges[judge][horizon]["mcc"] for judge in shown]) for horizon in horizons)]
        for name, judges in result["series"].items()
    ]
    return Group(
        Text(f"MCC [95 %], mean over {len(rows)} series ({result['split']} part, prior-corrected)", style="bold"),
        figure_table(["judge", *headings], means),
        Text("\nmacro-F1, mean over series", style="bold"),
        figure_table(["judge", *headings], f1),
        Text(f"\nMCC of {', '.join(shown)}", style="bold"),
        figure_table(["series", *headings], rows),
    )


def strongest(mean: Mapping[str, Any], count: int) -> list[str]:
    """The baselines with the best mean MCC over series and horizons, best first."""
    baselines = [judge for judge in mean if not judge.startswith(("model", "adapted"))]
    return sorted(baselines, key=lambda judge: -sum(of["mcc"] for of in mean[judge].values()))[:count]


def with_interval(value: float, interval: Sequence[float], sign: Literal["-", "+"] = "-") -> str:
    """.262 [.24, .28], of a difference with its sign."""
    low, high = interval
    plus = "+" if sign == "+" and value >= 0 else ""
    return f"{plus}{mcc(value, 3)} [{mcc(low)}, {mcc(high)}]"


def latency_table(result: Mapping[str, Any]) -> Group:
    """Latency percentiles per path."""
    columns = {"p50": "p50_us", "p95": "p95_us", "p99": "p99_us", "p99.9": "p999_us"}
    rows = [
        [row["path"], row["kind"], *(_latency(row[key]) for key in columns.values()), f"{row['iterations']:,}"]
        for row in result["rows"]
    ]
    model = result["model"]
    title = f"µs per prediction, {model['preset']} preset with {model['parameters']:,} parameters"
    return Group(Text(title, style="bold"), figure_table(["path", "kind", *columns, "calls"], rows, words=2))


def sweep_table(name: str, rows: Sequence[Mapping[str, Any]]) -> Group:
    """Medians against the length of the window, or against the instruments of a call with predictions per second."""
    paths = list(dict.fromkeys(row["path"] for row in rows))
    key, title = {
        "lengths": ("length", "µs per prediction, p50, by ticks of the window"),
        "batches": ("batch", "predictions per second, by instruments stepped together"),
    }[name]
    columns = list(dict.fromkeys(row[key] for row in rows))
    cells = {
        (row["path"], row[key]): _latency(row["p50_us"]) if name == "lengths" else f"{row['predictions_per_second']:,}"
        for row in rows
    }
    headings = ["path", *("any" if column is None else f"{column:,}" for column in columns)]
    lines = [[path, *(cells.get((path, column), "") for column in columns)] for path in paths]
    return Group(Text(f"\n{title}", style="bold"), figure_table(headings, lines))


def figure_table(headings: Sequence[str], rows: Sequence[Sequence[str | Text]], words: int = 1) -> Table:
    """A table whose first columns hold words, which fold on a narrow screen, and the others figures, which do not."""
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for i, heading in enumerate(headings):
        if i < words:
            table.add_column(heading, overflow="fold")
        else:
            table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(*row)
    return table


def _mcc_cell(values: Sequence[float]) -> Text:
    """All judges in one cell, as .24 or -.05, in columns of their own."""
    texts = [mcc(value) for value in values]
    return Text(" ").join(
        Text(f"{text:>4}", style="bold" if value == max(values) else "")
        for text, value in zip(texts, values, strict=True)
    )


def mcc(value: float, digits: int = 2) -> str:
    """A correlation or a share without its leading zero: .24, -.05, 1.00."""
    return f"{value:z.{digits}f}".replace("0.", ".", 1) if abs(value) < 1 else f"{value:z.{digits}f}"


def _latency(us: float) -> str:
    """µs, with as many decimals as say something."""
    if us < 1:
        return f"{us:.3f}"
    return f"{us:,.1f}" if us < 100 else f"{us:,.0f}"


def counts(account: Mapping[str, Any]) -> str:
    """What was dropped and which anomalies were met, in words."""
    parts = [f"{count:,} × {reason}" for reason, count in account["dropped"].items()]
    parts += [f"{count:,} × {kind.replace('_', ' ')}" for kind, count in account["anomalies"].items()]
    return ", ".join(parts)
