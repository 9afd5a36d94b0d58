"""What a model reads: features, tick clock, time stamps and sessions."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanoarb_jax.config.checks import check_types, require

SESSION_GAP_S = 1_800.0


@dataclass(frozen=True)
class InputSpec:
    """What a model reads of a market's events: the same offline and live, in every checkpoint and exported file.

    Args:
        feature_set: "lob44" or "flow", see `nanoarb_jax.features`.
        clock: what makes a tick: "book" – a change in the best `clock_levels`; "bbo" – of the best level; "trade" –
            every message with a trade; "time" – every `clock_interval_ms`.
        clock_levels: best levels that the book clock looks at, 1 to 10.
        clock_interval_ms: milliseconds between two ticks of the time clock.
        timestamps: whose time dates the ticks: "local", when a message was received, or "exchange".
        session_gap_s: a longer time without a tick, in seconds, begins another session: labels do not reach across it,
            and features and model start anew; counts of past outcomes among the features stay.

    Raises:
        SettingError: a value of another type or out of range.

    >>> nj.InputSpec("flow", clock="bbo").session_gap_ns
    1800000000000
    """

    feature_set: Literal["lob44", "flow"] = "flow"
    clock: Literal["book", "bbo", "trade", "time"] = "book"
    clock_levels: int = 10
    clock_interval_ms: float = 100.0
    timestamps: Literal["local", "exchange"] = "local"
    session_gap_s: float = SESSION_GAP_S

    def __post_init__(self) -> None:
        check_types("input", self)
        check_input("input", self)

    @property
    def session_gap_ns(self) -> int:
        """session_gap_s in whole nanoseconds."""
        return round(self.session_gap_s * 1e9)


def check_input(table: str, settings: object) -> None:
    """Check the numbers of an `InputSpec`, or of settings that hold the same fields.

    Raises:
        SettingError: one is out of range.
    """
    levels, interval_ms, gap_s = (
        getattr(settings, name) for name in ("clock_levels", "clock_interval_ms", "session_gap_s")
    )
    require(1 <= levels <= 10, f"{table}.clock_levels", levels, "1 to 10 levels")
    require(1e-6 <= interval_ms <= 1e12, f"{table}.clock_interval_ms", interval_ms, "1e-6 (1 ns) to 1e12")
    require(1e-9 <= gap_s <= 1e9, f"{table}.session_gap_s", gap_s, "1e-9 (1 ns) to 1e9 seconds")
