"""Settings: frozen dataclasses, presets, TOML in and out. No arrays here, and nothing imports jax.

>>> ModelConfig.preset("small").d_inner
128
"""

from __future__ import annotations

import dataclasses
import json
import math
import re
import tomllib
from dataclasses import dataclass
from datetime import UTC, time, tzinfo
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from nanoarb_jax.errors import ConfigError


def _require(condition: bool, name: str, value: object, expected: str) -> None:
    if not condition:
        raise ConfigError(f"{name}={value!r}: expected {expected}")


_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "int": ((int,), "an integer"),
    "float": ((int, float), "a finite number"),
    "bool": ((bool,), "true or false"),
}


def _check_kinds(table: str, settings: ModelConfig | DataConfig | TrainConfig) -> None:
    """Refuse numbers and switches that are of another kind: a file may hold anything."""
    for field in dataclasses.fields(settings):
        kind, _, optional = str(field.type).partition(" | ")
        value = getattr(settings, field.name)
        if kind in _KINDS and not (optional and value is None):
            types, expected = _KINDS[kind]
            right = isinstance(value, types) and isinstance(value, bool) == (kind == "bool")
            infinite = isinstance(value, float) and not math.isfinite(value)
            _require(right and not infinite, f"{table}.{field.name}", value, expected)


def _check_horizons(table: str, settings: ModelConfig | DataConfig) -> None:
    """Keep the horizons as a tuple of ascending ticks."""
    met = settings.horizons
    ticks = tuple(met) if isinstance(met, (list, tuple)) else ()
    right = bool(ticks) and all(type(t) is int and t >= 1 for t in ticks) and list(ticks) == sorted(set(ticks))
    _require(right, f"{table}.horizons", met, "ascending positive ticks, e.g. (10, 50, 100)")
    object.__setattr__(settings, "horizons", ticks)


def time_zone(name: str) -> tzinfo:
    """The zone of an IANA name; "UTC" needs no zone files.

    Raises:
        ConfigError: no such zone is known on this machine.
    """
    if name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, TypeError, OSError):  # what a name that is a path or folder gives, too
        expected = 'an IANA time zone such as "America/Chicago" (the package tzdata brings them)'
        raise ConfigError(f"data.timezone={name!r}: expected {expected}") from None


def session_time(text: str) -> time:
    """A local time of day.

    Raises:
        ConfigError: not "HH:MM".
    """
    right = isinstance(text, str) and re.fullmatch(r"([01][0-9]|2[0-3]):[0-5][0-9]", text) is not None
    _require(right, "data.session_start", text, 'a local time "HH:MM" from "00:00" to "23:59"')
    return time.fromisoformat(text)


@dataclass(frozen=True)
class ModelConfig:
    """Shape of a `MambaLOB`. The defaults are the `base` preset.

    Args:
        input_dim: raw features per tick.
        hidden_dim: width of the residual stream.
        d_state: SSM states per channel.
        d_conv: width of the causal depthwise convolution, in ticks.
        expand: d_inner / hidden_dim.
        num_layers: Mamba blocks.
        horizons: prediction horizons in ticks, ascending.
        num_classes: 3 – down, neutral, up.
        dropout: rate on block outputs and inside the heads, in training only.
        dt_rank: rank of the Δ projection; None means ceil(hidden_dim / 16), as in the Mamba paper.
        input_transform: "lob44" or "flow" turns the 44 or 86 raw features of that feature set into stationary,
            scale-free inputs inside the model; "identity" feeds them as they are (weights loaded from the PyTorch
            original).
        window: ticks in a window of the window model; also the warm-up of a fresh state.
    """

    input_dim: int = 44
    hidden_dim: int = 128
    d_state: int = 16
    d_conv: int = 4
    expand: int = 2
    num_layers: int = 4
    horizons: tuple[int, ...] = (10, 50, 100)
    num_classes: int = 3
    dropout: float = 0.1
    dt_rank: int | None = None
    input_transform: Literal["lob44", "flow", "identity"] = "lob44"
    window: int = 100

    def __post_init__(self) -> None:
        _check_kinds("model", self)
        _check_horizons("model", self)
        sizes = (
            "input_dim",
            "hidden_dim",
            "d_state",
            "d_conv",
            "expand",
            "num_layers",
            "num_classes",
            "window",
        )
        for name in sizes:
            value = getattr(self, name)
            _require(value >= 1, f"model.{name}", value, "an integer of at least 1")
        _require(self.d_conv >= 2, "model.d_conv", self.d_conv, "at least 2 ticks")
        _require(self.num_classes == 3, "model.num_classes", self.num_classes, "3 (down, neutral, up)")
        _require(0.0 <= self.dropout < 1.0, "model.dropout", self.dropout, "a rate in [0, 1)")
        _require(self.dt_rank is None or self.dt_rank >= 1, "model.dt_rank", self.dt_rank, "None or at least 1")
        _require(
            self.input_transform in ("lob44", "flow", "identity"),
            "model.input_transform",
            self.input_transform,
            '"lob44", "flow" or "identity"',
        )
        expected = {"lob44": 44, "flow": 86}.get(self.input_transform, self.input_dim)
        _require(
            self.input_dim == expected,
            "model.input_dim", self.input_dim, f'{expected} for input_transform "{self.input_transform}"',
        )  # fmt: skip

    @property
    def d_inner(self) -> int:
        return self.expand * self.hidden_dim

    @property
    def rank(self) -> int:
        """dt_rank with its default resolved."""
        return self.dt_rank if self.dt_rank is not None else math.ceil(self.hidden_dim / 16)

    @staticmethod
    def preset(name: str) -> ModelConfig:
        """The named size: `base` (about 500k parameters), `small` (76k) or `nano` (4k).

        Raises:
            ConfigError: the name is none of the presets.
        """
        if not isinstance(name, str) or name not in PRESETS:
            raise ConfigError(f"unknown preset {name!r}: expected one of {', '.join(PRESETS)}")
        return PRESETS[name]

    @property
    def preset_name(self) -> str:
        """The preset that has this shape, whatever its dropout and the features it reads, or "custom"."""
        for name, preset in PRESETS.items():
            alike = dataclasses.replace(self, dropout=preset.dropout, input_transform="lob44", input_dim=44)
            if self.input_transform != "identity" and alike == preset:
                return name
        return "custom"


