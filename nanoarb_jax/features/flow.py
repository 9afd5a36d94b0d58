"""The `flow` features: the 44 of `lob44`, then what moved since the previous tick – order flow, trades, gaps, time.

One compiled function, `flow_row`, makes them for files, live books and strategies alike; it keeps what it needs of
earlier ticks in `FlowMemory`, and looks at nothing later, nor across a long time without a tick (another session).
Quantities are in quantity scales, prices in ticks.

    44       microprice minus mid
    45–54    order flow imbalance of levels 0–9 (Cont, Kukanov, Stoikov 2014; per level: Xu, Gould, Howison 2018):
             what joined minus what left the bid, minus the same of the ask
    55, 56   quantity that takers bought minus sold, and both together
    57–65    gap between bid level k and k-1, k = 1…9; 0 where there is no such level; 66–74 of the ask
    75–80    what happened, 0 or 1 each: bid joined, bid left, ask joined, ask left, taker bought, taker sold
    81       seconds since the previous tick; 0 in data without real times
    82       VPIN (Easley, López de Prado, O'Hara 2012) over the last 50 volume buckets of 20 quantity scales; takers'
             sides are known, so no bulk classification; 0 until the first bucket is full
    83       volatility: root of the exponentially weighted mean of squared mid changes per tick, 100 ticks long
    84       mid minus the mid of the previous tick
    85       spread scale, the unit in which this instrument's price moves are expressed: half its training-median
             spread, at least 1; the same at every tick
    86–100   what followed books like this one so far, see `nanoarb_jax.features.outcomes`
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.features.lob44 import FEATURE_NAMES, IMBALANCE, SESSION_GAP_NS, SPREAD, FeatureScale, lob44_row
from nanoarb_jax.features.order_flow import queue_change
from nanoarb_jax.features.outcomes import NAMES, OutcomeMemory, outcome_memory, outcome_row
from nanoarb_jax.market.compiled import compiled, inlined, internal
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS, BookSeries

FLOW_NAMES: tuple[str, ...] = (
    *FEATURE_NAMES,
    "microprice_offset_ticks",
    *(f"order_flow_imbalance_{level}" for level in range(LEVELS)),
    "signed_volume",
    "volume",
    *(f"bid_gap_ticks_{level}" for level in range(1, LEVELS)),
    *(f"ask_gap_ticks_{level}" for level in range(1, LEVELS)),
    *("bid_joined", "bid_left", "ask_joined", "ask_left", "taker_bought", "taker_sold"),
    "seconds",
    "vpin",
    "volatility_ticks",
    "mid_change_ticks",
    "spread_scale_ticks",
    *NAMES,
)
OFFSET, OFI, SIGNED, VOLUME = 44, 45, 55, 56
BID_GAP, ASK_GAP, HAPPENED, SECONDS, VPIN, VOLATILITY = 57, 66, 75, 81, 82, 83
MID_CHANGE, SPREAD_SCALE, OUTCOMES = 84, 85, 86
BUCKETS, BUCKET_QUANTITY = 50, 20.0
_FORGET = 1.0 / 100.0  # weight of the newest squared change of the mid in the volatility

RUNNING = np.dtype(
    [
        ("ticks", "i8"),
        ("ts_ns", "i8"),
        ("mid_ticks", "f8"),
        ("variance", "f8"),
        ("weight", "f8"),
        ("bucket_bought", "f8"),  # quantity scales
        ("bucket_sold", "f8"),
        ("bucket", "i8"),  # full so far
        ("imbalance", "f8"),  # sum over the ring
    ],
    align=True,
)


class FlowMemory(NamedTuple):
    """What `flow_row` keeps of earlier ticks; changed in place.

    Attributes:
        top: (4, 10) int64, the previous tick's bid_px, bid_lots, ask_px, ask_lots.
        ring: (50,) float64, |bought - sold| of the last full volume buckets.
        running: (1,) record of sums.
        outcomes: `OutcomeMemory`.
    """

    top: NDArray[np.int64]
    ring: NDArray[np.float64]
    running: NDArray[np.void]
    outcomes: OutcomeMemory


def flow_memory() -> FlowMemory:
    """Before the first tick."""
    return FlowMemory(np.zeros((4, LEVELS), np.int64), np.zeros(BUCKETS), np.zeros(1, RUNNING), outcome_memory())


@internal
def _order_flow(bid_px, bid_lots, ask_px, ask_lots, top, unit, out):  # type: ignore[no-untyped-def]
    """Write the order flow imbalance of every level, and which queues were joined and left."""
    for level in range(LEVELS):
        bid = queue_change(bid_px[level], bid_lots[level], top[0, level], top[1, level], 1)
        ask = queue_change(ask_px[level], ask_lots[level], top[2, level], top[3, level], -1)
        out[OFI + level] = (bid - ask) * unit
        if bid > 0:
            out[HAPPENED] = 1.0
        elif bid < 0:
            out[HAPPENED + 1] = 1.0
        if ask > 0:
            out[HAPPENED + 2] = 1.0
        elif ask < 0:
            out[HAPPENED + 3] = 1.0


@compiled
def vpin(bought, sold, ring, running):  # type: ignore[no-untyped-def]
    """Fill the volume buckets with a tick's trades, every bucket in the same proportion; returns VPIN."""
    rest = bought + sold
    if rest > 0.0:
        share = bought / rest
        if rest > (BUCKETS + 1) * BUCKET_QUANTITY:
            # more volume than this fills every bucket of the ring with the same share, so it need not be looped over
            rest = (BUCKETS + 1) * BUCKET_QUANTITY + rest % BUCKET_QUANTITY
        while rest > 0.0:
            room = BUCKET_QUANTITY - running.bucket_bought - running.bucket_sold
            added = min(rest, room)
            running.bucket_bought += added * share
            running.bucket_sold += added * (1.0 - share)
            rest -= added
            if added < room:
                break
            slot = running.bucket % BUCKETS
            imbalance = abs(running.bucket_bought - running.bucket_sold)
            running.imbalance += imbalance - ring[slot]
            ring[slot] = imbalance
            running.bucket += 1
            running.bucket_bought, running.bucket_sold = 0.0, 0.0
    full = min(running.bucket, BUCKETS)
    return running.imbalance / (full * BUCKET_QUANTITY) if full > 0 else 0.0


