"""Settings: what goes into TOML comes out again, and every mistake is named in one line."""

from __future__ import annotations

import dataclasses
import tomllib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.config import (
    PRESETS,
    Config,
    DataConfig,
    ModelConfig,
    TrainConfig,
    config_from_dict,
    load_config,
)
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.features.feature_set import FEATURE_SETS

TABLES = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}

horizons = st.lists(st.integers(1, 500), min_size=1, max_size=4, unique=True).map(lambda ticks: tuple(sorted(ticks)))
share = st.floats(0.01, 0.45)


@st.composite
def configs(draw: st.DrawFn) -> Config:
    ticks = draw(horizons)
    features = draw(st.sampled_from(["lob44", "flow", 7]))
    rule = draw(st.sampled_from(["move", "smoothed", "deeplob", "tlob"]))
    return Config(
        ModelConfig(
            hidden_dim=draw(st.integers(1, 512)),
            horizons=ticks,
            dropout=draw(st.floats(0, 0.99)),
            dt_rank=draw(st.none() | st.integers(1, 64)),
            feature_set=features,
        ),
        DataConfig(
            horizons=ticks,
            feature_set=draw(st.sampled_from(["lob44", "flow"])) if features == 7 else features,
            label_price=draw(st.sampled_from(["mid", "microprice"])),
            label_rule=rule,
            smoothing_ticks=draw(st.integers(1, 1_000)) if rule == "tlob" else None,
            threshold_ticks=draw(st.floats(1e-9, 1e9)),
            threshold_quantile=draw(st.none() | st.floats(0.01, 0.99)),
            split=draw(st.sampled_from(["fraction", "day"])),
            timezone=draw(st.sampled_from(["UTC", "America/Chicago"])),
            session_start=draw(st.sampled_from(["00:00", "17:00"])),
            train_fraction=draw(share),
            validation_fraction=draw(share),
            purge_ticks=draw(st.none() | st.integers(max(ticks), 10_000)),
            quantity_scale=draw(st.none() | st.floats(1e-9, 1e9)),
        ),
        TrainConfig(
            objective=draw(st.sampled_from(["stream", "window"])),
            lr=draw(st.floats(1e-12, 1e3)),
            mirror=draw(st.booleans()),
            teacher=draw(st.none() | st.text(st.characters(exclude_categories=["Cc", "Cs"]), min_size=1)),
            seed=draw(st.integers(0, 2**32 - 1)),
        ),
    )


@given(config=configs())
def test_toml_round_trip(config: Config) -> None:
    assert config_from_dict(tomllib.loads(config.to_toml()), "text") == config


def test_toml_file(tmp_path: Path) -> None:
    file = tmp_path / "c.toml"
    file.write_text(Config().to_toml())
    assert load_config(file) == Config()
    file.write_text('[model]\npreset = "nano"\ndropout = 0.25\n[train]\nlr = 1\n')
    loaded = load_config(file)
    assert loaded.model == dataclasses.replace(ModelConfig.preset("nano"), dropout=0.25, feature_set="flow")
    assert loaded.train == TrainConfig(lr=1.0, epochs=20) and loaded.data == DataConfig()
    file.write_text("")
    assert load_config(file) == Config()


@pytest.mark.parametrize("preset", PRESETS)
def test_the_defaults_of_a_preset_are_its_recipe(preset: str) -> None:
    """As the shipped checkpoint was trained, but for the loss; the number of streams is what a CPU takes anyway."""
    shipped = load_config(Path(__file__).parents[2] / "checkpoints" / f"{preset}.toml")
    recipe = Config.recipe(preset)
    assert (shipped.model, shipped.data) == (recipe.model, recipe.data)
    assert shipped.train == dataclasses.replace(recipe.train, batch_size=16)
    assert recipe.train.loss == "cost-aware"
    assert config_from_dict({"model": {"preset": preset}}, "text") == recipe


