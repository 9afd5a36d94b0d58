"""What makes a capture unreadable as one book: several symbols or markets, and lines that are not in order of time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.binance import message as of
from nanoarb_jax.readers.binance.files import symbols_in
from nanoarb_jax.readers.binance.snapshots import find_wanted
from nanoarb_jax.readers.feed import ReadOptions

_LATE_NS = 10**9  # lines of several connections overtake each other by less
_MOST_LATE = 0.1  # share of the lines
_SEVERAL = 3  # diffs that make a market


def check_order(messages: Sequence[NDArray[np.void]], file: Path) -> None:
    """Refuse a file whose first lines are newest first, or in no order.

    Their update ids would be taken for repetitions, and left out.
    """
    steps = np.diff(np.concatenate([np.zeros(0, np.int64), *(block["local_ts"] for block in messages)]))
    back = int((steps < 0).sum())
    if back > 2 and back > 2 * int((steps > 0).sum()):
        raise DataError(
            f"binance {file}: newest first ({back:,} of {len(steps) + 1:,} lines are older than the one before); "
            "expected the oldest first: reverse the lines, as `tac` does"
        )
    late = int((steps < -_LATE_NS).sum())
    if late > 2 and late > _MOST_LATE * len(steps):
        raise DataError(
            f"binance {file}: not in order of time ({late:,} of {len(steps) + 1:,} lines are older than the one before "
            "by more than 1 s); expected the order in which they were received: sort the lines by their first number"
        )


def check_market(messages: NDArray[np.void], state: NDArray[np.void], file: Path) -> None:
    """Refuse diffs of spot and of futures in one capture: two books, whose update ids have nothing in common."""
    linked = messages["previous_id"][find_wanted(messages, state, of.DIFF)] >= 0
    state["futures"] += np.count_nonzero(linked)
    state["spot"] += np.count_nonzero(~linked)
    if min(state["futures"][0], state["spot"][0]) >= _SEVERAL:
        raise DataError(
            f"binance {file}: diffs of futures (with pu) and of spot (without) under one symbol; expected one market: "
            "split the lines, as `grep '\"pu\"'` does"
        )


def check_symbol(
    messages: NDArray[np.void], state: NDArray[np.void], options: ReadOptions, files: Sequence[Path]
) -> None:
    """Refuse a second symbol, unless one was asked for and every book says its own (REST snapshots of spot do not).

    files: those that were read so far, with the one that the messages are of as the last.
    """
    kinds, symbols = messages["kind"], messages["symbol"]
    said = symbols[(kinds != of.OTHER) & (kinds != of.TICKER) & (symbols != 0)]
    if state["symbol"][0] == 0 and len(said):
        state["symbol"] = said[0]
    state["other_symbols"] |= bool((said != state["symbol"][0]).any())
    state["unnamed_book"] |= bool((symbols[kinds == of.BOOK] == 0).any())
    if not state["other_symbols"][0] or (options.symbol and not state["unnamed_book"][0]):
        return
    first, file = files[0], files[-1]
    met = ", ".join(symbols_in(file))
    if len(files) > 1 and symbols_in(first) != symbols_in(file):
        raise DataError(
            f"binance {file}: its symbol is {met}, that of {first.name} is {', '.join(symbols_in(first))}, and their "
            "names make them one feed; name one of the files"
        )
    if not options.symbol:
        raise DataError(
            f"binance {file}: messages of several symbols ({met}); choose one with symbol, on the command line --symbol"
        )
    raise DataError(
        f"binance {file}: messages of other symbols ({met}) than {options.symbol!r}, and a snapshot that does not say "
        "whose it is; give the right symbol, on the command line --symbol, or none if the file holds one; split a file "
        "of several"
    )
