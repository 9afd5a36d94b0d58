"""The model as the exporter traces it: the formulas of `model/`, arranged so that an operation becomes one ONNX node.

A node costs onnxruntime a third of a microsecond, more than the arithmetic of a tick's small vectors. So everything
runs on rows (ticks of all streams, channels), whose projections are one Gemm with its bias or residual; constants are
folded here; heads share one matrix product; the channels of the input transform are quotients of two products. What
this says is what `MambaLOB` says: the export compares them before it keeps a file.

Shapes as in `model/mamba.py`; rows = batch · ticks.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.model.mamba import MambaLOB
from nanoarb_jax.model.transform import CLIP, LEVELS, PRICE_UNIT

TINY = 1e-12
Traced = Callable[..., tuple[jax.Array, ...]]


class BlockForm(NamedTuple):
    """A block's constants."""

    norm: nnx.LayerNorm
    to_u: np.ndarray  # (f, d) the halves of in_proj apart: two products cost less than one and a split
    to_z: np.ndarray  # (f, d)
    taps: np.ndarray  # (k, d) oldest first
    tap_bias: np.ndarray  # (d,)
    x_proj: np.ndarray  # (d, r + 2n)
    dt: np.ndarray  # (r, d)
    dt_bias: np.ndarray  # (d,)
    A: np.ndarray  # (n, d)
    D: np.ndarray  # (d,)
    out: np.ndarray  # (d, f)


class Form(NamedTuple):
    """A model's constants, folded."""

    numerator: np.ndarray | None  # (2 f, g) of features and previous; None: features are inputs as they are
    denominator: np.ndarray  # (f, g) of the features' sizes
    offset: np.ndarray  # (g,) of the denominator
    logged: np.ndarray  # (g,) bool: channels that signed_log compresses
    scale: np.ndarray  # (g,) standardisation as one multiply-add
    shift: np.ndarray  # (g,)
    project: np.ndarray  # (g, f)
    project_bias: np.ndarray  # (f,)
    norm: nnx.LayerNorm
    blocks: tuple[BlockForm, ...]
    heads_in: np.ndarray  # (f, h·m) all horizons side by side
    heads_in_bias: np.ndarray  # (h·m,)
    heads_out: np.ndarray  # (h·m, h·c) block diagonal
    heads_out_bias: np.ndarray  # (h·c,)
    shape: tuple[int, int]  # h, c


def fold(model: MambaLOB) -> Form:
    """Fold a model's weights into the constants of its form."""
    arrays, config = named_arrays(model), model.config
    numerator, denominator, offset, logged = QUOTIENTS[model.transform.kind]()
    mean, std = (arrays.get(f"transform.{name}", np.zeros(0, np.float32)) for name in ("mean", "std"))
    h, f, m = arrays["heads.kernel_in"].shape
    out = np.zeros((h, m, h, config.num_classes), np.float32)
    out[np.arange(h), :, np.arange(h)] = arrays["heads.kernel_out"]
    return Form(
        numerator,
        denominator,
        offset,
        logged,
        scale=1 / std,
        shift=-mean / std,
        project=arrays["input_proj.kernel"],
        project_bias=arrays["input_proj.bias"],
        norm=model.input_norm,
        blocks=tuple(_fold_block(arrays, i, norm) for i, norm in enumerate(model.norms)),
        heads_in=arrays["heads.kernel_in"].transpose(1, 0, 2).reshape(f, h * m),
        heads_in_bias=arrays["heads.bias_in"].reshape(-1),
        heads_out=out.reshape(h * m, h * config.num_classes),
        heads_out_bias=arrays["heads.bias_out"].reshape(-1),
        shape=(h, config.num_classes),
    )


def _fold_block(arrays: dict[str, np.ndarray], i: int, norm: nnx.LayerNorm) -> BlockForm:
    def a(name: str) -> np.ndarray:
        return arrays[f"blocks.{i}.{name}"]

    to_u, to_z = np.split(a("in_proj.kernel"), 2, axis=1)
    return BlockForm(
        norm, to_u, to_z, a("conv_kernel"), a("conv_bias"), a("x_proj.kernel"), a("dt_proj.kernel"), a("dt_proj.bias"),
        -np.exp(a("A_log")).T, a("D"), a("out_proj.kernel"),
    )  # fmt: skip


