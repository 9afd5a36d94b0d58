"""Columns that are not read: refused where what they hold may change what the rows mean.

No list of names is ever complete, so the cells decide: words of actions, few different numbers, names that come and go,
ids that come back. Cells that only repeat what the columns read say are harmless, and so are those of trades.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.columns import Array, Batch, distinct_words, floats, import_pyarrow
from nanoarb_jax.readers.table import words
from nanoarb_jax.readers.table.layout import Table

_MOST_NAMES, _LONGEST_NAME = 1000, 40  # different instruments in a column, and characters of one
_MOST_NUMBERS = 6  # different numbers that may be codes
_CODES = 9  # codes are numbers up to this where they never fall; larger ones count rows or messages
_IDS_FOUND = 0.9  # the share of changes and deletions that name what an insertion named
_TIME = re.compile(r"\d{1,4}[-/:.]\d{1,2}([-/:.T ].*)?")
_ID = re.compile(r".*(^|[a-z_ ])(id|ids|uid|uuid|guid|oid|ref|key|no|nr|number)")
_NOT_AN_ID = ("bid", "mid", "valid", "paid", "grid", "void", "rapid")


class _Cells(NamedTuple):
    """A column as (n,) indices into its different words, in lower case; an empty cell is the empty word."""

    at: NDArray[np.int64]
    words: list[str]

    def of(self, rows: NDArray[np.bool_]) -> _Cells:
        """Those rows."""
        used, at = np.unique(self.at[rows], return_inverse=True)
        return _Cells(at.astype(np.int64), [self.words[i] for i in used])

    @property
    def numbers(self) -> NDArray[np.float64] | None:
        """The words as numbers, an empty one as NaN; None: one is no number."""
        try:
            return np.array([float(word or "nan") for word in self.words])
        except ValueError:
            return None

    @property
    def returns(self) -> bool:
        """Whether a value comes back after another one."""
        filled = np.array([word != "" for word in self.words], bool)
        at = self.at[filled[self.at]] if len(self.words) else self.at
        return bool(1 + np.count_nonzero(np.diff(at)) > len(np.unique(at)) > 1)

    @property
    def sample(self) -> str:
        return ", ".join(word[:30] or "an empty cell" for word in self.words[:6]) + ", …" * (len(self.words) > 6)


class Unread:
    """Checks of the columns of a table that are not read.

    Attributes:
        columns: to read beside those of the table, for `check`: all at first, then those that held one value so far.
    """

    def __init__(self, table: Table) -> None:
        self.table = table
        self.columns = dict.fromkeys(table.unread, "binary")
        self._seen: dict[str, str] = {}

    def check(self, batch: Batch) -> None:
        """Check the rows of one instrument.

        Raises:
            DataError: a column may change what the rows mean.
        """
        looked_at, self.columns = self.columns, {}
        rows = _book_rows(self.table, batch)
        for name in looked_at:
            cells = _cells(batch[name], name)
            if cells is None or not rows.any():
                continue
            cells = cells.of(rows)
            if len(cells.words) == 1 and self._seen.setdefault(name, cells.words[0]) == cells.words[0]:
                self.columns[name] = "binary"  # it may hold others later
            cells = self._with_seen(name, cells)
            why = _refusal(self.table, name, cells, batch, rows)
            if why:
                raise DataError(f"{self.table.path}: column {name} ({cells.sample}) is not read, and {why}")

    def _with_seen(self, name: str, cells: _Cells) -> _Cells:
        """With a row of the one value of the rows before, where these have another one."""
        seen = self._seen.get(name)
        if seen is None or seen in cells.words:
            return cells
        return _Cells(np.append(len(cells.words), cells.at), [*cells.words, seen])


def _cells(column: Array, what: str) -> _Cells | None:
    """A column's words; None: times or lists, which tell no rows apart."""
    arrow = import_pyarrow()
    types = arrow.types
    if types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if types.is_temporal(column.type) or types.is_nested(column.type) or types.is_null(column.type):
        return None
    if types.is_binary(column.type) or types.is_large_binary(column.type):
        column = column.dictionary_encode()
        found = [value.decode(errors="replace") for value in column.dictionary.to_pylist()]
        at = column.indices.fill_null(len(found)).to_numpy(zero_copy_only=False).astype(np.int64)
        found += [""] * bool(column.null_count)
    else:
        at, found = distinct_words(column, what)
    spelt = {word: i for i, word in enumerate(dict.fromkeys(word.strip().lower() for word in found))}
    return _Cells(np.array([spelt[word.strip().lower()] for word in found] or [0], np.int64)[at], [*spelt])


def _book_rows(table: Table, batch: Batch) -> NDArray[np.bool_]:
    """(n,) the rows that are no trades."""
    if table.kind is None:
        return np.ones(len(batch[table.time]), bool)
    at, found = distinct_words(batch[table.kind], table.kind)
    return ~np.array([word.strip().lower() in words.TRADE for word in found] or [False], bool)[at]


