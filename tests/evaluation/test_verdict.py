"""Two sentences that say what a result comes to."""

from __future__ import annotations

from typing import Any

import pytest

from nanoarb_jax.evaluation.verdict import verdict


def compared(
    difference: float, p_value: float, p_value_instruments: float | None = None, judge: str = "logistic"
) -> dict:
    """A comparison whose intervals are .01 wide over blocks, .03 over instruments."""
    several = p_value_instruments is not None
    return {
        "judge": judge, "difference": difference, "p_value": p_value, "p_value_instruments": p_value_instruments,
        "low": difference - 0.005, "high": difference + 0.005,
        "low_instruments": difference - 0.015 if several else None,
        "high_instruments": difference + 0.015 if several else None,
    }  # fmt: skip


def result_of(tests: dict[str, dict], leads: dict[str, float], judge: str = "model", profit: Any = 0.5) -> dict:
    """A result in which the judge leads at every horizon of a series by the same."""
    horizons = tests or {"h10": {}}
    metrics = {"mcc": 0.25}
    return {
        "series": {
            name: {
                judge: {key: {"mcc": lead, "profit_per_trade_bp": profit} for key in horizons},
                "logistic": {key: {"mcc": 0.0} for key in horizons},
            }
            for name, lead in leads.items()
        },
        "instruments": {name: name[0] for name in leads},
        "mean": {judge: dict.fromkeys(horizons, metrics), "logistic": {}},
        "intervals": {judge: {key: {"mcc": [0.2, 0.3]} for key in horizons}},
        "best_baseline": tests,
    }


def test_all_standings() -> None:
    tests = {"h10": compared(0.05, 0.001, 0.01), "h50": compared(0.0, 0.001, 0.4), "h100": compared(-0.02, 0.2, 0.03)}
    assert verdict(result_of(tests, {**dict.fromkeys("adefg", 0.1), "b": -0.03, "c": -0.2})) == (
        "On 7 series of 7 instruments, the model is ahead of the best baseline at 10 ticks (MCC +.050 [+.035, "
        "+.065] against logistic), and level with it at 50 ticks (MCC +.000 [-.015, +.015] against logistic), and "
        "behind it at 100 ticks (MCC -.020 [-.035, -.005] against logistic), with 95 % intervals over instruments and "
        "blocks of time. After the spread a trade on its decisions makes, in the median series, +0.50 bp at 10 ticks, "
        "+0.50 bp at 50 ticks and +0.50 bp at 100 ticks; on 2 of 7 series it is behind that baseline somewhere, "
        "furthest on c (-.200 at 10 ticks)."
    )


def test_one_standing_of_one_series() -> None:
    """Blocks of one series decide, and no series is the worst of one."""
    tests = {"h10": compared(0.05, 0.001), "h50": compared(0.06, 0.002)}
    assert verdict(result_of(tests, {"a": 0.1})) == (
        "On one series, the model is ahead of the best baseline at 10 ticks (MCC +.050 [+.045, +.055] against "
        "logistic) and 50 ticks (MCC +.060 [+.055, +.065] against logistic), with 95 % intervals over blocks of time "
        "alone. After the spread a trade on its decisions makes +0.50 bp at 10 ticks and +0.50 bp at 50 ticks."
    )


def test_a_lead_over_blocks_alone_is_none_over_instruments() -> None:
    tests = {"h10": compared(0.05, 0.001, 0.3)}
    assert "is level with the best" in verdict(result_of(tests, dict.fromkeys("abcdefg", 0.1)))


def test_so_few_instruments_that_blocks_decide() -> None:
    """Five that agree are no evidence beyond chance over instruments, whatever their lead."""
    said = verdict(result_of({"h10": compared(0.05, 0.001, 0.0625)}, dict.fromkeys("abcde", 0.1)))
    assert "is ahead of the best" in said and "over blocks of time alone" in said


def test_nobody_to_compare_with() -> None:
    assert verdict(result_of({}, {"a1": 0.1, "a2": 0.2}, "model_own_prior", None)) == (
        "On 2 series of one instrument, the model with each instrument's own class prior has a mean MCC of .250 [.200, "
        ".300] at 10 ticks; no fitted baseline was judged beside it. It never trades."
    )


def test_one_wide_market_is_not_the_profit() -> None:
    result = result_of({"h10": compared(0.05, 0.001)}, {"a": 0.1, "b": 0.1, "c": 0.1, "d": 0.1})
    result["series"]["c"]["model"]["h10"]["profit_per_trade_bp"] = -800.0
    result["series"]["d"]["model"]["h10"]["profit_per_trade_bp"] = None  # it never trades there
    assert "makes, in the median series, +0.50 bp at 10 ticks" in verdict(result)


@pytest.mark.parametrize("lead", [0.0, 0.1])
def test_nowhere_behind(lead: float) -> None:
    said = verdict(result_of({"h10": compared(0.0, 1.0, 1.0)}, {"a": lead, "b": lead}))
    assert said.endswith("it is behind that baseline on no series.")
