"""How books become labelled, split streams."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, time, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nanoarb_jax.config.checks import check_horizons, check_types, require
from nanoarb_jax.errors import ConfigError


def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name; "UTC" needs no zone files.

    Raises:
        ConfigError: no such zone is known on this machine.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # what a name that is a path or folder gives, too
        expected = 'an IANA time zone such as "America/Chicago" (the package tzdata brings them)'
        raise ConfigError(f"data.timezone={name!r}: expected {expected}") from None


def session_time(text: str) -> time:
    """A local time of day.

    Raises:
        ConfigError: not "HH:MM".
    """
    right = isinstance(text, str) and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) is not None
    require(right, "data.session_start", text, 'a local time "HH:MM" from "00:00" to "23:59"')
    return time.fromisoformat(text)


@dataclass(frozen=True)
class DataConfig:
    """How books become labelled, split streams.

    Args:
        horizons: label horizons in ticks; must equal the model's.
        feature_set: "lob44", or "flow", which adds order flow, trades and time to it (`nanoarb_jax.features.flow`).
        clock: what makes a tick – "book", a change in the best `clock_levels`; "bbo", a change of the best level;
            "trade", every message with a trade; "time", every `clock_interval_ms`. Of book-npz files, rows are ticks.
        clock_levels: of the book clock, 1 to 10.
        clock_interval_ms: of the time clock.
        timestamps: whose time dates the ticks: "local", when a message was received, or "exchange".
        label_price: the price whose move is labelled.
        label_rule: "move" – from the anchor tick to the horizon; "smoothed" (FI-2010), "deeplob" and "tlob" compare
            means, see `nanoarb_jax.data.labels`.
        smoothing_ticks: the window of "tlob", which needs one; None for the other rules, whose window is the horizon.
        threshold_ticks: a move of at least this many price ticks is up or down ...
        threshold_spreads: ... and of at least this many training-median spreads (0: ticks alone decide) ...
        threshold_quantile: ... and of at least this quantile of the training moves' sizes, at each horizon (about this
            share of rows is neutral, where the floors above are lower); None: they alone decide.
        split: "fraction" – of rows; "day" – whole sessions, of which the fractions then are shares.
        timezone, session_start: of the session's start, an IANA name and a local "HH:MM"; heeded by split "day".
        train_fraction, validation_fraction: chronological shares of each stream; the rest is the test part.
        purge_ticks: rows dropped before each boundary; None means the longest horizon, the least allowed.
        quantity_scale: quantity that counts as 1 in the features; None means the training-median level-1 quantity.
        spread_scale: ticks that moves are measured by in the `flow` features; None means half the training-median
            spread, at least 1.
    """

    horizons: tuple[int, ...] = (10, 50, 100)
    feature_set: Literal["lob44", "flow"] = "lob44"
    clock: Literal["book", "bbo", "trade", "time"] = "book"
    clock_levels: int = 10
    clock_interval_ms: float = 100.0
    timestamps: Literal["local", "exchange"] = "local"
    label_price: Literal["mid", "microprice"] = "mid"
    threshold_ticks: float = 1.0
    threshold_spreads: float = 0.5
    threshold_quantile: float | None = None
    label_rule: Literal["move", "smoothed", "deeplob", "tlob"] = "move"
    smoothing_ticks: int | None = None
    split: Literal["fraction", "day"] = "fraction"
    timezone: str = "UTC"
    session_start: str = "00:00"
    train_fraction: float = 0.70
    validation_fraction: float = 0.15
    purge_ticks: int | None = None
    quantity_scale: float | None = None
    spread_scale: float | None = None

    def __post_init__(self) -> None:
        check_types("data", self)
        check_horizons("data", self)
        require(self.threshold_ticks > 0, "data.threshold_ticks", self.threshold_ticks, "more than 0")
        require(self.threshold_spreads >= 0, "data.threshold_spreads", self.threshold_spreads, "0 or more")
        require(1 <= self.clock_levels <= 10, "data.clock_levels", self.clock_levels, "1 to 10 levels")
        interval_ms = self.clock_interval_ms
        require(interval_ms >= 1e-6, "data.clock_interval_ms", interval_ms, "at least 1e-6 (1 ns)")
        self._check_labels()
        time_zone(self.timezone)
        session_time(self.session_start)
        require(0 < self.train_fraction < 1, "data.train_fraction", self.train_fraction, "a share in (0, 1)")
        require(
            self.validation_fraction > 0 and self.train_fraction + self.validation_fraction < 1,
            "data.validation_fraction", self.validation_fraction, "a share that leaves rows for the test part",
        )  # fmt: skip
        require(
            self.purge_ticks is None or self.purge_ticks >= max(self.horizons),
            "data.purge_ticks", self.purge_ticks, f"None or at least the longest horizon, {max(self.horizons)}",
        )  # fmt: skip
        for name in ("quantity_scale", "spread_scale"):
            scale = getattr(self, name)
            require(scale is None or scale > 0, f"data.{name}", scale, "None or more than 0")

    def _check_labels(self) -> None:
        windowed = self.label_rule == "tlob"
        require(
            (self.smoothing_ticks is not None and self.smoothing_ticks >= 1)
            if windowed
            else self.smoothing_ticks is None,
            "data.smoothing_ticks",
            self.smoothing_ticks,
            'at least 1 for label_rule "tlob"' if windowed else f'None for label_rule "{self.label_rule}"',
        )
        quantile = self.threshold_quantile
        require(quantile is None or 0 < quantile < 1, "data.threshold_quantile", quantile, "None or a share in (0, 1)")

    @property
    def purge(self) -> int:
        """purge_ticks with its default resolved."""
        return self.purge_ticks if self.purge_ticks is not None else max(self.horizons)