def _refusal(table: Table, name: str, cells: _Cells, batch: Batch, rows: NDArray[np.bool_]) -> str | None:
    """Why a column is refused, and how to go on; None: it is harmless."""
    tokens = {*re.findall("[a-z]+", name)}
    several = len(cells.words) > 1
    known = {*cells.words} <= words.ACTIONS
    if several and not known and (words.STATES & tokens or name.endswith(("valid", "status"))):
        return "may say which rows are good: leave out those that are not, and the column"
    if table.levels:
        return _refusal_in_books(name, tokens, cells) if several else None
    plain = table.kind is None and "is_snapshot" not in table.columns
    if not several:
        return words.SAYS_KIND if plain and cells.words[0] in words.TELLING else None
    if len(cells.at) == rows.sum() and _repeats(table, cells, batch, rows):
        return None
    if len(cells.at) == rows.sum() and _names_orders(table, tokens, cells, batch, rows):
        return words.NAMES_ORDERS
    numbers = cells.numbers
    if numbers is None:
        return _refusal_of_words(tokens, cells)
    if words.HARMLESS & tokens and not words.TELLING_NAMES & tokens:
        return None
    if _is_id(name) and cells.returns:
        return words.NAMES_ORDERS if len(cells.words) > _MOST_NAMES else words.NAMES_SOMETHING
    return words.SAYS_KIND if _are_codes(cells, numbers) else None


def _refusal_in_books(name: str, tokens: set[str], cells: _Cells) -> str | None:
    """Of books, which say themselves what they are: only columns that tell instruments apart are refused."""
    if cells.numbers is not None:
        few = len(cells.words) <= _MOST_NAMES and not words.HARMLESS & tokens
        return words.TELLS_APART if few and _is_id(name) and cells.returns else None
    said = {word for word in cells.words if len(word) != 1} | {""}  # a single letter may be the name of anything
    about_events = said >= {*cells.words} and said <= words.ACTIONS | {*words.SIDES} | {*words.TRUTH}
    if about_events or name in ("side", "aggressor_side") or (name in words.KIND and {*cells.words} <= words.ACTIONS):
        return None
    return None if _is_text(tokens, cells) else words.TELLS_APART


def _refusal_of_words(tokens: set[str], cells: _Cells) -> str | None:
    """Of events: words, which say what a row does or tell instruments apart, unless they are text or times."""
    if {*cells.words} <= words.ACTIONS | {*words.TRUTH}:
        return words.SAYS_KIND
    return None if _is_text(tokens, cells) else words.TELLS_APART


def _is_text(tokens: set[str], cells: _Cells) -> bool:
    """Whether words are neither names of anything nor say what rows do."""
    unlike = len(cells.words) > _MOST_NAMES or len(cells.words) == len(cells.at)
    long = max(map(len, cells.words)) > _LONGEST_NAME
    times = all(_TIME.fullmatch(word) for word in cells.words if word)
    return unlike or long or times or bool(words.TEXT & tokens)


def _are_codes(cells: _Cells, numbers: NDArray[np.float64]) -> bool:
    """Whether numbers may be codes: few, whole, and no count that only grows."""
    real = numbers[np.isfinite(numbers)]
    if len(numbers) > _MOST_NUMBERS or len(numbers) == len(cells.at) or (real != np.rint(real)).any():
        return False
    in_rows = numbers[cells.at]
    grows = not (np.diff(in_rows[np.isfinite(in_rows)]) < 0).any()
    return not grows or float(np.abs(real).max(initial=0.0)) <= _CODES


def _is_id(name: str) -> bool:
    return _ID.fullmatch(name) is not None and not name.endswith(_NOT_AN_ID)


def _key(columns: list[NDArray]) -> NDArray[np.int64]:
    """(n,) a number for every different combination of the columns."""
    key = np.zeros(len(columns[0]), np.int64)
    for column in columns:
        at = np.unique(column, return_inverse=True)[1].astype(np.int64)
        key = np.unique(key * (at.max(initial=0) + 1) + at, return_inverse=True)[1].astype(np.int64)
    return key


def _repeats(table: Table, cells: _Cells, batch: Batch, rows: NDArray[np.bool_]) -> bool:
    """Whether a column follows from side, kind, is_snapshot and whether the size is 0: it says nothing new."""
    names = [name for name in ("side", table.kind, "is_snapshot") if name in table.columns]
    said = [distinct_words(batch[name], name)[0][rows] for name in names if name]
    gone = floats(batch["size"], f"{table.path}, size", may_miss=True)[rows] == 0
    key = _key([*said, gone])
    return bool(_key([key, cells.at]).max(initial=0) == key.max(initial=0))


def _names_orders(table: Table, tokens: set[str], cells: _Cells, batch: Batch, rows: NDArray[np.bool_]) -> bool:
    """Whether a column holds orders' ids: each insertion has its own, and what is changed or deleted had been inserted.

    Where every price of a side has one id of its own, levels and orders are the same, and it does not matter.
    """
    if "order_id" in table.columns or table.kind is None or words.HARMLESS & tokens - {"seq"}:
        return False
    at, found = distinct_words(batch[table.kind], table.kind)
    said = [word.strip().lower() for word in found]
    inserts, changes = (
        np.array([word in known for word in said] or [False], bool)[at][rows]
        for known in (words.INSERTS, words.INSERTED)
    )
    inserted = np.unique(cells.at[inserts])
    if len(inserted) < 2 or len(inserted) < inserts.sum() or not changes.any():
        return False
    if np.isin(cells.at[changes], inserted).mean() < _IDS_FOUND:
        return False
    level = _key([distinct_words(batch["side"], "side")[0][rows], np.nan_to_num(_prices(table, batch)[rows])])[inserts]
    return bool(len(np.unique(level)) < len(inserted))


def _prices(table: Table, batch: Batch) -> NDArray[np.float64]:
    return floats(batch["price"], f"{table.path}, price", may_miss=True)
