"""How good the predictions were and how long they took, counted while they are served."""

from __future__ import annotations

from typing import Any

from hdrh.histogram import HdrHistogram

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.serving.prediction import Prediction

LONGEST_NS = 3_600_000_000_000  # an hour
DIGITS = 3  # of a latency that the histogram keeps
PERCENTILES = {"p50": 50.0, "p90": 90.0, "p95": 95.0, "p99": 99.0, "p999": 99.9}


class ModelMetrics:
    """Accuracy, confidence and latency of predictions, at one horizon.

    The latencies lie in an HdrHistogram (hdrhistogram.org), which keeps three digits of every one in 270 kB, however
    many they are. One thread records; a reader in another may see the newest prediction in some of the figures only.

    Args:
        horizon: position of the horizon that is judged; 0 is the shortest.

    Attributes:
        total, judged, correct: predictions recorded; those whose outcome was known; those of them that were right.
        latency: the histogram, in ns, for other percentiles, or to merge and write it.

    Raises:
        ConfigError: a negative horizon.

    Example:
        >>> from nanoarb_jax.serving.prediction import make_prediction
        >>> prediction = make_prediction(np.array([[0.1, 0.2, 0.7]], np.float32), ready=True, version="1")
        >>> metrics = nj.ModelMetrics()
        >>> metrics.record(prediction, actual=+1, latency_ns=12_500)
        >>> metrics.accuracy, round(metrics.snapshot()["latency_ns"]["p999"], -2)
        (1.0, 12500)
    """

    def __init__(self, horizon: int = 0):
        if horizon < 0:
            raise ConfigError(f"horizon={horizon}: expected the position of a horizon, 0 for the shortest")
        self.horizon = horizon
        self.reset()

    def reset(self) -> None:
        """Forget all that was recorded."""
        self.total = self.judged = self.correct = 0
        self._confidence = 0.0
        self.latency = HdrHistogram(1, LONGEST_NS, DIGITS)

    def record(self, prediction: Prediction, actual: int | None, latency_ns: int) -> None:
        """Count one prediction.

        Args:
            prediction: any; to keep one out of the accuracy, pass `actual=None`; out of all figures, do not record it.
            actual: where the price went, -1, 0 or +1 (a label less one); None: not known, so not judged.
            latency_ns: from features to prediction, 0 to an hour.

        Raises:
            DataError: another outcome or latency, or no such horizon. Nothing is counted.
        """
        if actual is not None and actual not in (-1, 0, 1):
            raise DataError(f"actual={actual!r}: expected -1 down, 0 neutral, +1 up, or None if it is not known")
        if not 0 <= latency_ns <= LONGEST_NS:
            raise DataError(f"latency_ns={latency_ns!r}: expected 0 to {LONGEST_NS:,} ns; subtract start from end")
        if self.horizon >= len(prediction.direction):
            raise DataError(f"prediction of {len(prediction.direction)} horizons: none at position {self.horizon}")
        self.total += 1
        self._confidence += float(prediction.confidence[self.horizon])
        self.latency.record_value(int(latency_ns))
        if actual is not None:
            self.judged += 1
            self.correct += int(prediction.direction[self.horizon] == actual)

    @property
    def accuracy(self) -> float | None:
        """Share of the judged predictions that were right; None before the first."""
        return self.correct / self.judged if self.judged else None

    @property
    def average_confidence(self) -> float | None:
        """Mean confidence of all predictions; None before the first."""
        return self._confidence / self.total if self.total else None

    def snapshot(self) -> dict[str, Any]:
        """All figures as plain values, None before the first; latencies by percentile, with their mean and maximum.

        Walks through the histogram, which takes some 60 ms: not between two ticks.
        """
        latency: dict[str, float | None] = dict.fromkeys(("mean", *PERCENTILES, "max"))
        if self.total:
            by_percentile = self.latency.get_percentile_to_value_dict(list(PERCENTILES.values()))
            latency = {
                "mean": self.latency.get_mean_value(),
                **{name: by_percentile[percentile] for name, percentile in PERCENTILES.items()},
                "max": self.latency.get_max_value(),
            }
        return {
            "total": self.total,
            "judged": self.judged,
            "correct": self.correct,
            "accuracy": self.accuracy,
            "average_confidence": self.average_confidence,
            "latency_ns": latency,
        }
