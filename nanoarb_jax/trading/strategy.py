"""When to be long or short, told by a model's shortest horizon."""

from __future__ import annotations

from enum import IntEnum
from typing import Protocol

from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.serving.prediction import Prediction


class Signal(IntEnum):
    """What to be; its number is the sign of the position."""

    LONG = 1
    SHORT = -1


class TickPredictor(Protocol):
    """What a strategy asks of a predictor: `StepPredictor` and `WindowPredictor` have it."""

    def update(self, features: ArrayLike) -> Prediction:
        """Read one tick."""

    def reset(self) -> None:
        """Forget the stream."""


def signal_of(prediction: Prediction, confidence_threshold: float) -> Signal | None:
    """The signal of one prediction: None if not ready, neutral at the shortest horizon, or not confident enough."""
    direction = int(prediction.direction[0])
    if not prediction.ready or direction == 0 or prediction.confidence[0] < confidence_threshold:
        return None
    return Signal(direction)


class MlStrategy:
    """Follow a predictor where it is confident.

    Args:
        predictor: of one instrument; the strategy feeds it.
        confidence_threshold: least probability, 0 to 1, of up or down at the shortest horizon for a signal.

    Attributes:
        prediction: the newest one; None before the first tick.

    Raises:
        ConfigError: a threshold outside 0 to 1.

    Example:
        >>> ticks = nj.open_dataset("books", nj.DataConfig(feature_set="flow")).streams[0].features  # (n, f)
        >>> strategy = nj.MlStrategy(nj.StepPredictor.load("checkpoints/small"), confidence_threshold=0.6)
        >>> signals = [strategy.update(features) for features in ticks[:200]]  # raw features of the book, every tick
        >>> set(signals) <= {nj.Signal.LONG, nj.Signal.SHORT, None}
        True
    """

    def __init__(self, predictor: TickPredictor, confidence_threshold: float = 0.6):
        if not 0.0 <= confidence_threshold <= 1.0:
            raise ConfigError(
                f"confidence_threshold={confidence_threshold!r}: expected a probability, 0 to 1, e.g. 0.6"
            )
        self._predictor = predictor
        self.confidence_threshold = confidence_threshold
        self.prediction: Prediction | None = None

    def update(self, features: ArrayLike) -> Signal | None:
        """Read one tick; see `StepPredictor.update` for the features and for what is refused."""
        self.prediction = self._predictor.update(features)
        return signal_of(self.prediction, self.confidence_threshold)

    def reset(self) -> None:
        """Forget the stream: a new session or instrument begins, and the predictor warms up again."""
        self._predictor.reset()
        self.prediction = None
