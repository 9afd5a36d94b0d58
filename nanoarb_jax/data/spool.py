"""A source's ticks in a temporary file, so that books of any length are seen as one series without being held."""

from __future__ import annotations

import mmap
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from nanoarb_jax.market.series import COLUMNS, LEVELS, SIDE_COLUMNS, BookSeries

_SIDE = f"({LEVELS},)i8"
BOOK_ROW = np.dtype(
    [
        ("ts_ns", "i8"),
        *((side, _SIDE) for side in SIDE_COLUMNS),
        ("bought", "i8"),
        ("sold", "i8"),
    ]
)


class Spool:
    """A series whose arrays are mapped from a file of BOOK_ROW, not held.

    Pages that were read count as this process's memory until `forget`.

    Args:
        path: of the file.
        template: a part without rows of the series, for its units and name.
    """

    def __init__(self, path: Path, template: BookSeries):
        with path.open("rb") as file:
            self._mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        rows = np.frombuffer(self._mapped, BOOK_ROW)
        columns: dict[str, Any] = {name: rows[name] for name in COLUMNS}
        if template.bought is None:
            columns["bought"] = columns["sold"] = None
        self.books = template._replace(**columns)

    def forget(self) -> None:
        """Give the pages read so far back."""
        self._mapped.madvise(mmap.MADV_DONTNEED)


def spool_ticks(ticks: Iterator[BookSeries], path: Path, name: str, tell: Callable[[int], None]) -> Spool | None:
    """Write chunks of ticks into a file of BOOK_ROW and open it as one series; None if there is no chunk.

    Args:
        ticks: of `read_ticks`.
        path: of the file.
        name: of the series.
        tell: called with the number of ticks written so far.
    """
    template: BookSeries | None = None
    written = 0
    with path.open("wb") as file:
        for chunk in ticks:
            template = template or chunk.part(0, 0)._replace(name=name)
            rows = np.zeros(chunk.rows, BOOK_ROW)
            for name in COLUMNS:
                column = getattr(chunk, name)
                rows[name] = 0 if column is None else column
            file.write(rows.data)
            written += chunk.rows
            tell(written)
    return None if template is None else Spool(path, template)