def _no_channels() -> tuple[None, np.ndarray, np.ndarray, np.ndarray]:
    return None, np.zeros((0, 0)), np.zeros(0), np.zeros(0, bool)


def _lob44_channels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`lob44_channels` as quotients: numerator, denominator, offset, logged of `Form`.

    Every entry is 0, ±1 or the weight of a mean, so the products are as exact as the differences they stand for.
    """
    now, before = np.zeros((2, 44, 55), np.float32)
    sizes, offset = np.zeros((44, 55), np.float32), np.full(55, TINY, np.float32)
    changes = [(0, 0), (1, 1), (4, 2), *zip(range(35, 55), range(4, 24), strict=True)]  # channel, feature
    levels = [(3, 2), *zip(range(15, 35), range(4, 24), strict=True)]
    for channel, feature in changes + levels:
        now[feature, channel] = 1
    for channel, feature in changes:
        before[feature, channel] = -1
    now[1, 2], now[0, 2] = 1, -1  # weighted mid above microprice
    sizes[0, :3] = PRICE_UNIT
    offset[3:5] = 1  # the spread counts ticks as it is
    for level in range(LEVELS):
        bid, ask, channel = 24 + level, 34 + level, 5 + level
        now[bid, channel], now[ask, channel] = 1, -1
        sizes[[bid, ask], channel] = 1
    sizes[[33, 43], 15:] = 1 / (2 * LEVELS)  # whole depth of both sides over their levels
    logged = np.ones(55, bool)
    logged[5:15] = False
    return np.concatenate([now, before]), sizes, offset, logged


def _flow_channels() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """`flow_channels` as quotients, likewise; its factors are whole numbers."""
    now, before = np.zeros((2, 86, 37), np.float32)
    sizes, offset = np.zeros((86, 37), np.float32), np.ones(37, np.float32)
    changes = {0: (0, 1), 1: (1, 1), 3: (2, 20)}  # channel: feature, factor
    in_scale = {4: (84, 1), 5: (44, 4), 6: (2, 20), 7: (83, 1000)}
    plain = {8: (85, 1), 9: (81, 1000), 10: (4, 100), 11: (5, 100), 12: (14, 100), 13: (15, 100), 19: (55, 1)}
    plain |= {20: (56, 1), **{14 + level: (45 + level, 1) for level in range(3)}}
    plain |= {31 + event: (75 + event, 1) for event in range(6)}
    for channel, (feature, factor) in (changes | in_scale | plain).items():
        now[feature, channel] = factor
    for channel, (feature, factor) in changes.items():
        before[feature, channel] = -factor
    now[1, 2], now[0, 2] = 1, -1  # weighted mid above microprice
    now[45:50, 17] = now[45:55, 18] = 1  # order flow of several levels together
    sizes[0, :3], sizes[85, 3:8] = PRICE_UNIT, 1
    for level in range(LEVELS):
        bid, ask, channel = 24 + level, 34 + level, 21 + level
        now[bid, channel], now[ask, channel] = 1, -1
        sizes[[bid, ask], channel] = 1
    offset[:8] = offset[21:31] = TINY  # those that are no quotients are divided by 1
    logged = np.arange(37) < 21
    return np.concatenate([now, before]), sizes, offset, logged


QUOTIENTS = {"identity": _no_channels, "lob44": _lob44_channels, "flow": _flow_channels}


def step_form(form: Form, single: bool) -> Traced:
    """One tick: (features (b, f), previous (b, f), conv (b, k-1, L·d), ssm of each layer (b, n, d)) → (logits and
    probabilities (b, h, c), conv, ssm of each layer).

    `previous` is the features of the tick before, of the first tick its own.

    Args:
        form: constants.
        single: for one stream: states without the batch axis, so that state and output too are one Gemm each.
    """
    taps = np.concatenate([block.taps for block in form.blocks], axis=1)  # (k, L·d)
    bias = np.concatenate([block.tap_bias for block in form.blocks])

    def step(x: jax.Array, previous: jax.Array, conv: jax.Array, *ssm: jax.Array) -> tuple[jax.Array, ...]:
        x = inputs(form, x, previous)
        # what older ticks give to the convolutions of all layers at once; only the newest tap waits for its layer
        products = conv * _as(taps[:-1], conv)
        ones = np.ones((1, len(taps) - 1), np.float32)  # summed by a product, in a fifth of a ReduceSum's time
        summed = ones @ products if single else jnp.reshape(jnp.matmul(ones[None], products), (-1, len(bias)))
        older = summed + bias[None]
        newest, states = [], []
        for block, past, h in zip(form.blocks, jnp.split(older, len(form.blocks), axis=-1), ssm, strict=True):
            u, z = project(block, x)
            newest.append(u)
            u = silu(u * block.taps[-1][None] + past)
            delta, B, C = ssm_inputs(block, u)
            recur = recur_single if single else recur_batch
            h, y = recur(block, h, delta, delta * u, B, C, u * block.D[None])
            states.append(h)
            x = x + (y * silu(z)) @ block.out
        last = jnp.concatenate(newest, axis=-1)  # (b, L·d)
        last = last if single else jnp.reshape(last, (-1, 1, last.shape[-1]))
        return *heads(form, x), jnp.concatenate([conv[..., 1:, :], last], axis=-2), *states

    return step


def window_form(form: Form, ticks: int) -> Traced:
    """Independent windows: features (b, l, f) → logits and probabilities (b, h, c) of their last tick.

    The last layer is needed at the last tick only, so it has no recurrence: its state there is one weighted sum.
    """

    def window(x: jax.Array) -> tuple[jax.Array, ...]:
        previous = jnp.concatenate([x[:, :1], x[:, : ticks - 1]], axis=1)
        x = inputs(form, jnp.reshape(x, (-1, x.shape[-1])), jnp.reshape(previous, (-1, x.shape[-1])))
        for block in form.blocks[:-1]:
            u, z = project(block, x)
            u = silu(convolve(block, u, ticks))
            delta, B, C = ssm_inputs(block, u)
            y = recur_window(block, delta, delta * u, B, C, ticks) + u * block.D[None]
            x = x + (y * silu(z)) @ block.out
        return heads(form, _last_block(form.blocks[-1], x, ticks))

    return window


def _last_block(block: BlockForm, x: jax.Array, ticks: int) -> jax.Array:
    """Output of the last block at the last tick, (b, f)."""

    def last(rows: jax.Array) -> jax.Array:
        return jnp.reshape(rows, (-1, ticks, rows.shape[-1]))[:, ticks - 1]

    normed = block.norm(x)
    u = silu(convolve(block, normed @ block.to_u, ticks))
    delta, B, C = ssm_inputs(block, u)
    y = last_output(block, delta, delta * u, B, last(C), ticks) + last(u) * block.D[None]
    return last(x) + (y * silu(last(normed) @ block.to_z)) @ block.out


def inputs(form: Form, x: jax.Array, previous: jax.Array) -> jax.Array:
    """Input transform, projection and norm: raw features of rows (rows, f) → (rows, hidden)."""
    if form.numerator is not None:
        both = jnp.concatenate([x, previous], axis=-1)
        x = (both @ form.numerator) / (jnp.abs(x) @ form.denominator + form.offset[None])
        compressed = jnp.sign(x) * jnp.log(1 + jnp.abs(x))
        # one of the two scales is 0 in every channel: a Where takes as long as both products and their sum
        x = compressed * (form.scale * form.logged)[None] + x * (form.scale * ~form.logged)[None]
        x = jnp.clip(x + form.shift[None], -CLIP, CLIP)
    return form.norm(x @ form.project + form.project_bias[None])


def project(block: BlockForm, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """u and z (rows, d)."""
    x = block.norm(x)
    return x @ block.to_u, x @ block.to_z


def silu(x: jax.Array) -> jax.Array:
    return x * jax.nn.sigmoid(x)


def ssm_inputs(block: BlockForm, u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """delta (rows, d), B and C (rows, n). The softplus is written out: onnxruntime's takes three times as long."""
    r, n = len(block.dt), len(block.A)
    low, B, C = jnp.split(u @ block.x_proj, [r, r + n], axis=-1)
    return jnp.log(1 + jnp.exp(low @ block.dt + block.dt_bias[None])), B, C


