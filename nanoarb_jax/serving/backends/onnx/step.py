"""The ONNX step in onnxruntime: one tick, the state kept in buffers that are bound once. Imports no JAX."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from nanoarb_jax.artifacts.card import ModelCard
from nanoarb_jax.errors import DataError
from nanoarb_jax.serving.backends.onnx.session import open_session

if TYPE_CHECKING:
    import onnxruntime


class OnnxStep:
    """A step backend (see `Backend`) over a file of `export --kind step`.

    Two sets of buffers are bound once: the state that a tick writes is the one that the next tick reads, so a tick
    copies its features in and its probabilities out, and nothing else.

    Args:
        session: of the file.
        card: its card.
    """

    def __init__(self, session: onnxruntime.InferenceSession, card: ModelCard):
        import onnxruntime

        self.features, self.window, self.version = card.config.input_dim, card.config.window, card.version
        states = card.states or {}
        shapes = {name: [1 if axis == "batch" else int(axis) for axis in shape] for name, shape in states.items()}
        self._x = [np.zeros((1, self.features), np.float32) for _ in range(2)]  # of this tick and the one before
        self._started = np.zeros((1, 1), np.float32)  # 0 before the first tick, 1 afterwards
        self._reads_started = "started" in shapes  # files of before do not; see `step`
        kept = [name for name in shapes if name not in ("previous", "started")]
        self._states = [{name: np.zeros(shapes[name], np.float32) for name in kept} for _ in range(2)]
        outputs = {output.name: output.shape for output in session.get_outputs()}
        self._logits, self._probabilities = (
            np.zeros((1, *outputs[name][1:]), np.float32) for name in ("logits", "probabilities")
        )
        self._session, self._options = session, onnxruntime.RunOptions()
        # -1 means "no captured graph"; without this entry, onnxruntime spends 30 µs of every call on not finding it
        self._options.add_run_config_entry("gpu_graph_id", "-1")
        self._turn = 0
        self._bindings = [self._bind(turn) for turn in range(2)]
        self.step(self._x[0][0])  # the first call allocates
        self.reset()

    def _bind(self, turn: int) -> onnxruntime.IOBinding:
        from onnxruntime import OrtValue

        binding, value = self._session.io_binding(), OrtValue.ortvalue_from_numpy  # a view: the buffers stay numpy's
        binding.bind_ortvalue_input("features", value(self._x[turn]))
        binding.bind_ortvalue_input("previous", value(self._x[1 - turn]))
        if self._reads_started:
            binding.bind_ortvalue_input("started", value(self._started))
        for name in self._states[turn]:
            binding.bind_ortvalue_input(name, value(self._states[turn][name]))
            binding.bind_ortvalue_output(f"{name}_next", value(self._states[1 - turn][name]))
        binding.bind_ortvalue_output("logits", value(self._logits))
        binding.bind_ortvalue_output("probabilities", value(self._probabilities))
        return binding

    @classmethod
    def load(cls, path: str | Path) -> OnnxStep:
        """Open a file written by `export --kind step` and run it once, so that the first tick is as fast as any.

        Raises:
            ExportError: missing, truncated, altered, not a step model, or made for other features.
        """
        return cls(*open_session(path, "step"))

    def step(self, features: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        turn = self._turn
        self._x[turn][0] = features
        if not (self._reads_started or self._started[0, 0]):
            # without the input `started`, the first tick's `previous` must be the tick itself
            self._x[1 - turn][0] = features
        self._session.run_with_iobinding(self._bindings[turn], self._options)
        self._started[0, 0] = 1
        self._turn = 1 - turn
        return self._probabilities[0].copy()

    def scan(self, features: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        out = np.empty((len(features), *self._probabilities.shape[1:]), np.float32)
        for i, tick in enumerate(features):
            out[i] = self.step(tick)
        return out

    @property
    def logits(self) -> np.ndarray:
        """(h, c) float32 of the last step, a copy."""
        return self._logits[0].copy()

    def reset(self) -> None:
        """See `Backend`."""
        self._turn = 0
        for buffer in (*self._x, self._started, *self._states[0].values()):
            buffer[:] = 0

    def state(self) -> np.ndarray:
        """See `Backend`."""
        previous = self._x[1 - self._turn] if self._started[0, 0] else np.zeros_like(self._x[0])
        now = self._states[self._turn]
        conv, *ssm = (now[name].reshape(now[name].shape[-2:]) for name in now)
        layers = conv.reshape(len(conv), len(ssm), -1).swapaxes(0, 1)  # the file has all layers side by side
        parts = (previous, self._started, layers, *ssm)
        return np.concatenate([part.ravel() for part in parts])

    def set_state(self, state: np.ndarray) -> None:
        """See `Backend`."""
        now = self._states[self._turn]
        conv, *ssm = now.values()
        expected = self.features + 1 + sum(buffer.size for buffer in now.values())
        if state.shape != (expected,) or state.dtype != np.float32 or not np.isfinite(state).all():
            raise DataError(f"state {state.dtype}{state.shape}: expected finite float32({expected},)")
        previous, started, layers, *rest = np.split(
            state, np.cumsum([self.features, 1, conv.size, *(buffer.size for buffer in ssm)])[:-1]
        )
        self._x[1 - self._turn][0] = previous
        self._started[:] = started > 0
        taps = conv.shape[-2]
        conv[:] = layers.reshape(len(ssm), taps, -1).swapaxes(0, 1).reshape(conv.shape)
        for buffer, part in zip(ssm, rest, strict=True):
            buffer[:] = part.reshape(buffer.shape)
