"""Streams, splits and datasets on disk: no look-ahead, nothing lost, nothing overwritten, clear errors."""

from __future__ import annotations

import dataclasses
import json
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import open_dataset
from nanoarb_jax.data.labelling import split_rows
from nanoarb_jax.data.labels import UNDEFINED, direction_labels
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.stored import MANIFEST
from nanoarb_jax.data.streams import Stream, describe_stream, make_stream, mirror_stream
from nanoarb_jax.errors import DataError, OutputError
from nanoarb_jax.files import sha256
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.book_npz import read_book_npz, write_book_npz
from nanoarb_jax.simulation.market import synthetic_books
from nanoarb_jax.units.workers import Workers
from support.examples import examples

TOP10 = Path(__file__).parents[3] / "shared" / "data" / "derived_top10"
CONFIG = DataConfig(feature_set="lob44", horizons=(5, 20))
BOOKS = synthetic_books(3_000, 0, name="abc_20240102_am")
quick = settings(deadline=None, max_examples=examples(25), database=None)


def assert_same(first: Stream, second: Stream) -> None:
    for name in Stream._fields:
        np.testing.assert_array_equal(getattr(first, name), getattr(second, name), err_msg=name)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of two book files."""
    books = tmp_path / "books"
    books.mkdir()
    for name, seed in (("one", 1), ("two_20240103", 2)):
        write_book_npz(books / f"{name}.npz", synthetic_books(2_000, seed, tick_size=0.01))
    return books


def test_stream_fields() -> None:
    stream = make_stream(BOOKS, CONFIG)
    assert (stream.name, stream.instrument, stream.tick_size) == ("abc_20240102_am", "abc", 0.25)
    assert stream.features.shape == (3_000, 44) and stream.features.dtype == np.float32
    assert stream.labels.shape == stream.moves.shape == (3_000, 2)
    assert (stream.mid.dtype, stream.spread.dtype, stream.ts_ns.dtype) == (np.float64, np.float32, np.int64)
    assert (stream.labels[-20:, 1] == UNDEFINED).all() and (stream.labels[:-20] != UNDEFINED).all()
    train = slice(0, stream.train[1])
    sizes = np.concatenate([BOOKS.bid_lots[train, 0], BOOKS.ask_lots[train, 0]])
    assert stream.quantity_scale == np.median(sizes)
    described = describe_stream(stream, CONFIG.horizons)
    assert sum(described["class_shares"]["h20"].values()) == pytest.approx(1)
    json.dumps(described)


def test_label_price_and_thresholds() -> None:
    micro = make_stream(BOOKS, dataclasses.replace(CONFIG, label_price="microprice", threshold_ticks=0.3))
    assert micro.threshold_ticks == (0.5, 0.5)  # half the median spread of one tick
    expected, _ = direction_labels(BOOKS.microprice / 0.25, (5, 20), 0.5)
    np.testing.assert_array_equal(micro.labels, expected)
    assert make_stream(BOOKS, dataclasses.replace(CONFIG, threshold_spreads=4.0)).threshold_ticks == (4.0, 4.0)


@quick
@given(
    rows=st.integers(1_500, 100_000),
    train=st.floats(0.2, 0.7),
    validation=st.floats(0.1, 0.25),
    extra=st.integers(0, 300),
)
def test_parts_never_look_into_each_other(rows: int, train: float, validation: float, extra: int) -> None:
    config = DataConfig(train_fraction=train, validation_fraction=validation, purge_ticks=100 + extra)
    parts = split_rows(rows, config)
    assert parts[0][0] == 0 and parts[2][1] == rows
    for part, following in pairwise(parts):
        last_row_a_label_reads = part[1] - 1 + max(config.horizons)
        assert last_row_a_label_reads < following[0]


@quick
@given(cut=st.integers(0, 2_999), seed=st.integers(0, 2**32 - 1))
def test_no_look_ahead(cut: int, seed: int) -> None:
    """Another future changes no feature before it and no label whose horizon ends before it."""
    other = synthetic_books(3_000, seed)
    spliced = {}
    for name in ("ts_ns", "bid_px", "bid_lots", "ask_px", "ask_lots"):
        spliced[name] = np.concatenate([getattr(BOOKS, name)[:cut], getattr(other, name)[cut:]])
    spliced["ts_ns"] = BOOKS.ts_ns
    config = dataclasses.replace(CONFIG, quantity_scale=10.0, threshold_spreads=0.0)
    before, after = make_stream(BOOKS, config), make_stream(BOOKS._replace(**spliced), config)
    for name in ("features", "mid", "spread"):
        np.testing.assert_array_equal(getattr(before, name)[:cut], getattr(after, name)[:cut])
    for column, horizon in enumerate(config.horizons):
        same = max(cut - horizon, 0)
        np.testing.assert_array_equal(before.labels[:same, column], after.labels[:same, column])
        np.testing.assert_array_equal(before.moves[:same, column], after.moves[:same, column])


def test_what_is_learnt_is_learnt_from_the_training_part() -> None:
    stream = make_stream(BOOKS, CONFIG)
    changed = {name: getattr(BOOKS, name).copy() for name in ("bid_lots", "ask_lots", "ask_px")}
    after = slice(stream.train[1], None)
    changed["bid_lots"][after] *= 50
    changed["ask_lots"][after] *= 50
    changed["ask_px"][after] += 30
    later = make_stream(BOOKS._replace(**changed), CONFIG)
    assert later.quantity_scale == stream.quantity_scale
    assert later.threshold_ticks == stream.threshold_ticks
    np.testing.assert_array_equal(later.features[: stream.train[1]], stream.features[: stream.train[1]])


def test_mirror_stream_is_the_stream_of_the_mirrored_market() -> None:
    stream = make_stream(BOOKS, CONFIG)
    mirrored, built = mirror_stream(stream), make_stream(BOOKS.mirrored(), CONFIG)
    shift = mirrored.mid[0] - built.mid[0]  # they reflect about different prices
    np.testing.assert_allclose(mirrored.mid, built.mid + shift)
    np.testing.assert_allclose(mirrored.features[:, :2], built.features[:, :2] + shift, rtol=1e-6)
    np.testing.assert_allclose(mirrored.features[:, 2:], built.features[:, 2:], rtol=1e-6)
    np.testing.assert_array_equal(mirrored.labels, built.labels)
    np.testing.assert_array_equal(mirrored.moves, built.moves)
    again = mirror_stream(mirrored)
    np.testing.assert_array_equal(again.features[:, 2:], stream.features[:, 2:])
    np.testing.assert_array_equal(again.labels, stream.labels)


def rows_of(books: BookSeries, rows: int) -> BookSeries:
    return books.part(0, rows)


def test_too_short_names_the_rows_needed() -> None:
    with pytest.raises(DataError, match=r"'abc_20240102_am': 500 rows; expected at least 807"):
        make_stream(rows_of(BOOKS, 500), CONFIG)
    assert make_stream(rows_of(BOOKS, 807), CONFIG).rows == 807
    with pytest.raises(DataError, match="no rows"):
        make_stream(rows_of(BOOKS, 0), CONFIG)


def test_features_that_are_not_finite() -> None:
    with pytest.raises(DataError, match="row 0: feature bid_quantity_0 is NaN or infinite"):
        make_stream(BOOKS, dataclasses.replace(CONFIG, quantity_scale=1e-300))


def test_prepared_equals_in_memory(folder: Path, tmp_path: Path) -> None:
    seen: list[tuple[int, int, str]] = []
    out = tmp_path / "deep" / "ds"
    made = prepare([folder], out, CONFIG, lambda *step: seen.append(step))
    assert [step for step in seen if "ticks" not in step[2]] == [(0, 2, "one"), (1, 2, "two_20240103"), (2, 2, "ds")]
    assert (1, 2, "two_20240103: 2,000 ticks") in seen
    assert sorted(path.name for path in out.parent.iterdir()) == ["ds"]
    opened, memory = open_dataset(out, verify=True), open_dataset(folder, CONFIG)
    assert made.config == opened.config == memory.config == CONFIG
    assert opened.sources == memory.sources and opened.sources[0]["name"] == "one.npz"
    assert (opened.rows, opened.horizons) == (4_000, (5, 20))
    for one, other in zip(opened.streams, memory.streams, strict=True):
        assert_same(one, other)
        assert not one.features.flags.owndata and one.features.flags.aligned
    manifest = json.loads((out / MANIFEST).read_text())
    assert manifest["schema_version"] == 3 and manifest["feature_set"] == "lob44" and manifest["clock"] == "book"
    assert str(tmp_path) not in json.dumps(manifest)
    assert open_dataset(folder / "one.npz").config == DataConfig()


def test_same_books_same_bytes(folder: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare([folder / "two_20240103.npz", folder / "one.npz"], tmp_path / name, CONFIG)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes()


def test_prepare_overwrites_nothing(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    out.mkdir()
    prepare([folder], out, CONFIG)  # an empty folder is welcome
    before = {file: file.read_bytes() for file in out.iterdir()}
    with pytest.raises(OutputError, match=r"dataset .*exists and is not an empty folder"):
        prepare([folder], out, CONFIG)
    assert {file: file.read_bytes() for file in out.iterdir()} == before
    with pytest.raises(OutputError, match=r"dataset .*exists and is not an empty folder"):
        prepare([folder], folder / "one.npz", CONFIG)
    with pytest.raises(DataError, match="cannot be written"):
        prepare([folder], folder / "one.npz" / "ds", CONFIG)


def test_prepare_is_all_or_nothing(folder: Path, tmp_path: Path) -> None:
    damaged = folder / "two_20240103.npz"
    damaged.write_bytes(damaged.read_bytes()[:-100])
    with pytest.raises(DataError, match=r"two_20240103.npz: damaged"):
        prepare([folder], tmp_path / "ds", CONFIG)
    assert not (tmp_path / "ds").exists()


def spoilt(archive: bytes) -> bytes:
    """Damage that shows only when the array is read."""
    middle = len(archive) // 2
    return archive[:middle] + bytes(byte ^ 0x55 for byte in archive[middle : middle + 64]) + archive[middle + 64 :]


def test_prepare_goes_on_where_it_was_stopped(folder: Path, tmp_path: Path) -> None:
    whole = prepare([folder], tmp_path / "whole", CONFIG)
    damaged = folder / "two_20240103.npz"
    good = damaged.read_bytes()
    damaged.write_bytes(spoilt(good))
    with pytest.raises(DataError, match="damaged"):
        prepare([folder], tmp_path / "ds", CONFIG)
    kept = tmp_path / ".ds.part" / "one.npy"
    made = kept.stat().st_mtime_ns
    damaged.write_bytes(good)
    resumed = prepare([folder], tmp_path / "ds", CONFIG)
    assert (tmp_path / "ds" / "one.npy").stat().st_mtime_ns == made and not kept.parent.exists()
    for one, other in zip(resumed.streams, whole.streams, strict=True):
        assert_same(one, other)
    for file in (tmp_path / "ds").iterdir():
        assert file.read_bytes() == (tmp_path / "whole" / file.name).read_bytes()


def test_what_an_earlier_run_left_is_checked(folder: Path, tmp_path: Path) -> None:
    """Other settings, other sources or a file that was cut make a finished stream anew."""
    damaged = folder / "two_20240103.npz"
    good = damaged.read_bytes()
    for change in ("settings", "source", "cut"):
        out = tmp_path / change
        damaged.write_bytes(spoilt(good))
        with pytest.raises(DataError, match="damaged"):
            prepare([folder], out, dataclasses.replace(CONFIG, threshold_ticks=3.0) if change == "settings" else CONFIG)
        damaged.write_bytes(good)
        if change == "source":
            (folder / "one.npz").unlink()
            write_book_npz(folder / "one.npz", synthetic_books(2_100, 9))
        if change == "cut":
            kept = tmp_path / f".{change}.part" / "one.npy"
            kept.write_bytes(kept.read_bytes()[:-8])
        made = prepare([folder], out, CONFIG)
        for stream, memory in zip(made.streams, open_dataset(folder, CONFIG).streams, strict=True):
            assert_same(stream, memory)


@pytest.mark.subprocess
def test_processes_make_the_same_bytes(folder: Path, tmp_path: Path) -> None:
    prepare([folder], tmp_path / "one", CONFIG)
    prepare([folder], tmp_path / "two", CONFIG, workers=Workers(jobs=2))
    for file in (tmp_path / "one").iterdir():
        assert file.read_bytes() == (tmp_path / "two" / file.name).read_bytes()


def test_two_writers(folder: Path, tmp_path: Path) -> None:
    def again(done: int, total: int, name: str) -> None:
        with pytest.raises(DataError, match="another run is preparing it"):
            prepare([folder], tmp_path / "ds", CONFIG)

    prepare([folder], tmp_path / "ds", CONFIG, lambda *step: again(*step) if step[0] < 2 else None)
    assert open_dataset(tmp_path / "ds").rows == 4_000


@pytest.mark.parametrize("changes", [{"feature_set": "flow"}, {"clock": "bbo"}, {"label_rule": "deeplob"}])
def test_blocks_change_nothing(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, changes: dict[str, str]
) -> None:
    config = dataclasses.replace(CONFIG, threshold_quantile=0.4, **changes)
    memory = open_dataset(folder, config)
    monkeypatch.setattr("nanoarb_jax.data.labelling.BLOCK", 333)
    for one, other in zip(prepare([folder], tmp_path / "ds", config).streams, memory.streams, strict=True):
        assert_same(one, other)


def test_sources_that_are_none(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="no such file"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(DataError, match="a folder without files"):
        open_dataset(tmp_path / "empty")
    assert prepare([folder, folder / "one.npz"], tmp_path / "once", CONFIG).rows == 4_000
    other = tmp_path / "deep" / "books"
    other.mkdir(parents=True)
    (other / "one.npz").write_bytes((folder / "one.npz").read_bytes())
    with pytest.raises(DataError, match="2 sources are called 'books_one'"):
        prepare([folder, other], tmp_path / "ds", CONFIG)
    elsewhere = other.rename(tmp_path / "deep" / "spot")
    names = [stream.name for stream in prepare([folder, elsewhere], tmp_path / "ds", CONFIG).streams]
    assert names == ["books_one", "two_20240103", "spot_one"]
    with pytest.raises(DataError, match="no sources"):
        prepare([], tmp_path / "none", CONFIG)


def test_other_settings_are_named(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    prepare([folder], out, CONFIG)
    assert open_dataset(out, CONFIG).config == CONFIG
    with pytest.raises(DataError, match=r"data.threshold_ticks=1.0, asked for 2.0"):
        open_dataset(out, dataclasses.replace(CONFIG, threshold_ticks=2.0))
    with pytest.raises(DataError, match=r"data.horizons=\(5, 20\), asked for \(10, 50, 100\)"):
        open_dataset(out, DataConfig())


def test_damaged_dataset(folder: Path, tmp_path: Path) -> None:
    out = tmp_path / "ds"
    prepare([folder], out, CONFIG)
    file, manifest = out / "one.npy", out / MANIFEST
    whole, text = file.read_bytes(), manifest.read_text()

    def refused(message: str, verify: bool = False) -> None:
        with pytest.raises(DataError, match=message):
            open_dataset(out, verify=verify)
        file.write_bytes(whole)
        manifest.write_text(text)

    file.write_bytes(whole[:-1])
    refused("truncated or altered")
    file.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    refused("sha256", verify=True)
    rows = np.load(file)
    rows["features"][70, 3] = np.nan
    np.save(file, rows)
    refused("'one', row 70: feature imbalance is NaN or infinite", verify=True)
    file.write_bytes(b"x" * len(whole))
    refused("not an array file")
    file.unlink()
    refused("one.npy is missing")
    manifest.write_text(text[:-40])
    refused("manifest.json is damaged")
    manifest.write_text(text.replace('"schema_version": 3', '"schema_version": 9'))
    refused("expected .*prepare it again")
    manifest.write_text(text.replace("feature_hash", "hash"))
    refused("'feature_hash'")
    manifest.write_text(text.replace('"rows": 2000', '"rows": 1999'))
    refused("rows, splits or fields")
    manifest.write_text(text.replace('"label_price": "mid"', '"label_price": "last"'))
    refused("label_price")
    assert open_dataset(out, verify=True).rows == 4_000


@pytest.mark.skipif(not TOP10.is_dir(), reason=f"real books not found in {TOP10}")
def test_real_series(tmp_path: Path) -> None:
    files = [TOP10 / f"{name}.npz" for name in ("cme_esh4_20231225_2300-2400Z", "bitstamp_btcusd_20150501_L2snapshots")]
    data = prepare(files, tmp_path / "ds", DataConfig())
    es, bitstamp = data.streams
    assert (es.instrument, es.tick_size, es.threshold_ticks, es.rows) == ("cme_esh4", 0.25, (1.0,) * 3, 36_917)
    assert bitstamp.instrument == "bitstamp_btcusd" and bitstamp.threshold_ticks == (8.5,) * 3
    for stream, file in zip(data.streams, files, strict=True):
        assert_same(stream, make_stream(read_book_npz(file), DataConfig(), sources=[sha256(file)]))
        for part in (stream.train, stream.validation, stream.test):
            labels = stream.labels[slice(*part), 1]
            assert set(np.unique(labels[labels != UNDEFINED]).tolist()) == {0, 1, 2}
