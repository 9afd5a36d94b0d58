"""Which moves are up and down where a live predictor learns: those that its model's labels were made by."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.errors import ConfigError

# with these the threshold is half the median spread and at least one tick, which is `Instrument.spread_scale`
_KNOWN_LIVE = ("threshold_ticks", "threshold_spreads", "threshold_quantile", "spread_scale")


def live_thresholds(
    made: Mapping[str, Any] | None,
    instrument: Instrument,
    horizons: int,
    threshold_ticks: float | Sequence[float] | None,
) -> tuple[float, ...]:
    """Least move of the mid that is up or down, in ticks, for every horizon.

    Args:
        made: settings of `DataConfig` that the model's labels were made with; None: not known.
        instrument: of the market.
        horizons: how many.
        threshold_ticks: the user's, one or one per horizon; None: that of the model's labels.

    Raises:
        ConfigError: labels that are not of the rule "move" on the mid, a threshold that only the training data know
            and none given, or one that is not a finite number above 0.
    """
    usual = dataclasses.asdict(DataConfig())
    labels = usual | dict(made or {})
    rule, price = labels["label_rule"], labels["label_price"]
    if (rule, price) != ("move", "mid"):
        raise ConfigError(
            f"learn: the model's labels are of label_rule {rule!r} on label_price {price!r}; only 'move' on 'mid' is "
            "learnt live"
        )
    if threshold_ticks is None:
        if made is None or any(labels[name] != usual[name] for name in _KNOWN_LIVE):
            raise ConfigError(
                "learn: which moves the model's labels call up or down is not known here; give threshold_ticks, the "
                "least such move in ticks, one or one per horizon"
            )
        threshold_ticks = instrument.spread_scale
    given = [threshold_ticks] * horizons if isinstance(threshold_ticks, (int, float)) else list(threshold_ticks)
    numbers = (isinstance(one, (int, float)) and not isinstance(one, bool) for one in given)
    if not (len(given) == horizons and all(numbers) and all(math.isfinite(one) and one > 0 for one in given)):
        raise ConfigError(
            f"threshold_ticks={threshold_ticks!r}: expected a finite number above 0, or {horizons} of them, one per "
            "horizon"
        )
    return tuple(float(one) for one in given)
