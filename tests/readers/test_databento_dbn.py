"""DBN files: the library's own objects as the reference, records of every kind, and what is no market data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.errors import DataError
from nanoarb_jax.market import event
from nanoarb_jax.market.series import EMPTY_PRICE, LEVELS
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.databento.dbn import open_dbn
from nanoarb_jax.readers.databento.layout import SCHEMAS
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions
from support.databento_files import START, dbn, events_of, header, order, write

pytest.importorskip("zstandard", reason="needs the package zstandard")

SEEN = event.BOTH_SEE
MBO_FILES = {
    "cme_es/esh4-glbx-mdp3-20231224.mbo.dbn.zst": 8725,
    "cme_es/esh4-glbx-mdp3-20231225.mbo.dbn.zst": 68792,
    "cme_es/orderbooks_mbo_2024-05-08T00-00-00_2024-05-08T00-00-02.dbn.zst": 13796,
    "databento_tiny/test_data.mbo.dbn.zst": 4,
}
MBP_FILES = {
    "cme_es/futures_mbp-1_2024-07-01T23-58_2024-07-02T00-02.dbn.zst": 2288,
    "databento_tiny/test_data.mbp-1.dbn.zst": 4,
    "databento_tiny/test_data.mbp-10.dbn.zst": 4,
}


def objects(path: Path) -> list:
    """All that the library makes of a file, in one go."""
    decoder = dbn.DBNDecoder(upgrade_policy=dbn.VersionUpgradePolicy.UPGRADE_TO_V3)
    with open_bytes(path) as stream:
        decoder.write(stream.read())
    return decoder.decode()[1:]


@pytest.mark.parametrize("schema", SCHEMAS)
def test_layouts_are_the_librarys(schema: str) -> None:
    message = getattr(dbn, SCHEMAS[schema].message)
    theirs, ours = np.dtype(message._dtypes), SCHEMAS[schema].record
    assert ours.itemsize == theirs.itemsize == message.size_hint
    unused = {"levels", "action", "depth", "ts_in_delta", "sequence"} - set(theirs.names)
    for name in set(ours.names) - unused:
        assert ours.fields[name][1] == theirs.fields[name][1], name
    if "levels" in ours.names:
        level, _ = ours["levels"].subdtype
        for name in ("bid_px", "ask_px", "bid_sz", "ask_sz"):
            assert ours.fields["levels"][1] + level.fields[name][1] == theirs.fields[f"{name}_00"][1]


@pytest.mark.parametrize("file", MBO_FILES)
def test_orders_equal_the_librarys_objects(shared: Path, file: str) -> None:
    feed = open_dbn(shared / "data" / file)
    events, records = events_of(feed), objects(shared / "data" / file)
    assert (len(records), feed.dropped) == (MBO_FILES[file], {})
    kinds = {"A": 10, "C": 11, "M": 12, "F": 13, "T": 2, "R": 3}
    sides = {"B": event.BUY, "A": event.SELL, "N": 0}
    expected = np.array(
        [
            (
                kinds[str(r.action)] | sides[str(r.side)] | SEEN,
                r.ts_recv if int(r.flags) & 32 else r.ts_event,
                r.ts_recv,
                np.nan if r.price == dbn.UNDEF_PRICE else r.pretty_price,
                r.size,
                r.order_id,
                int(r.flags),
                0,
            )
            for r in records
        ],
        event.EVENT,
    )
    for name in event.EVENT.names:
        np.testing.assert_array_equal(events[name], expected[name], err_msg=name)
    assert (np.diff(events["exch_ts"]) >= 0).all() and (np.diff(events["local_ts"]) >= 0).all()
    assert isinstance(feed, EventFeed) and (feed.format, feed.tick_size, feed.lot_size) == ("databento-mbo", 0.25, 1)


@pytest.mark.parametrize("file", MBP_FILES)
def test_books_equal_the_librarys_objects(shared: Path, file: str) -> None:
    feed = open_dbn(shared / "data" / file)
    assert isinstance(feed, BookFeed)
    books = list(feed.chunks)
    records = objects(shared / "data" / file)
    ends = [r for r in records if int(r.flags) & 128]
    assert len(records) == MBP_FILES[file] and sum(b.rows for b in books) == len(ends)
    np.testing.assert_array_equal(np.concatenate([b.ts_ns for b in books]), [r.ts_recv for r in ends])
    for field in ("bid_px", "bid_lots", "ask_px", "ask_lots"):
        met = np.concatenate([getattr(b, field) for b in books])
        depth = len(records[0].levels)
        theirs = field.replace("lots", "sz")
        np.testing.assert_array_equal(met[:, :depth], [[getattr(x, theirs) for x in r.levels] for r in ends])
        assert (met[:, depth:] == (EMPTY_PRICE if "px" in field else 0)).all() and met.shape == (len(ends), LEVELS)
    for field, side in (("bought", "B"), ("sold", "A"), ("unsided", "N")):
        taken = sum(r.size for r in records if (str(r.action), str(r.side)) == ("T", side))
        assert sum(getattr(b, field).sum() for b in books) == taken
    assert feed.dropped["inside an event"] == len(records) - len(ends)
    assert books[0].tick_size == 0.25


def test_the_chunks_do_not_depend_on_the_pieces(shared: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for file in (*list(MBO_FILES)[:1], *MBP_FILES):
        whole = list(open_dbn(shared / "data" / file, ReadOptions(tick_size=0.25)).chunks)
        with monkeypatch.context() as patch:
            patch.setattr("nanoarb_jax.readers.databento.decode._PIECE", 1009)
            pieces = list(open_dbn(shared / "data" / file, ReadOptions(tick_size=0.25)).chunks)
        if isinstance(whole[0], np.ndarray):
            np.testing.assert_array_equal(np.concatenate(pieces), np.concatenate(whole))
        else:
            for field in ("ts_ns", "bid_px", "ask_lots", "bought", "sold", "unsided", "gap"):
                both = (np.concatenate([getattr(b, field) for b in books]) for books in (pieces, whole))
                np.testing.assert_array_equal(*both)


@pytest.mark.parametrize("version", [1, 2, 3])
def test_generated_orders(tmp_path: Path, version: int) -> None:
    rows = [
        order(1, "R", "N", price=EMPTY_PRICE, size=0, flags=8),
        order(2, flags=32, ts_event=START - 5),
        order(3, "N", "N"),
        order(4, price=EMPTY_PRICE),
        order(5, "T", "A", price=10_125_000_000),
        order(6, price=10_500_000_000),
        order(7, price=-500_000_000),
    ]
    feed = open_dbn(write(tmp_path / "es.mbo.dbn", header(version=version), *rows), ReadOptions(lot_size=2.0))
    events = events_of(feed)
    assert isinstance(feed, EventFeed) and (feed.name, feed.tick_size, feed.lot_size) == ("es.mbo", 0.25, 2.0)
    assert feed.dropped == {"no action": 1, "order without a price": 1}
    assert feed.notes == ["records with an inexact receive time (flag BAD_TS_RECV), kept with it: 1"]
    assert (events["ev"] ^ SEEN).tolist() == [3, 10 | event.BUY, 2 | event.SELL, 10 | event.BUY, 10 | event.BUY]
    # the replayed order: when it was received
    assert (events["exch_ts"] - START).tolist() == [901, 1002, 905, 906, 907]
    assert np.isnan(events["px"][0]) and events["px"][1:].tolist() == [10.25, 10.125, 10.5, -0.5]


def test_sending_times_and_other_records_are_left_out(tmp_path: Path) -> None:
    rows = [order(1, ts_out=17), bytes(dbn.SystemMsg(2, "heartbeat")), order(2, ts_out=18, price=10_500_000_000)]
    rows[1] = bytes([rows[1][0] + 2]) + rows[1][1:] + (19).to_bytes(8, "little")
    feed = open_dbn(write(tmp_path / "live.dbn", header(ts_out=True), *rows))
    assert events_of(feed)["order_id"].tolist() == [1, 2]
    assert feed.dropped == {"other kind of record": 1}


def test_what_is_no_market_data(tmp_path: Path, shared: Path) -> None:
    with pytest.raises(DataError, match=r"schema 'definition'; expected one of mbo, mbp-1, mbp-10, tbbo"):
        open_dbn(shared / "data" / "databento_tiny" / "test_data.definition.dbn.zst")
    cases = {
        "no DBN header": b"",
        "not DBN": b"timestamp,price\n" * 9,
        "no records": header(),
        "cut within a record, 40 bytes": header() + order(1) + order(2)[:40],
        "flag 64": header() + order(1, flags=64),
        "action 'X'": header() + order(1).replace(b"AB", b"XB"),
        "side 'Z'": header() + order(1).replace(b"AB", b"AZ"),
        # in µs: a time in 1970
        "ts_recv 1704067200000001 lies in no year from 1980": header(names={}) + order(1, ts_recv=START // 1000 + 1),
        "ts_event 5 lies in no year": header() + order(1, ts_event=5),
    }
    for met, data in cases.items():
        with pytest.raises(DataError, match=met):
            list(open_dbn(write(tmp_path / "x.dbn", data), ReadOptions(tick_size=0.25)).chunks)
    with pytest.raises(DataError, match="no such file"):
        open_dbn(tmp_path / "missing.dbn")


def test_truncated_real_file(shared: Path, tmp_path: Path) -> None:
    original = (shared / "data" / "cme_es" / "esh4-glbx-mdp3-20231224.mbo.dbn.zst").read_bytes()
    feed_or_error = write(tmp_path / "cut.dbn.zst", original[:-9])
    with pytest.raises(DataError, match="truncated"):
        list(open_dbn(feed_or_error).chunks)