PRESETS: dict[str, ModelConfig] = {
    "base": ModelConfig(),
    "small": ModelConfig(hidden_dim=64, num_layers=2),
    "nano": ModelConfig(hidden_dim=16, d_state=8, num_layers=1),
}


@dataclass(frozen=True)
class DataConfig:
    """How books become labelled, split streams.

    Args:
        horizons: label horizons in ticks; must equal the model's.
        feature_set: "lob44", or "flow", which adds order flow, trades and time to it (`nanoarb_jax.features.flow`).
        clock: what makes a tick – "book", a change in the best `clock_levels`; "bbo", a change of the best level;
            "trade", every message with a trade; "time", every `clock_interval_ms`. Of book-npz files, rows are ticks.
        clock_levels: of the book clock, 1 to 10.
        clock_interval_ms: of the time clock.
        timestamps: whose time dates the ticks: "local", when a message was received, or "exchange".
        label_price: the price whose move is labelled.
        label_rule: "move" – from the anchor tick to the horizon; "smoothed" (FI-2010), "deeplob" and "tlob" compare
            means, see `nanoarb_jax.data.labels`.
        smoothing_ticks: the window of "tlob", which needs one; None for the other rules, whose window is the horizon.
        threshold_ticks: a move of at least this many price ticks is up or down ...
        threshold_spreads: ... and of at least this many training-median spreads (0: ticks alone decide) ...
        threshold_quantile: ... and of at least this quantile of the training moves' sizes, at each horizon (about this
            share of rows is neutral, where the floors above are lower); None: they alone decide.
        split: "fraction" – of rows; "day" – whole sessions, of which the fractions then are shares.
        timezone, session_start: of the session's start, an IANA name and a local "HH:MM"; heeded by split "day".
        train_fraction, validation_fraction: chronological shares of each stream; the rest is the test part.
        purge_ticks: rows dropped before each boundary; None means the longest horizon, the least allowed.
        quantity_scale: quantity that counts as 1 in the features; None means the training-median level-1 quantity.
        spread_scale: ticks that moves are measured by in the `flow` features; None means half the training-median
            spread, at least 1.
    """

    horizons: tuple[int, ...] = (10, 50, 100)
    feature_set: Literal["lob44", "flow"] = "lob44"
    clock: Literal["book", "bbo", "trade", "time"] = "book"
    clock_levels: int = 10
    clock_interval_ms: float = 100.0
    timestamps: Literal["local", "exchange"] = "local"
    label_price: Literal["mid", "microprice"] = "mid"
    threshold_ticks: float = 1.0
    threshold_spreads: float = 0.5
    threshold_quantile: float | None = None
    label_rule: Literal["move", "smoothed", "deeplob", "tlob"] = "move"
    smoothing_ticks: int | None = None
    split: Literal["fraction", "day"] = "fraction"
    timezone: str = "UTC"
    session_start: str = "00:00"
    train_fraction: float = 0.70
    validation_fraction: float = 0.15
    purge_ticks: int | None = None
    quantity_scale: float | None = None
    spread_scale: float | None = None

    def __post_init__(self) -> None:
        _check_kinds("data", self)
        _check_horizons("data", self)
        _require(
            self.label_price in ("mid", "microprice"),
            "data.label_price",
            self.label_price,
            '"mid" or "microprice"',
        )
        _require(self.threshold_ticks > 0, "data.threshold_ticks", self.threshold_ticks, "more than 0")
        _require(self.threshold_spreads >= 0, "data.threshold_spreads", self.threshold_spreads, "0 or more")
        self._check_ticks()
        self._check_labels()
        _require(self.split in ("fraction", "day"), "data.split", self.split, '"fraction" or "day"')
        time_zone(self.timezone)
        session_time(self.session_start)
        _require(0 < self.train_fraction < 1, "data.train_fraction", self.train_fraction, "a share in (0, 1)")
        _require(
            self.validation_fraction > 0 and self.train_fraction + self.validation_fraction < 1,
            "data.validation_fraction", self.validation_fraction, "a share that leaves rows for the test part",
        )  # fmt: skip
        _require(
            self.purge_ticks is None or self.purge_ticks >= max(self.horizons),
            "data.purge_ticks", self.purge_ticks, f"None or at least the longest horizon, {max(self.horizons)}",
        )  # fmt: skip
        for name in ("quantity_scale", "spread_scale"):
            scale = getattr(self, name)
            _require(scale is None or scale > 0, f"data.{name}", scale, "None or more than 0")

    def _check_ticks(self) -> None:
        _require(self.feature_set in ("lob44", "flow"), "data.feature_set", self.feature_set, '"lob44" or "flow"')
        clocks = ("book", "bbo", "trade", "time")
        _require(self.clock in clocks, "data.clock", self.clock, f"one of {', '.join(clocks)}")
        _require(1 <= self.clock_levels <= 10, "data.clock_levels", self.clock_levels, "1 to 10 levels")
        _require(
            self.clock_interval_ms >= 1e-6, "data.clock_interval_ms", self.clock_interval_ms, "at least 1e-6 (1 ns)"
        )
        _require(self.timestamps in ("local", "exchange"), "data.timestamps", self.timestamps, '"local" or "exchange"')

    def _check_labels(self) -> None:
        rules = ("move", "smoothed", "deeplob", "tlob")
        _require(self.label_rule in rules, "data.label_rule", self.label_rule, f"one of {', '.join(rules)}")
        windowed = self.label_rule == "tlob"
        _require(
            (self.smoothing_ticks is not None and self.smoothing_ticks >= 1)
            if windowed
            else self.smoothing_ticks is None,
            "data.smoothing_ticks",
            self.smoothing_ticks,
            'at least 1 for label_rule "tlob"' if windowed else f'None for label_rule "{self.label_rule}"',
        )
        quantile = self.threshold_quantile
        _require(quantile is None or 0 < quantile < 1, "data.threshold_quantile", quantile, "None or a share in (0, 1)")

    @property
    def purge(self) -> int:
        """purge_ticks with its default resolved."""
        return self.purge_ticks if self.purge_ticks is not None else max(self.horizons)


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The shipped checkpoints changed some defaults, see checkpoints/README.md.

    Args:
        objective: "stream" – parallel streams in chunks, loss at every tick, state carried, gradients cut between
            chunks; "window" – independent windows, loss at the last tick.
        loss: "cost-aware" (`transaction_cost_aware_loss`), "cross-entropy" or "expected-pnl" (`expected_pnl_loss`).
        epochs: passes over the training rows.
        sampling: "rows" – every row once an epoch; "instrument" – every instrument has the same share of an epoch as
            long, a long stream by another part of it each time, a short one by repetition.
        batch_size: parallel streams ("stream") or windows ("window") per update; None fits device and data, see
            `nanoarb_jax.training.device.default_batch`. Rounded down to a multiple of devices × `accumulate`.
        accumulate: groups that the lanes of an update are worked through in, one after another: the more, the less
            memory for the same update.
        chunk_length: ticks per update of each parallel stream.
        lr, warmup_fraction, final_lr_fraction: peak of the schedule, share of all updates that warm up linearly, and
            the share of the peak that the cosine ends at.
        weight_decay: AdamW's, on matrices only (never A_log, D, biases, norms).
        clip_norm: global gradient norm.
        ema_decay: of the weights that are validated, kept and served; ramped up over the first updates.
        keep: the epoch whose weights are the run's result – "loss", of the least validation log loss, mean over series
            and horizons; "mcc", of the best such validation MCC, which on short series is mostly luck; or "last".
        patience: epochs without a better one, by `keep`, before training stops; 0 never stops early.
        mirror: show half of the streams with bid and ask swapped and labels flipped.
        input_jitter: standard deviation, in those of the training rows, of an offset that each lane's inputs get, drawn
            anew for every update: as from an instrument with somewhat other spreads, queues and speed.
        burn_in: ticks that do not count in the loss after a lane of "stream" started fresh: its state knows too little.
        class_weights: weight classes by inverse training frequency (off: decisions are prior-corrected instead).
        logit_adjustment: τ of the logit-adjusted loss (Menon et al. 2021): τ·log of the training class frequencies is
            added to the logits that the labels are compared with, so that those served are of more equal classes. They
            are then no estimates of the classes' probabilities, and a teacher should be trained alike.
        spread_penalty, slippage_estimate: of the cost-aware loss.
        fee_ticks, slippage_ticks: of the expected-pnl loss, per unit bought and sold again, beside each tick's spread.
        magnitude_cap: in label thresholds, so that instruments weigh alike: the largest magnitude of the cost-aware
            loss; of the expected-pnl loss the most that a trade can earn (moves are cut at the costs plus this). One
            jump then does not drown the rest.
        teacher: checkpoint or run folder of a larger model to learn from beside the labels; None trains on labels
            alone. As given: a run is resumed from the same working folder.
        init: checkpoint or run folder to begin from (fine-tuning), with its input statistics; None draws new weights
            and takes the statistics of the training rows. The model must have its shape, dropout apart.
        teacher_weight: share of the loss that is the distance to the teacher's probabilities, in (0, 1].
        teacher_temperature: divides both models' logits there; the higher, the more the unlikely classes count.
        matmul_dtype: "auto" – bfloat16 on a GPU, float32 on a CPU.
        device: "auto" takes a GPU where there is one.
        devices: how many of that kind share the lanes of an update; None: all.
        checkpoint_every: updates between checkpoints, beside the one at each epoch's end.
        seed: of initial weights, data order and dropout.
        tensorboard: also write TensorBoard event files.
    """

    objective: Literal["stream", "window"] = "stream"
    loss: Literal["cost-aware", "cross-entropy", "expected-pnl"] = "cost-aware"
    epochs: int = 24
    sampling: Literal["rows", "instrument"] = "rows"
    batch_size: int | None = None
    accumulate: int = 1
    chunk_length: int = 256
    lr: float = 2e-3
    warmup_fraction: float = 0.05
    final_lr_fraction: float = 0.05
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    keep: Literal["loss", "mcc", "last"] = "loss"
    patience: int = 10
    mirror: bool = True
    input_jitter: float = 0.0
    burn_in: int = 0
    class_weights: bool = False
    logit_adjustment: float = 0.0
    spread_penalty: float = 0.001
    slippage_estimate: float = 0.0005
    fee_ticks: float = 0.0
    slippage_ticks: float = 0.0
    magnitude_cap: float = 1.0
    init: str | None = None
    teacher: str | None = None
    teacher_weight: float = 0.5
    teacher_temperature: float = 2.0
    matmul_dtype: Literal["auto", "float32", "bfloat16"] = "auto"
    device: Literal["auto", "cpu", "gpu"] = "auto"
    devices: int | None = None
    checkpoint_every: int = 500
    seed: int = 0
    tensorboard: bool = True

    def __post_init__(self) -> None:
        _check_kinds("train", self)
        _require(self.objective in ("stream", "window"), "train.objective", self.objective, '"stream" or "window"')
        _require(
            self.loss in ("cost-aware", "cross-entropy", "expected-pnl"),
            "train.loss",
            self.loss,
            '"cost-aware", "cross-entropy" or "expected-pnl"',
        )
        _require(self.sampling in ("rows", "instrument"), "train.sampling", self.sampling, '"rows" or "instrument"')
        _require(self.keep in ("loss", "mcc", "last"), "train.keep", self.keep, '"loss", "mcc" or "last"')
        for name in ("epochs", "accumulate", "chunk_length", "checkpoint_every"):
            _require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "an integer of at least 1")
        for name in ("batch_size", "devices"):
            count = getattr(self, name)
            _require(count is None or count >= 1, f"train.{name}", count, "None or an integer of at least 1")
        for name in ("lr", "clip_norm", "teacher_temperature"):
            _require(getattr(self, name) > 0, f"train.{name}", getattr(self, name), "more than 0")
        costs = ("spread_penalty", "slippage_estimate", "fee_ticks", "slippage_ticks", "magnitude_cap")
        for name in ("weight_decay", *costs, "patience", "input_jitter", "burn_in", "logit_adjustment"):
            _require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        self._check_fit()
        for name in ("warmup_fraction", "final_lr_fraction", "ema_decay"):
            _require(0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "a share in [0, 1)")
        for name in ("init", "teacher"):
            value = getattr(self, name)
            named = value is None or (isinstance(value, str) and value != "")
            _require(named, f"train.{name}", value, "None or the folder of a checkpoint")
        _require(0 < self.teacher_weight <= 1, "train.teacher_weight", self.teacher_weight, "a share in (0, 1]")
        _require(
            self.matmul_dtype in ("auto", "float32", "bfloat16"),
            "train.matmul_dtype", self.matmul_dtype, '"auto", "float32" or "bfloat16"',
        )  # fmt: skip
        _require(self.device in ("auto", "cpu", "gpu"), "train.device", self.device, '"auto", "cpu" or "gpu"')
        _require(0 <= self.seed < 2**32, "train.seed", self.seed, "an integer from 0 to 2**32 - 1")

    def _check_fit(self) -> None:
        """Refuse settings that contradict each other."""
        trades = self.loss == "expected-pnl"
        _require(
            not (trades and self.class_weights),
            "train.class_weights", self.class_weights, 'false with loss "expected-pnl", which weighs trades',
        )  # fmt: skip
        _require(
            self.logit_adjustment == 0 or not (trades or self.class_weights),
            "train.logit_adjustment", self.logit_adjustment,
            '0 with class_weights, which correct the same, or with loss "expected-pnl", which needs none',
        )  # fmt: skip
        _require(
            self.burn_in == 0 or self.objective == "stream",
            "train.burn_in", self.burn_in, '0 with objective "window", where only the last tick counts',
        )  # fmt: skip


@dataclass(frozen=True)
class Config:
    """The three tables of a configuration file."""

    model: ModelConfig = ModelConfig()
    data: DataConfig = DataConfig()
    train: TrainConfig = TrainConfig()

    def __post_init__(self) -> None:
        _require(
            self.model.horizons == self.data.horizons,
            "model.horizons", self.model.horizons, f"the label horizons data.horizons={self.data.horizons}",
        )  # fmt: skip

    def to_dict(self) -> dict[str, dict[str, Any]]:
        """Plain values, for JSON."""
        return dataclasses.asdict(self)

    def to_toml(self) -> str:
        """A TOML text that `load_config` reads back to the same settings (None, the default, is left out)."""
        tables = []
        for table, values in self.to_dict().items():
            given = {key: value for key, value in values.items() if value is not None}
            # a JSON scalar or list is also a TOML one
            lines = [f"{key} = {json.dumps(value, ensure_ascii=False)}" for key, value in given.items()]
            tables.append("\n".join([f"[{table}]", *lines]))
        return "\n\n".join(tables) + "\n"


def config_from_dict(tables: dict[str, Any], source: str) -> Config:
    """Build a `Config` from plain tables, `preset` allowed in `model`.

    Raises:
        ConfigError: unknown table or key, or a value out of range.
    """
    kinds: dict[str, type] = {"model": ModelConfig, "data": DataConfig, "train": TrainConfig}
    unknown = sorted(set(tables) - set(kinds))
    if unknown:
        raise ConfigError(f"{source}: unknown table {unknown[0]!r}: expected {', '.join(kinds)}")
    built: dict[str, Any] = {}
    for table, kind in kinds.items():
        met = tables.get(table, {})
        if not isinstance(met, dict):
            raise ConfigError(f"{source}: {table}={met!r}: expected a table, [{table}] and keys below it")
        values = dict(met)
        start = ModelConfig.preset(values.pop("preset")) if table == "model" and "preset" in values else kind()
        names = {field.name for field in dataclasses.fields(kind)}
        strange = sorted(set(values) - names)
        if strange:
            raise ConfigError(
                f"{source}: unknown key {strange[0]!r} in [{table}]: expected one of {', '.join(sorted(names))}"
            )
        built[table] = dataclasses.replace(start, **values)
    return Config(**built)


def load_config(path: str | Path) -> Config:
    """Read a TOML file with tables [model], [data], [train]; what it leaves out keeps its default.

    Raises:
        ConfigError: the file is missing, not TOML, or holds an unknown key or bad value.
    """
    try:
        with open(path, "rb") as file:
            tables = tomllib.load(file)
    except OSError as error:
        raise ConfigError(f"config {path}: cannot be read ({error.strerror}); give a TOML file") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"config {path}: not valid TOML ({error})") from error
    return config_from_dict(tables, str(path))
