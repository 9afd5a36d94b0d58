"""Columns of large CSV files, in batches, with exact times and prices: never through binary fractions."""

from __future__ import annotations

import csv
import importlib.util
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE
from nanoarb_jax.readers.compression import open_bytes

if TYPE_CHECKING:
    import pyarrow as pa

_BLOCK = 1 << 22  # bytes of text in a batch
_LONGEST_HEADER = 1 << 16
NANO = 10**9


class CsvText:
    """A CSV file with a header line; plain or compressed; to be read once.

    Raises:
        DataError: the file is missing, its first line is no header, a wanted column is missing; also from `batches`.
    """

    def __init__(self, path: Path, wanted: Collection[str]) -> None:
        if importlib.util.find_spec("pyarrow") is None:
            raise DataError(f"{path}: large CSV files need the package pyarrow; pip install pyarrow")
        self.path, self._wanted = path, wanted
        self._stream: IO[bytes] = open_bytes(path)
        try:
            line = self._stream.readline(_LONGEST_HEADER).decode("utf-8-sig")
            self.header = next(csv.reader([line]), [])
        except (UnicodeDecodeError, csv.Error) as error:
            self._stream.close()
            raise DataError(f"{path}: not CSV text ({error}); expected a header line with {_some(wanted)}") from error
        except DataError:
            self._stream.close()
            raise
        self.require(wanted)

    def require(self, columns: Collection[str]) -> None:
        """Read these columns too.

        Raises:
            DataError: one of them is missing.
        """
        missing = [column for column in columns if column not in self.header]
        if missing:
            self._stream.close()
            raise DataError(
                f"{self.path}: no column {missing[0]!r} (has {_some(self.header)}); expected {_some(columns)}"
            )
        self._wanted = [*self._wanted, *columns]

    def batches(self) -> Iterator[Mapping[str, pa.Array]]:
        """Text of the wanted columns; empty fields, and nan, are null."""
        import pyarrow as pa
        from pyarrow import csv as pa_csv

        wanted = list(dict.fromkeys(self._wanted))
        read = pa_csv.ReadOptions(use_threads=False, block_size=_BLOCK, column_names=self.header)
        convert = pa_csv.ConvertOptions(
            include_columns=wanted,
            column_types=dict.fromkeys(wanted, pa.string()),
            strings_can_be_null=True,
            null_values=["", "nan", "NaN"],
        )
        with self._stream as stream:
            if not stream.peek(1):  # type: ignore[attr-defined]  # a BufferedReader
                return
            try:
                for batch in pa_csv.open_csv(stream, read_options=read, convert_options=convert):
                    if batch.num_rows:
                        yield dict(zip(batch.schema.names, batch.columns, strict=True))
            except (pa.ArrowException, UnicodeDecodeError) as error:
                raise DataError(f"{self.path}: damaged CSV ({_brief(error)}); fetch the file again") from error

    def times_ns(self, texts: pa.Array, column: str) -> NDArray[np.int64]:
        """(n,) ns since 1970 UTC, of ISO 8601 times with a zone or of whole ns."""
        import pyarrow as pa

        if len(texts) and (texts[0].as_py() or "").isdigit():
            return self.integers(texts, column, "uint64").view(np.int64)  # undefined, all ones, becomes -1
        return self._numbers(self._cast(texts, pa.timestamp("ns", "UTC"), column, "ISO 8601 times or ns"), column)

    def integers(self, texts: pa.Array, column: str, dtype: str = "int64") -> NDArray[np.integer]:
        """(n,) whole numbers of the dtype."""
        import pyarrow as pa

        whole = self._cast(texts, getattr(pa, dtype)(), column, "whole numbers")
        self._no_null(whole, column)
        return whole.to_numpy(zero_copy_only=False)

    def decimals(self, texts: pa.Array, column: str) -> NDArray[np.int64]:
        """(n,) decimal numbers in units of 1e-9; EMPTY_PRICE where absent."""
        import pyarrow as pa
        import pyarrow.compute as pc

        exact = self._cast(texts, pa.decimal128(20, 9), column, "numbers of at most 9 decimals")
        scaled = pc.multiply(exact, pa.scalar(NANO, pa.decimal128(10, 0)))
        whole = self._cast(scaled, pa.int64(), column, "numbers below 9e9")
        return whole.fill_null(EMPTY_PRICE).to_numpy(zero_copy_only=False)

    def floats(self, texts: pa.Array, column: str) -> NDArray[np.float64]:
        """(n,) finite numbers, to the nearest."""
        import pyarrow as pa

        values = self._cast(texts, pa.float64(), column, "numbers")
        self._no_null(values, column)
        array = values.to_numpy(zero_copy_only=False)
        if not np.isfinite(array).all():
            raise DataError(f"{self.path}: column {column!r} holds {array[~np.isfinite(array)][0]}; expected numbers")
        return array

    def codes(self, texts: pa.Array, column: str) -> tuple[NDArray[np.int64], list[str]]:
        """(n,) indices into the few texts there are."""
        self._no_null(texts, column)
        coded = texts.dictionary_encode()
        return coded.indices.to_numpy(zero_copy_only=False).astype(np.int64), coded.dictionary.to_pylist()

    def _numbers(self, values: pa.Array, column: str) -> NDArray[np.int64]:
        import pyarrow as pa

        self._no_null(values, column)
        return values.cast(pa.int64()).to_numpy(zero_copy_only=False)

    def _no_null(self, values: pa.Array, column: str) -> None:
        if values.null_count:
            raise DataError(f"{self.path}: column {column!r} has an empty field; fetch the file again")

    def _cast(self, values: pa.Array, kind: pa.DataType, column: str, expected: str) -> pa.Array:
        import pyarrow as pa

        try:
            return values.cast(kind)
        except pa.ArrowException as error:
            raise DataError(f"{self.path}: column {column!r}: {_brief(error)}; expected {expected}") from error


def _some(names: Collection[str]) -> str:
    listed = list(names)
    return ", ".join(map(repr, listed[:12])) + (", ..." if len(listed) > 12 else "")


def _brief(error: Exception) -> str:
    return str(error).splitlines()[0][:160] if str(error) else type(error).__name__