@inlined
def _offset_and_gaps(bid_px, bid_lots, ask_px, ask_lots, tick, out):  # type: ignore[no-untyped-def]
    """Write microprice minus mid, and the gaps between the levels of both sides."""
    bid, ask = float(bid_lots[0]), float(ask_lots[0])
    out[OFFSET] = 0.5 * (ask_px[0] - bid_px[0]) / tick * (bid - ask) / (bid + ask)
    for level in range(1, LEVELS):
        if bid_px[level] != EMPTY_PRICE:
            out[BID_GAP + level - 1] = (bid_px[level - 1] - bid_px[level]) / tick
        if ask_px[level] != EMPTY_PRICE:
            out[ASK_GAP + level - 1] = (ask_px[level] - ask_px[level - 1]) / tick


@inlined
def _time_and_mid(ts_ns, mid, running, out):  # type: ignore[no-untyped-def]
    """Write the time since the previous tick, the change of the mid, and the volatility."""
    out[SECONDS] = (ts_ns - running.ts_ns) * 1e-9
    change = mid - running.mid_ticks
    running.variance += _FORGET * (change * change - running.variance)
    running.weight += _FORGET * (1.0 - running.weight)
    out[VOLATILITY] = np.sqrt(running.variance / running.weight)
    out[MID_CHANGE] = change


@internal
def start_session(memory):  # type: ignore[no-untyped-def]
    """Forget the ticks of the session before."""
    running = memory.running[0]
    running.ticks, running.variance, running.weight = 0, 0.0, 0.0
    running.bucket_bought, running.bucket_sold, running.bucket, running.imbalance = 0.0, 0.0, 0, 0.0
    memory.ring[:] = 0.0


@inlined
def _outcomes(tick, mid, memory, out):  # type: ignore[no-untyped-def]
    """Write what followed books like this one."""
    # as float32, as which they are stored: `rescale` then finds the same cells
    imbalance, spread, order_flow = np.float32(out[IMBALANCE]), np.float32(out[SPREAD]), np.float32(out[OFI])
    outcome_row(tick, mid, imbalance, spread, order_flow, out[SPREAD_SCALE], memory, out[OUTCOMES:])


