"""A rival for `bench`: the PyTorch original's window model, eager, written from its formulas. Needs the extra `bench`.

Tensors have the original's names and layouts, see `model/torch_compat.py`; features go in as they are.
"""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

import numpy as np

from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import ConfigError

if TYPE_CHECKING:
    import torch


def need_torch(why: str) -> None:
    """Fail before the work if torch is not installed.

    Raises:
        ConfigError: it is not.
    """
    if importlib.util.find_spec("torch") is None:
        raise ConfigError(f"{why}: needs torch, which is not installed; pip install 'nanoarb-jax[bench]'")


def window_logits(tensors: Mapping[str, torch.Tensor], x: torch.Tensor) -> torch.Tensor:
    """Logits (b, h, c) of the last tick of windows (b, l, f), dropout off."""
    import torch
    from torch.nn import functional

    x = functional.linear(x, tensors["input_proj.weight"], tensors["input_proj.bias"])
    x = _norm(tensors, "input_norm", x)
    for i in range(_count(tensors, "layers.", ".A_log")):
        x = x + _block(tensors, f"layers.{i}", _norm(tensors, f"norms.{i}", x))
    last, logits = x[:, -1], []
    for i in range(_count(tensors, "output_heads.", ".0.weight")):
        into, out = (f"output_heads.{i}.{part}" for part in (0, 3))
        hidden = functional.gelu(functional.linear(last, tensors[f"{into}.weight"], tensors[f"{into}.bias"]))
        logits.append(functional.linear(hidden, tensors[f"{out}.weight"], tensors[f"{out}.bias"]))
    return torch.stack(logits, dim=1)


def _count(tensors: Mapping[str, torch.Tensor], prefix: str, suffix: str) -> int:
    return sum(name.startswith(prefix) and name.endswith(suffix) for name in tensors)


def _norm(tensors: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    from torch.nn import functional

    return functional.layer_norm(x, x.shape[-1:], tensors[f"{name}.weight"], tensors[f"{name}.bias"], 1e-5)


def _block(tensors: Mapping[str, torch.Tensor], name: str, x: torch.Tensor) -> torch.Tensor:
    """A Mamba block over (b, l, w), its recurrence a loop over the ticks."""
    import torch
    from torch.nn import functional

    def get(part: str) -> torch.Tensor:
        return tensors[f"{name}.{part}"]

    length, (d, _, k) = x.shape[1], get("conv1d.weight").shape
    rank, n = get("dt_proj.weight").shape[1], get("A_log").shape[-1]
    u, z = functional.linear(x, get("in_proj.weight")).chunk(2, dim=-1)  # (b, l, d)
    u = functional.conv1d(u.transpose(1, 2), get("conv1d.weight"), get("conv1d.bias"), padding=k - 1, groups=d)
    u = functional.silu(u[..., :length].transpose(1, 2))
    low, B, C = functional.linear(u, get("x_proj.weight")).split([rank, n, n], dim=-1)
    delta = functional.softplus(functional.linear(low, get("dt_proj.weight"), get("dt_proj.bias")))
    A = -torch.exp(get("A_log"))
    h, ys = torch.zeros(x.shape[0], d, n), []
    for t in range(length):
        decay = torch.exp(delta[:, t, :, None] * A)  # (b, d, n)
        h = decay * h + delta[:, t, :, None] * B[:, t, None] * u[:, t, :, None]
        ys.append((h * C[:, t, None]).sum(dim=-1))
    y = torch.stack(ys, dim=1) + u * get("D")
    return functional.linear(y * functional.silu(z), get("out_proj.weight"))


def random_tensors(config: ModelConfig) -> dict[str, torch.Tensor]:
    """Random weights of the original's model of a size: raw features in, `A_log` shared by all channels."""
    import torch

    f, d, n, k, r = config.hidden_dim, config.d_inner, config.d_state, config.d_conv, config.rank
    m, generator = max(f // 2, 1), torch.Generator().manual_seed(0)
    shapes: dict[str, tuple[int, ...]] = {"input_proj.weight": (f, config.input_dim), "input_proj.bias": (f,)}
    for i in range(config.num_layers):
        shapes |= {
            f"layers.{i}.in_proj.weight": (2 * d, f), f"layers.{i}.conv1d.weight": (d, 1, k),
            f"layers.{i}.conv1d.bias": (d,), f"layers.{i}.x_proj.weight": (r + 2 * n, d),
            f"layers.{i}.dt_proj.weight": (d, r), f"layers.{i}.dt_proj.bias": (d,),
            f"layers.{i}.out_proj.weight": (f, d),
        }  # fmt: skip
    for i in range(len(config.horizons)):
        shapes |= {f"output_heads.{i}.0.weight": (m, f), f"output_heads.{i}.0.bias": (m,)}
        shapes |= {f"output_heads.{i}.3.weight": (config.num_classes, m), f"output_heads.{i}.3.bias": (3,)}
    tensors = {
        name: torch.randn(shape, generator=generator) / math.sqrt(math.prod(shape[1:]) if len(shape) > 1 else 10)
        for name, shape in shapes.items()
    }
    for name in ("input_norm", *(f"norms.{i}" for i in range(config.num_layers))):
        tensors |= {f"{name}.weight": torch.ones(f), f"{name}.bias": torch.zeros(f)}
    for i in range(config.num_layers):
        tensors |= {f"layers.{i}.A_log": torch.log(torch.arange(1.0, n + 1)), f"layers.{i}.D": torch.ones(d)}
    return tensors


def torch_window(config: ModelConfig) -> Callable[[np.ndarray], np.ndarray]:
    """Windows (1, l, f) to probabilities (1, h, c) on one thread, random weights.

    Raises:
        ConfigError: torch is not installed.
    """
    need_torch("the PyTorch original")
    import torch

    torch.set_num_threads(1)
    tensors = random_tensors(config)

    def run(window: np.ndarray) -> np.ndarray:
        with torch.inference_mode():
            return torch.softmax(window_logits(tensors, torch.from_numpy(window)), dim=-1).numpy()

    return run
