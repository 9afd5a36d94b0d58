"""What a result of `judge_streams` comes to, in two sentences for someone who reads nothing else."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from nanoarb_jax.evaluation.summaries import median_profits

# a lead that chance alone shows more often than this is none
SIGNIFICANCE = 0.05
JUDGE_WORDS = {
    "model": "the model",
    "model_own_prior": "the model with each instrument's own class prior",
    "adapted": "the model adapted to each series' own past",
}
STANDINGS = ("ahead of", "level with", "behind")


def verdict(result: Mapping[str, Any]) -> str:
    """Two sentences: the first judge against the best baseline, and what it is worth and where it is worst.

    "ahead" and "behind" are said where the two-sided p-value of the difference in mean MCC is below SIGNIFICANCE: the
    one over instruments where there are several, else the one over blocks of time. "level" is everything else.

    Args:
        result: "series", "instruments", "mean", "intervals" and "best_baseline" of `judge_streams`.

    Example:
        >>> from nanoarb_jax.evaluation.verdict import verdict
        >>> means = {"model": {"h10": {"mcc": 0.21, "profit_per_trade_bp": -0.4}}}
        >>> intervals = {"model": {"h10": {"mcc": [0.18, 0.24]}}}
        >>> result = {"series": {"btcusdt": means}, "instruments": {"btcusdt": "btcusdt"}, "best_baseline": {}}
        >>> print(verdict({**result, "mean": means, "intervals": intervals}).split("; ")[0])
        On one series, the model has a mean MCC of .210 [.180, .240] at 10 ticks
    """
    judge = next(iter(result["mean"]))
    return f"{_standing(result, judge)} {_worth(result, judge)}"


def _standing(result: Mapping[str, Any], judge: str) -> str:
    opening = f"On {_where(result)}, {JUDGE_WORDS.get(judge, judge)}"
    best = result["best_baseline"]
    if not best:
        means = [f"{_mean_mcc(result, judge, key)} at {_ticks(key)}" for key in result["mean"][judge]]
        return f"{opening} has a mean MCC of {_listed(means)}; no fitted baseline was judged beside it."
    instruments = len(set(result["instruments"].values()))
    groups: dict[str, list[str]] = {standing: [] for standing in STANDINGS}
    for key, test in best.items():
        difference = f"MCC {_difference(test, instruments)} against {test['judge']}"
        groups[_standing_of(test, instruments)].append(f"{_ticks(key)} ({difference})")
    said, named = [], "the best baseline"
    for standing, horizons in groups.items():
        if horizons:
            said.append(f"{standing} {named} at {_listed(horizons)}")
            named = "it"
    over = (
        "instruments and blocks of time"
        if _over_instruments(next(iter(best.values())), instruments)
        else "blocks of time alone"
    )
    return f"{opening} is {', and '.join(said)}, with 95 % intervals over {over}."


def _mean_mcc(result: Mapping[str, Any], judge: str, key: str) -> str:
    low, high = result["intervals"][judge][key]["mcc"]
    return f"{_figure(result['mean'][judge][key]['mcc'])} [{_figure(low)}, {_figure(high)}]"


def _where(result: Mapping[str, Any]) -> str:
    series, instruments = len(result["series"]), len(set(result["instruments"].values()))
    if series == 1:
        return "one series"
    return f"{series} series of {instruments} instruments" if instruments > 1 else f"{series} series of one instrument"


def _over_instruments(test: Mapping[str, Any], instruments: int) -> bool:
    """Whether so many instruments can show anything: agreement of five by chance alone is not rare enough."""
    return test["p_value_instruments"] is not None and 2.0 ** (1 - instruments) < SIGNIFICANCE


def _standing_of(test: Mapping[str, Any], instruments: int) -> str:
    p_value = test["p_value_instruments"] if _over_instruments(test, instruments) else test["p_value"]
    if p_value >= SIGNIFICANCE:
        return "level with"
    return "ahead of" if test["difference"] > 0 else "behind"


def _difference(test: Mapping[str, Any], instruments: int) -> str:
    suffix = "_instruments" if _over_instruments(test, instruments) else ""
    difference, low, high = (_figure(test[key], "+") for key in ("difference", f"low{suffix}", f"high{suffix}"))
    return f"{difference} [{low}, {high}]"


def _worth(result: Mapping[str, Any], judge: str) -> str:
    """Profit per trade after the spread, and the series on which the judge is furthest behind."""
    traded = {key: of["profit_per_trade_bp"] for key, of in median_profits(result["series"])[judge].items()}
    profits = [f"{bp:+.2f} bp at {_ticks(key)}" for key, bp in traded.items() if bp is not None]
    if not profits:
        return f"It never trades{_worst(result, judge)}."
    where = ", in the median series," if len(result["series"]) > 1 else ""
    return f"After the spread a trade on its decisions makes{where} {_listed(profits)}{_worst(result, judge)}."


def _worst(result: Mapping[str, Any], judge: str) -> str:
    leads = [
        (judges[judge][key]["mcc"] - judges[test["judge"]][key]["mcc"], series, key)
        for key, test in result["best_baseline"].items()
        for series, judges in result["series"].items()
    ]
    if not leads or len(result["series"]) == 1:
        return ""
    behind = len({series for lead, series, _ in leads if lead < 0})
    if not behind:
        return "; it is behind that baseline on no series"
    lead, series, key = min(leads)
    return (
        f"; on {behind} of {len(result['series'])} series it is behind that baseline somewhere, furthest on {series} "
        f"({_figure(lead, '+')} at {_ticks(key)})"
    )


def _ticks(key: str) -> str:
    return f"{key.removeprefix('h')} ticks"


def _figure(value: float, sign: str = "-") -> str:
    """A correlation without its leading zero: .236, or +.012 with `sign` "+"."""
    return f"{value:{sign}z.3f}".replace("0.", ".", 1)


def _listed(words: Sequence[str]) -> str:
    """One, two and three."""
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else words[0]
