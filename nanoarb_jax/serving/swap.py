"""Several models of one stream, of which one predicts and any other may take over between two ticks."""

from __future__ import annotations

from collections import deque
from pathlib import Path
from threading import Lock

import numpy as np
from numpy.typing import ArrayLike

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.serving.prediction import Prediction
from nanoarb_jax.serving.predictor import StepPredictor


class ModelRegistry:
    """Models by name for one stream of ticks; the active one predicts.

    Models that are not active read nothing. The registry keeps the newest ticks and replays them to a model that is
    switched to. Its state is then that of a fresh model that began `warm_up` ticks earlier, so it is ready at once if
    the stream was long enough.

    Loading and switching in one thread and predicting in another is safe: a tick is predicted by one model, wholly
    before or wholly after a switch. The replay holds up a tick by `warm_up` × the cost of a step.

    Example:
        >>> registry = nj.ModelRegistry()
        >>> version = registry.load("today", "checkpoints/small")
        >>> registry.switch("today")
        >>> prediction = registry.predict(np.ones(101, np.float32))  # (f,) raw features of the book, every tick
        >>> prediction.version == version
        True
    """

    def __init__(self) -> None:
        self._models: dict[str, StepPredictor] = {}
        self._active: str | None = None
        self._recent: deque[np.ndarray] = deque(maxlen=0)  # newest ticks, (f,) float32 each, for the longest warm_up
        self._lock = Lock()

    @property
    def active(self) -> str | None:
        """Name of the model that predicts; None before the first switch."""
        return self._active

    @property
    def names(self) -> tuple[str, ...]:
        """Of all models, in the order they were loaded."""
        return tuple(self._models)

    def load(self, name: str, path: str | Path, *, backend: str = "native", precision: str = "fp32") -> str:
        """Load and compile a model under a name of its own; which model predicts stays as it is.

        Args:
            name: not taken yet.
            path, backend, precision: see `StepPredictor.load`.

        Returns:
            the version of its weights.

        Raises:
            ConfigError: the name is empty or taken, or the model reads other features than those already here.
            NanoarbError: see `StepPredictor.load`. The registry stays as it was.
        """
        self._claim(name)
        model = StepPredictor.load(path, backend=backend, precision=precision)
        with self._lock:
            self._claim(name)  # another thread may have been quicker
            for other, there in self._models.items():
                if there.features != model.features:
                    raise ConfigError(
                        f"model {name!r}: reads {model.features} features, {other!r} reads {there.features}; one "
                        "registry serves one stream of ticks, use another"
                    )
            self._recent = deque(self._recent, max(self._recent.maxlen or 0, model.warm_up))
            self._models = {**self._models, name: model}
        return model.version

    def switch(self, name: str) -> None:
        """Let a model predict from the next tick on, in the state that the newest ticks give it.

        Raises:
            ConfigError: no model of that name. The active one stays.
        """
        with self._lock:
            if name not in self._models:
                raise ConfigError(f"model {name!r}: not loaded; expected {self._known()}")
            if name == self._active:
                return
            model = self._models[name]
            model.reset()
            for tick in list(self._recent)[-model.warm_up :]:
                model.update(tick)
            self._active = name

    def predict(self, features: ArrayLike) -> Prediction:
        """Read one tick with the active model; see `StepPredictor.update`.

        Raises:
            ConfigError: no model is active.
            DataError: features that no model can read. The state stays as it was.
        """
        with self._lock:
            if self._active is None:
                raise ConfigError(f"no model is active; switch to {self._known()}")
            prediction = self._models[self._active].update(features)
            self._recent.append(np.array(features, np.float32))
        return prediction

    def reset(self) -> None:
        """Forget the stream: a new session or instrument begins. The active model stays."""
        with self._lock:
            self._recent.clear()
            if self._active is not None:
                self._models[self._active].reset()

    def _claim(self, name: str) -> None:
        if not name or name in self._models:
            raise ConfigError(f"model {name!r}: this name is {'taken' if name else 'empty'}; give another")

    def _known(self) -> str:
        return f"one of {', '.join(self._models)}" if self._models else "a model, after load(name, path)"