@internal
def flow_row(ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold, scale, memory, out):  # type: ignore[no-untyped-def]
    """Write the features of the next tick into `out`, computed in float64.

    Args:
        ts_ns: int, of the tick; not looked at where the scale says `timed=False`.
        bid_px, bid_lots, ask_px, ask_lots: (10,) int64, as in `BookSeries`; both best levels quoted.
        bought, sold: int, lots that takers traded since the previous tick.
        scale: `FeatureScale`.
        memory: `FlowMemory` after the previous tick; changed.
        out: (101,) float32 or float64, overwritten, in the order of FLOW_NAMES.
    """
    lob44_row(bid_px, bid_lots, ask_px, ask_lots, scale, out)
    unit = 1.0 / (scale.lots_per_unit * scale.quantity_scale)
    running, top = memory.running[0], memory.top
    if not scale.timed:
        ts_ns = running.ts_ns  # as if no time had passed: no session ends, and `seconds` is 0
    for i in range(OFFSET, SPREAD_SCALE):
        out[i] = 0.0
    out[SPREAD_SCALE] = scale.spread_scale
    _offset_and_gaps(bid_px, bid_lots, ask_px, ask_lots, scale.tick, out)
    out[SIGNED], out[VOLUME] = (bought - sold) * unit, (bought + sold) * unit
    out[HAPPENED + 4], out[HAPPENED + 5] = 1.0 if bought > 0 else 0.0, 1.0 if sold > 0 else 0.0
    if running.ticks > 0 and ts_ns - running.ts_ns > scale.session_gap_ns:
        start_session(memory)
    mid = 0.5 * (bid_px[0] + ask_px[0]) / scale.tick
    if running.ticks > 0:
        _order_flow(bid_px, bid_lots, ask_px, ask_lots, top, unit, out)
        _time_and_mid(ts_ns, mid, running, out)
    out[VPIN] = vpin(bought * unit, sold * unit, memory.ring, running)
    _outcomes(running.ticks, mid, memory.outcomes, out)
    running.ticks += 1
    running.ts_ns, running.mid_ticks = ts_ns, mid
    for i in range(LEVELS):
        top[0, i], top[1, i], top[2, i], top[3, i] = bid_px[i], bid_lots[i], ask_px[i], ask_lots[i]


@compiled
def _flow_rows(ts_ns, bid_px, bid_lots, ask_px, ask_lots, bought, sold, scale, memory, out):  # type: ignore[no-untyped-def]
    for i in range(out.shape[0]):
        flow_row(ts_ns[i], bid_px[i], bid_lots[i], ask_px[i], ask_lots[i], bought[i], sold[i], scale, memory, out[i])


def flow(
    books: BookSeries,
    quantity_scale: float,
    memory: FlowMemory | None = None,
    *,
    spread_scale: float = 1.0,
    session_gap_ns: int = SESSION_GAP_NS,
) -> NDArray[np.float32]:
    """The `flow` features of every book, each row from its own and earlier books alone.

    Args:
        books: validated series of n books; without trades, those features are 0, and so are those of time where
            `books.timed` is False.
        quantity_scale: quantity that counts as 1, above 0.
        memory: after the books before these, to go on from block to block; changed. None: these are the first.
        spread_scale: in ticks, above 0.
        session_gap_ns: a longer time without a tick begins another session.

    Returns:
        (n, 101) float32 in the order of FLOW_NAMES.
    """
    out = np.empty((books.rows, len(FLOW_NAMES)), np.float32)
    none = np.zeros(books.rows, np.int64)
    sides = [np.ascontiguousarray(a) for a in (books.bid_px, books.bid_lots, books.ask_px, books.ask_lots)]
    trades = [none if a is None else np.ascontiguousarray(a) for a in (books.bought, books.sold)]
    scale = FeatureScale.of(books, quantity_scale, spread_scale, session_gap_ns)
    ts_ns = np.ascontiguousarray(books.ts_ns)
    _flow_rows(ts_ns, *sides, *trades, scale, flow_memory() if memory is None else memory, out)
    return out
