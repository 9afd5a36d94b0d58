"""Many instruments, one model: ticks are gathered and stepped together, trading latency for throughput."""

from __future__ import annotations

import time
from collections.abc import Callable, Hashable
from pathlib import Path

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.serving.backends.backend import BatchBackend
from nanoarb_jax.serving.loading import open_batch
from nanoarb_jax.serving.prediction import Prediction, check_features, make_prediction


class MicroBatcher:
    """Predict many instruments with one model, several ticks at a time.

    `submit` lets a tick wait, and what waits is stepped together – flushed – as soon as one of these holds:

    1. `batch` ticks wait;
    2. the oldest of them has waited `max_wait_ns`, which is looked at on every `submit` and `poll`;
    3. an instrument submits while a tick of its own waits: those that wait are flushed before it joins.

    So every instrument's ticks are read one by one in their order, and its predictions are those of a `StepPredictor`
    of its own, to 1e-5. For one thread.

    What it costs and gains on a CPU is in docs/serving.md.

    Args:
        backend: the model and the states.
        max_wait_ns: longest wait before a flush is due; 0 predicts every tick at once.
        clock: gives the time in ns.

    Raises:
        ConfigError: a negative wait.

    Example:
        >>> batcher = nj.MicroBatcher.load("checkpoints/small", instruments=200, batch=2, max_wait_ns=60_000_000_000)
        >>> features = np.ones(101, np.float32)  # raw, of the book
        >>> batcher.submit("BTC", features)  # waits
        {}
        >>> list(batcher.submit("ETH", features))  # {instrument: Prediction} of the two
        ['BTC', 'ETH']
        >>> batcher.submit("SOL", features), list(batcher.flush())  # of those that still wait
        ({}, ['SOL'])
    """

    def __init__(self, backend: BatchBackend, max_wait_ns: int, clock: Callable[[], int] = time.monotonic_ns):
        if max_wait_ns < 0:
            raise ConfigError(f"max_wait_ns={max_wait_ns}: expected 0 or more")
        self.version, self.warm_up = backend.version, backend.window
        self._backend, self._max_wait_ns, self._clock = backend, max_wait_ns, clock
        self._rows: dict[Hashable, int] = {}
        self._ticks = np.zeros(backend.instruments, np.int64)
        self._waiting: dict[Hashable, np.ndarray] = {}  # features (f,), in the order they came
        self._since = 0  # when the oldest of them came

    @classmethod
    def load(
        cls,
        path: str | Path,
        *,
        instruments: int,
        batch: int,
        max_wait_ns: int,
        backend: str = "native",
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> MicroBatcher:
        """Load a checkpoint and compile it: the first flush is as fast as any.

        Args:
            path: checkpoint folder, or the output folder of a training run.
            instruments: the largest number of different instruments that will be submitted.
            batch: most ticks stepped together; one at a time is what `StepPredictor` is for.
            backend: "native" (on the CPU, reads the weights once for four instruments) or "jax" (wherever JAX runs).
            max_wait_ns, clock: see the class.

        Raises:
            ConfigError: no such backend, sizes that are not 2 <= batch <= instruments, or a negative wait.
            CheckpointError: see `load_checkpoint`.
        """
        if not 2 <= batch <= instruments:
            raise ConfigError(f"batch={batch}, instruments={instruments}: expected 2 <= batch <= instruments")
        states = open_batch(path, backend, instruments, batch)
        first = states.step(np.arange(1), np.zeros((1, states.features), np.float32))
        make_prediction(first[0], False, states.version)  # compiled now, not at the first flush
        states.reset(0)
        return cls(states, max_wait_ns, clock)

    @property
    def waiting(self) -> int:
        """Ticks that wait."""
        return len(self._waiting)

    def submit(self, instrument: Hashable, features: ArrayLike) -> dict[Hashable, Prediction]:
        """Hand in one tick of an instrument, which gets a fresh state with its first.

        Args:
            instrument: its name, anything hashable.
            features: (f,) raw features; copied.

        Returns:
            what was flushed, in the order it was submitted; often nothing.

        Raises:
            DataError: see `StepPredictor.update`.
            ConfigError: one instrument more than there are states. Neither changes anything.
        """
        x = check_features(features, self._backend.features)
        if instrument not in self._rows:
            if len(self._rows) == self._backend.instruments:
                raise ConfigError(
                    f"instrument {instrument!r}: all {self._backend.instruments} states are taken; load the batcher "
                    "with more instruments"
                )
            self._rows[instrument] = len(self._rows)
        flushed = self.flush() if instrument in self._waiting else {}
        if not self._waiting:
            self._since = self._clock()
        self._waiting[instrument] = x.copy()  # the caller may write the next tick into the same array
        if len(self._waiting) == self._backend.batch:
            return flushed | self.flush()
        return flushed | self.poll()

    def poll(self) -> dict[Hashable, Prediction]:
        """Flush if the oldest tick has waited long enough; to be called when no tick comes."""
        due = bool(self._waiting) and self._clock() - self._since >= self._max_wait_ns
        return self.flush() if due else {}

    def flush(self) -> dict[Hashable, Prediction]:
        """Step all that wait, now."""
        if not self._waiting:
            return {}
        rows = np.array([self._rows[instrument] for instrument in self._waiting], np.int32)
        probabilities = self._backend.step(rows, np.stack(list(self._waiting.values())))
        self._ticks[rows] += 1
        ready = self._ticks[rows] >= self.warm_up
        flushed, self._waiting = self._waiting, {}
        return {
            instrument: make_prediction(p, bool(seen), self.version)
            for instrument, p, seen in zip(flushed, probabilities, ready, strict=True)
        }

    def reset(self, instrument: Hashable) -> None:
        """Forget the stream of one instrument: a new session begins. A tick of it that waits is dropped.

        Raises:
            ConfigError: nothing of that name was ever submitted.
        """
        if instrument not in self._rows:
            raise ConfigError(f"instrument {instrument!r}: not known; expected one that has submitted a tick")
        self._waiting.pop(instrument, None)
        self._backend.reset(self._rows[instrument])
        self._ticks[self._rows[instrument]] = 0
