"""The rivals of `bench` are what they are called: a causal Transformer of the model's size, and the original."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import jax
import numpy as np
import pytest
from flax import nnx

from nanoarb_jax.bench.rivals import CachedTransformer
from nanoarb_jax.bench.torch_window import random_tensors, torch_window, window_logits
from nanoarb_jax.bench.transformer import TransformerLOB
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.simulation.market import synthetic_books

CONFIG = ModelConfig(hidden_dim=32, num_layers=4)
needs_torch = pytest.mark.skipif(
    importlib.util.find_spec("torch") is None, reason="torch is not installed: pip install 'nanoarb-jax[bench]'"
)


@pytest.fixture(scope="module")
def transformer(compile_quickly: None) -> TransformerLOB:
    return nnx.jit(lambda: TransformerLOB(CONFIG, 50_000, rngs=nnx.Rngs(0)))()


@pytest.fixture(scope="module")
def ticks() -> np.ndarray:
    return lob44(synthetic_books(12, seed=0), quantity_scale=100.0)


def size(model: nnx.Module) -> int:
    return sum(leaf.size for leaf in jax.tree.leaves(nnx.state(model, nnx.Param)))


@pytest.mark.parametrize(("preset", "parameters"), [("base", 499_721), ("small", 75_785), ("nano", 4_041)])
def test_the_transformer_is_as_large(preset: str, parameters: int) -> None:
    config = ModelConfig.preset(preset)
    transformer = nnx.eval_shape(lambda: TransformerLOB(config, parameters, rngs=nnx.Rngs(0)))
    assert size(transformer) == pytest.approx(parameters, rel=0.025)


def test_a_window_reads_all_its_ticks_in_their_order(transformer: TransformerLOB, ticks: np.ndarray) -> None:
    run = nnx.jit(lambda model, x: model(x))
    logits = run(transformer, ticks[None])
    assert logits.shape == (1, 3, 3)
    for other in (np.concatenate([ticks[1:2], ticks[1:]]), ticks[[0, 2, 1, *range(3, 12)]]):
        assert np.abs(run(transformer, other[None]) - logits).max() > 1e-4


def test_the_cache_gives_the_window(transformer: TransformerLOB, ticks: np.ndarray) -> None:
    """Until the cache is full, though the window computes the last layer for one tick alone."""
    run, cached = nnx.jit(lambda model, x: jax.nn.softmax(model(x))), CachedTransformer(transformer, 5)
    met = [cached(tick) for tick in ticks[:5]]
    for last in (1, 4, 5):
        np.testing.assert_allclose(met[last - 1], run(transformer, ticks[None, :last])[0], rtol=0, atol=1e-6)


def test_the_cache_forgets(transformer: TransformerLOB, ticks: np.ndarray) -> None:
    """With one tick of room it forgets all but the tick before, which the input transform looks at."""
    cached = CachedTransformer(transformer, 1)
    first = [cached(tick) for tick in ticks[:4]][-1]
    second = [cached(tick) for tick in ticks[[5, 2, 3]]][-1]
    np.testing.assert_allclose(first, second, rtol=0, atol=1e-6)


@needs_torch
@pytest.mark.parametrize("name", ["tiny", "base"])
def test_the_original_gives_its_logits(shared: Path, name: str) -> None:
    import torch

    with np.load(shared / "golden" / f"mamba_lob_torch_{name}.npz") as file:
        tensors = {key.removeprefix("state/"): torch.from_numpy(file[key]) for key in file.files if "state/" in key}
        x, expected = torch.from_numpy(file["x"]), file["logits"]
    np.testing.assert_allclose(window_logits(tensors, x).numpy(), expected, rtol=0, atol=2e-5)


@needs_torch
def test_random_tensors_have_the_originals_shapes(shared: Path) -> None:
    with np.load(shared / "golden" / "mamba_lob_torch_base.npz") as file:
        expected = {key.removeprefix("state/"): file[key].shape for key in file.files if "state/" in key}
    tensors = random_tensors(ModelConfig.preset("base"))
    assert {name: tuple(tensor.shape) for name, tensor in tensors.items()} == expected


@needs_torch
def test_the_original_on_windows(ticks: np.ndarray) -> None:
    probabilities = torch_window(ModelConfig.preset("nano"))(ticks[None])
    assert probabilities.shape == (1, 3, 3)
    np.testing.assert_allclose(probabilities.sum(-1), 1.0, atol=1e-6)
