"""Market data opened to be replayed: read as the model reads, in scales that are known beforehand."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import open_dataset
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.data.labelling import level1_medians
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.flow import flow
from nanoarb_jax.features.lob44 import lob44
from nanoarb_jax.readers.book_npz import read_book_npz, write_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.serving.feeds import open_feeds
from nanoarb_jax.serving.scales import ScaleSource
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events
from support.series import write_three_series

FLOW = DataConfig(feature_set="flow")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_three_series(tmp_path_factory.mktemp("books"))


def test_a_later_part_is_in_the_scales_of_the_training_part(folder: Path, tmp_path: Path) -> None:
    """As `open_dataset` has them, with the same labels."""
    for config in (None, DataConfig(horizons=(5, 20), label_price="microprice")):
        feeds = open_feeds(folder, config, split="test")
        expected = open_dataset(folder / "longer.npz", config).streams[0]
        for name in expected._fields:
            np.testing.assert_array_equal(getattr(feeds.dataset.streams[1], name), getattr(expected, name), name)
        assert feeds.scales["longer"].origin == "its own training part" and feeds.scales["longer"].warm_up == 0
    prepare([folder / "long.npz"], tmp_path / "prepared", DataConfig(horizons=(5, 20)))
    prepared = open_feeds(tmp_path / "prepared", DataConfig())
    assert (prepared.dataset.config.horizons, prepared.dataset.rows, prepared.unlabelled) == ((5, 20), 1_500, {})
    assert prepared.scales["long"].origin.startswith("its dataset")


@pytest.mark.parametrize("feature_set", ["lob44", "flow"])
def test_scales_of_the_first_ticks(folder: Path, feature_set: str) -> None:
    """Also of a series that is too short for labels; settings of the model's data hold before all."""
    config = DataConfig(feature_set=feature_set)  # type: ignore[arg-type]
    feeds, books = open_feeds(folder / "tiny.npz", config, ScaleSource(warm_up=180)), read_book_npz(folder / "tiny.npz")
    (stream,) = feeds.dataset.streams
    assert list(feeds.unlabelled) == ["tiny"] and "300 rows; expected at least" in feeds.unlabelled["tiny"]
    medians = level1_medians(books, 180)
    assert (stream.quantity_scale, stream.spread_scale) == (medians.qty, medians.spread_scale) and medians[1] > 4
    assert feeds.scales["tiny"][2:4] == (medians.qty, medians.spread_scale)
    assert feeds.scales["tiny"].warm_up == 180 and "first 180 ticks" in feeds.scales["tiny"].origin
    made = (
        lob44(books, medians.qty)
        if feature_set == "lob44"
        else flow(books, medians.qty, spread_scale=medians.spread_scale)
    )
    np.testing.assert_array_equal(stream.features, made)
    np.testing.assert_array_equal(stream.ts_ns, books.ts_ns)
    np.testing.assert_array_equal(stream.mid, books.mid)
    assert (stream.labels == -1).all() and stream.labels.shape == (300, 3)
    given = open_feeds(folder / "tiny.npz", dataclasses.replace(config, quantity_scale=7.0, spread_scale=3.5))
    assert given.scales["tiny"][2:] == (7.0, 3.5, "the settings of the model's data", 0, None)


def test_later_ticks_change_nothing_that_was_measured_before(tmp_path: Path) -> None:
    books = synthetic_books(1_500, seed=3)
    write_book_npz(tmp_path / "a.npz", books)
    for side in ("bid_lots", "ask_lots"):
        getattr(books, side)[700:] *= 9
    write_book_npz(tmp_path / "b.npz", books)
    feeds = [open_feeds(tmp_path / name, FLOW, ScaleSource(warm_up=700)) for name in ("a.npz", "b.npz")]
    one, other = (opened.dataset.streams[0] for opened in feeds)
    np.testing.assert_array_equal(one.features[:700], other.features[:700])
    assert one.quantity_scale == other.quantity_scale


