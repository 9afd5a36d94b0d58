"""The JAX backend for many instruments: the model's step over some rows of a table of states, compiled."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.model.mamba import MambaLOB, ModelState
from nanoarb_jax.serving.backends.jax.step import CPU_OPTIONS


class JaxBatch:
    """One tick of up to `batch` instruments as one compiled call; see `BatchBackend`.

    The states of all instruments stay on the device, one row each, and are updated in place. A call reads the rows
    that tick, steps them together and writes them back; the others are not touched, so they stay as they are bit for
    bit. Calls of fewer rows are filled up to the next of a few sizes, each a quarter of the one above.

    Args:
        model: the model.
        version: of its weights.
        instruments: rows of states.
        batch: most rows of one call; at least 2, since for one row XLA copies the whole table.
    """

    def __init__(self, model: MambaLOB, version: str, instruments: int, batch: int):
        config = model.config
        self.features, self.window, self.version = config.input_dim, config.window, version
        self.instruments, self.batch = instruments, batch
        definition, weights = nnx.split(model)
        fresh = model.initial_state(2)

        def step(states: ModelState, rows: jax.Array, x: jax.Array) -> tuple[jax.Array, ModelState]:
            # rows past the end of the table only fill up the call: they read its last row; their results are dropped
            old = jax.tree.map(lambda table: table.at[rows].get(mode="clip"), states)
            logits, new = nnx.merge(definition, weights).step(x, old)
            return jax.nn.softmax(logits), _write(states, rows, new)

        def reset(states: ModelState, rows: jax.Array) -> ModelState:
            return _write(states, rows, fresh)

        self._states = model.initial_state(instruments)
        options = CPU_OPTIONS if jax.default_backend() == "cpu" else None
        compiled = {}
        for size in _sizes(batch):
            rows, x = jnp.zeros(size, jnp.int32), jnp.zeros((size, config.input_dim))
            compiled[size] = jax.jit(step, donate_argnums=0).lower(self._states, rows, x).compile(options)
        self._steps = compiled
        self._reset = jax.jit(reset, donate_argnums=0).lower(self._states, jnp.zeros(2, jnp.int32)).compile(options)
        for size in compiled:  # the first calls allocate
            self.step(np.arange(size), np.zeros((size, config.input_dim), np.float32))
        self._states = model.initial_state(instruments)

    def step(self, rows: np.ndarray, features: np.ndarray) -> np.ndarray:
        """See `BatchBackend`."""
        size = next(size for size in self._steps if size >= len(rows))
        x = np.zeros((size, self.features), np.float32)
        x[: len(rows)] = features
        probabilities, self._states = self._steps[size](self._states, self._filled(rows, size), x)
        return np.asarray(probabilities)[: len(rows)]

    def reset(self, row: int) -> None:
        """See `BatchBackend`."""
        self._states = self._reset(self._states, self._filled(np.array([row]), 2))

    def _filled(self, rows: np.ndarray, size: int) -> np.ndarray:
        """`rows`, filled up with one past the table."""
        filled = np.full(size, self.instruments, np.int32)
        filled[: len(rows)] = rows
        return filled


def _sizes(batch: int) -> list[int]:
    """Rows of the compiled calls, ascending.

    >>> from nanoarb_jax.serving.backends.jax.batch import _sizes
    >>> _sizes(32), _sizes(7)
    ([2, 8, 32], [2, 7])
    """
    sizes = [batch]
    while sizes[0] > 2:
        sizes.insert(0, max(sizes[0] // 4, 2))
    return sizes


def _write(states: ModelState, rows: jax.Array, new: ModelState) -> ModelState:
    """The table of states with `new` in `rows`, those past its end left out."""
    return jax.tree.map(lambda table, some: table.at[rows].set(some, mode="drop"), states, new)