def test_presets() -> None:
    assert ModelConfig.preset("base") == ModelConfig()
    base = dataclasses.asdict(ModelConfig())
    assert base == {
        "feature_set": "lob44", "hidden_dim": 128, "d_state": 16, "d_conv": 4, "expand": 2, "num_layers": 4,
        "horizons": (10, 50, 100), "num_classes": 3, "dropout": 0.1, "dt_rank": None, "window": 100,
        "linear_term": False,
    }  # fmt: skip
    assert (ModelConfig().rank, ModelConfig(hidden_dim=130).rank, ModelConfig(dt_rank=3).rank) == (8, 9, 3)
    for name, preset in PRESETS.items():
        assert preset.preset_name == name
        assert dataclasses.replace(preset, dropout=0.0).preset_name == name
        assert dataclasses.replace(preset, feature_set="flow").preset_name == name
        assert dataclasses.replace(preset, expand=3).preset_name == "custom"
        assert dataclasses.replace(preset, feature_set=44).preset_name == "custom"
    for name in ("huge", "", None, ["base"]):
        with pytest.raises(ConfigError, match=r"unknown preset .*: expected one of base, small, nano"):
            ModelConfig.preset(name)


BAD: list[tuple[str, str, Any]] = [
    *[("model", name, value) for name in ("hidden_dim", "d_state", "expand", "num_layers", "window") for value in
      (0, -1, 1.5, "8", True, None)],
    ("model", "d_conv", 1), ("model", "num_classes", 2), 
    *[("model", "feature_set", value) for value in ("x", 0, -3, 4.0, True, None)],
    ("model", "dropout", 1.0), ("model", "dropout", -0.1), ("model", "dropout", float("nan")), ("model", "dropout", ""),
    ("model", "dt_rank", 0), ("model", "dt_rank", 1.0),
    *[(table, "horizons", value) for table in ("model", "data") for value in
      ((), (50, 10), (10, 10), (0, 5), (1.5, 3), "123", 10, None, (True, 2))],
    ("data", "label_price", "last"), ("data", "threshold_ticks", 0), ("data", "threshold_ticks", float("inf")),
    ("data", "threshold_spreads", -1), ("data", "train_fraction", 1.0), ("data", "train_fraction", 0),
    ("data", "validation_fraction", 0.3), ("data", "purge_ticks", 99), ("data", "purge_ticks", 1000.0),
    ("data", "quantity_scale", 0), ("data", "quantity_scale", "1"),
    *[("data", "label_rule", value) for value in ("fi2010", None, ["move"])],
    *[("data", "smoothing_ticks", value) for value in (0, 5, 2.0)],
    *[("data", "threshold_quantile", value) for value in (0, 1.0, -0.1, "1/3", float("nan"))],
    *[("data", "split", value) for value in ("week", None)],
    *[("data", "timezone", value) for value in ("America/Atlantis", "America", "../UTC", "/etc/passwd", "", 3, None)],
    *[("data", "session_start", value) for value in ("24:00", "9:30", "09:30:00", "0930", "", 930, None)],
    *[("train", "sampling", value) for value in ("stream", None)],
    ("train", "objective", "both"), ("train", "loss", "mse"), ("train", "loss", "expected-pnl"),
    ("train", "magnitude_weight", "square"), ("train", "device", "tpu"),
    ("train", "matmul_dtype", "float16"),
    *[("train", name, value) for name in ("epochs", "accumulate", "chunk_length", "checkpoint_every") for value in
      (0, 2.0, "3", None)],
    *[("train", name, value) for name in ("batch_size", "devices") for value in (0, 2.0, "3")],
    *[("train", name, value) for name in ("lr", "clip_norm", "teacher_temperature") for value in
      (0, -1, float("nan"), float("inf"), "1")],
    *[("train", name, -1) for name in
      ("weight_decay", "fee_ticks", "slippage_ticks", "magnitude_cap", "patience", "burn_in", "logit_adjustment",
       "seed")], ("train", "burn_in", 1.5),
    ("train", "patience", 1.5), ("train", "seed", 2**32), ("train", "seed", 0.5),
    *[("train", name, 1) for name in
      ("warmup_fraction", "final_lr_fraction", "beta2", "ema_decay", "mirror", "calibrate", "tensorboard")],
    ("train", "class_weights", "yes"), *[("train", name, value) for name in ("teacher", "init") for value in ("", 3)],
    *[("train", "teacher_weight", value) for value in (0, 1.1, -0.5, "1", None)],
]  # fmt: skip


