"""Small DBN files: headers, orders, books and definitions made by Databento's own library."""

from __future__ import annotations

import datetime
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.feed import BookFeed, EventFeed

dbn = pytest.importorskip("databento_dbn", reason="needs the package databento-dbn")

DAY = 86_400 * 10**9
START = 19_723 * DAY  # 2024-01-01
FIRST_DAY = datetime.date(2024, 1, 1)

Spans = Sequence[tuple[int, int, str]]


def order(number: int, action: str = "A", side: str = "B", *, instrument: int = 7, day: int = 0, **more: Any) -> bytes:
    """A record of mbo; `number` counts ns, and is the order's id."""
    fields: dict[str, Any] = {"price": 10_250_000_000, "size": 2, "flags": 128, "publisher": 1}
    now = START + day * DAY + 1000 + number
    fields |= {"ts_recv": now, "ts_event": now - 100} | more
    publisher, ts_event, price, size, received = (
        fields.pop(name) for name in ("publisher", "ts_event", "price", "size", "ts_recv")
    )
    letters = dbn.Action(action), dbn.Side(side)
    return bytes(dbn.MBOMsg(publisher, instrument, ts_event, number, price, size, *letters, received, **fields))


def book(number: int, bid: float = 10.0, ask: float = 10.5, *, schema: str = "mbp-1", **more: Any) -> bytes:
    """A record of one of the schemas of one level, or of mbp-10."""
    now = START + 1000 + number
    fields: dict[str, Any] = {"action": "A", "side": "B", "flags": 128, "size": 5, "price": 10_000_000_000}
    fields |= {"instrument": 7, "publisher": 1, "ts_event": now - 100, "ts_recv": now} | more
    pair = dbn.ConsolidatedBidAskPair if schema.startswith(("c", "t")) and schema != "tbbo" else dbn.BidAskPair
    level = pair(round(bid * 1e9), round(ask * 1e9), 3, 4)
    head = (fields["publisher"], fields["instrument"], fields["ts_event"], fields["price"], fields["size"])
    kinds = {str(kind): kind for kind in dbn.RType.variants()}
    if "bbo-1" in schema:
        message = dbn.CBBOMsg if schema.startswith("c") else dbn.BBOMsg
        rest: tuple[Any, ...] = (dbn.Side(fields["side"]), fields["ts_recv"])
        return bytes(message(kinds[schema], *head, *rest, flags=fields["flags"], levels=level))
    letters = dbn.Action(fields["action"]), dbn.Side(fields["side"])
    if schema in ("cmbp-1", "tcbbo"):
        rest = *letters, fields["ts_recv"]
        return bytes(dbn.CMBP1Msg(kinds[schema], *head, *rest, flags=fields["flags"], levels=level))
    rest = *letters, 0, fields["ts_recv"]
    if schema == "mbp-10":
        return bytes(dbn.MBP10Msg(*head, *rest, flags=fields["flags"], levels=[level] + [dbn.BidAskPair()] * 9))
    return bytes(dbn.MBP1Msg(*head, *rest, flags=fields["flags"], levels=level))


def definition(number: int, symbol: str, tick: int, day: int = 0, expiry: int | None = None) -> bytes:
    """A record of the schema definition."""
    now = START + day * DAY
    future, added = dbn.InstrumentClass.FUTURE, dbn.SecurityUpdateAction.ADD
    more = {} if expiry is None else {"expiration": expiry}
    return bytes(dbn.InstrumentDefMsg(1, number, now, now, tick, 10**9, symbol, "ES", "FUT", future, added, **more))


def header(
    schema: str = "mbo",
    names: Mapping[str, str | Spans] | None = None,
    *,
    version: int = 3,
    ts_out: bool = False,
    stype_in: str = "raw_symbol",
    stype_out: str = "instrument_id",
) -> bytes:
    """The metadata of a file; `names`: {symbol: number on the first day, or spans of days with numbers}."""

    def day(n: int) -> datetime.date:
        return FIRST_DAY + datetime.timedelta(days=n)

    def intervals(spans: str | Spans) -> list[SimpleNamespace]:
        every = [(0, 1, spans)] if isinstance(spans, str) else spans
        return [SimpleNamespace(start_date=day(a), end_date=day(b), symbol=number) for a, b, number in every]

    names = {"ESH4": "7"} if names is None else names
    mappings = [SimpleNamespace(raw_symbol=name, intervals=intervals(spans)) for name, spans in names.items()]
    kinds = dbn.SType(stype_in), dbn.SType(stype_out)
    more: dict[str, Any] = {"symbols": list(names), "mappings": mappings, "version": version, "ts_out": ts_out}
    return bytes(dbn.Metadata("GLBX.MDP3", START, *kinds, dbn.Schema(schema), **more))


def write(path: Path, *parts: bytes) -> Path:
    path.write_bytes(b"".join(parts))
    return path


def events_of(feed: EventFeed | BookFeed) -> NDArray[np.void]:
    assert isinstance(feed, EventFeed)
    return np.concatenate(list(feed.chunks))


def books_of(feed: EventFeed | BookFeed) -> BookSeries:
    """The books of a feed that has one chunk."""
    assert isinstance(feed, BookFeed)
    (books,) = feed.chunks
    return books
