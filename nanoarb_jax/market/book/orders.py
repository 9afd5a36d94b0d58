"""Resting orders by id: an open-addressing hash table over one array, without allocation or tombstones.

Compiled functions over `(slots,) ORDER`: slots are a power of two, and at most half of them are taken, which
`apply.py` sees to.
"""

from __future__ import annotations

import numpy as np

from nanoarb_jax.market.compiled import compiled

ORDER = np.dtype(
    [
        ("id", "u8"),
        ("rank", "i8"),  # as in ladder.py
        ("lots", "i8"),
        ("side", "i8"),  # 0 bid, 1 ask, -1 free slot
    ],
    align=True,
)
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)  # 2**64 / golden ratio: spreads ids that follow each other (Knuth 6.4)


@compiled
def home(order_id, slots):  # type: ignore[no-untyped-def]
    """The first slot to try for an id."""
    mixed = np.uint64(order_id) * _GOLDEN
    return np.int64((mixed >> np.uint64(32)) & np.uint64(slots - 1))


@compiled
def locate(table, order_id):  # type: ignore[no-untyped-def]
    """The slot of an order, or the free slot where it would go."""
    slots = len(table)
    slot = home(order_id, slots)
    while table[slot].side >= 0 and table[slot].id != order_id:
        slot = (slot + 1) & (slots - 1)
    return slot


@compiled
def put(table, slot, order_id, side, rank, lots):  # type: ignore[no-untyped-def]
    """Write an order into its slot."""
    order = table[slot]
    order.id = order_id
    order.side = side
    order.rank = rank
    order.lots = lots


@compiled
def free(table, slot):  # type: ignore[no-untyped-def]
    """Take an order out, and close the gap so that no search stops early (Knuth 6.4, algorithm R)."""
    slots = len(table)
    hole, probe = slot, slot
    while True:
        table[hole].side = -1
        while True:
            probe = (probe + 1) & (slots - 1)
            if table[probe].side < 0:
                return
            first_slot = home(table[probe].id, slots)
            # an order stays if its first slot lies cyclically in (hole, probe]
            stays = (hole < first_slot <= probe) if hole < probe else (hole < first_slot or first_slot <= probe)
            if not stays:
                break
        put(table, hole, table[probe].id, table[probe].side, table[probe].rank, table[probe].lots)
        hole = probe


@compiled
def rehash(table, larger):  # type: ignore[no-untyped-def]
    """Copy all orders into a larger, empty table."""
    for slot in range(len(table)):
        if table[slot].side >= 0:
            order = table[slot]
            put(larger, locate(larger, order.id), order.id, order.side, order.rank, order.lots)


def empty_table(slots: int) -> np.ndarray:
    """A table of free slots; `slots` is a power of two."""
    table = np.zeros(slots, ORDER)
    table["side"] = -1
    return table