@pytest.mark.parametrize(("table", "name", "value"), BAD)
def test_bad_value_is_named(table: str, name: str, value: Any) -> None:
    with pytest.raises(ConfigError) as caught:
        TABLES[table](**{name: value})
    line = str(caught.value)
    assert line.startswith(f"{table}.{name}={value!r}: expected ") and "\n" not in line


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"logit_adjustment": 0.5, "class_weights": True}, "logit_adjustment=0.5: expected 0 with class_weights"),
        ({"burn_in": 9, "objective": "window"}, 'burn_in=9: expected 0 with objective "window"'),
    ],
)
def test_settings_that_contradict_each_other(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=f"^train.{message}") as caught:
        TrainConfig(**settings)
    assert "\n" not in str(caught.value)


def test_the_window_of_tlob_is_named() -> None:
    for value in (None, 0):
        with pytest.raises(ConfigError, match=rf'^data.smoothing_ticks={value}: expected at least 1 for .* "tlob"$'):
            DataConfig(label_rule="tlob", smoothing_ticks=value)
    with pytest.raises(ConfigError, match=r'^data.smoothing_ticks=5: expected None for label_rule "deeplob"$'):
        DataConfig(label_rule="deeplob", smoothing_ticks=5)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[models]\n", r"c.toml: unknown table 'models': expected model, data, train"),
        ("[model]\nwidth = 3\n", r"c.toml: unknown key 'width' in \[model\]: expected one of d_conv, d_state, "),
        ("[train]\npreset = 'nano'\n", r"c.toml: unknown key 'preset' in \[train\]"),
        ("model = 3\n", r"c.toml: model=3: expected a table"),
        ("[model]\npreset = 'large'\n", r"unknown preset 'large': expected one of base, small, nano"),
        ("[model]\npreset = ['nano']\n", r"unknown preset \['nano'\]"),
        ("[model]\nhorizons = [5, 9]\n", r"model.horizons=\(5, 9\): expected the label horizons data.horizons=\(10, "),
        (
            "[model]\nfeature_set = 'lob44'\n[data]\nfeature_set = 'flow'\n",
            r"c.toml: model.feature_set='lob44': expected that of data.feature_set=\"flow\", or a number$",
        ),
        ("[model\n", r"c.toml: not valid TOML"),
        ("[train]\nlr = '1e-3'\n", r"train.lr='1e-3': expected a finite number"),
    ],
)
def test_bad_file_is_named(tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "c.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=message) as caught:
        load_config(file)
    assert "\n" not in str(caught.value)


def test_what_a_model_reads_is_said_once(tmp_path: Path) -> None:
    for feature_set, transform, features in (("lob44", "lob44", 44), ("flow", "flow", 101), (7, "identity", 7)):
        model = ModelConfig(feature_set=feature_set)
        assert (model.input_transform, model.input_dim) == (transform, features)
        assert features == 7 or len(FEATURE_SETS[transform].names) == features
        # as files were written before there was model.feature_set
        older = {"input_transform": transform, "input_dim": features}
        assert config_from_dict({"model": older}, "older").model == dataclasses.replace(model, dropout=0.3)
        for named in ("lob44", "flow"):  # a number may be of any data
            if transform in ("identity", named):
                assert Config(model, DataConfig(feature_set=named)).model == model
    assert config_from_dict({"data": {"feature_set": "lob44"}}, "text").model == ModelConfig(dropout=0.3)
    for named in ({"input_transform": "flow"}, {"feature_set": "flow"}):
        config = config_from_dict({"model": named}, "text")
        assert (config.model.feature_set, config.data.feature_set) == ("flow", "flow")
    with pytest.raises(ConfigError, match=r'^model\.input_dim=43: expected 44 for input_transform "lob44"$'):
        config_from_dict({"model": {"input_dim": 43}}, "older")
    with pytest.raises(ConfigError, match=r"^model\.feature_set='x': expected "):
        config_from_dict({"model": {"input_transform": "x"}}, "older")


def test_unreadable_file(tmp_path: Path) -> None:
    for place in (tmp_path / "none.toml", tmp_path):
        with pytest.raises(ConfigError, match="cannot be read"):
            load_config(place)
    (tmp_path / "latin.toml").write_bytes("[model] # für\n".encode("latin-1"))
    with pytest.raises(ConfigError, match="not valid TOML"):
        load_config(tmp_path / "latin.toml")
