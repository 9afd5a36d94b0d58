"""A model at rest: bit for bit the same when read again, refused in one line when anything about it changed."""

from __future__ import annotations

import ast
import dataclasses
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from nanoarb_jax.artifacts.card import FORMAT
from nanoarb_jax.artifacts.checkpoint import (
    MANIFEST,
    find_checkpoint,
    load_checkpoint,
    model_version,
    named_arrays,
    save_checkpoint,
)
from nanoarb_jax.config import ModelConfig
from nanoarb_jax.errors import CheckpointError, OutputError
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.lob44 import FEATURE_NAMES
from nanoarb_jax.files import json_checksum
from nanoarb_jax.model.mamba import MambaLOB
from support.random_model import random_model

CONFIG = ModelConfig(hidden_dim=8, d_state=4, num_layers=2, horizons=(3, 9), window=20)
ADAPTED = dataclasses.replace(CONFIG, linear_term=True)
ABOUT = {
    "metrics": {"validation_mcc": {"mean": 0.1, "h3": float(np.float32(0.1))}, "loss": 1.25},
    "data": {"streams": [{"name": "es", "tick_size": 0.25}]},
    "training": {"lr": 1e-3, "epoch_kept": 3},
}
ROOT = Path(__file__).parents[2]


def some_model(config: ModelConfig = CONFIG) -> MambaLOB:
    """Random, with some values that only bits tell apart."""
    model = random_model(config)
    first = model.blocks[0].D
    first.set_value(first[...].at[:3].set(jnp.array([-0.0, 1e-40, np.finfo(np.float32).max])))
    return model


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_checkpoint(tmp_path_factory.mktemp("kept") / "one", some_model(), **ABOUT)


@pytest.fixture
def copy(kept: Path, tmp_path: Path) -> Path:
    """One to spoil."""
    return shutil.copytree(kept, tmp_path / "copy")


def refused(path: Path, *words: str) -> None:
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(path)
    line = str(caught.value)
    assert "\n" not in line and line.startswith(f"checkpoint {path}")
    for word in words:
        assert word in line


@pytest.mark.parametrize("config", [CONFIG, ADAPTED], ids=["plain", "adapted"])
def test_round_trip_is_bit_exact(config: ModelConfig, tmp_path: Path) -> None:
    kept = save_checkpoint(tmp_path / "one", some_model(config), **ABOUT)
    saved, loaded = named_arrays(some_model(config)), load_checkpoint(kept)
    arrays = named_arrays(loaded.model)
    assert arrays.keys() == saved.keys()
    assert {"transform.mean", "transform.std", "blocks.1.A_log", "heads.kernel_out"} <= arrays.keys()
    for name, array in arrays.items():
        assert array.dtype == np.float32 and array.tobytes() == saved[name].tobytes(), name
    assert ("linear_term.last_kernel" in arrays) == ("linear_term.input_kernel" in arrays) == config.linear_term
    assert loaded.config == config and loaded.path == kept
    assert {name: getattr(loaded, name) for name in ABOUT} == ABOUT
    assert loaded.version == model_version(saved) and len(loaded.version) == 12


def test_a_config_that_does_not_say_has_no_linear_term(copy: Path) -> None:
    """As earlier versions wrote it."""
    rewrite(copy, lambda m: m["config"].pop("linear_term"), stamp=True)
    assert load_checkpoint(copy).config == CONFIG
    rewrite(copy, lambda m: m["config"].update(linear_term=True), stamp=True)
    refused(copy, "array 'linear_term.input_kernel' does not fit its config")


def test_operands_of_another_type(kept: Path) -> None:
    loaded = load_checkpoint(kept, dtype=jnp.bfloat16)
    assert loaded.model.blocks[0].in_proj.dtype == jnp.bfloat16
    assert {array.dtype for array in named_arrays(loaded.model).values()} == {np.dtype(np.float32)}


def test_identity_model_has_no_normaliser_and_may_read_other_features(tmp_path: Path) -> None:
    config = ModelConfig(feature_set=5, hidden_dim=4, d_state=2, num_layers=1)
    path = save_checkpoint(tmp_path / "deep" / "one", some_model(config))
    manifest = json.loads((path / MANIFEST).read_text())
    assert manifest["features"] is None and manifest["normaliser"] is None
    assert load_checkpoint(path).config == config
    assert sorted(place.name for place in path.parent.iterdir()) == ["one"]


