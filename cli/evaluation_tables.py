"""Tables that `evaluate` prints beside that of the MCCs: differences, calibration, trades, regimes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from .tables import figure_table, mcc, strongest, with_interval


def evaluation_tables(result: Mapping[str, Any]) -> Group:
    """All of them, of the model (in all of its ways) and the two strongest baselines."""
    from nanoarb_jax.evaluation.summaries import median_profits

    judges = [judge for judge in result["mean"] if judge.startswith("model")] + strongest(result["mean"], 2)
    return Group(
        *_comparisons(result["paired"], judges),
        *_titled("ECE as it comes → scaled (floor), mean over series", _calibration(result["mean"], judges)),
        *_titled("ECE as it comes → scaled (floor), all series together", _calibration(result["pooled"], judges)),
        *_titled("log loss as it comes → temperature-scaled", _log_losses(result["mean"], judges)),
        *_titled("p_T, share of correct transactions (their number), by confidence", _transactions(result, judges[0])),
        *_titled(
            "profit per trade after the spread, bp [ticks], median of series",
            _by_judge(median_profits(result["series"]), judges, _profit),
        ),
        *_regimes(result["regimes"], judges),
        *_titled(f"MCC of {judges[0]} by UTC hour (rows)", _hours(result["hours"], judges[0])),
    )


def _titled(title: str, table: Table) -> tuple[RenderableType, RenderableType]:
    return Text(f"\n{title}", style="bold"), table


def _headings(horizons: Sequence[str]) -> list[str]:
    return [f"{horizon.removeprefix('h')} ticks" for horizon in horizons]


def _by_judge(of: Mapping[str, Any], judges: Sequence[str], cell: Callable[[Mapping[str, Any]], str]) -> Table:
    horizons = list(of[judges[0]])
    rows = [[judge, *(cell(of[judge][horizon]) for horizon in horizons)] for judge in judges]
    return figure_table(["judge", *_headings(horizons)], rows)


def _comparisons(paired: Mapping[str, Any], judges: Sequence[str]) -> list[RenderableType]:
    """The first judge less every other: intervals and p-values, over instruments too where there are several.

    Args:
        paired: of the result.
        judges: the first, and those that it is compared with by macro-F1 and log loss as well.
    """

    def table(cell: Callable[[Mapping[str, Any]], str]) -> Table:
        return _by_judge(paired, list(paired), cell)

    first = judges[0]
    if not paired:
        return []
    tests = next(iter(paired.values())).values()
    several = all(test["p_value_instruments"] is not None for test in tests)
    suffix, over = ("_instruments", "instruments and blocks") if several else ("", "blocks")
    shown = [*_titled(f"mean MCC of {first} less each other judge's [95 % over {over}]", table(_interval(suffix)))]
    if several:
        shown += _titled("the same [95 % over blocks: other hours of the same series]", table(_interval("")))
        shown += _titled(
            "two-sided p over blocks, and over instruments",
            table(lambda of: f"{_p(of['p_value'])}, {_p(of['p_value_instruments'])}"),
        )
    else:
        shown += _titled("two-sided p over blocks", table(lambda of: _p(of["p_value"])))
    for figure, title in (("macro_f1", "macro-F1"), ("log_loss", "log loss (below 0: the better one)")):
        compared = _by_judge(paired, judges[1:], _interval(suffix, figure))
        shown += _titled(f"{title}, {first} less each other judge's", compared)
    return shown


def _interval(suffix: str, figure: str | None = None) -> Callable[[Mapping[str, Any]], str]:
    """Writes the difference of a comparison with its interval; `figure`: another than the MCC."""

    def cell(of: Mapping[str, Any]) -> str:
        test = of if figure is None else of[figure]
        return with_interval(test["difference"], (test[f"low{suffix}"], test[f"high{suffix}"]), "+")

    return cell


def _p(value: float) -> str:
    return "< .001" if value < 0.001 else mcc(value, 3)


def _calibration(of: Mapping[str, Any], judges: Sequence[str]) -> Table:
    def cell(met: Mapping[str, float]) -> str:
        return f"{mcc(met['ece'], 3)} → {mcc(met['ece_scaled'], 3)} ({mcc(met['ece_floor'], 3)})"

    return _by_judge(of, judges, cell)


def _log_losses(means: Mapping[str, Any], judges: Sequence[str]) -> Table:
    return _by_judge(means, judges, lambda of: f"{mcc(of['log_loss'], 3)} → {mcc(of['log_loss_scaled'], 3)}")


def _transactions(result: Mapping[str, Any], judge: str) -> Table:
    by_horizon = {horizon: of["p_t"] for horizon, of in result["pooled"][judge].items()}
    thresholds = next(iter(by_horizon.values()))["threshold"]
    rows = [
        [f"{threshold:.1f}" if threshold else "all", *(_share(p_t, i) for p_t in by_horizon.values())]
        for i, threshold in enumerate(thresholds)
    ]
    return figure_table([judge, *_headings(list(by_horizon))], rows)


def _share(p_t: Mapping[str, Any], i: int) -> str:
    share = p_t["p_t"][i]
    return "–" if share is None else f"{mcc(share)} ({p_t['transactions'][i]:,})"


def _profit(of: Mapping[str, Any]) -> str:
    basis_points, ticks = of["profit_per_trade_bp"], of["profit_per_trade_ticks"]
    return "no trade" if basis_points is None else f"{basis_points:+.2f} [{ticks:+,.1f}]"


def _regimes(regimes: Mapping[str, Any], judges: Sequence[str]) -> list[RenderableType]:
    shown: list[RenderableType] = []
    for regime, met in regimes.items():
        names = met["series"]
        if names:
            title = f"{regime.replace('_', ' ')} ({len(names)} series): MCC, profit in bp"
            shown += _titled(title, _by_judge(met, judges, _regime_cell))
    return shown


def _regime_cell(of: Mapping[str, Any]) -> str:
    basis_points = of["profit_per_trade_bp"]
    return f"{mcc(of['mcc'])}, {'no trade' if basis_points is None else f'{basis_points:+.2f}'}"


def _hours(hours: Mapping[str, Any], judge: str) -> Table:
    horizons = list(next(iter(hours.values()))[judge])
    rows = [[f"{hour}:00", *(_hour_cell(of[judge][h]) for h in horizons)] for hour, of in hours.items()]
    return figure_table(["hour", *_headings(horizons)], rows)


def _hour_cell(of: Mapping[str, Any]) -> str:
    return f"{mcc(of['mcc'])} ({of['n']:,})" if of["n"] else "none"
