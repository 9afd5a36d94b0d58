"""The model as the exporter traces it: the formulas of `model/`, arranged so that an operation becomes one ONNX node.

A node costs onnxruntime a third of a microsecond, more than the arithmetic of a tick's small vectors. So everything
works on matrices with one row per tick of each stream; each projection is one Gemm that also adds the bias or residual;
constants are folded beforehand (`constants.py`); heads share one matrix product; the channels of the input transform
are quotients of two products. These functions compute what `MambaLOB` computes: the export compares them before it
keeps a file.

Shapes as in `model/mamba.py`; rows = batch · ticks.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from nanoarb_jax.exporters.constants import BlockForm, Form
from nanoarb_jax.model.transform import CLIP

Traced = Callable[..., tuple[jax.Array, ...]]


def step_form(form: Form, single: bool) -> Traced:
    """One tick: (features (b, f), previous (b, f), started (b, 1), conv (b, k-1, L·d), ssm of each layer (b, n, d)) →
    (logits and probabilities (b, h, c), conv, ssm of each layer).

    `previous` is the features of the tick before. Where `started` is 0 there was none, and the tick's own features
    take its place.

    Args:
        form: constants.
        single: for one stream: states without the batch axis, so that state and output too are one Gemm each.
    """
    taps = np.concatenate([block.taps for block in form.blocks], axis=1)  # (k, L·d)
    bias = np.concatenate([block.tap_bias for block in form.blocks])

    def step(
        x: jax.Array, previous: jax.Array, started: jax.Array, conv: jax.Array, *ssm: jax.Array
    ) -> tuple[jax.Array, ...]:
        standardised = inputs(form, x, jnp.where(started.astype(bool), previous, x))
        x = first_features(form, standardised)
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
        return *heads(form, x, standardised), jnp.concatenate([conv[..., 1:, :], last], axis=-2), *states

    return step


def window_form(form: Form, ticks: int) -> Traced:
    """Independent windows: features (b, l, f) → logits and probabilities (b, h, c) of their last tick.

    The last layer is needed at the last tick only, so it has no recurrence: its state there is one weighted sum.
    """

    def window(x: jax.Array) -> tuple[jax.Array, ...]:
        previous = jnp.concatenate([x[:, :1], x[:, : ticks - 1]], axis=1)
        standardised = inputs(form, jnp.reshape(x, (-1, x.shape[-1])), jnp.reshape(previous, (-1, x.shape[-1])))
        x = first_features(form, standardised)
        for block in form.blocks[:-1]:
            u, z = project(block, x)
            u = silu(convolve(block, u, ticks))
            delta, B, C = ssm_inputs(block, u)
            y = recur_window(block, delta, delta * u, B, C, ticks) + u * block.D[None]
            x = x + (y * silu(z)) @ block.out
        return heads(form, _last_block(form.blocks[-1], x, ticks), _last(standardised, ticks))

    return window


def _last_block(block: BlockForm, x: jax.Array, ticks: int) -> jax.Array:
    """Output of the last block at the last tick, (b, f)."""
    last = functools.partial(_last, ticks=ticks)
    normed = block.norm(x)
    u = silu(convolve(block, normed @ block.to_u, ticks))
    delta, B, C = ssm_inputs(block, u)
    y = last_output(block, delta, delta * u, B, last(C), ticks) + last(u) * block.D[None]
    return last(x) + (y * silu(last(normed) @ block.to_z)) @ block.out


def _last(rows: jax.Array, ticks: int) -> jax.Array:
    """The last tick of each window, (rows, n) → (b, n)."""
    return jnp.reshape(rows, (-1, ticks, rows.shape[-1]))[:, ticks - 1]


def inputs(form: Form, x: jax.Array, previous: jax.Array) -> jax.Array:
    """Input transform: raw features of rows (rows, f) → (rows, g)."""
    if form.channels is not None:
        numerator, denominator, offset, logged = form.channels
        both = jnp.concatenate([x, previous], axis=-1)
        x = (both @ numerator) / (jnp.abs(x) @ denominator + offset[None])
        compressed = jnp.sign(x) * jnp.log(1 + jnp.abs(x))
        # in every channel one of the two scales is 0: a Where takes as long as both products and their sum
        x = compressed * (form.scale * logged)[None] + x * (form.scale * ~logged)[None]
        x = jnp.clip(x + form.shift[None], -CLIP, CLIP)
    return x


def first_features(form: Form, standardised: jax.Array) -> jax.Array:
    """Projection and norm: inputs (rows, g) → (rows, hidden)."""
    return form.norm(standardised @ form.project + form.project_bias[None])


def project(block: BlockForm, x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """u and z (rows, d)."""
    x = block.norm(x)
    return x @ block.to_u, x @ block.to_z


def silu(x: jax.Array) -> jax.Array:
    return x * jax.nn.sigmoid(x)


def ssm_inputs(block: BlockForm, u: jax.Array) -> tuple[jax.Array, jax.Array, jax.Array]:
    """delta (rows, d), B and C (rows, n).

    The softplus is written out: onnxruntime's takes three times as long. From 88 on float32 cannot hold the
    exponential, and the softplus of a number is the number itself.
    """
    r, n = len(block.dt), len(block.A)
    low, B, C = jnp.split(u @ block.x_proj, [r, r + n], axis=-1)
    step = low @ block.dt + block.dt_bias[None]
    return jnp.maximum(jnp.log(1 + jnp.exp(jnp.minimum(step, 88.0))), step), B, C


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


def heads(form: Form, last: jax.Array, standardised: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Logits and probabilities (b, h, c) of the last features (b, hidden) and the inputs (b, g)."""
    x = last @ form.heads_in + form.heads_in_bias[None]
    x = x * (jax.lax.erf(x / np.float32(math.sqrt(2))) + 1) * 0.5  # gelu, as onnxruntime fuses it
    if form.linear_term:  # one node more; two products of its own would be two
        x = jnp.concatenate([x, last, standardised], axis=-1)
    logits = jnp.reshape(x @ form.heads_out + form.heads_out_bias[None], (-1, *form.shape))
    return logits, jax.nn.softmax(logits)


def _as(constant: np.ndarray, x: jax.Array) -> np.ndarray:
    """A constant with as many axes as x."""
    return constant.reshape((1,) * (x.ndim - constant.ndim) + constant.shape)
