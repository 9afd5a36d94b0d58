"""How a model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanoarb_jax.config.checks import check_types, require


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
        check_types("train", self)
        for name in ("epochs", "accumulate", "chunk_length", "checkpoint_every"):
            require(getattr(self, name) >= 1, f"train.{name}", getattr(self, name), "an integer of at least 1")
        for name in ("batch_size", "devices"):
            count = getattr(self, name)
            require(count is None or count >= 1, f"train.{name}", count, "None or an integer of at least 1")
        for name in ("lr", "clip_norm", "teacher_temperature"):
            require(getattr(self, name) > 0, f"train.{name}", getattr(self, name), "more than 0")
        costs = ("spread_penalty", "slippage_estimate", "fee_ticks", "slippage_ticks", "magnitude_cap")
        for name in ("weight_decay", *costs, "patience", "input_jitter", "burn_in", "logit_adjustment"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        self._check_fit()
        for name in ("warmup_fraction", "final_lr_fraction", "ema_decay"):
            require(0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "a share in [0, 1)")
        for name in ("init", "teacher"):
            value = getattr(self, name)
            named = value is None or (isinstance(value, str) and value != "")
            require(named, f"train.{name}", value, "None or the folder of a checkpoint")
        require(0 < self.teacher_weight <= 1, "train.teacher_weight", self.teacher_weight, "a share in (0, 1]")
        require(0 <= self.seed < 2**32, "train.seed", self.seed, "an integer from 0 to 2**32 - 1")

    def _check_fit(self) -> None:
        """Refuse settings that contradict each other."""
        trades = self.loss == "expected-pnl"
        require(
            not (trades and self.class_weights),
            "train.class_weights", self.class_weights, 'false with loss "expected-pnl", which weighs trades',
        )  # fmt: skip
        require(
            self.logit_adjustment == 0 or not (trades or self.class_weights),
            "train.logit_adjustment", self.logit_adjustment,
            '0 with class_weights, which correct the same, or with loss "expected-pnl", which needs none',
        )  # fmt: skip
        require(
            self.burn_in == 0 or self.objective == "stream",
            "train.burn_in", self.burn_in, '0 with objective "window", where only the last tick counts',
        )  # fmt: skip
