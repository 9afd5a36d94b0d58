"""The Mamba-LOB model: an order book stream in, class logits per horizon out, as a scan or one tick at a time.

Shapes: b batch, l length, f raw features, h horizons, c classes, d d_inner, n d_state, k d_conv.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.model.recurrence import recur, recur_sequence
from nanoarb_jax.model.transform import InputTransform

if TYPE_CHECKING:
    from jaxtyping import Array, Float

LAYER_NORM_EPSILON = 1e-5
DELTA_MIN, DELTA_MAX = 1e-3, 0.1


class BlockState(NamedTuple):
    """What one block remembers between ticks."""

    conv: jax.Array  # (b, k-1, d) the last inputs of the convolution, oldest first
    ssm: jax.Array  # (b, n, d) channels last, see ssm.py


class ModelState(NamedTuple):
    """What the model remembers between ticks: all that a step needs."""

    previous: jax.Array  # (b, f) raw features of the previous tick
    started: jax.Array  # (b,) float32: 1 once a tick has been seen, else 0
    blocks: tuple[BlockState, ...]  # one per layer


def initial_A(d_state: int) -> jax.Array:
    """-A of the states of a channel at first, (n,): 1 … n, so that they forget at different speeds (S4D-real)."""
    return jnp.arange(1.0, d_state + 1.0)


def dropout(x: jax.Array, rate: float, key: jax.Array | None) -> jax.Array:
    """Zero a share `rate` of x and scale the rest up; x itself without a key. Pure, unlike nnx.Dropout.

    The rate is rounded to a 256th: four decisions are drawn from one word, since drawing took a tenth of an update.
    """
    kept = min(max(round(256 * (1.0 - rate)), 1), 256)
    if key is None or kept == 256:
        return x
    *lead, last = x.shape
    words = jax.random.bits(key, (*lead, -(-last // 4)), jnp.uint32)
    draws = jax.lax.bitcast_convert_type(words, jnp.uint8).reshape(*lead, -1)[..., :last]
    return jnp.where(draws < kept, x * (256 / kept), 0.0)


@jax.custom_vjp
def product(x: Float[Array, "... f"], kernel: Float[Array, "f g"]) -> Float[Array, "... g"]:
    """x @ kernel, summed in float32.

    Its gradient is written by hand because JAX's own computes that of the kernel as (g, f) and transposes it, for which
    XLA on a CPU first transposes the larger cotangent of the output: a gradient of this product took up to twice as
    long.
    """
    return jax.lax.dot_general(x, kernel, (((x.ndim - 1,), (0,)), ((), ())), preferred_element_type=jnp.float32)


def _product(x: jax.Array, kernel: jax.Array) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return product(x, kernel), (x, kernel)


def _product_gradient(kept: tuple[jax.Array, jax.Array], dy: jax.Array) -> tuple[jax.Array, jax.Array]:
    x, kernel = kept
    lead = tuple(range(x.ndim - 1))
    dx = jax.lax.dot_general(dy, kernel, (((x.ndim - 1,), (1,)), ((), ())), preferred_element_type=jnp.float32)
    dkernel = jax.lax.dot_general(x, dy, ((lead, lead), ((), ())), preferred_element_type=jnp.float32)
    return dx.astype(x.dtype), dkernel.astype(kernel.dtype)


product.defvjp(_product, _product_gradient)


def projection(inputs: int, outputs: int, bias: bool, dtype: jnp.dtype, rngs: nnx.Rngs) -> nnx.Linear:
    """A linear map with operands in `dtype`, sums and results in float32."""
    exact = {"preferred_element_type": jnp.float32, "dot_general": _dot_general}
    return nnx.Linear(inputs, outputs, use_bias=bias, dtype=dtype, **exact, rngs=rngs)


def _dot_general(x: jax.Array, kernel: jax.Array, *_: Any, **__: Any) -> jax.Array:
    """What flax calls with dimensions and precision, which `product` knows."""
    return product(x, kernel)


class MambaBlock(nnx.Module):
    """in_proj → (x, z); causal depthwise convolution; SiLU; selective scan; gate SiLU(z); out_proj."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, dtype: jnp.dtype):
        f, d, n, k, r = config.hidden_dim, config.d_inner, config.d_state, config.d_conv, config.rank
        self.rank, self.d_state = r, n
        self.in_proj = projection(f, 2 * d, False, dtype, rngs)
        bound = 1 / math.sqrt(k)
        self.conv_kernel = nnx.Param(jax.random.uniform(rngs.params(), (k, d), minval=-bound, maxval=bound))
        self.conv_bias = nnx.Param(jnp.zeros(d))
        self.x_proj = projection(d, r + 2 * n, False, dtype, rngs)
        self.dt_proj = projection(r, d, True, dtype, rngs)
        bound = r**-0.5
        self.dt_proj.kernel[...] = jax.random.uniform(rngs.params(), (r, d), minval=-bound, maxval=bound)
        # Δ starts log-uniform in [DELTA_MIN, DELTA_MAX], memories of ten ticks to a thousand; its bias is softplus⁻¹(Δ)
        log_delta = jax.random.uniform(rngs.params(), (d,), minval=math.log(DELTA_MIN), maxval=math.log(DELTA_MAX))
        delta = jnp.exp(log_delta)
        self.dt_proj.bias = nnx.Param(delta + jnp.log(-jnp.expm1(-delta)))
        self.A_log = nnx.Param(jnp.log(jnp.tile(jnp.asarray(initial_A(n))[None], (d, 1))))  # (d, n)
        self.D = nnx.Param(jnp.ones(d))
        self.out_proj = projection(d, f, False, dtype, rngs)

    def ssm_inputs(self, u: Float[Array, "... d"]) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
        """delta (..., d), A (n, d), B (..., n), C (..., n) of the recurrence."""
        r, n = self.rank, self.d_state
        projected = self.x_proj(u)
        low, B, C = projected[..., :r], projected[..., r : r + n], projected[..., r + n : r + 2 * n]
        return jax.nn.softplus(self.dt_proj(low)), -jnp.exp(self.A_log[...]).T, B, C

    def scan(
        self, x: Float[Array, "l b f"], state: BlockState, checkpoint_ticks: int | None = None
    ) -> tuple[Float[Array, "l b f"], BlockState]:
        """A sequence at once: the projections as large matmuls, only the recurrence tick by tick. Ticks come first, see
        recurrence.py."""
        length = len(x)
        u, z = jnp.split(self.in_proj(x), 2, axis=-1)  # (l, b, d)
        padded = jnp.concatenate([jnp.moveaxis(state.conv, 1, 0), u])  # (k-1+l, b, d)
        taps = [padded[j : j + length] * w[None, None, :] for j, w in enumerate(self.conv_kernel[...])]
        u = jax.nn.silu(sum(taps[1:], taps[0]) + self.conv_bias[...][None, None, :])
        delta, A, B, C = self.ssm_inputs(u)
        ssm, y = recur_sequence(state.ssm, u, delta, A, B, C, checkpoint_ticks)
        y = (y + u * self.D[...][None, None, :]) * jax.nn.silu(z)
        return self.out_proj(y), BlockState(jnp.moveaxis(padded[length:], 0, 1), ssm)

    def step(self, x_t: Float[Array, "b f"], state: BlockState) -> tuple[Float[Array, "b f"], BlockState]:
        """One tick of `scan`."""
        u, z = jnp.split(self.in_proj(x_t), 2, axis=-1)  # (b, d)
        padded = jnp.concatenate([state.conv, u[:, None]], axis=1)  # (b, k, d)
        u = jax.nn.silu(jnp.sum(padded * self.conv_kernel[...][None], axis=1) + self.conv_bias[...][None])
        delta, A, B, C = self.ssm_inputs(u)
        ssm, y = recur(state.ssm, u, delta, A, B, C)
        y = (y + u * self.D[...][None]) * jax.nn.silu(z)
        return self.out_proj(y), BlockState(padded[:, 1:], ssm)


