"""Orders and trades of Databento's schema mbo as events."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.event import EVENT, SNAPSHOT
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.databento.layout import PX_SCALE, TOP_OF_BOOK
from nanoarb_jax.readers.databento.select import Records

_KINDS = {"A": event.ADD, "C": event.CANCEL, "M": event.MODIFY, "R": event.CLEAR, "T": event.TRADE, "F": event.FILL}
_NO_ACTION = ord("N")
_SIDES = {"B": event.BUY, "A": event.SELL, "N": 0}


def _byte_table(values: dict[str, int]) -> NDArray[np.int64]:
    """Values by the byte of their letter; -1 for any other byte."""
    table = np.full(256, -1, np.int64)
    table[[ord(code) for code in values]] = list(values.values())
    return table


_KIND_OF, _SIDE_OF = _byte_table(_KINDS | {"N": 0}), _byte_table(_SIDES)


def make_events(batches: Iterator[NDArray[np.void]], records: Records) -> Iterator[NDArray[np.void]]:
    """(n,) EVENT of the orders of one instrument.

    Raises:
        DataError: a record that cannot be understood.
    """
    done = 0
    for batch in batches:
        kind, side = _KIND_OF[batch["action"]], _SIDE_OF[batch["side"]]
        _check_letters(batch, kind, side, done, records)
        done += len(batch)
        absent = batch["price"] == EMPTY_PRICE
        silent = batch["action"] == _NO_ACTION
        lost = np.isin(kind, [event.ADD, event.MODIFY]) & absent
        for reason, met in (("no action", silent), ("order without a price", lost)):
            if met.any():
                records.dropped[reason] += int(met.sum())
        events = np.zeros(len(batch), EVENT)
        # Databento clears both sides at once, whatever the side says
        events["ev"] = kind | np.where(kind == event.CLEAR, 0, side) | event.BOTH_SEE
        # an order of a snapshot keeps the time when it was entered, hours or days before: as the time of a message
        # that would run backwards, so the snapshot happens when it was received (as hftbacktest's converter has it)
        replayed = (batch["flags"] & SNAPSHOT != 0) | (batch["ts_event"] < 0)
        events["exch_ts"] = np.where(replayed, batch["ts_recv"], batch["ts_event"])
        events["local_ts"] = batch["ts_recv"]
        events["px"] = np.where(absent, np.nan, batch["price"] / PX_SCALE)
        events["qty"], events["order_id"], events["ival"] = batch["size"], batch["order_id"], batch["flags"]
        yield events[~(silent | lost)]


def _check_letters(
    batch: NDArray[np.void], kind: NDArray[np.int64], side: NDArray[np.int64], done: int, records: Records
) -> None:
    for field, unknown, expected in (("action", kind < 0, [*_KINDS, "N"]), ("side", side < 0, [*_SIDES])):
        if unknown.any():
            row = int(np.argmax(unknown))
            met = f"record {done + row} of the instrument: {field} {chr(batch[field][row])!r}"
            raise DataError(f"{records.path}: {met}; expected one of {' '.join(expected)}, fetch the file again")
    if (batch["flags"] & TOP_OF_BOOK).any():
        raise DataError(f"{records.path}: best quotes (flag 64) among orders; expected orders, fetch schema mbp-1")
