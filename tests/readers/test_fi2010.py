"""FI-2010 files: labels in our coding, books from decimal-shifted prices alone, clear refusals."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.fi2010 import fi2010_stream
from nanoarb_jax.data.labels import DOWN, NEUTRAL, UP
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries, validate_books
from nanoarb_jax.readers import fi2010
from nanoarb_jax.readers.fi2010 import HORIZONS, fi2010_books, read_fi2010
from support.examples import examples

quick = settings(deadline=None, max_examples=examples(60), database=None)
DECPRE = "Train_Dst_NoAuction_DecPre_CF_7.txt"


def values(events: int = 30, seed: int = 0) -> np.ndarray:
    """(149, n) as in a DecPre file: euro cents shifted by four decimals to 0.26, shares by five."""
    rng = np.random.default_rng(seed)
    rows = rng.random((149, events))
    bid = 2600 + np.cumsum(rng.integers(-1, 2, events))
    for level in range(10):
        rows[4 * level] = (bid + 1 + level) / 10_000
        rows[4 * level + 2] = (bid - level) / 10_000
        rows[4 * level + 1 : 4 * level + 4 : 2] = rng.integers(1, 5000, (2, events)) / 100_000
    rows[-5:] = rng.integers(1, 4, (5, events))
    return rows


def text(rows: np.ndarray) -> str:
    return "\n".join("   ".join(f"{value:.7e}" for value in row) for row in rows) + "\n"


def write(folder: Path, content: np.ndarray | str | bytes, name: str = DECPRE) -> Path:
    path = folder / name
    content = text(content) if isinstance(content, np.ndarray) else content
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def only(path: Path) -> BookSeries:
    (books,) = fi2010_books(path).chunks
    return books


def test_features_and_labels(tmp_path: Path) -> None:
    rows = values()
    rows[-5:, 0] = [1, 2, 3, 1, 2]
    file = read_fi2010(write(tmp_path, rows))
    assert (file.name, file.normalisation, file.horizons) == (DECPRE[:-4], "decpre", HORIZONS)
    assert file.features.shape == (30, 40) and file.features.dtype == np.float32 and file.features.flags.c_contiguous
    assert file.labels.shape == (30, 5) and file.labels.dtype == np.int8
    assert file.labels[0].tolist() == [fi2010.UP, fi2010.STATIONARY, fi2010.DOWN, fi2010.UP, fi2010.STATIONARY]
    np.testing.assert_allclose(file.features, rows[:40].T, rtol=1e-6)
    assert file.mid is not None
    np.testing.assert_allclose(file.mid, (rows[0] + rows[2]) / 2)


def test_a_streams_labels_are_ours(tmp_path: Path) -> None:
    rows = values(3_000)
    rows[-5:, 0] = [1, 2, 3, 1, 2]
    stream = fi2010_stream(write(tmp_path, rows), DataConfig(horizons=HORIZONS))
    assert stream.labels[0].tolist() == [UP, NEUTRAL, DOWN, UP, NEUTRAL] and stream.labels.dtype == np.int8


def test_books_are_whole_numbers_of_the_files_own_decimals(tmp_path: Path) -> None:
    rows = values()
    feed = fi2010_books(write(tmp_path, rows))
    (books,) = feed.chunks
    validate_books(books)
    assert (feed.format, books.tick, books.px_scale, books.lots_per_unit) == ("fi2010", 1, 10_000.0, 100_000.0)
    np.testing.assert_array_equal(books.ask_px, np.rint(rows[:40:4].T * 10_000))
    np.testing.assert_array_equal(books.bid_lots, np.rint(rows[3:40:4].T * 100_000))
    assert books.ts_ns.tolist() == list(range(30)) and books.bought is None


def test_a_tick_of_five_and_large_volumes(tmp_path: Path) -> None:
    rows = values()
    rows[:40:2] *= 5
    rows[1, 3] = 1e4  # a billion shares, shifted
    books = only(write(tmp_path, rows))
    assert books.tick == 5 and books.ask_lots[3, 0] == 1_000_000_000
    validate_books(books)


def test_an_empty_level(tmp_path: Path) -> None:
    rows = values()
    rows[36:40, 2] = 0
    books = only(write(tmp_path, rows))
    assert books.ask_px[2, 9] == books.bid_px[2, 9] == EMPTY_PRICE and books.ask_lots[2, 9] == 0
    validate_books(books)


def test_chunks_and_compression(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path, gzip.compress(text(values()).encode()), DECPRE + ".gz")
    whole = only(path)
    monkeypatch.setattr(fi2010, "CHUNK", 20)
    parts = list(fi2010_books(path).chunks)
    assert [part.rows for part in parts] == [20, 10] and whole.name == DECPRE[:-4]
    np.testing.assert_array_equal(np.concatenate([part.ask_lots for part in parts]), whole.ask_lots)


@pytest.mark.parametrize(("name", "kind"), [("Test_Dst_NoAuction_ZScore_CF_9.txt", "zscore"), ("a_MinMax_1", "minmax")])
def test_normalised_files_have_labels_but_no_books(tmp_path: Path, name: str, kind: str) -> None:
    path = write(tmp_path, values(), name)
    file = read_fi2010(path)
    assert file.normalisation == kind and file.mid is None and len(file.labels) == 30
    with pytest.raises(DataError, match=f"{kind} files normalise every level on its own"):
        fi2010_books(path)


def test_a_file_of_unknown_name_is_judged_by_its_numbers(tmp_path: Path) -> None:
    path = write(tmp_path, values(), "fold.txt")
    assert read_fi2010(path).normalisation == "unknown" and read_fi2010(path).mid is not None
    assert only(path).rows == 30
    zscore = values()
    zscore[:40] -= zscore[:40].mean(axis=1, keepdims=True)
    path = write(tmp_path, zscore, "fold.txt")
    assert read_fi2010(path).mid is None
    with pytest.raises(DataError, match="neither prices nor volumes are negative"):
        fi2010_books(path)
    minmax = values()
    minmax[:40] = np.random.default_rng(1).random((40, 30))
    with pytest.raises(DataError, match=r"only 0\.0% of its rows"):
        fi2010_books(write(tmp_path, minmax, "fold.txt"))


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (text(values()[:44]), "44 rows; expected an FI-2010 file of 149 rows"),
        (text(values(60).T), r"60 rows \(one row an event\? turn it round\)"),
        (text(values()) + "1 2\n", "150 rows"),
        ("", "0 rows"),
        ("price,size\n", "row 1: not a row of numbers"),
        (text(values()).replace("e-01", "e-0x", 1), "row 1: not a row of numbers"),
        (b"\xff\xfe\x00", "row 1: not a row of numbers"),
        (text(values()).rstrip("\n")[:-14], "row 149 has 29 numbers, row 1 has 30"),
        (text(values()).replace("e-01", "e+999", 1), "row 1: a number is not finite"),
    ],
)
def test_errors_name_what_is_wrong(tmp_path: Path, content: str | bytes, match: str) -> None:
    with pytest.raises(DataError, match=match):
        read_fi2010(write(tmp_path, content))


def test_labels_are_one_two_or_three(tmp_path: Path) -> None:
    rows = values()
    rows[-4, 7] = 4
    with pytest.raises(DataError, match=r"label 4 at k = 20, event 7; expected 1 \(up\)"):
        read_fi2010(write(tmp_path, rows))
    with pytest.raises(DataError, match="no such file"):
        read_fi2010(tmp_path / "missing.txt")


@quick
@given(packed=st.booleans(), data=st.data())
def test_damaged_files_end_in_a_data_error(
    tmp_path_factory: pytest.TempPathFactory, packed: bool, data: st.DataObject
) -> None:
    raw = text(values(4)).encode()
    content = bytearray(gzip.compress(raw) if packed else raw)
    for _ in range(data.draw(st.integers(0, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] ^= data.draw(st.integers(1, 255))
    del content[data.draw(st.integers(0, 2 * len(content))) :]
    path = write(tmp_path_factory.mktemp("damaged"), bytes(content))
    for reader in (read_fi2010, only):
        try:
            reader(path)
        except DataError as error:
            assert "\n" not in str(error)


def test_a_stream_of_normalised_numbers_is_learnt_from(tmp_path: Path, compile_quickly: None) -> None:
    from nanoarb_jax.config import Config, ModelConfig, TrainConfig
    from nanoarb_jax.data.dataset import Dataset
    from nanoarb_jax.training.loop import train

    rows = values(3_000)
    rows[:40] = (rows[:40] - rows[:40].mean(axis=1, keepdims=True)) / rows[:40].std(axis=1, keepdims=True)
    config = DataConfig(horizons=(10, 50))
    stream = fi2010_stream(write(tmp_path, rows, "Train_Dst_NoAuction_ZScore_CF_7.txt"), config)
    assert stream.features.shape == (3_000, 40) and stream.labels.shape == (3_000, 2)
    np.testing.assert_array_equal(stream.labels[:, 1], 3 - rows[-2])  # k = 50
    np.testing.assert_array_equal(stream.moves, stream.labels - 1.0)
    assert stream.train[1] <= stream.validation[0] - 50 and stream.test[1] == 3_000
    with pytest.raises(DataError, match="no labels at horizon 15"):
        fi2010_stream(tmp_path / "Train_Dst_NoAuction_ZScore_CF_7.txt", DataConfig(horizons=(15,)))
    model = ModelConfig(
        feature_set=40,
        hidden_dim=8,
        d_state=4,
        num_layers=1,
        horizons=(10, 50),
    )
    settings = Config(model, config, TrainConfig(epochs=1, batch_size=2, chunk_length=64, mirror=False))
    result = train(settings, Dataset((stream,), config, []), tmp_path / "run")
    assert result is not None and (tmp_path / "run").is_dir()