class Heads(nnx.Module):
    """One small network per horizon – Linear → GELU(erf) → Dropout → Linear – computed for all horizons together."""

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs):
        h, f, c = len(config.horizons), config.hidden_dim, config.num_classes
        m = max(f // 2, 1)
        init = nnx.initializers.lecun_normal(in_axis=-2, out_axis=-1, batch_axis=(0,))
        self.kernel_in = nnx.Param(init(rngs.params(), (h, f, m)))
        self.bias_in = nnx.Param(jnp.zeros((h, m)))
        self.kernel_out = nnx.Param(init(rngs.params(), (h, m, c)))
        self.bias_out = nnx.Param(jnp.zeros((h, c)))
        self.rate = config.dropout

    def __call__(self, x: Float[Array, "... f"], dropout_key: jax.Array | None = None) -> Float[Array, "... h c"]:
        lead = (1,) * (x.ndim - 1)
        hidden = jnp.einsum("...f,hfm->...hm", x, self.kernel_in[...])
        hidden = jax.nn.gelu(hidden + self.bias_in[...].reshape(*lead, *self.bias_in.shape), approximate=False)
        hidden = dropout(hidden, self.rate, dropout_key)
        logits = jnp.einsum("...hm,hmc->...hc", hidden, self.kernel_out[...])
        return logits + self.bias_out[...].reshape(*lead, *self.bias_out.shape)


class LinearTerm(nnx.Module):
    """What is added to the logits: a linear map of the last features and of the standardised inputs, zero at first.

    `nanoarb_jax.adaptation` fits it to an instrument. Its constant is the bias of the heads.
    """

    def __init__(self, config: ModelConfig, inputs: int):
        h, f, c = len(config.horizons), config.hidden_dim, config.num_classes
        self.last_kernel = nnx.Param(jnp.zeros((h, f, c)))
        self.input_kernel = nnx.Param(jnp.zeros((h, inputs, c)))

    def __call__(self, last: Float[Array, "... f"], inputs: Float[Array, "... g"]) -> Float[Array, "... h c"]:
        of_last = jnp.einsum("...f,hfc->...hc", last, self.last_kernel[...])
        return of_last + jnp.einsum("...g,hgc->...hc", inputs, self.input_kernel[...])


class Readout(NamedTuple):
    """What the logits of a tick are made of."""

    last: jax.Array  # (..., f) the last features, which the heads read
    inputs: jax.Array  # (..., g) the standardised inputs


class MambaLOB(nnx.Module):
    """Mamba over order book ticks, with one classifier per horizon.

    Args:
        config: the model's shape.
        rngs: source of the initial weights.
        dtype: of the projections' operands; parameters, sums and the recurrence stay float32.

    Example:
        >>> from flax import nnx
        >>> model = nj.MambaLOB(nj.ModelConfig.preset("nano"), rngs=nnx.Rngs(0))
        >>> x = np.ones((2, 8, 44), np.float32)  # (b, l, f)
        >>> logits, state = nnx.jit(nj.MambaLOB.scan)(model, x)  # model.scan, compiled
        >>> following, state = nnx.jit(nj.MambaLOB.step)(model, x[:, -1], state)  # one tick more
        >>> logits.shape, following.shape
        ((2, 8, 3, 3), (2, 3, 3))
    """

    def __init__(self, config: ModelConfig, *, rngs: nnx.Rngs, dtype: jnp.dtype = jnp.float32):
        self.config = config
        self.transform = InputTransform(config.input_transform, config.input_dim)
        self.input_proj = projection(self.transform.output_dim, config.hidden_dim, True, dtype, rngs)
        self.input_norm = nnx.LayerNorm(config.hidden_dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs)
        self.norms = nnx.List(
            [nnx.LayerNorm(config.hidden_dim, epsilon=LAYER_NORM_EPSILON, rngs=rngs) for _ in range(config.num_layers)]
        )
        self.blocks = nnx.List([MambaBlock(config, rngs=rngs, dtype=dtype) for _ in range(config.num_layers)])
        self.heads = Heads(config, rngs=rngs)
        self.linear_term = LinearTerm(config, self.transform.output_dim) if config.linear_term else None

    def initial_state(self, batch: int) -> ModelState:
        """The state before the first tick of `batch` streams."""
        c = self.config
        blocks = tuple(  # arrays of their own, so that a jitted step may take each over (donation)
            BlockState(jnp.zeros((batch, c.d_conv - 1, c.d_inner)), jnp.zeros((batch, c.d_state, c.d_inner)))
            for _ in range(c.num_layers)
        )
        return ModelState(jnp.zeros((batch, c.input_dim)), jnp.zeros(batch), blocks)

    def __call__(self, x: Float[Array, "b l f"]) -> Float[Array, "b h c"]:
        """Logits of the last tick of independent windows: the window model."""
        readout, _ = self._read_out(x, self.initial_state(x.shape[0]))
        return self.logits(Readout(readout.last[-1], readout.inputs[-1]))

    def scan(
        self,
        x: Float[Array, "b l f"],
        state: ModelState | None = None,
        *,
        dropout_key: jax.Array | None = None,
        input_offset: Float[Array, "b g"] | None = None,
        checkpoint_ticks: int | None = None,
    ) -> tuple[Float[Array, "b l h c"], ModelState]:
        """Logits of every tick of streams.

        Args:
            x: raw features.
            state: state before the first tick; None for fresh streams.
            dropout_key: random key of dropout in training; None for inference.
            input_offset: of each stream, added to its standardised inputs at every tick (augmentation); None: 0.
            checkpoint_ticks: see `recur_sequence`.

        Returns:
            Logits, and the state after the last tick: scanning on from it equals one longer scan.
        """
        head_key = block_key = None
        if dropout_key is not None:
            head_key, block_key = jax.random.split(dropout_key)
        state = self.initial_state(x.shape[0]) if state is None else state
        readout, state = self._read_out(x, state, block_key, input_offset, checkpoint_ticks)
        return jnp.moveaxis(self.logits(readout, head_key), 0, 1), state

    def read_out(self, x: Float[Array, "b l f"], state: ModelState) -> tuple[Readout, ModelState]:
        """What `scan` makes the logits of, (b, l, …), and the state after the last tick."""
        readout, state = self._read_out(x, state)
        return Readout(*(jnp.moveaxis(part, 0, 1) for part in readout)), state

    def logits(self, readout: Readout, dropout_key: jax.Array | None = None) -> Float[Array, "... h c"]:
        """Logits of ticks."""
        logits = self.heads(readout.last, dropout_key)
        return logits if self.linear_term is None else logits + self.linear_term(*readout)

    def step(self, x_t: Float[Array, "b f"], state: ModelState) -> tuple[Float[Array, "b h c"], ModelState]:
        """Logits of one more tick, and the state after it: one tick of `scan`."""
        before = jnp.where(state.started[:, None] > 0, state.previous, x_t)
        inputs = self.transform(x_t, before)
        x = self.input_norm(self.input_proj(inputs))
        blocks = []
        for norm, block, block_state in zip(self.norms, self.blocks, state.blocks, strict=True):
            y, block_state = block.step(norm(x), block_state)
            x = x + y
            blocks.append(block_state)
        return self.logits(Readout(x, inputs)), ModelState(x_t, jnp.ones_like(state.started), tuple(blocks))

    def _read_out(
        self,
        x: Float[Array, "b l f"],
        state: ModelState,
        dropout_key: jax.Array | None = None,
        input_offset: jax.Array | None = None,
        checkpoint_ticks: int | None = None,
    ) -> tuple[Readout, ModelState]:
        """`read_out`, (l, b, …)."""
        x = jnp.moveaxis(x, 1, 0)  # (l, b, f)
        before = jnp.where(state.started[:, None] > 0, state.previous, x[0])
        previous = jnp.concatenate([before[None], x[:-1]])
        last = ModelState(x[-1], jnp.ones_like(state.started), ())
        inputs = self.transform(x, previous)  # (l, b, g)
        inputs = inputs if input_offset is None else inputs + input_offset[None]
        x = self.input_norm(self.input_proj(inputs))  # (l, b, hidden_dim)
        keys = (
            [None] * len(self.blocks) if dropout_key is None else list(jax.random.split(dropout_key, len(self.blocks)))
        )
        blocks = []
        for norm, block, block_state, key in zip(self.norms, self.blocks, state.blocks, keys, strict=True):
            y, block_state = block.scan(norm(x), block_state, checkpoint_ticks)
            x = x + dropout(y, self.config.dropout, key)
            blocks.append(block_state)
        return Readout(x, inputs), last._replace(blocks=tuple(blocks))


def abstract_model(config: ModelConfig, dtype: jnp.dtype = jnp.float32) -> MambaLOB:
    """A model of shapes without values, for weights that come from elsewhere: drawing initial ones takes seconds."""
    return nnx.eval_shape(lambda: MambaLOB(config, rngs=nnx.Rngs(0), dtype=dtype))
