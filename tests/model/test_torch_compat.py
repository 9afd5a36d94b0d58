"""NanoARB's PyTorch model, its weights and its numbers."""

from __future__ import annotations

from pathlib import Path

import jax
import numpy as np
import pytest

import nanoarb_jax as nj
from nanoarb_jax.artifacts.checkpoint import named_arrays
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import CheckpointError
from nanoarb_jax.model.mamba import MambaLOB

Arrays = dict[str, np.ndarray]


def read(shared: Path, size: str) -> tuple[Arrays, Arrays]:
    """The state dict and everything else."""
    with np.load(shared / "golden" / f"mamba_lob_torch_{size}.npz") as file:
        arrays = dict(file)
    state = {name.removeprefix("state/"): array for name, array in arrays.items() if name.startswith("state/")}
    return state, {name: array for name, array in arrays.items() if not name.startswith("state/")}


@pytest.fixture(scope="module", params=["tiny", "base"])
def golden(request: pytest.FixtureRequest, shared: Path) -> tuple[MambaLOB, Arrays]:
    state, rest = read(shared, request.param)
    model = nj.load_torch_state_dict(state)
    both = jax.jit(lambda x: (model(x), model.read_out(x, model.initial_state(4))[0].last[:, -1]))
    return model, rest | dict(zip(("our_logits", "our_features"), map(np.asarray, both(rest["x"])), strict=True))


@pytest.fixture(scope="module")
def tiny(shared: Path) -> Arrays:
    return read(shared, "tiny")[0]


def test_config_comes_from_the_shapes(golden: tuple[MambaLOB, Arrays]) -> None:
    model, rest = golden
    base = ModelConfig(feature_set=44, dt_rank=8)
    tiny = ModelConfig(hidden_dim=32, d_state=8, num_layers=2, dt_rank=4, feature_set=44)
    assert model.config == (base if rest["features"].shape[1] == 128 else tiny)


def test_logits(golden: tuple[MambaLOB, Arrays]) -> None:
    _, rest = golden
    np.testing.assert_allclose(rest["our_logits"], rest["logits"], rtol=0, atol=2e-5)


def test_inside(golden: tuple[MambaLOB, Arrays]) -> None:
    """The first block alone, and what the heads read."""
    model, rest = golden
    state = model.initial_state(2).blocks[0]
    y, _ = jax.jit(lambda x: model.blocks[0].scan(x, state))(rest["block0_x"].swapaxes(0, 1))
    np.testing.assert_allclose(y.swapaxes(0, 1), rest["block0_y"], rtol=0, atol=2e-5)
    np.testing.assert_allclose(rest["our_features"], rest["features"], rtol=0, atol=2e-5)


@pytest.mark.parametrize("logits", ["logits", "our_logits"])
def test_losses(golden: tuple[MambaLOB, Arrays], logits: str) -> None:
    _, rest = golden
    magnitudes, class_weights = rest["magnitudes"], rest["class_weights"]
    for name, arguments in {
        "loss_plain": {},
        "loss_magnitudes": {"magnitudes": magnitudes},
        "loss_class_weights": {"magnitudes": magnitudes, "class_weights": class_weights},
    }.items():
        loss = nj.transaction_cost_aware_loss(rest[logits], rest["targets"], slippage_estimate=0.0, **arguments)
        assert abs(float(loss) - float(rest[name])) <= 2e-5, name


def test_a_log_per_channel(tiny: Arrays) -> None:
    """A_log (n,) is shared by all channels; given per channel it is taken as it is."""
    model = nj.load_torch_state_dict(tiny)
    shared_by_all = tiny["layers.1.A_log"]
    np.testing.assert_array_equal(model.blocks[1].A_log[...], np.tile(shared_by_all, (64, 1)))
    own = np.random.default_rng(0).normal(size=(64, 8)).astype(np.float32)
    model = nj.load_torch_state_dict(tiny | {"layers.1.A_log": own})
    np.testing.assert_array_equal(model.blocks[1].A_log[...], own)


def test_nothing_of_the_model_is_left_as_it_was(tiny: Arrays) -> None:
    """Every weight comes from the mapping: with all of them 7, all of the model is 7."""
    model = nj.load_torch_state_dict({name: np.full_like(array, 7.0) for name, array in tiny.items()})
    for name, array in named_arrays(model).items():
        assert array.dtype == np.float32 and (array == 7.0).all(), name


def test_the_mapping_may_change_later(tiny: Arrays) -> None:
    mapping = {name: array.copy() for name, array in tiny.items()}
    model = nj.load_torch_state_dict(mapping)
    for array in mapping.values():
        array[...] = 0.0
    for name, array in named_arrays(model).items():
        assert array.any(), name


def once(state: Arrays) -> list[str]:
    """The names less those that repeat them for another layer or head."""
    return [name for name in state if not name.startswith(("layers.1", "norms.1", "output_heads.1", "output_heads.0"))]


def test_missing_tensor(tiny: Arrays) -> None:
    for name in once(tiny):
        with pytest.raises(CheckpointError) as caught:
            nj.load_torch_state_dict({other: array for other, array in tiny.items() if other != name})
        assert "missing" in str(caught.value) or "unexpected" in str(caught.value)
        assert "\n" not in str(caught.value)
    with pytest.raises(CheckpointError, match="missing"):
        nj.load_torch_state_dict({})


def test_left_over_tensor(tiny: Arrays) -> None:
    for name in ("layers.0.norm.weight", "layers.2.in_proj.weight", "output_heads.3.0.weight", "optimizer.step"):
        with pytest.raises(CheckpointError, match=name.replace(".", r"\.")):
            nj.load_torch_state_dict(tiny | {name: np.zeros(3, np.float32)})


def test_misshaped_tensor(tiny: Arrays) -> None:
    for name in once(tiny):
        array = tiny[name]
        for bad in (np.concatenate([array, array[:1]]), array[None], array.ravel() if array.ndim > 1 else array[:0]):
            with pytest.raises(CheckpointError, match=r"PyTorch (tensor|state dict)") as caught:
                nj.load_torch_state_dict(tiny | {name: bad})
            assert "\n" not in str(caught.value)


def test_tensors_that_hold_no_numbers(tiny: Arrays) -> None:
    for bad in (np.array(["a"] * 32), np.full(32, np.nan, np.float32), np.full(32, 1 + 1j)):
        with pytest.raises(CheckpointError, match=r"input_proj\.bias"):
            nj.load_torch_state_dict(tiny | {"input_proj.bias": bad})


def test_loaded_weights_run_as_a_stream(shared: Path) -> None:
    state_dict, rest = read(shared, "tiny")
    model = nj.load_torch_state_dict(state_dict)
    state, step = model.initial_state(4), jax.jit(model.step)
    for t in range(100):
        logits, state = step(rest["x"][:, t], state)
    np.testing.assert_allclose(logits, rest["logits"], rtol=0, atol=2e-5)