def recur_single(
    block: BlockForm, h: jax.Array, delta: jax.Array, du: jax.Array, B: jax.Array, C: jax.Array, skip: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One tick of one stream: state (n, d) and output (1, d)."""
    h = jnp.exp(delta * block.A) * h + B.T @ du
    return h, C @ h + skip


def recur_batch(
    block: BlockForm, h: jax.Array, delta: jax.Array, du: jax.Array, B: jax.Array, C: jax.Array, skip: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """One tick of b streams: states (b, n, d) and outputs (b, d)."""
    n, d = block.A.shape
    outer = jnp.matmul(jnp.reshape(B, (-1, n, 1)), jnp.reshape(du, (-1, 1, d)))
    h = jnp.exp(jnp.reshape(delta, (-1, 1, d)) * block.A[None]) * h + outer
    return h, jnp.reshape(jnp.matmul(jnp.reshape(C, (-1, 1, n)), h), (-1, d)) + skip


def convolve(block: BlockForm, u: jax.Array, ticks: int) -> jax.Array:
    """The causal convolution over fresh streams, (rows, d) → (rows, d)."""
    k, d = block.taps.shape
    padded = jnp.pad(jnp.reshape(u, (-1, ticks, d)), ((0, 0), (k - 1, 0), (0, 0)))
    taps = [padded[:, j : j + ticks] * tap[None, None] for j, tap in enumerate(block.taps)]
    return jnp.reshape(sum(taps[1:], taps[0]) + block.tap_bias[None, None], (-1, d))


def recur_window(
    block: BlockForm, delta: jax.Array, du: jax.Array, B: jax.Array, C: jax.Array, ticks: int
) -> jax.Array:
    """The recurrence over fresh streams, (rows, d). Unrolled: two nodes a tick; all else is one node for all ticks."""
    n, d = block.A.shape
    decay = jnp.exp(jnp.reshape(delta, (-1, ticks, 1, d)) * block.A[None, None])
    driven = jnp.matmul(jnp.reshape(B, (-1, ticks, n, 1)), jnp.reshape(du, (-1, ticks, 1, d)))
    states: list[jax.Array] = []
    for a, b in zip(jnp.split(decay, ticks, axis=1), jnp.split(driven, ticks, axis=1), strict=True):
        states.append(a * states[-1] + b if states else b)
    y = jnp.matmul(jnp.reshape(C, (-1, ticks, 1, n)), jnp.concatenate(states, axis=1))
    return jnp.reshape(y, (-1, d))


def last_output(block: BlockForm, delta: jax.Array, du: jax.Array, B: jax.Array, C: jax.Array, ticks: int) -> jax.Array:
    """Output at the last tick, (b, d): tick t's input has decayed by exp(A · the sum of all delta after it)."""
    n, d = block.A.shape
    delta, du = (jnp.reshape(v, (-1, ticks, d)) for v in (delta, du))
    total = jnp.cumsum(delta, axis=1)
    since = jnp.reshape(total[:, ticks - 1 :] - total, (-1, ticks, 1, d))
    weights = jnp.reshape(B, (-1, ticks, n)) * jnp.reshape(C, (-1, 1, n))
    read = jnp.matmul(jnp.reshape(weights, (-1, ticks, 1, n)), jnp.exp(since * block.A[None, None]))
    return jnp.sum(jnp.reshape(read, (-1, ticks, d)) * du, axis=1)


def heads(form: Form, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits and probabilities (b, h, c) of (b, hidden)."""
    x = x @ form.heads_in + form.heads_in_bias[None]
    x = x * (jax.lax.erf(x / np.float32(math.sqrt(2))) + 1) * 0.5  # gelu, as onnxruntime fuses it
    logits = jnp.reshape(x @ form.heads_out + form.heads_out_bias[None], (-1, *form.shape))
    return logits, jax.nn.softmax(logits)


def _as(constant: np.ndarray, x: jax.Array) -> np.ndarray:
    """A constant with as many axes as x."""
    return constant.reshape((1,) * (x.ndim - constant.ndim) + constant.shape)
