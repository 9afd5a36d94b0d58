"""The JAX backend: the model's step and, for recorded streams, its scan, compiled; the state stays on the device."""

from __future__ import annotations

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.flatten_util import ravel_pytree

from nanoarb_jax.errors import DataError
from nanoarb_jax.model.mamba import BlockState, MambaLOB, ModelState

# A tick is too short to hand to another thread and wait for. JAX reads this when it first touches the CPU, so a process
# that has computed with JAX before it imports this module keeps the slower dispatch.
jax.config.update("jax_cpu_enable_async_dispatch", False)


# Sums over the 128 channels of a layer norm are too short to be cut into trees of sums, and AVX-512 pays although it
# lowers the clock rate: together this saves a tenth of a step's time.
CPU_OPTIONS: dict[str, str | bool] = {
    "xla_disable_hlo_passes": "tree_reduction_rewriter",
    "xla_cpu_prefer_vector_width": "512",
}
VECTOR = 16
CHUNK = 256  # ticks of a scan; longer ones leave the cache


# `ModelState` in few arrays, since each one handed to a compiled call costs about a microsecond: previous, started and
# the convolutions of all blocks flat in one, then one (1, n, d) per block, large enough that joining them costs more
# than it saves. A plain tuple: JAX builds one faster than a NamedTuple.
Packed = tuple[jax.Array, ...]


class JaxStep:
    """One tick of `MambaLOB.step` and softmax as one compiled call.

    The state is donated, so that it is updated in place, and the weights are constants of the program, so that XLA
    folds what it can.

    Args:
        model: the model.
        version: of its weights.
    """

    def __init__(self, model: MambaLOB, version: str):
        config = model.config
        self.features, self.window, self.version = config.input_dim, config.window, version
        self.horizons, self.classes = len(config.horizons), config.num_classes
        self._zero = model.initial_state(1)
        _, split = ravel_pytree(_small(self._zero))
        definition, weights = nnx.split(model)
        weights = jax.tree_util.tree_map_with_path(_whole_vectors, weights)

        def unpack(packed: Packed) -> ModelState:
            previous, started, convs = split(packed[0])
            blocks = tuple(BlockState(conv, ssm) for conv, ssm in zip(convs, packed[1:], strict=True))
            return ModelState(previous, started, blocks)

        def step(x: jax.Array, packed: Packed) -> tuple[jax.Array, Packed]:
            logits, state = nnx.merge(definition, weights).step(x[None], unpack(packed))
            return jax.nn.softmax(logits[0]), _pack(state)

        def scan(x: jax.Array, state: ModelState) -> tuple[jax.Array, ModelState]:
            logits, state = nnx.merge(definition, weights).scan(x[None], state)
            return jax.nn.softmax(logits[0]), state

        options = CPU_OPTIONS if jax.default_backend() == "cpu" else None
        x = jax.ShapeDtypeStruct((config.input_dim,), jnp.float32)
        lowered = jax.jit(step, donate_argnums=1).lower(x, _pack(self._zero))
        self._step = lowered.compile(options)
        self._unpack, self._scan = unpack, jax.jit(scan, compiler_options=options)  # compiled when first used
        self._state = _pack(self._zero)
        self.step(np.zeros(config.input_dim, np.float32))  # the first call allocates
        self.reset()

    def step(self, features: np.ndarray) -> np.ndarray:
        """See `Backend`."""
        probabilities, self._state = self._step(features, self._state)
        return np.asarray(probabilities)

    def scan(self, features: np.ndarray) -> np.ndarray:
        """See `Backend`: whole chunks in the sequence form, whose projections are large matmuls; the rest by steps."""
        whole = len(features) // CHUNK * CHUNK
        parts = []
        if whole:
            state = self._unpack(self._state)
            for start in range(0, whole, CHUNK):
                probabilities, state = self._scan(features[start : start + CHUNK], state)
                parts.append(np.asarray(probabilities))
            self._state = _pack(state)
        parts += [self.step(tick)[None] for tick in features[whole:]]
        return np.concatenate(parts) if parts else np.zeros((0, self.horizons, self.classes), np.float32)

    def reset(self) -> None:
        """See `Backend`."""
        self._state = _pack(self._zero)

    def state(self) -> np.ndarray:
        """See `Backend`."""
        return np.array(ravel_pytree(self._state)[0])

    def set_state(self, state: np.ndarray) -> None:
        """See `Backend`."""
        flat, unflatten = ravel_pytree(_pack(self._zero))
        if state.shape != flat.shape or state.dtype != np.float32 or not np.isfinite(state).all():
            raise DataError(f"state {state.dtype}{state.shape}: expected finite float32{flat.shape}")
        self._state = unflatten(jnp.array(state))


def _whole_vectors(path: tuple[Any, ...], weight: jax.Array) -> jax.Array:
    """Fill the odd-sized projection up with zero columns: XLA multiplies 48 columns in a third of the time of 40."""
    if not any(getattr(part, "key", None) == "x_proj" for part in path):
        return weight
    return jnp.pad(weight, ((0, 0), (0, -weight.shape[1] % VECTOR)))


def _small(state: ModelState) -> tuple[jax.Array, jax.Array, tuple[jax.Array, ...]]:
    return state.previous, state.started, tuple(block.conv for block in state.blocks)


def _pack(state: ModelState) -> Packed:
    # copies, since the compiled step takes over what it is given
    return ravel_pytree(_small(state))[0], *(jnp.array(block.ssm) for block in state.blocks)
