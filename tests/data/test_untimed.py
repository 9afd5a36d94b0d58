"""Data whose times are artificial: one session, no time between rows, on every path from the file to the forecast."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from nanoarb_jax.artifacts.checkpoint import named_arrays, save_checkpoint
from nanoarb_jax.cli.main import app
from nanoarb_jax.config import DataConfig, ModelConfig
from nanoarb_jax.data.dataset import open_dataset
from nanoarb_jax.data.instrument import Instrument
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.provenance import how_learnt, provenance
from nanoarb_jax.data.stored import MANIFEST
from nanoarb_jax.data.streams import describe_stream, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.flow import FLOW_NAMES, SECONDS, flow, flow_memory
from nanoarb_jax.market.event import EVENT
from nanoarb_jax.market.series import BookSeries
from nanoarb_jax.readers.book_npz import read_book_npz, write_book_npz
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources
from nanoarb_jax.serving.backends.native import NativeStep, pack
from nanoarb_jax.serving.feeds import open_feeds
from nanoarb_jax.serving.live import LivePredictor
from nanoarb_jax.serving.predictor import StepPredictor
from nanoarb_jax.serving.scales import ScaleSource
from nanoarb_jax.simulation.market import synthetic_books, synthetic_events
from support.random_model import random_model

FLOW = DataConfig(feature_set="flow")
UNTIMED = ReadOptions(timed=False)


def with_nights(rows: int = 3_000) -> BookSeries:
    """Books of which each is another than the one before, with an hour before every thousandth."""
    books, row = synthetic_books(rows, 5, name="artificial"), np.arange(rows)
    books.ask_lots[:, 0] = 1 + row % 500
    return books._replace(ts_ns=books.ts_ns + row // 1_000 * 3_600 * 10**9)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "feed" / "artificial.npz"
    path.parent.mkdir()
    write_book_npz(path, with_nights())
    return path


def test_features_are_those_of_books_at_one_moment() -> None:
    books = with_nights()
    untimed = flow(books._replace(timed=False), 1.0)
    np.testing.assert_array_equal(untimed, flow(books._replace(ts_ns=np.zeros(books.rows, np.int64)), 1.0))
    assert (untimed[:, SECONDS] == 0).all()
    others = [i for i in range(len(FLOW_NAMES)) if i != SECONDS]
    close = books._replace(ts_ns=books.ts_ns // 10**6)  # no night is longer than the gap
    np.testing.assert_array_equal(untimed[:, others], flow(close, 1.0)[:, others])
    memory = flow_memory()
    parts = [flow(books.part(at, at + 700)._replace(timed=False), 1.0, memory) for at in range(0, books.rows, 700)]
    np.testing.assert_array_equal(np.concatenate(parts), untimed)


def test_a_stream_is_one_session() -> None:
    timed, untimed = (make_stream(with_nights()._replace(timed=timed), FLOW) for timed in (True, False))
    assert [len(stream.sessions(0, stream.rows)) for stream in (timed, untimed)] == [3, 1]
    unlabelled = [np.flatnonzero(stream.labels[:, 0] == UNDEFINED).size for stream in (timed, untimed)]
    assert unlabelled == [30, 10]
    described = describe_stream(untimed, FLOW.horizons)
    assert described["timed"] is False and described["span_s"] is None
    assert timed.timed and describe_stream(timed, FLOW.horizons)["span_s"] > 7_200


@pytest.mark.parametrize("told", ["--untimed", "--reading", "in the file"])
def test_prepared_and_inspected(file: Path, tmp_path: Path, told: str) -> None:
    """However it is said; the dataset is what is made in memory."""
    options = ["--untimed"] if told == "--untimed" else []
    if told == "--reading":
        (tmp_path / "reading.toml").write_text('["art*"]\ntimed = false\n')
        options = ["--reading", str(tmp_path / "reading.toml")]
    if told == "in the file":
        file.unlink()
        write_book_npz(file, with_nights()._replace(timed=False))
    out = tmp_path / "ds"
    words = ["data", "prepare", str(file), "--output", str(out), "--feature-set", "flow", "--jobs", "1", *options]
    assert CliRunner().invoke(app, words).exit_code == 0
    entry = json.loads((out / MANIFEST).read_text())["streams"][0]
    assert entry["timed"] is False and entry["account"]["timed"] is False
    (made,), expected = open_dataset(out).streams, make_stream(with_nights()._replace(timed=False), FLOW)
    assert not made.timed and made.session_gap_ns == expected.session_gap_ns
    np.testing.assert_array_equal(made.features, expected.features)
    np.testing.assert_array_equal(made.labels, expected.labels)
    np.testing.assert_array_equal(made.ts_ns, with_nights().ts_ns)  # they still put rows in order
    found = CliRunner().invoke(app, ["data", "inspect", str(out), "--json", str(tmp_path / "found.json")])
    assert "no times" in found.output
    assert json.loads((tmp_path / "found.json").read_text())["streams"][0]["timed"] is False
    again = ["data", "inspect", str(file), *(options if told == "--untimed" else [])]
    assert ("the files have no real times" in CliRunner().invoke(app, again).output) is (told != "--reading")


def test_a_dataset_of_an_earlier_version_says_so_in_its_account(file: Path, tmp_path: Path) -> None:
    prepare([file], tmp_path / "ds", FLOW, options=UNTIMED)
    manifest = json.loads((tmp_path / "ds" / MANIFEST).read_text())
    del manifest["streams"][0]["timed"]
    (tmp_path / "ds" / MANIFEST).write_text(json.dumps(manifest))
    assert not open_dataset(tmp_path / "ds").streams[0].timed


def test_the_key_of_a_file(tmp_path: Path) -> None:
    books = synthetic_books(100, 1, name="b")
    for name, timed in (("timed", True), ("untimed", False)):
        write_book_npz(tmp_path / f"{name}.npz", books._replace(timed=timed))
        assert read_book_npz(tmp_path / f"{name}.npz").timed is timed
    with np.load(tmp_path / "untimed.npz") as file:
        fields = dict(file)
    assert fields["timed"] == 0
    np.savez(tmp_path / "odd.npz", **{**fields, "timed": np.array([2])})
    with pytest.raises(DataError, match=r"odd\.npz: timed is .*; expected 0 or 1"):
        read_book_npz(tmp_path / "odd.npz")


@pytest.mark.parametrize("setting", [{"clock": "time"}, {"split": "day"}])
def test_what_needs_times_is_refused(file: Path, setting: dict[str, str]) -> None:
    (source,) = find_sources([file])
    with pytest.raises(DataError, match="the files have no real times; choose"):
        read_books(source, dataclasses.replace(FLOW, **setting), UNTIMED)  # type: ignore[arg-type]


def test_events_without_real_times(tmp_path: Path) -> None:
    events: np.ndarray = synthetic_events(4_000, seed=1)
    assert events.dtype == EVENT
    np.savez(tmp_path / "feed.npz", data=events)
    (source,) = find_sources([tmp_path / "feed.npz"])
    books, report = read_books(source, FLOW, UNTIMED)
    assert not books.timed and not report.timed and (flow(books, 1.0)[:, SECONDS] == 0).all()


def test_nothing_is_said_of_its_time(file: Path) -> None:
    """Neither that a model learnt from it at some time, nor that it lies in a time which a model learnt from."""
    year = 1_700_000_000 * 10**9
    timed = make_stream(with_nights()._replace(ts_ns=with_nights().ts_ns % year + year), FLOW, "x", ["aa"])
    untimed = timed._replace(timed=False, sources=("bb",))
    facts = provenance(untimed)
    assert (facts["learnt_ns"], facts["sketch"], facts["sources"]) == (None, None, ["bb"])
    entry = {"name": "a", "instrument": "x", **provenance(timed)}
    assert how_learnt(untimed, [entry]) is None
    assert how_learnt(timed._replace(sources=("cc",)), [entry]) == "same times and mids as a"
    assert how_learnt(untimed, [{"name": "b", "instrument": "x", **facts}]) == "same file"


def test_served_as_trained(file: Path, tmp_path: Path) -> None:
    """`predict` on the file and on its dataset say the same, and so does a live predictor whose clock stands still."""
    config = dataclasses.replace(ModelConfig.preset("nano"), feature_set="flow")
    weights = random_model(config)
    model = save_checkpoint(tmp_path / "model", weights)
    prepare([file], tmp_path / "ds", FLOW, options=UNTIMED)
    met = []
    for data, options in ((tmp_path / "ds", []), (file, ["--untimed", "--scales-from", str(tmp_path / "ds")])):
        out = tmp_path / f"{data.name}.predictions.npz"
        words = ["predict", "--checkpoint", str(model), "--data", str(data), "--output", str(out), *options]
        said = CliRunner().invoke(app, words)
        assert said.exit_code == 0, said.output
        assert "time that is replayed" not in said.stdout
        with np.load(out) as found:
            met.append(found["probabilities"])
    np.testing.assert_array_equal(*met)

    stream, books = open_dataset(tmp_path / "ds").streams[0], with_nights()
    np.testing.assert_array_equal(met[0], StepPredictor.load(model).score(np.array(stream.features)))
    sizes = (stream.tick_size, stream.lot_size, stream.quantity_scale, stream.spread_scale)
    step = NativeStep(pack(named_arrays(weights), config), config, "v")
    live = LivePredictor(step, FLOW.input, Instrument(*sizes))
    for row in range(300):
        sides = [array[row] / per for px, lots in books.sides for array, per in
                 ((px, books.px_scale), (lots, books.lots_per_unit))]  # fmt: skip
        assert books.bought is not None and books.sold is not None
        traded = (books.bought[row] / books.lots_per_unit, books.sold[row] / books.lots_per_unit)
        prediction = live.apply_depth(10**9, *sides, *traded)
        assert prediction is not None
        np.testing.assert_array_equal(live.features, stream.features[row])
        np.testing.assert_array_equal(prediction.probabilities, met[0][row])


def test_a_feed_too_short_for_labels(tmp_path: Path) -> None:
    write_book_npz(tmp_path / "short.npz", with_nights(200))
    feeds = open_feeds(tmp_path / "short.npz", FLOW, ScaleSource(warm_up=50), options=UNTIMED)
    (stream,) = feeds.dataset.streams
    assert feeds.unlabelled and not stream.timed and len(stream.sessions(0, stream.rows)) == 1
    assert (stream.features[:, SECONDS] == 0).all()