def test_what_stands_beside_the_arrays(kept: Path) -> None:
    manifest = json.loads((kept / MANIFEST).read_text())
    assert (manifest["format"], manifest["kind"], manifest["preset"]) == (FORMAT, "checkpoint", "custom")
    assert manifest["features"] == {
        "schema": "lob44",
        "names": list(FEATURE_NAMES),
        "hash": FEATURE_SETS["lob44"].hash,
    }
    model = some_model()
    assert manifest["normaliser"]["mean"] == np.asarray(model.transform.mean[...]).tolist()
    assert manifest["normaliser"]["std"] == np.asarray(model.transform.std[...]).tolist()
    assert {"nanoarb-jax", "jax", "flax", "numpy"} <= manifest["software"].keys()
    assert manifest["arrays"]["input_proj.kernel"]["shape"] == [55, 8]


def test_other_weights_are_another_version() -> None:
    arrays = named_arrays(some_model())
    assert model_version(dict(reversed(arrays.items()))) == model_version(arrays)
    changed = arrays | {"blocks.0.D": np.nextafter(arrays["blocks.0.D"], np.float32(9), dtype=np.float32)}
    assert model_version(changed) != model_version(arrays)


def test_nothing_is_overwritten(copy: Path) -> None:
    before = {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()}
    (copy.parent / "file").write_text("mine")
    for taken in ("copy", "file"):
        with pytest.raises(OutputError, match="exists and is not an empty folder"):
            save_checkpoint(copy.parent / taken, some_model())
    with pytest.raises(CheckpointError, match="cannot be written"):
        save_checkpoint(copy.parent / "file" / "one", some_model())
    assert {file: file.read_bytes() for file in copy.rglob("*") if file.is_file()} == before
    assert sorted(place.name for place in copy.parent.iterdir()) == ["copy", "file"]


def test_a_save_that_fails_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "rename", full)
    with pytest.raises(CheckpointError, match=r"one: cannot be written \(No space left on device\)"):
        save_checkpoint(tmp_path / "one", some_model())
    assert not list(tmp_path.iterdir())


def test_damaged_array_file_is_named(copy: Path) -> None:
    """Each of them removed, emptied, cut or with one bit flipped anywhere."""
    files = [file for file in (copy / "arrays").rglob("*") if file.is_file()]
    assert len(files) >= 3 and sum(file.stat().st_size for file in files) > 10_000
    rng = np.random.default_rng(0)
    for file in files:
        content = file.read_bytes()
        name = f"{file.relative_to(copy).as_posix()} is missing, truncated or altered"
        flipped = bytearray(content)
        flipped[rng.integers(len(content))] ^= 1
        file.unlink()
        refused(copy, name)
        for damaged in (b"", content[:-1], content + b"\0", bytes(flipped)):
            file.write_bytes(damaged)
            refused(copy, name)
        file.write_bytes(content)
    assert load_checkpoint(copy).config == CONFIG


def test_arrays_of_another_model(copy: Path, tmp_path: Path) -> None:
    """Whole files of other weights of the same shape are refused, and so they are when the manifest lists them."""
    model = some_model()
    model.blocks[1].D.set_value(model.blocks[1].D[...] + 1)
    other = save_checkpoint(tmp_path / "other", model)
    shutil.rmtree(copy / "arrays")
    shutil.copytree(other / "arrays", copy / "arrays")
    refused(copy, "is missing, truncated or altered")
    files = json.loads((other / MANIFEST).read_text())["files"]
    rewrite(copy, lambda m: m.update(files=files), stamp=True)
    refused(copy, "the arrays read are not those saved")


def test_what_orbax_cannot_read(copy: Path) -> None:
    shutil.rmtree(copy / "arrays")
    rewrite(copy, lambda m: m.update(files={}), stamp=True)
    refused(copy, "arrays/ cannot be read")


