"""How books become labelled, split streams."""

from __future__ import annotations

import dataclasses
import re
from dataclasses import dataclass
from datetime import UTC, time, tzinfo
from typing import Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nanoarb_jax.config.checks import check_horizons, check_types, require
from nanoarb_jax.config.input import SESSION_GAP_S, InputSpec, check_input
from nanoarb_jax.errors import SettingError


def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name; "UTC" needs no zone files.

    Raises:
        SettingError: no such zone is known on this machine.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # what a name that is a path or folder gives, too
        expected = 'an IANA time zone such as "America/Chicago" (the package tzdata brings them)'
        raise SettingError("data.timezone", name, expected) from None


def session_time(text: str) -> time:
    """A local time of day.

    Raises:
        SettingError: not "HH:MM".
    """
    right = isinstance(text, str) and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) is not None
    require(right, "data.session_start", text, 'a local time "HH:MM" from "00:00" to "23:59"')
    return time.fromisoformat(text)


@dataclass(frozen=True)
class DataConfig:
    """How books become labelled, split streams.

    The first sentence about a setting is also its help on the command line.

    Args:
        horizons: label horizons in ticks. They must equal the model's.
        feature_set: features of a tick: "lob44", or "flow", which adds order flow, trades and time. See
            `nanoarb_jax.features.flow`.
        clock: what makes a tick: a change of the book or of the best prices (bbo), a trade, or time. "book" – a change
            in the best `clock_levels`; "bbo" – of the best level; "trade" – every message with a trade; "time" – every
            `clock_interval_ms`. Of book-npz files, rows are ticks.
        clock_levels: best levels that the book clock looks at, 1 to 10.
        clock_interval_ms: milliseconds between two ticks of the time clock.
        timestamps: whose time dates the ticks: "local", when a message was received, or "exchange".
        session_gap_s: a longer time without a tick, in seconds, begins another session. Labels do not reach across it,
            and features and model start anew; counts of past outcomes among the features stay.
        label_price: price whose move is labelled.
        threshold_ticks: least move that is up or down, in price ticks.
        threshold_spreads: least move that is up or down, in training-median spreads; 0: any. A move must reach this
            threshold, too.
        threshold_quantile: least move that is up or down, as a quantile of the training moves; None: any. The quantile
            is that of the moves' sizes at each horizon. A move must reach this threshold, too; about this share of rows
            is neutral if the other two thresholds are lower.
        label_rule: how the move that is labelled is measured. "move" – from the anchor tick to the horizon; "smoothed"
            (FI-2010), "deeplob" and "tlob" compare means, see `nanoarb_jax.data.labels`.
        smoothing_ticks: window of the rule "tlob", which needs one; None for other rules. Their window is the horizon.
        split: fractions of rows, or of whole days, go to training, validation and test. Days are sessions.
        timezone: time zone of session starts, such as "America/Chicago". Only the split by day needs it.
        session_start: local time "HH:MM" at which a session starts. Only the split by day needs it.
        train_fraction: share of each stream to train on, the earliest part.
        validation_fraction: share of each stream to validate on, after the training part. The rest is the test part.
        purge_ticks: rows dropped before each boundary; None: the longest horizon, the least allowed.
        quantity_scale: quantity that counts as 1 in the features; None: the training-median level-1 quantity.
        spread_scale: ticks that the "flow" features measure moves by; None: half the training-median spread. At least
            1 tick then.
    """

    horizons: tuple[int, ...] = (10, 50, 100)
    feature_set: Literal["lob44", "flow"] = "flow"
    clock: Literal["book", "bbo", "trade", "time"] = "book"
    clock_levels: int = 10
    clock_interval_ms: float = 100.0
    timestamps: Literal["local", "exchange"] = "local"
    session_gap_s: float = SESSION_GAP_S
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
        check_input("data", self)
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
    def input(self) -> InputSpec:
        """What a model trained on these streams reads."""
        return InputSpec(**{field.name: getattr(self, field.name) for field in dataclasses.fields(InputSpec)})

    @property
    def purge(self) -> int:
        """purge_ticks with its default resolved."""
        return self.purge_ticks if self.purge_ticks is not None else max(self.horizons)
