"""Databento's records as NumPy sees them, and what its schemas hold.

The fields, flags and sides are those of Databento's "Standards and conventions"
(https://databento.com/docs/standards-and-conventions): prices are integers of 1e-9, times ns since 1970 UTC, and an
absent price is INT64_MAX, which is EMPTY_PRICE here. A trade's side is its taker's.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

PX_SCALE = 1e9
BAD_TS_RECV, TOP_OF_BOOK = 8, 64  # flags, beside those of `market.event`

_HEADER = [("length", "u1"), ("rtype", "u1"), ("publisher_id", "<u2"), ("instrument_id", "<u4"), ("ts_event", "<i8")]
_TRADE = [("price", "<i8"), ("size", "<u4"), ("action", "u1"), ("side", "u1"), ("flags", "u1"), ("depth", "u1")]
_RECEIVED = [("ts_recv", "<i8"), ("ts_in_delta", "<i4"), ("sequence", "<u4")]
_LEVEL = np.dtype([(f"{side}_{what}", code) for what, code in (("px", "<i8"), ("sz", "<u4"), ("ct", "<u4"))
                   for side in ("bid", "ask")])  # fmt: skip
# the library's layouts (packed, the same in DBN v1 to v3), except that bytes are numbers here, and times signed
MBO = np.dtype(
    [
        *_HEADER,
        ("order_id", "<u8"),
        ("price", "<i8"),
        ("size", "<u4"),
        ("flags", "u1"),
        ("channel_id", "u1"),
        ("action", "u1"),
        ("side", "u1"),
        *_RECEIVED,
    ]
)
MBP_1, MBP_10 = (np.dtype([*_HEADER, *_TRADE, *_RECEIVED, ("levels", _LEVEL, (depth,))]) for depth in (1, 10))


class Schema(NamedTuple):
    """What the records of a schema are.

    Attributes:
        record: its layout. All schemas of one level have that of mbp-1; some leave `action`, `depth` or the number of
            orders empty.
        message: the library's class.
        rtype: the number of its record type.
        rows: "updates" of the book, the book before each of the "trades", or "samples" at the ends of intervals.
        consolidated: the best prices of all venues together; every record may name another publisher.
    """

    record: np.dtype
    message: str
    rtype: int
    rows: str = "updates"
    consolidated: bool = False


SCHEMAS = {
    "mbo": Schema(MBO, "MBOMsg", 160),
    "mbp-1": Schema(MBP_1, "MBP1Msg", 1),
    "mbp-10": Schema(MBP_10, "MBP10Msg", 10),
    "tbbo": Schema(MBP_1, "MBP1Msg", 197, "trades"),  # files have the number of mbp-1, too
    "bbo-1s": Schema(MBP_1, "BBOMsg", 195, "samples"),
    "bbo-1m": Schema(MBP_1, "BBOMsg", 196, "samples"),
    "cmbp-1": Schema(MBP_1, "CMBP1Msg", 177, consolidated=True),
    "tcbbo": Schema(MBP_1, "CMBP1Msg", 194, "trades", consolidated=True),
    "cbbo-1s": Schema(MBP_1, "CBBOMsg", 192, "samples", consolidated=True),
    "cbbo-1m": Schema(MBP_1, "CBBOMsg", 193, "samples", consolidated=True),
}
