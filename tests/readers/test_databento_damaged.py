"""Damaged files of every schema and form: a DataError of one line, or records that are counted; never anything else."""

from __future__ import annotations

import gzip
import io
import warnings
from functools import cache
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from nanoarb_jax.errors import DataError, DataWarning
from nanoarb_jax.readers.databento.layout import SCHEMAS
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources, open_source
from support.databento_files import START, book, dbn, definition, header, order
from support.examples import examples

pa = pytest.importorskip("pyarrow", reason="needs the package pyarrow")
parquet = pytest.importorskip("pyarrow.parquet", reason="needs the package pyarrow")

FORMS = ("dbn", "csv", "parquet")
FIELDS = ("ts_recv", "ts_event", "rtype", "publisher_id", "instrument_id", "action", "side", "price", "size", "flags")
FIELDS += ("order_id", "raw_symbol", "min_price_increment", "expiration")
UNSIGNED = ("ts_recv", "ts_event", "expiration", "order_id")
NAMES = {"ESH4": [(0, 1, "7"), (1, 2, "8")], "ESM4": [(0, 1, "8")]}


@cache
def whole(schema: str, form: str) -> bytes:
    """A good file of a few records."""
    if schema == "definition":
        rows = [definition(7, "ESH4", 250_000_000), definition(8, "ESM4", 250_000_000)]
    elif schema == "mbo":
        rows = [order(1, "R", "N"), *(order(k, price=10**10 + k * 10**7, instrument=7 + k % 2) for k in range(2, 6))]
    else:
        action = "T" if SCHEMAS[schema].rows == "trades" else "A"
        rows = [book(k, 10 + k / 4, 20, schema=schema, action=action, instrument=7 + k % 2) for k in range(5)]
    file = header(schema, NAMES) + b"".join(rows)
    if form == "dbn":
        return file
    decoder = dbn.DBNDecoder()
    decoder.write(file)
    records = decoder.decode()[1:]
    columns = {
        name: [_cell(getattr(record, name), name) for record in records] for name in FIELDS if hasattr(records[0], name)
    }
    for level in range(len(getattr(records[0], "levels", []))):
        for name in ("bid_px", "bid_sz", "ask_px", "ask_sz"):
            columns[f"{name}_{level:02}"] = [getattr(record.levels[level], name) for record in records]
    columns["symbol"] = [f"ES{'HM'[record.instrument_id % 2]}4" for record in records]
    file_of = io.BytesIO()
    if form == "parquet":
        typed = {name: np.array(cells, np.uint64) if name in UNSIGNED else cells for name, cells in columns.items()}
        parquet.write_table(pa.table(typed), file_of)
        return file_of.getvalue()
    lines = [",".join(columns), *(",".join(map(str, row)) for row in zip(*columns.values(), strict=True))]
    return ("\n".join(lines) + "\n").encode()


def _cell(value: object, name: str) -> object:
    if name == "rtype":
        return int(value)  # type: ignore[call-overload]
    return int(value) if name == "flags" else str(value) if name in ("action", "side", "raw_symbol") else value  # type: ignore[call-overload]


def read_all(folder: Path, symbol: str | None) -> int:
    """Every chunk of every source of a folder, as a user would have them read; returns the number of chunks."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DataWarning)
        sources = find_sources([folder], symbol)
    return sum(len(list(open_source(source, ReadOptions(symbol=symbol)).chunks)) for source in sources)


def mutated(data: bytes, rng: np.random.Generator) -> bytes:
    """A prefix of these bytes, or all of them, with bits flipped, bytes inserted, removed or set to extremes."""
    changed = bytearray(data[: rng.integers(0, len(data) + 1)] if rng.random() < 0.3 else data)
    for _ in range(rng.integers(0, 5)):
        if not changed:
            break
        at = int(rng.integers(0, len(changed)))
        what = rng.integers(0, 5)
        if what == 0:
            changed[at] ^= 1 << int(rng.integers(0, 8))
        elif what == 1:
            changed[at : at + int(rng.integers(1, 9))] = b""
        elif what == 2:
            changed[at:at] = rng.bytes(int(rng.integers(1, 9)))
        elif what == 3:
            changed[at : at + 8] = rng.choice([b"\xff", b"\x00", b"\x7f", b"9", b",", b"-"]) * 8
        else:
            start = int(rng.integers(0, len(changed)))
            changed[at:at] = changed[start : start + int(rng.integers(1, 400))]
    return bytes(changed)


def try_one(folder: Path, seed: int) -> bool:
    """Whether a damaged file of some schema and form is read; a DataError of one line is the only other end."""
    rng = np.random.default_rng(seed)
    schema, form = str(rng.choice([*SCHEMAS])), str(rng.choice(FORMS))
    beside = rng.random() < 0.3
    data = whole(schema, form)
    damaged = data if beside and rng.random() < 0.7 else mutated(data, rng)
    if rng.random() < 0.1:
        damaged = mutated(gzip.compress(data, mtime=0), rng)
    for path in folder.iterdir():
        path.unlink()
    (folder / f"damaged.{form}").write_bytes(damaged)
    if beside:
        (folder / f"definition.{form}").write_bytes(mutated(whole("definition", form), rng))
    symbol = [None, "ESH4", "8"][rng.integers(0, 3)]
    try:
        return read_all(folder, symbol) > 0
    except DataError as error:
        assert "\n" not in str(error) and str(folder) in str(error), error
        return False


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("schema", SCHEMAS)
def test_the_good_files_are_read(tmp_path: Path, schema: str, form: str) -> None:
    (tmp_path / f"good.{form}").write_bytes(whole(schema, form))
    (tmp_path / f"definition.{form}").write_bytes(whole("definition", form))
    sources = find_sources([tmp_path])
    feeds = [open_source(source) for source in sources]
    assert [source.symbol for source in sources] == ["ESH4", "ESM4"]
    for feed in feeds:
        assert feed.format.endswith(schema) and feed.notes[0].startswith("ES") and len(list(feed.chunks)) == 1


@settings(max_examples=examples(500), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**40))
def test_damaged_files(tmp_path: Path, seed: int) -> None:
    try_one(tmp_path, seed)


@settings(max_examples=examples(100), suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_damaged_real_files(shared: Path, tmp_path: Path, data: st.DataObject) -> None:
    schema = data.draw(st.sampled_from(["mbo", "mbp-1", "mbp-10"]))
    original = (shared / "data" / "databento_tiny" / f"test_data.{schema}.dbn.zst").read_bytes()
    damaged = bytearray(original[: data.draw(st.integers(0, len(original)))])
    for at in data.draw(st.lists(st.integers(0, 8 * len(original) - 1), max_size=4)):
        if at // 8 < len(damaged):
            damaged[at // 8] ^= 1 << at % 8
    (tmp_path / "damaged.dbn").write_bytes(bytes(damaged))
    try:
        read_all(tmp_path, None)
    except DataError as error:
        assert "\n" not in str(error)


def test_start_is_the_first_day() -> None:
    assert int(np.datetime64("2024-01-01", "ns").astype(np.int64)) == START