def test_scales_from_elsewhere(folder: Path, tmp_path: Path) -> None:
    """A feed, the feed itself, a dataset, and what the model was trained with."""
    feed = folder / "long.npz"
    past = Instrument.measure(folder / "longer.npz")
    feeds = open_feeds(feed, FLOW, ScaleSource(folder / "longer.npz"))
    assert feeds.scales["long"][:4] == (past.tick_size, past.lot_size, past.quantity_scale, past.spread_scale)
    assert feeds.scales["long"].origin.startswith(f"{folder / 'longer.npz'}, longer")
    itself = open_feeds(feed, FLOW, ScaleSource(folder)).scales["long"]
    assert itself.origin.endswith("long: measured on ticks of the time that is replayed, or later")
    books = read_book_npz(folder / "longer.npz")
    for shift, later in ((-(10**15), False), (10**15, True)):  # days before, and days after; under any name
        write_book_npz(tmp_path / "other.npz", books._replace(ts_ns=books.ts_ns + shift))
        origin = open_feeds(feed, FLOW, ScaleSource(tmp_path / "other.npz")).scales["long"].origin
        assert origin.endswith(", or later") == later
        (tmp_path / "other.npz").unlink()
    assert open_feeds(feed, FLOW, ScaleSource(folder, "longer")).scales["long"][:4] == feeds.scales["long"][:4]

    prepare([folder / "long.npz", folder / "longer.npz"], tmp_path / "prepared", FLOW)
    of_dataset = open_feeds(feed, FLOW, ScaleSource(tmp_path / "prepared")).scales["long"]
    prepared = open_dataset(tmp_path / "prepared").streams[0]
    assert of_dataset[2:4] == (prepared.quantity_scale, prepared.spread_scale)

    trained = {"name": "long", "tick_size": past.tick_size, "lot_size": 1.0, "quantity_scale": 5.0, "spread_scale": 2.0}
    told = open_feeds(feed, FLOW, ScaleSource(trained=[trained]))
    assert told.scales["long"][2:] == (5.0, 2.0, "the model: its series long", 0, None)
    assert told.dataset.streams[0].quantity_scale == 5.0
    del trained["lot_size"]  # as earlier versions wrote it
    assert open_feeds(feed, FLOW, ScaleSource(trained=[trained])).scales["long"] == told.scales["long"]
    unsaid = open_feeds(feed, FLOW, ScaleSource(trained=[{"name": "long"}]))
    assert unsaid.scales["long"].warm_up == 1_000
    other = open_feeds(folder / "longer.npz", FLOW, ScaleSource(series="long", trained=[trained]))
    assert other.scales["longer"][2:4] == (5.0, 2.0)


def test_sizes_of_the_scales_are_those_of_the_reading(tmp_path: Path) -> None:
    """Where a format lets them be chosen, a feed of today is read with the tick and the lot of its past."""
    for name, seed in (("past", 1), ("today", 2)):
        np.savez(tmp_path / f"{name}.npz", data=synthetic_events(3_000, seed=seed))
    past = dataclasses.replace(Instrument.measure(tmp_path / "past.npz"), lot_size=1e-4)
    given = ReadOptions(lot_size=1e-4)
    feeds = open_feeds(tmp_path / "today.npz", FLOW, ScaleSource(tmp_path / "past.npz"), options=given)
    assert feeds.scales["today"][:2] == (past.tick_size, past.lot_size)


def test_scales_of_a_market_with_other_ticks(tmp_path: Path) -> None:
    """A feed that cannot be read with their sizes says whose sizes they are."""
    np.savez(tmp_path / "feed.npz", data=synthetic_events(3_000, seed=1))
    coarse = {"name": "feed", "tick_size": 0.7, "lot_size": 1.0, "quantity_scale": 5.0, "spread_scale": 2.0}
    with pytest.raises(DataError, match=r"invalid .* \(tick and lot size are those of its scales: the model: its ser"):
        open_feeds(tmp_path / "feed.npz", FLOW, ScaleSource(trained=[coarse]))


def test_mistakes(folder: Path, tmp_path: Path) -> None:
    feed = folder / "long.npz"
    prepare([feed], tmp_path / "prepared", dataclasses.replace(FLOW, timestamps="exchange"))
    coarse = {"name": "long", "tick_size": 77.0, "lot_size": 1.0, "quantity_scale": 5.0, "spread_scale": 2.0}
    unsaid = {"name": "long", "tick_size": 77.0, "spread_scale": 2.0}
    cases = [
        (ScaleSource(series="x", trained=[coarse]), r"^--series x: not among those .* \(long\)$"),
        (ScaleSource(trained=[coarse]), r"^series 'long': tick size .*, its scales .* of 77; give"),
        (ScaleSource(series="long", trained=[unsaid]), r"^--series long: the model does not know its quantity_scale;"),
        (ScaleSource(folder, "x"), r"no series 'x'; give one of long, longer, tiny$"),
    ]
    for scales, message in cases:
        with pytest.raises(DataError, match=message):
            open_feeds(feed, FLOW, scales)
    with pytest.raises(
        DataError,
        match=r"^dataset: prepared with timestamps='exchange', the model reads 'local'; .*--timestamps local$",
    ):
        open_feeds(tmp_path / "prepared", FLOW)
    with pytest.raises(DataError, match=r"^dataset: .* timestamps='exchange', the model reads 'local'"):
        open_feeds(feed, FLOW, ScaleSource(tmp_path / "prepared"))
    with pytest.raises(DataError, match="was read when it was prepared; leave out --tick-size"):
        open_feeds(tmp_path / "prepared", None, options=ReadOptions(tick_size=1.0))
    content = (folder / "tiny.npz").read_bytes()
    (tmp_path / "cut.npz").write_bytes(content[: len(content) // 2])
    with pytest.raises(DataError, match=r"cut\.npz.*damaged"):
        open_feeds(tmp_path / "cut.npz")
