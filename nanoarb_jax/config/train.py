"""How a model is trained."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanoarb_jax.config.checks import check_types, require


@dataclass(frozen=True)
class TrainConfig:
    """How a model is trained. The defaults are how the shipped `base` was; see `Config.recipe`.

    The first sentence about a setting is also its help on the command line.

    Args:
        objective: loss at every tick of parallel streams ("stream"), or at the last tick of windows ("window"). Streams
            are worked through in chunks: the state is carried from one to the next, gradients are cut between them.
            Windows are independent.
        loss: cross-entropy of the labels, weighted by what a trade could earn after costs ("cost-aware") or not. See
            `nanoarb_jax.training.trade_weights`.
        epochs: passes over the training rows; of the preset small 10, of nano 20.
        sampling: share of an instrument in an epoch: by its rows, by their square root, or the same for all. "rows" –
            every row comes once an epoch. "root" and "instrument" – an epoch is as long, but of a long stream it has
            only a part, another one each time, and a short stream is repeated. The streams of one instrument share its
            part by their rows.
        batch_size: parallel streams, or windows, per update; None: as many as fit device and data. See
            `nanoarb_jax.training.device.default_batch`. Rounded down to a multiple of devices × `accumulate`.
        accumulate: groups in which the lanes of an update are worked through, to save memory. The update stays the
            same.
        chunk_length: ticks per update of each parallel stream.
        lr: peak learning rate; of the preset small 0.005, of nano 0.01.
        warmup_fraction: share of all updates that are the learning-rate warm-up, a linear rise to the peak.
        final_lr_fraction: share of the peak that the learning rate falls to at the end, along a cosine.
        beta2: decay of AdamW's average of squared gradients. Its beta1 is 0.9.
        weight_decay: weight decay of AdamW. It acts on matrices only, never on A_log, D, biases or norms.
        clip_norm: largest global norm of a gradient; larger ones are scaled down to it.
        ema_decay: decay of the moving average of the weights. The average is what is validated, kept and served. The
            decay ramps up over the first updates.
        keep: epoch whose weights are kept: of the least validation log loss, of the best validation MCC, or the last.
            Loss and MCC are means over series and horizons. On short series the MCC is mostly luck.
        calibrate: fit a temperature and the bias of a direction on the validation rows and keep weights with them. They
            are folded into the last layer, each epoch anew, and epochs are compared with them. Not done with
            class_weights or logit_adjustment, which tilt probabilities on purpose.
        patience: epochs without a better one, as --keep compares them, before training stops; 0: never.
        mirror: show half of the streams with bid and ask swapped. Their labels are flipped.
        input_jitter: standard deviation of a random offset of the inputs, in their own standard deviations. Every lane
            has its own, drawn anew for every update: as from an instrument with somewhat other spreads, queues and
            speed.
        burn_in: ticks after the fresh start of a stream that have no loss. The state knows too little there. For the
            objective "stream" only.
        class_weights: weight classes by inverse training frequency. Otherwise decisions are prior-corrected instead.
        logit_adjustment: strength τ of the logit-adjusted loss; 0: none. τ·log of the training class frequencies is
            added to the logits that the labels are compared with (Menon et al. 2021), so that those served are of more
            equal classes. They are then no estimates of the classes' probabilities, and a teacher should be trained
            alike.
        magnitude_weight: how the cost-aware loss weighs a trade's gain: up to a cap, by its root or by its logarithm.
            The gain is the move less the spread at that tick, the fees and the slippage.
        magnitude_cap: largest gain that counts in full with magnitude_weight "capped", in mean gains of the series.
        fee_ticks: fees, in ticks, of a unit bought and sold again, in the cost-aware loss.
        slippage_ticks: slippage, in ticks, of a unit bought and sold again, in the cost-aware loss.
        init: checkpoint or run folder to begin from (fine-tuning); None: new weights. Its input statistics are kept;
            with new weights they are those of the training rows. The model must have its shape, dropout apart.
        teacher: checkpoint or run folder of a larger model to learn from beside the labels; None: labels alone. The
            path is kept as given: a run is resumed from the same working folder.
        teacher_weight: share of the loss that is the distance to the teacher's probabilities, in (0, 1].
        teacher_temperature: divides both models' logits in that distance. The higher, the more the unlikely classes
            count.
        matmul_dtype: operands of the projections; "auto" is bfloat16 on a GPU, float32 on a CPU.
        device: where to train; "auto" takes a GPU if there is one.
        devices: how many devices of that kind share the lanes of an update; None: all.
        checkpoint_every: updates between checkpoints, beside the one at each epoch's end.
        seed: seed of initial weights, data order and dropout.
        tensorboard: write TensorBoard event files, too.
    """

    objective: Literal["stream", "window"] = "stream"
    loss: Literal["cost-aware", "cross-entropy"] = "cost-aware"
    epochs: int = 6
    sampling: Literal["rows", "root", "instrument"] = "root"
    batch_size: int | None = None
    accumulate: int = 1
    chunk_length: int = 64
    lr: float = 2e-3
    warmup_fraction: float = 0.05
    final_lr_fraction: float = 0.05
    beta2: float = 0.99
    weight_decay: float = 0.1
    clip_norm: float = 1.0
    ema_decay: float = 0.99
    keep: Literal["loss", "mcc", "last"] = "loss"
    calibrate: bool = True
    patience: int = 10
    mirror: bool = True
    input_jitter: float = 0.3
    burn_in: int = 0
    class_weights: bool = False
    logit_adjustment: float = 0.0
    magnitude_weight: Literal["capped", "root", "log"] = "capped"
    magnitude_cap: float = 1.0
    fee_ticks: float = 0.0
    slippage_ticks: float = 0.0
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
        costs = ("fee_ticks", "slippage_ticks", "magnitude_cap")
        for name in ("weight_decay", *costs, "patience", "input_jitter", "burn_in", "logit_adjustment"):
            require(getattr(self, name) >= 0, f"train.{name}", getattr(self, name), "0 or more")
        self._check_fit()
        for name in ("warmup_fraction", "final_lr_fraction", "beta2", "ema_decay"):
            require(0 <= getattr(self, name) < 1, f"train.{name}", getattr(self, name), "a share in [0, 1)")
        for name in ("init", "teacher"):
            value = getattr(self, name)
            named = value is None or (isinstance(value, str) and value != "")
            require(named, f"train.{name}", value, "None or the folder of a checkpoint")
        require(0 < self.teacher_weight <= 1, "train.teacher_weight", self.teacher_weight, "a share in (0, 1]")
        require(0 <= self.seed < 2**32, "train.seed", self.seed, "an integer from 0 to 2**32 - 1")

    def _check_fit(self) -> None:
        """Refuse settings that contradict each other."""
        require(
            self.logit_adjustment == 0 or not self.class_weights,
            "train.logit_adjustment", self.logit_adjustment, "0 with class_weights, which correct the same",
        )  # fmt: skip
        require(
            self.burn_in == 0 or self.objective == "stream",
            "train.burn_in", self.burn_in, '0 with objective "window", where only the last tick counts',
        )  # fmt: skip
