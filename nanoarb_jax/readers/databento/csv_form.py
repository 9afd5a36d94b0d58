"""`databento-csv`: the CSV form of Databento's records, with times and prices as ISO text and decimals or as integers.

Columns are those of the records, see `databento_records.py`; other columns, such as a table's index, are ignored.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.csv_text import CsvText
from nanoarb_jax.readers.databento.records import RECORDS, Records, open_records
from nanoarb_jax.readers.feed import BookFeed, EventFeed, ReadOptions

if TYPE_CHECKING:
    import pyarrow as pa

_COMMON = ("ts_recv", "ts_event", "publisher_id", "instrument_id", "action", "side", "price", "size", "flags")


def open_databento_csv(path: str | Path, options: ReadOptions = ReadOptions()) -> EventFeed | BookFeed:  # noqa: B008
    """Open a CSV file of the schema mbo (events), mbp-1 or mbp-10 (books); otherwise as `databento.open_dbn`.

    Raises:
        DataError: the file is missing, damaged or truncated, a column is missing or holds what does not belong there,
            or it holds several instruments of which none is chosen; also while the chunks are read.
    """
    path = Path(path)
    text = CsvText(path, _COMMON)
    levels = [f"{side}_{what}_{level:02}" for level in range(10) for side in ("bid", "ask") for what in ("px", "sz")]
    if "bid_px_01" in text.header:
        schema, more = "mbp-10", levels
    elif "bid_px_00" in text.header:
        schema, more = "mbp-1", levels[:4]
    else:
        schema, more = "mbo", ["order_id"]
    text.require([*more, *(["symbol"] if "symbol" in text.header else [])])
    names: dict[int, str] = {}
    batches = _Table(text, schema, more, names).batches()
    return open_records(Records(path, f"databento-csv-{schema}", schema, names, batches, Counter()), options)


class _Table:
    """Turns batches of text into records."""

    def __init__(self, text: CsvText, schema: str, more: list[str], names: dict[int, str]) -> None:
        self._text, self._schema, self._names = text, schema, names
        self._levels = more if schema != "mbo" else []
        self._decimal: bool | None = None  # decimal prices, or integers of 1e-9; None: no price met yet

    def batches(self) -> Iterator[NDArray[np.void]]:
        for columns in self._text.batches():
            records = self._records(columns)
            if "symbol" in columns:
                self._learn_names(records["instrument_id"], columns["symbol"])
            yield records

    def _records(self, columns: Mapping[str, pa.Array]) -> NDArray[np.void]:
        text = self._text
        records = np.zeros(len(columns["price"]), RECORDS[self._schema])
        for field in ("ts_recv", "ts_event"):
            records[field] = text.times_ns(columns[field], field)
        for field, dtype in (("publisher_id", "uint16"), ("instrument_id", "uint32"), ("size", "uint32")):
            records[field] = text.integers(columns[field], field, dtype)
        records["flags"] = text.integers(columns["flags"], "flags", "uint8")
        for field in ("action", "side"):
            indices, letters = text.codes(columns[field], field)
            wrong = [letter for letter in letters if len(letter) != 1 or not letter.isascii()]
            if wrong:
                raise DataError(f"{text.path}: {field} {wrong[0]!r}; expected one letter, fetch the file again")
            records[field] = np.array([ord(letter) for letter in letters], np.uint8)[indices]
        records["price"] = self._prices(columns, "price")
        if self._schema == "mbo":
            records["order_id"] = text.integers(columns["order_id"], "order_id", "uint64")
        for column in self._levels:
            field, level = column[:6], int(column[7:])
            values = (
                self._prices(columns, column) if "px" in field else text.integers(columns[column], column, "uint32")
            )
            records["levels"][field][:, level] = values
        return records

    def _prices(self, columns: Mapping[str, pa.Array], column: str) -> NDArray[np.integer]:
        import pyarrow.compute as pc

        if self._decimal is None:
            priced = ["price", *(name for name in self._levels if "px" in name)]
            if any(columns[name].null_count < len(columns[name]) for name in priced):
                self._decimal = any(pc.any(pc.match_substring(columns[name], ".")).as_py() for name in priced)
        if self._decimal:
            return self._text.decimals(columns[column], column)
        return self._text.integers(columns[column].fill_null(str(EMPTY_PRICE)), column)

    def _learn_names(self, ids: NDArray[np.uint32], symbols: pa.Array) -> None:
        indices, texts = self._text.codes(symbols.fill_null(""), "symbol")
        pairs = np.unique(ids.astype(np.int64) * len(texts) + indices)
        for number, which in zip((pairs // len(texts)).tolist(), (pairs % len(texts)).tolist(), strict=True):
            if texts[which]:
                self._names[number] = texts[which]