def test_damaged_manifest(copy: Path) -> None:
    file = copy / MANIFEST
    content = file.read_text()
    for text in (content[:-30], content[: len(content) // 2], "", "null", "[]", "3", '"format"', "{}", "\x00"):
        file.write_text(text)
        refused(copy, MANIFEST)
    file.write_bytes(b"\xff\xfe")
    refused(copy, MANIFEST)
    file.unlink()
    refused(copy, MANIFEST)


def rewrite(folder: Path, change: Callable[[dict[str, Any]], object], stamp: bool) -> None:
    """Alter the manifest; with `stamp` as if it had been saved so."""
    manifest = json.loads((folder / MANIFEST).read_text())
    change(manifest)
    if stamp:
        manifest["checksum"] = json_checksum(manifest, "checksum")
    (folder / MANIFEST).write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    "change",
    [
        lambda m: m["config"].update(horizons=[3, 8]),
        lambda m: m["config"].update(dropout=0.2),
        lambda m: m["config"].update(hidden_dim=16),
        lambda m: m.update(version="0" * 12),
        lambda m: m["normaliser"]["mean"].append(1.0),
        lambda m: m["data"]["streams"][0].update(tick_size=0.5),
        lambda m: m.pop("metrics"),
        lambda m: m.pop("checksum"),
        lambda m: m.update(extra=1),
    ],
)
def test_altered_manifest(copy: Path, change: Callable[[dict[str, Any]], object]) -> None:
    rewrite(copy, change, stamp=False)
    refused(copy, MANIFEST, "fetch or train it anew")


def test_manifest_written_anew_but_otherwise_the_same(copy: Path) -> None:
    rewrite(copy, lambda manifest: None, stamp=False)
    assert load_checkpoint(copy).config == CONFIG


def test_other_format(copy: Path) -> None:
    for later in (2, FORMAT + 1):
        rewrite(copy, lambda m, later=later: m.update(format=later), stamp=False)
        refused(copy, f"format {later} met, {FORMAT} expected", "update nanoarb-jax")


def test_other_features(copy: Path) -> None:
    rewrite(copy, lambda m: m["features"].update(hash="0123456789abcdef", schema="flow"), stamp=True)
    refused(copy, "flow (0123456789abcdef)", FEATURE_SETS["lob44"].hash, "train anew")


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"hidden_dim": 16}, "'blocks.0.A_log' does not fit its config"),
        ({"num_layers": 3}, "'blocks.2."),
        ({"num_layers": 1}, "'blocks.1."),
        ({"hidden_dim": 0}, "model.hidden_dim=0"),
        ({"colour": "red"}, "unknown key 'colour'"),
    ],
)
def test_config_of_another_model(copy: Path, change: dict[str, Any], word: str) -> None:
    rewrite(copy, lambda m: m["config"].update(change), stamp=True)
    refused(copy, word)


def test_find(kept: Path, tmp_path: Path) -> None:
    run = tmp_path / "run"
    for name in ("9", "10", "2", "notes", "12"):
        (run / "best" / name).mkdir(parents=True)
        if name != "12":  # left without a manifest
            shutil.copy(kept / MANIFEST, run / "best" / name)
    for place in (run, run / "best", run / "best" / "10", str(run)):
        assert find_checkpoint(place) == run / "best" / "10"
    shutil.rmtree(run / "best")
    shutil.copytree(kept, run / "best")
    assert find_checkpoint(run) == run / "best"
    assert find_checkpoint(run / "best") == run / "best"


def test_find_nothing(tmp_path: Path) -> None:
    (tmp_path / "empty" / "best").mkdir(parents=True)
    (tmp_path / "file").write_text("")
    for name, word in (("nowhere", "no such folder"), ("file", "a file; give a folder"), ("empty", MANIFEST)):
        with pytest.raises(CheckpointError, match=word) as caught:
            find_checkpoint(tmp_path / name)
        assert str(tmp_path / name) in str(caught.value)
        refused(tmp_path / name, word)


def test_nothing_is_pickled(kept: Path) -> None:
    for file in kept.rglob("*"):
        # protocols 2 to 5 begin with these two bytes, and every pickle ends with a full stop
        content = file.read_bytes() if file.is_file() else b""
        assert not (content[:1] == b"\x80" and content[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05")), file
        assert b"cbuiltins" not in content and b"numpy.core.multiarray" not in content
    picklers = {"pickle", "cPickle", "_pickle", "cloudpickle", "dill", "joblib", "shelve", "marshal"}
    for source in [*(ROOT / "nanoarb_jax").rglob("*.py"), *(ROOT / "cli").rglob("*.py")]:
        for node in ast.walk(ast.parse(source.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            # processes that work for one another speak so; what they write is files of ours
            between_processes = {"joblib", "pickle"} if source.parent.name == "units" else set[str]()
            assert not {name.split(".")[0] for name in names} & (picklers - between_processes), source
            if isinstance(node, ast.keyword) and node.arg == "allow_pickle":
                assert isinstance(node.value, ast.Constant) and node.value.value is False, source
