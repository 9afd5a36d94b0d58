"""What a model learnt from is known again under any name, and nothing else is taken for it."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.dataset import open_dataset
from nanoarb_jax.data.declaration import instrument_of, read_instruments
from nanoarb_jax.data.labelling import Block
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.provenance import how_learnt, provenance
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.simulation.market import synthetic_books

BOOKS = synthetic_books(2_000, seed=1, name="es_20240808")
DATA = DataConfig(feature_set="lob44")
BOOKS = BOOKS._replace(ts_ns=BOOKS.ts_ns - BOOKS.ts_ns[0] + 1_723_075_200 * 10**9)
TRAINED = make_stream(BOOKS, DATA, sources=["aa"])
ENTRY = {"name": TRAINED.name, "instrument": TRAINED.instrument, **provenance(TRAINED)}


def test_facts_are_plain_and_of_the_rows_learnt_from() -> None:
    assert json.loads(json.dumps(ENTRY)) == ENTRY
    assert ENTRY["learnt_ns"] == [int(BOOKS.ts_ns[0]), int(BOOKS.ts_ns[TRAINED.validation[1] - 1])]
    assert len(set(ENTRY["sketch"])) == 32
    tail = TRAINED.test[0]
    assert how_learnt(_part(tail, 2_000, "other", "bb"), [ENTRY]) is None


def _part(start: int, stop: int, name: str, source: str) -> Stream:
    """Some rows of the stream under another name."""
    columns = {key: getattr(TRAINED, key)[start:stop] for key in Block._fields}
    return TRAINED._replace(**columns, name=name, instrument=name, sources=(source,))


@pytest.mark.parametrize(
    ("stream", "why"),
    [
        (TRAINED, "same file"),
        (TRAINED._replace(name="renamed", instrument="renamed"), "same file"),
        (_part(0, 2_000, "written anew", "bb"), "same times and mids as es_20240808"),
        (_part(300, 900, "a part of it", "bb"), "same times and mids as es_20240808"),
        (
            TRAINED._replace(sources=("bb",), ts_ns=TRAINED.ts_ns + 1_000),  # dated by another clock
            "same instrument and time as es_20240808",
        ),
        (TRAINED._replace(sources=("bb",), ts_ns=TRAINED.ts_ns + 10**15), None),  # another day of it
        (
            make_stream(synthetic_books(2_000, seed=2)._replace(ts_ns=BOOKS.ts_ns), DATA, "nq", ["bb"]),
            None,  # another market at the same time
        ),
        (make_stream(synthetic_books(1_900, seed=2, name="es_20240808"), DATA, "nq", ["bb"]), None),  # the name alone
    ],
)
def test_learnt_or_not(stream: Stream, why: str | None) -> None:
    assert how_learnt(stream, [{"name": "x", "instrument": "x", "sources": ["zz"], "sketch": None}, ENTRY]) == why


def test_of_earlier_versions_names_are_compared() -> None:
    assert how_learnt(TRAINED, [{"name": "es_20240808"}]) == "same name; the model says no more"
    assert how_learnt(TRAINED, [{"name": "es", "instrument": "es_20240808"}]) is None


def test_rows_without_times_are_not_compared() -> None:
    """Row numbers and prices of two files may be equal by chance."""
    untimed = TRAINED._replace(ts_ns=np.arange(2_000), sources=("cc",))
    facts = provenance(untimed)
    assert (facts["sketch"], facts["learnt_ns"], facts["sources"]) == (None, None, ["cc"])
    entry = {"name": "a", "instrument": "a", **facts}
    assert how_learnt(untimed._replace(sources=("dd",)), [entry, ENTRY]) is None
    assert how_learnt(untimed, [entry]) == "same file"


def test_a_dataset_knows_its_files_and_instruments(tmp_path: Path) -> None:
    """Prepared or in memory; declared, or by the name, which is said."""
    for day in ("monday", "tuesday"):
        write_book_npz(tmp_path / f"ES_{day}.npz", BOOKS)
    declared = {"ES_*": "ES"}
    made = prepare([tmp_path], tmp_path / "dataset", DATA, instruments=declared)
    prepared, memory = open_dataset(tmp_path / "dataset"), open_dataset(tmp_path / "ES_monday.npz", instruments="ES")
    assert [stream.instrument for stream in made.streams] == ["ES", "ES"]
    assert all(stream.instrument_declared for stream in (*prepared.streams, *memory.streams))
    assert prepared.streams[0].sources == memory.streams[0].sources != ()
    guessed = open_dataset(tmp_path / "ES_tuesday.npz").streams[0]
    assert (guessed.instrument, guessed.instrument_declared) == ("ES_tuesday", False)
    again = open_dataset(tmp_path / "dataset", instruments={"*_monday": "a", "*": "b"})
    assert [stream.instrument for stream in again.streams] == ["a", "b"]
    assert how_learnt(guessed, [{"name": "x", "instrument": "x", **provenance(memory.streams[0])}]) == "same file"
    with pytest.raises(DataError, match=r"^series 'ES_monday': matches none of the patterns of --instruments \(NQ\*\)"):
        prepare([tmp_path / "ES_monday.npz"], tmp_path / "other", DATA, instruments={"NQ*": "NQ"})


def test_a_file_of_instruments(tmp_path: Path) -> None:
    path = tmp_path / "instruments.toml"
    path.write_text('"ES_*" = "ES"\nBTC = "btc"\n')
    assert read_instruments(path) == {"ES_*": "ES", "BTC": "btc"}
    for content in ("", "ES_* = 3", "a = 3", "[table]\na = 'b'", "\xff"):
        path.write_text(content, encoding="latin-1")
        with pytest.raises(DataError, match=r'^--instruments .*expected (lines|a line) such as "ES_\*" = "ES"$'):
            read_instruments(path)
    with pytest.raises(DataError, match=r"--instruments .*No such file"):
        read_instruments(tmp_path / "gone.toml")
    assert instrument_of("btcusdt_20240808")[:] == ("btcusdt", False)
