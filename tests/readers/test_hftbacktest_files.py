"""Event arrays as files: every way to store them, messages across pieces, damaged files."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.event import BUY, CLEAR, DEPTH, EVENT, LAST, SELL, SNAPSHOT, TRADE
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.hftbacktest import feed as hftbacktest
from nanoarb_jax.readers.hftbacktest.feed import open_hftbacktest
from nanoarb_jax.readers.sources import recognise
from support.examples import examples

STORED, DEFLATED = zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED


def events_of(n: int, seed: int = 0, flagged: bool = True) -> NDArray[np.void]:
    rng = np.random.default_rng(seed)
    events = np.zeros(n, EVENT)
    events["ev"] = np.where(rng.random(n) < 0.5, BUY, SELL) | np.where(rng.random(n) < 0.2, TRADE, DEPTH)
    events["exch_ts"] = 10**18 + np.cumsum(rng.integers(0, 2, n))
    events["local_ts"] = events["exch_ts"] // 2 * 2 + 5  # two messages may have one local time
    events["px"] = 100 + 0.25 * rng.integers(-8, 8, n)
    events["px"][0] = 100.25
    events["qty"] = rng.integers(0, 9, n) / 1000
    events["order_id"] = np.arange(n)
    if flagged:
        events["ival"] = np.where(rng.random(n) < 0.5, LAST, 0)
        events["ival"][-1] = LAST | SNAPSHOT
    return events


def stored(folder: Path, array: NDArray, name: str = "day.npz", compression: int = STORED) -> Path:
    path = folder / name
    if path.suffix == ".npy":
        np.save(path, array)
        return path
    buffer = io.BytesIO()
    np.save(buffer, array)
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("data.npy", buffer.getvalue())
    return path


WAYS = [("day.npz", STORED), ("day.npz", DEFLATED), ("day.npy", STORED)]


@pytest.mark.parametrize(("name", "compression"), WAYS)
@pytest.mark.parametrize("chunk", [1, 7, 50, 1 << 16])
def test_round_trip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, compression: int, chunk: int) -> None:
    monkeypatch.setattr(hftbacktest, "CHUNK", chunk)
    events = events_of(100)
    path = stored(tmp_path, events, name, compression)
    assert recognise(path) == "hftbacktest"
    feed = open_hftbacktest(path, ReadOptions(lot_size=0.001))
    assert (feed.name, feed.format, feed.lot_size) == ("day", "hftbacktest", 0.001)
    chunks = list(feed.chunks)
    assert [len(c) for c in chunks] == [chunk] * (100 // chunk) + [100 % chunk] * (100 % chunk > 0)
    assert all(c.flags.writeable for c in chunks)
    # where the first piece has no record flag, the file has none as far as can be known
    if events["ival"][:chunk].any():
        assert np.concatenate(chunks).tobytes() == events.tobytes()


def test_sizes(tmp_path: Path) -> None:
    """Of trades and of what voids the book, prices say nothing about the tick size."""
    events = events_of(50)
    events["ev"][:2], events["px"][:2] = [TRADE | BUY, CLEAR | BUY], [100.1234, 0.0001]
    feed = open_hftbacktest(stored(tmp_path, events))
    assert (feed.tick_size, feed.lot_size) == (0.25, 1e-8)
    assert open_hftbacktest(stored(tmp_path, events), ReadOptions(tick_size=0.01)).tick_size == 0.01


@pytest.mark.parametrize("chunk", [1, 2, 3, 10, 64, 1 << 16])
@pytest.mark.parametrize("compression", [STORED, DEFLATED])
def test_without_flags_a_change_of_time_ends_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chunk: int, compression: int
) -> None:
    monkeypatch.setattr(hftbacktest, "CHUNK", chunk)
    events = events_of(64, seed=1, flagged=False)
    feed = open_hftbacktest(stored(tmp_path, events, compression=compression))
    read = np.concatenate(list(feed.chunks))
    times = [(e["exch_ts"], e["local_ts"]) for e in events]
    ends = [now != after for now, after in zip(times, [*times[1:], None], strict=True)]
    assert 20 < sum(ends) < 64
    assert read["ival"].tolist() == [LAST if end else 0 for end in ends]
    read["ival"] = 0
    assert read.tobytes() == events.tobytes()


@pytest.mark.parametrize("name", ["day.npz", "day.npy"])
def test_errors(tmp_path: Path, name: str) -> None:
    wrong = {
        "expected a one-dimensional array of events": [np.zeros(3), np.zeros((2, 2), EVENT), np.array([{}], object)],
        "no events; expected at least one": [np.zeros(0, EVENT)],
    }
    for met, arrays in wrong.items():
        for array in arrays:
            with pytest.raises(DataError, match=met) as caught:
                open_hftbacktest(stored(tmp_path, array, name))
            assert "\n" not in str(caught.value)
    with pytest.raises(DataError, match="damaged or not an event file"):
        open_hftbacktest(tmp_path / "none.npz")


@pytest.mark.parametrize(("name", "compression"), WAYS)
def test_truncated(tmp_path: Path, name: str, compression: int) -> None:
    path = stored(tmp_path, events_of(40), name, compression)
    data = path.read_bytes()
    for end in (0, 1, 2, 60, 200, len(data) // 2, len(data) - 65, len(data) - 1):
        path.write_bytes(data[:end])
        with pytest.raises(DataError) as caught:
            list(open_hftbacktest(path).chunks)
        assert "\n" not in str(caught.value) and "day.np" in str(caught.value)


def test_more_than_the_header_says(tmp_path: Path) -> None:
    path = stored(tmp_path, events_of(40), "day.npy")
    path.write_bytes(path.read_bytes() + b"rest")
    with pytest.raises(DataError, match="longer than its 40 events"):
        list(open_hftbacktest(path).chunks)


@settings(max_examples=examples(300), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.sampled_from(WAYS), st.lists(st.integers(0, 10**6), min_size=1, max_size=2, unique=True), st.booleans())
def test_flipped_bits(tmp_path: Path, way: tuple[str, int], bits: list[int], head: bool) -> None:
    """An archive with damaged data is never taken for whole."""
    name, compression = way
    events = events_of(20)
    path = stored(tmp_path, events, name, compression)
    data = bytearray(path.read_bytes())
    span = 200 if head else len(data)
    for bit in bits:
        data[bit // 8 % span] ^= 1 << bit % 8
    path.write_bytes(data)
    try:
        read = np.concatenate(list(open_hftbacktest(path, ReadOptions(0.25, 0.001)).chunks))
    except DataError as error:
        assert "\n" not in str(error) and name in str(error)
    else:
        assert path.suffix == ".npy" or read.tobytes() == events.tobytes()
