"""Market data in, predictions out, as they happen: the same ticks and features as in training, in one object."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.adaptation.online import check_forgetting
from nanoarb_jax.config import InputSpec
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.features.live_input import UNMARKED
from nanoarb_jax.features.live_state import grow_state, new_state, read_state
from nanoarb_jax.market.anomaly import FEED_DEFAULTS, Policy
from nanoarb_jax.market.book.order_book import OrderBook
from nanoarb_jax.market.book.state import NEEDS_LEVELS, NEEDS_ORDERS, RAISED, describe_raised, describe_refused
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.serving.backends.native import NativeStep
from nanoarb_jax.serving.backends.native.layout import aligned, read_header
from nanoarb_jax.serving.backends.native.learning import begin_learning
from nanoarb_jax.serving.backends.native.live import READY, TICKED, apply_books, apply_event, apply_events
from nanoarb_jax.serving.live_labels import live_thresholds
from nanoarb_jax.serving.live_snapshot import read_snapshot, write_snapshot
from nanoarb_jax.serving.loading import read_card
from nanoarb_jax.serving.prediction import NotPickled, Prediction, make_prediction

_BATCH = 4_096  # ticks of one compiled call


class LivePredictor(NotPickled):
    """Predict at every tick of a market, from its events or its books.

    It holds the book, the clock, the memory of the features and the state of the model; a session gap resets what
    training reset there. One object serves one market and one thread: nothing in it is locked.

    Args:
        step: the compiled model; it is this object's alone from now on.
        spec: what the model reads.
        instrument: what the market is measured by.
        policy: about anomalies, see `nanoarb_jax.market.anomaly.policies`; None: the defaults, but as in files no tick
            before the first snapshot or clear of the book (`incomplete`).
        levels, orders: room in the book to begin with. It grows as needed, but not inside compiled code.
        label_settings: settings of `DataConfig` that the model's labels were made with, which `learn` goes by; None:
            not known.

    Raises:
        ConfigError: the model reads other features than `spec` says.

    Attributes:
        weights, state: what `live_apply` and `depth_step` of `nanoarb_jax.serving.backends.native.live` take. After
            `apply`, `apply_many`, `restore` and `learn`, `state` may be another array than before.
        warm_up: ticks of a session until its predictions are ready.

    Example:
        >>> past = today = "feeds/synthetic_00.npz"  # any feed
        >>> live = nj.LivePredictor.load("checkpoints/nano", nj.Instrument.measure(past))
        >>> for event in nj.read_events(today):
        ...     prediction = live.apply(event)  # None where the event made no tick
        >>> live.ticks > 0
        True
    """

    def __init__(
        self,
        step: NativeStep,
        spec: InputSpec,
        instrument: Instrument,
        *,
        policy: Policy | Mapping[str, Policy] | None = None,
        levels: int = 8_192,
        orders: int = 16_384,
        label_settings: Mapping[str, Any] | None = None,
    ):
        if step.config.feature_set != spec.feature_set:
            raise ConfigError(
                f"model.feature_set={step.config.feature_set!r}: expected {spec.feature_set!r}, the input's"
            )
        self.spec, self.instrument, self.version, self.warm_up = spec, instrument, step.version, step.window
        self.weights = step.weights
        self._step, self._label_settings, self._learning = step, label_settings, ""
        self._probabilities = np.zeros((step.horizons, 3), np.float32)
        sizes = (instrument.tick_size, instrument.lot_size, instrument.quantity_scale, instrument.spread_scale)
        self._fresh = new_state(
            spec,
            *sizes,
            policy=policy if isinstance(policy, str) else {**FEED_DEFAULTS, **(policy or {})},
            levels=levels,
            orders=orders,
            model_floats=read_header(step.weights).room,
            warm_up=step.window,
        )
        self.state: NDArray[np.uint8]
        self._compile()
        self.reset()

    @classmethod
    def load(
        cls,
        path: str | Path,
        instrument: Instrument | None = None,
        *,
        series: str | None = None,
        precision: str = "fp32",
        **options: Any,
    ) -> LivePredictor:
        """Load a model and compile: the first event is as fast as any.

        Args:
            path: checkpoint folder, output folder of a training run, or file of `export --kind native`.
            instrument: what the market is measured by, see `Instrument.measure`.
            series: instead: a series that the model was trained on, measured as it was there.
            precision: of a checkpoint's matrices: "fp32", "bf16" or "int8".
            **options: `policy`, `levels`, `orders`, see the class.

        Raises:
            ConfigError: neither or both of instrument and series, a series that the model does not know, or a file
                that does not say what its model reads.
            CheckpointError, ExportError: see `StepPredictor.load`.
        """
        card = read_card(path, "native")
        if card.input is None:
            raise ConfigError(f"{path}: does not say what its model reads (features, clock); train or export it anew")
        if (instrument is None) == (series is None):
            raise ConfigError("live predictor: give an instrument, or a series that the model was trained on, not both")
        if instrument is not None and not isinstance(instrument, Instrument):
            raise ConfigError(f"instrument={instrument!r}: expected an Instrument, see Instrument.measure")
        measured = instrument or _as_trained(card.data.get("streams", []), str(series), path)
        labels = card.data.get("config")
        return cls(NativeStep.load(path, precision), card.input, measured, label_settings=labels, **options)

    def apply(self, event: np.void) -> Prediction | None:
        """Let one event happen.

        Args:
            event: one record of EVENT.

        Returns:
            the prediction where a tick happened; of several ticks before the event (time clock), that of the last.
            None where none did. `ready` once `warm_up` ticks of the session were read.

        Raises:
            DataError: not a record of EVENT; an anomaly whose policy is to raise; events that do not mark the ends of
                messages.
        """
        if event.__class__ is not np.void or (event.dtype is not EVENT and event.dtype != EVENT):
            raise DataError(f"event of type {type(event).__name__}; expected one record of nanoarb_jax.EVENT")
        status = apply_event(self.weights, self.state, event, self._probabilities)
        return self._predicted(status, event) if status else None

    def apply_many(self, events: NDArray[np.void]) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
        """Let many events happen, in one compiled call.

        Args:
            events: (n,) EVENT.

        Returns:
            for every tick, in order: the index of its event, (ticks,) int64, and its probabilities, (ticks, h, 3)
            float32. A tick of a time clock belongs to the event before which it was due.

        Raises:
            DataError: as `apply`; the ticks before are then read, but not returned.
        """
        if not isinstance(events, np.ndarray) or events.dtype != EVENT or events.ndim != 1:
            raise DataError("events: expected a one-dimensional array of nanoarb_jax.EVENT")
        events = np.require(events, None, ["C", "A", "W"])
        found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
        start, status = 0, TICKED
        while start < len(events):
            at = np.empty(_BATCH, np.int64)
            probabilities = np.empty((_BATCH, *self._probabilities.shape), np.float32)
            start, ticks, status = apply_events(self.weights, self.state, events, start, at, probabilities)
            found.append((at[:ticks], probabilities[:ticks]))
            if status not in (0, TICKED):
                self.attend(status, events[start])
        if not found:
            return np.empty(0, np.int64), np.empty((0, *self._probabilities.shape), np.float32)
        return np.concatenate([one[0] for one in found]), np.concatenate([one[1] for one in found])

    def apply_depth(
        self,
        ts_ns: int,
        bid_px: ArrayLike,
        bid_qty: ArrayLike,
        ask_px: ArrayLike,
        ask_qty: ArrayLike,
        bought: float = 0.0,
        sold: float = 0.0,
    ) -> Prediction | None:
        """Let a whole book take the place of the one before, for feeds that bring books.

        Args:
            ts_ns: time, ns since 1970 UTC.
            bid_px, bid_qty, ask_px, ask_qty: (levels,) prices and quantities, best first; ten levels are used. A level
                of quantity 0 or price NaN is none.
            bought, sold: quantities that takers traded since the book before.

        Returns:
            as `apply`. A book that is crossed, one-sided or not on the grid is no tick, and counted in `anomalies`.

        Raises:
            DataError: an anomaly whose policy is to raise.
        """
        sides = [np.ascontiguousarray(side, np.float64) for side in (bid_px, bid_qty, ask_px, ask_qty)]
        if any(side.ndim != 1 for side in sides):
            raise DataError("book: expected one-dimensional prices and quantities")
        status = apply_books(
            self.weights, self.state, int(ts_ns), *sides, float(bought), float(sold), self._probabilities
        )
        return self._predicted(status, None) if status else None

    def learn(self, forgetting: float = 0.9999, threshold_ticks: float | Sequence[float] | None = None) -> None:
        """From the next tick on, recalibrate the probabilities of every tick by the labels that are known by then.

        It is what `nanoarb_jax.adaptation.online.recalibrate_stream` does with a recorded stream from that tick on. A
        label is known `horizon` ticks after its own, from the mids that this object sees; ticks whose predictions are
        not `ready` are learnt from too. A session gap drops the ticks that wait for labels, and what was learnt stays.
        `reset` forgets what was learnt and goes on learning. Called again, it forgets what was learnt and begins anew,
        with these settings. A snapshot holds what was learnt; it is restored where `learn` was called with the same
        settings, before or after other ticks.

        Args:
            forgetting: factor in (0.9, 1] by which what was learnt fades at every label.
            threshold_ticks: least move of the mid that is up or down, in ticks, one or one per horizon; None: that of
                the model's labels, `instrument.spread_scale` with the default settings of `DataConfig`.

        Raises:
            ConfigError: a forgetting factor or threshold out of range, a threshold that is not known and not given, or
                a model whose labels are not of the rule "move" on the mid. Everything stays as it was.

        Example:
            >>> live = nj.LivePredictor.load("checkpoints/nano", nj.Instrument.measure("feeds/synthetic_00.npz"))
            >>> live.learn(forgetting=0.9999)
        """
        horizons = self._step.config.horizons
        thresholds = live_thresholds(self._label_settings, self.instrument, len(horizons), threshold_ticks)
        factor = check_forgetting(forgetting)
        self.state = _aligned_copy(begin_learning(self.state, horizons, factor, thresholds))
        self._fresh = begin_learning(self._fresh, horizons, factor, thresholds)
        self._learning = f", learning with forgetting={factor} and threshold_ticks={thresholds}"

    @property
    def book(self) -> OrderBook:
        """The book as it stands, to look at: it is the predictor's own, and stays right until the next event."""
        return OrderBook.view(read_state(self.state).book)

    @property
    def anomalies(self) -> dict[str, int]:
        """How often each kind of anomaly was met, by its name in lower case."""
        return self.book.anomalies

    @property
    def horizons(self) -> tuple[int, ...]:
        """Of the predictions, in ticks."""
        return tuple(self._step.config.horizons)

    @property
    def ticks(self) -> int:
        """Read in this session."""
        return int(read_state(self.state).header["ticks"][0])

    @property
    def features(self) -> NDArray[np.float32]:
        """(f,) raw features of the latest tick, a copy."""
        return read_state(self.state).model.features.copy()

    def reset(self) -> None:
        """Forget everything, what was learnt too: the next event is the first."""
        self.state = _aligned_copy(self._fresh)

    def snapshot(self) -> bytes:
        """Book, clock, feature memory, model state and what was learnt, in the middle of a message too.

        It is a numpy archive, without pickle.
        """
        return write_snapshot(self.state, self.version, self._settings())

    def restore(self, blob: bytes) -> None:
        """Take over a snapshot: whatever comes next is what it would have been there.

        Raises:
            DataError: damaged, of other weights, another input, another instrument, or of a predictor that learns
                otherwise than this one, see `learn`. Everything stays as it was.
        """
        self.state = _aligned_copy(read_snapshot(blob, self.version, self._settings()))

    def _settings(self) -> str:
        """What must be the same where a snapshot is restored."""
        return f"{self.spec} {self.instrument} weights in {self._step.precision}{self._learning}"

    def _predicted(self, status: int, event: np.void | None) -> Prediction | None:
        """The prediction of a call that did more than nothing; gives room where it is asked for."""
        ticked, ready, status = status >= TICKED, status >= READY, status % TICKED
        while status:
            self.attend(status, event)
            assert event is not None  # books need no room
            status = apply_event(self.weights, self.state, event, self._probabilities)
            ticked, ready, status = ticked or status >= TICKED, ready or status >= READY, status % TICKED
        if not ticked:
            return None
        return make_prediction(self._probabilities.copy(), ready, self.version)

    def attend(self, status: int, event: np.void | None) -> None:
        """Make room, or say why an event cannot be applied."""
        if status in (NEEDS_LEVELS, NEEDS_ORDERS):
            self.state, self._fresh = grow_state(self.state, status), grow_state(self._fresh, status)
        elif status == UNMARKED:
            raise DataError(
                "events: a thousand messages began and none ended; expected the flag LAST where a message ends, as "
                "nanoarb_jax.read_events gives it: mark them with nanoarb_jax.mark_messages"
            )
        elif status == RAISED:
            book = read_state(self.state).book
            if event is not None:
                raise DataError(describe_raised(book, event))
            raise DataError(describe_refused(book))

    def _compile(self) -> None:
        """Compile everything now, and not at the first event."""
        self.state = _aligned_copy(self._fresh)
        event, none = np.zeros(1, EVENT), np.zeros(1)
        apply_event(self.weights, self.state, event[0], self._probabilities)
        apply_events(self.weights, self.state, event, 0, np.zeros(1, np.int64), self._probabilities[None])
        apply_books(self.weights, self.state, 0, none, none, none, none, 0.0, 0.0, self._probabilities)
        make_prediction(self._probabilities, False, self.version)


def _aligned_copy(state: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """A copy that begins at a cache line."""
    copy = aligned(len(state))
    copy[:] = state
    return copy


def _as_trained(streams: list[Mapping[str, Any]], series: str, path: str | Path) -> Instrument:
    """What a series of a model's training data was measured by."""
    for stream in streams:
        if stream["name"] == series:
            if "lot_size" not in stream:
                raise ConfigError(f"{path}: does not know the lot size of {series!r}; give an instrument")
            sizes = {name: stream[name] for name in ("tick_size", "lot_size", "quantity_scale", "spread_scale")}
            return Instrument(**sizes, name=stream.get("instrument", series))
    known = ", ".join(sorted(stream["name"] for stream in streams))
    raise ConfigError(f"{path}: no series {series!r} among its training data; expected one of {known}")
