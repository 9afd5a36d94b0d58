"""The model in float64 and plain numpy, tick by tick: slow, and as close to the formulas as code gets."""

from __future__ import annotations

from collections.abc import Mapping
from math import erf

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import ModelConfig

_erf = np.vectorize(erf)


def _norm(x: NDArray, scale: NDArray, bias: NDArray) -> NDArray:
    return (x - x.mean()) / np.sqrt(x.var() + 1e-5) * scale + bias


def _silu(x: NDArray) -> NDArray:
    return x / (1.0 + np.exp(-x))


def _log(values: NDArray) -> NDArray:
    return np.sign(values) * np.log1p(np.abs(values))


def _imbalance(x: NDArray) -> NDArray:
    """Per depth, of the running sums that both feature sets hold."""
    bid, ask = x[24:34], x[34:44]
    return (bid - ask) / (abs(bid) + abs(ask) + 1e-12)


def _prices(x: NDArray, before: NDArray) -> NDArray:
    """Returns of microprice and weighted mid, and the one above the other, in millionths."""
    return np.array([x[0] - before[0], x[1] - before[1], x[1] - x[0]]) / (abs(x[0]) * 1e-6 + 1e-12)


def lob44_channels(x: NDArray, before: NDArray) -> NDArray:
    """`nanoarb_jax.model.transform.lob44_channels` of one tick (f,) and the tick before it."""
    level = (abs(x[33]) + abs(x[43])) / 20 + 1e-12
    spreads = np.array([x[2], x[2] - before[2]])
    quantities = np.concatenate([x[4:24], x[4:24] - before[4:24]]) / level
    return np.concatenate([_log(_prices(x, before)), _log(spreads), _imbalance(x), _log(quantities)])


def flow_channels(x: NDArray, before: NDArray) -> NDArray:
    """`nanoarb_jax.model.transform.flow_channels`, likewise."""
    moves = [4 * (x[84] + x[44] - before[44]), 20 * (x[2] - before[2]), x[84]]
    in_scale = np.array([*moves, 4 * x[44], 20 * x[2], 1000 * x[83]]) / (abs(x[85]) + 1e-12)
    quantities = 100 * x[[4, 5, 14, 15]]
    order_flow = np.array([*x[45:48], x[45:50].sum(), x[45:55].sum()])
    logged = [in_scale, [x[85], 1000 * x[81]], quantities, order_flow, x[55:57], x[86:101]]
    return np.concatenate([_log(np.concatenate(logged)), _imbalance(x), x[75:81]])


CHANNELS = {"lob44": lob44_channels, "flow": flow_channels}


class Float64Twin:
    """One stream; `step` as the predictors' backends have it."""

    def __init__(self, arrays: Mapping[str, NDArray], config: ModelConfig):
        self.w = {name: array.astype(np.float64) for name, array in arrays.items()}
        self.config, self.before = config, None
        self.tail = np.zeros((config.num_layers, config.d_conv - 1, config.d_inner))
        self.h = np.zeros((config.num_layers, config.d_inner, config.d_state))

    def step(self, features: NDArray) -> NDArray:
        """Probabilities (h, 3) of the next tick (f,)."""
        w, x = self.w, features.astype(np.float64)
        raw, before = x, x if self.before is None else self.before
        if self.config.input_transform in CHANNELS:
            x = CHANNELS[self.config.input_transform](x, before)
            x = np.clip((x - w["transform.mean"]) / w["transform.std"], -8, 8)
        self.before, inputs = raw, x
        x = x @ w["input_proj.kernel"] + w["input_proj.bias"]
        x = _norm(x, w["input_norm.scale"], w["input_norm.bias"])
        for i in range(self.config.num_layers):
            x = x + self._block(i, _norm(x, w[f"norms.{i}.scale"], w[f"norms.{i}.bias"]))
        hidden = np.einsum("f,hfm->hm", x, w["heads.kernel_in"]) + w["heads.bias_in"]
        hidden = hidden * 0.5 * (1.0 + _erf(hidden / np.sqrt(2.0)))
        logits = np.einsum("hm,hmc->hc", hidden, w["heads.kernel_out"]) + w["heads.bias_out"]
        if self.config.linear_term:
            logits += x @ w["linear_term.last_kernel"] + inputs @ w["linear_term.input_kernel"]
        p = np.exp(logits - logits.max(axis=1, keepdims=True))
        return p / p.sum(axis=1, keepdims=True)

    def _block(self, i: int, x: NDArray) -> NDArray:
        def of(name: str) -> NDArray:
            return self.w[f"blocks.{i}.{name}"]

        rank, n = self.config.rank, self.config.d_state
        u, z = np.split(x @ of("in_proj.kernel"), 2)
        taps = np.concatenate([self.tail[i], u[None]])
        self.tail[i] = taps[1:]
        u = _silu((taps * of("conv_kernel")).sum(axis=0) + of("conv_bias"))
        low, B, C = np.split(u @ of("x_proj.kernel"), [rank, rank + n])
        delta = np.logaddexp(0.0, low @ of("dt_proj.kernel") + of("dt_proj.bias"))
        self.h[i] = np.exp(-delta[:, None] * np.exp(of("A_log"))) * self.h[i] + (delta * u)[:, None] * B
        return ((self.h[i] @ C + of("D") * u) * _silu(z)) @ of("out_proj.kernel")
