"""Everything that a live input remembers, in one array of bytes: order book, clock, flow memory, the latest features.

One array because a compiled call then takes one argument: numba spends 4 µs on taking the thirty arrays of a book, a
clock and a memory out of their tuples, and 0.3 µs on a single array. `open_state` finds the arrays in it, in compiled
code and in Python alike, and a snapshot is a copy of its bytes. At its end there is room for the state of a model, and
for what is learnt of its predictions.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numba.extending import register_jitable
from numpy.typing import NDArray

from nanoarb_jax.config import InputSpec
from nanoarb_jax.features.clock import tick_clock
from nanoarb_jax.features.feature_set import FEATURE_SETS
from nanoarb_jax.features.flow import BUCKETS, RUNNING, FlowMemory
from nanoarb_jax.features.outcomes import CELLS, RING, RUNNING_OUTCOMES, TICKS, OutcomeMemory
from nanoarb_jax.market.anomaly import Anomaly, Policy
from nanoarb_jax.market.book.ladder import WIDTH, Ladder
from nanoarb_jax.market.book.orders import ORDER
from nanoarb_jax.market.book.state import META, BookState, empty_state, grow
from nanoarb_jax.market.clocks.next_tick import CLOCK, ClockMemory, set_clock
from nanoarb_jax.market.series import LEVELS

HEADER = np.dtype(
    [
        ("blocks", "i8"),  # room for price levels, see `Ladder`
        ("slots", "i8"),  # room for orders
        ("flow", "i8"),  # 1: the features are `flow`, 0: `lob44`
        ("features", "i8"),  # how many
        ("model_at", "i8"),  # where a model's state begins, and how many floats it has
        ("model_floats", "i8"),
        ("learn_at", "i8"),  # where the room for what is learnt begins, and how many bytes it has; 0: nothing is
        ("learn_bytes", "i8"),
        ("warm_up", "i8"),  # ticks of a session until a model's predictions are ready
        ("px_scale", "f8"),  # units of the features, see `FeatureScale`
        ("lots_per_unit", "f8"),
        ("quantity_scale", "f8"),
        ("spread_scale", "f8"),
        ("session_gap_ns", "i8"),
        ("ticks", "i8"),  # of the current session
        ("tick_ns", "i8"),  # of the latest tick
        ("event_ns", "i8"),  # of the latest event, when it was received
        ("open", "i8"),  # 1: the latest event did not end its message
        ("unmarked", "i8"),  # messages in a row that began though the one before them had not ended
    ],
    align=True,
)

_FEATURES = max(len(one.names) for one in FEATURE_SETS.values())


@register_jitable
def _whole_lines(size):  # type: ignore[no-untyped-def]
    """So many bytes, rounded up to whole cache lines."""
    return (size + 63) // 64 * 64


def _offsets(*sizes: int) -> tuple[int, ...]:
    """Where parts of these sizes begin, one behind the other, each at a cache line; and where they end."""
    return tuple(int(n) for n in np.cumsum([0, *((size + 63) // 64 * 64 for size in sizes)]))


_HEADER_BYTES, _META_BYTES, _CLOCK_BYTES, _RUNNING_BYTES, _ORDER_BYTES, _OUTCOME_BYTES = (
    record.itemsize for record in (HEADER, META, CLOCK, RUNNING, ORDER, RUNNING_OUTCOMES)
)
_KINDS = len(Anomaly)
_TOP, _COUNTS = 8 * 4 * LEVELS, 8 * _KINDS
_HORIZONS = len(TICKS)
_MIDS_BYTES, _CELLS_BYTES, _OUTCOMES_BYTES = 8 * RING, 32 * RING, 8 * 2 * _HORIZONS * CELLS * 3
_TOTALS_BYTES = 8 * _HORIZONS * 2
(
    _META, _ANOMALIES, _POLICY, _CLOCK, _LAST_TOP, _NOW, _FLOW_TOP, _RING, _RUNNING,
    _MIDS, _CELLS, _OUTCOMES, _TOTALS, _RECENT, _OUTCOME, _ROW, _LADDER,
) = _offsets(
    _HEADER_BYTES, _META_BYTES, _COUNTS, _COUNTS, _CLOCK_BYTES, _TOP, _TOP, _TOP, 8 * BUCKETS, _RUNNING_BYTES,
    _MIDS_BYTES, _CELLS_BYTES, _OUTCOMES_BYTES, _TOTALS_BYTES, _TOTALS_BYTES, _OUTCOME_BYTES,
    4 * _FEATURES,
)[1:]  # fmt: skip


class LiveModel(NamedTuple):
    """What of a live input's bytes a model needs.

    Attributes:
        header: (1,) HEADER.
        features: (f,) float32, of the latest tick.
        state: (floats,) float32, for the state of a model.
    """

    header: NDArray[np.void]
    features: NDArray[np.float32]
    state: NDArray[np.float32]


class LearningRoom(NamedTuple):
    """What of a live input's bytes is needed to learn from its ticks.

    Attributes:
        header: (1,) HEADER.
        top: (4, 10) int64, the book of the latest tick, as `ClockMemory.top`.
        learnt: (bytes,) uint8, begins at a cache line.
    """

    header: NDArray[np.void]
    top: NDArray[np.int64]
    learnt: NDArray[np.uint8]


class LiveState(NamedTuple):
    """The arrays in a live input's bytes.

    Attributes:
        header: (1,) HEADER.
        book, clock, flow: see there.
        model: the latest features, and the state of a model.
    """

    header: NDArray[np.void]
    book: BookState
    clock: ClockMemory
    flow: FlowMemory
    model: LiveModel


def opening(function: Any) -> Any:
    """Compile a function that finds arrays in bytes; in Python it stays as it is.

    numba must not make it part of its callers itself (`inline="always"`): it then takes `opened.state[i] = 0` for dead
    code, since it does not see that the array lies in the caller's bytes.
    """
    return register_jitable(error_model="numpy", forceinline=True, _nrt=False)(function)


@opening
def open_model(block):  # type: ignore[no-untyped-def]
    """The `LiveModel` in (bytes,) uint8. It is quicker to compile than the whole of `open_state`."""
    header = block[:_HEADER_BYTES].view(HEADER)
    model, floats = header[0]["model_at"], header[0]["model_floats"]
    return LiveModel(
        header,
        block[_ROW : _ROW + 4 * header[0]["features"]].view(np.float32),
        block[model : model + 4 * floats].view(np.float32),
    )


@opening
def open_learning_room(block):  # type: ignore[no-untyped-def]
    """The `LearningRoom` in (bytes,) uint8."""
    header = block[:_HEADER_BYTES].view(HEADER)
    learnt = header[0]["learn_at"]
    return LearningRoom(
        header,
        block[_LAST_TOP : _LAST_TOP + _TOP].view(np.int64).reshape(4, LEVELS),
        block[learnt : learnt + header[0]["learn_bytes"]],
    )


@opening
def open_state(block):  # type: ignore[no-untyped-def]
    """The `LiveState` in (bytes,) uint8."""
    header = block[:_HEADER_BYTES].view(HEADER)
    blocks, slots = header[0]["blocks"], header[0]["slots"]
    levels, table = 16 * blocks * WIDTH, 16 * blocks  # bytes of an array
    rank = _LADDER
    fill = rank + 3 * levels
    order = fill + _whole_lines(table)
    low = order + _whole_lines(table)
    used = low + _whole_lines(table)
    orders = used + 64
    ladder = Ladder(
        block[rank : rank + levels].view(np.int64).reshape(2, blocks, WIDTH),
        block[rank + levels : rank + 2 * levels].view(np.int64).reshape(2, blocks, WIDTH),
        block[rank + 2 * levels : fill].view(np.int64).reshape(2, blocks, WIDTH),
        block[fill : fill + table].view(np.int64).reshape(2, blocks),
        block[order : order + table].view(np.int64).reshape(2, blocks),
        block[low : low + table].view(np.int64).reshape(2, blocks),
        block[used : used + 16].view(np.int64),
        block[used + 16 : used + 32].view(np.int64),
    )
    book = BookState(
        ladder,
        block[orders : orders + slots * _ORDER_BYTES].view(ORDER),
        block[_META : _META + _META_BYTES].view(META),
        block[_ANOMALIES : _ANOMALIES + _COUNTS].view(np.int64),
        block[_POLICY : _POLICY + _KINDS].view(np.int8),
    )
    clock = ClockMemory(
        block[_LAST_TOP : _LAST_TOP + _TOP].view(np.int64).reshape(4, LEVELS),
        block[_NOW : _NOW + _TOP].view(np.int64).reshape(4, LEVELS),
        block[_CLOCK : _CLOCK + _CLOCK_BYTES].view(CLOCK),
    )
    flow = FlowMemory(
        block[_FLOW_TOP : _FLOW_TOP + _TOP].view(np.int64).reshape(4, LEVELS),
        block[_RING : _RING + 8 * BUCKETS].view(np.float64),
        block[_RUNNING : _RUNNING + _RUNNING_BYTES].view(RUNNING),
        OutcomeMemory(
            block[_MIDS : _MIDS + _MIDS_BYTES].view(np.float64),
            block[_CELLS : _CELLS + _CELLS_BYTES].view(np.int64).reshape(RING, 4),
            block[_OUTCOMES : _OUTCOMES + _OUTCOMES_BYTES].view(np.float64).reshape(2, _HORIZONS, CELLS, 3),
            block[_TOTALS : _TOTALS + _TOTALS_BYTES].view(np.float64).reshape(_HORIZONS, 2),
            block[_RECENT : _RECENT + _TOTALS_BYTES].view(np.float64).reshape(_HORIZONS, 2),
            block[_OUTCOME : _OUTCOME + _OUTCOME_BYTES].view(RUNNING_OUTCOMES),
        ),
    )
    return LiveState(header, book, clock, flow, open_model(block))


def new_state(
    spec: InputSpec,
    tick_size: float,
    lot_size: float,
    quantity_scale: float = 1.0,
    spread_scale: float = 1.0,
    *,
    policy: Policy | Mapping[str, Policy] | None = None,
    levels: int = 1024,
    orders: int = 4096,
    model_floats: int = 0,
    warm_up: int = 0,
) -> NDArray[np.uint8]:
    """The bytes of a live input before its first event.

    Args:
        spec: what the model reads.
        tick_size, lot_size, policy, levels, orders: as for `OrderBook`.
        quantity_scale, spread_scale: of the market, see `FeatureScale`.
        model_floats: room for a model's state.
        warm_up: ticks of a session until a model's predictions are ready.

    Raises:
        DataError: see `OrderBook`.
    """
    book = empty_state(tick_size, lot_size, policy=policy, clock=spec.timestamps, levels=levels, orders=orders)
    header = np.zeros(1, HEADER)
    header["flow"], header["features"] = spec.feature_set == "flow", len(FEATURE_SETS[spec.feature_set].names)
    header["model_floats"], header["warm_up"], header["session_gap_ns"] = model_floats, warm_up, spec.session_gap_ns
    header["px_scale"], header["lots_per_unit"] = 1.0 / tick_size, 1.0 / lot_size
    header["quantity_scale"], header["spread_scale"] = quantity_scale, spread_scale
    block = _with_book(header, book)
    set_clock(read_state(block).clock, tick_clock(spec))
    return block


def read_state(block: NDArray[np.uint8]) -> LiveState:
    """`open_state` outside compiled code: the arrays are views, what is written into them is in `block`."""
    state: LiveState = open_state(block)
    return state


def grow_state(block: NDArray[np.uint8], status: int) -> NDArray[np.uint8]:
    """The same with twice the room that NEEDS_LEVELS or NEEDS_ORDERS asks for; `block` is not used any more."""
    old = read_state(block)
    larger = _moved(block, old.header, grow(old.book, status))
    _learnt(larger)[:] = _learnt(block)
    return larger


def add_learning_room(block: NDArray[np.uint8], size: int) -> NDArray[np.uint8]:
    """The same with `size` bytes, all 0, for what is learnt, in place of such room that there was."""
    old = read_state(block)
    header = old.header.copy()
    header["learn_bytes"] = size
    return _moved(block, header, old.book)


def _learnt(block: NDArray[np.uint8]) -> NDArray[np.uint8]:
    room: LearningRoom = open_learning_room(block)
    return room.learnt


def _moved(block: NDArray[np.uint8], header: NDArray[np.void], book: BookState) -> NDArray[np.uint8]:
    """Everything but what is learnt in new bytes, with these settings and this book."""
    moved = _with_book(header, book)
    moved[_META:_LADDER] = block[_META:_LADDER]
    read_state(moved).model.state[:] = read_state(block).model.state
    return moved


def _with_book(header: NDArray[np.void], book: BookState) -> NDArray[np.uint8]:
    """New bytes with these settings and this book."""
    blocks, slots = book.levels.fill.shape[1], len(book.orders)
    tables = 3 * ((16 * blocks + 63) // 64 * 64)
    model = _LADDER + 48 * blocks * WIDTH + tables + 64 + slots * ORDER.itemsize
    learnt = _whole_lines(model + 4 * int(header[0]["model_floats"]))
    size = learnt + int(header[0]["learn_bytes"])
    room = np.zeros(size + 64, np.uint8)
    block = room[-room.ctypes.data % 64 :][:size]  # a model's state begins at a cache line
    block[: HEADER.itemsize].view(HEADER)[:] = header
    first = block[: HEADER.itemsize].view(HEADER)
    first["blocks"], first["slots"] = blocks, slots
    first["model_at"], first["learn_at"] = model, learnt
    state = read_state(block)
    new, old = ([*one.levels, one.orders, one.meta, one.anomalies, one.policy] for one in (state.book, book))
    for target, source in zip(new, old, strict=True):
        target[...] = source
    return block
