"""A snapshot in a file of its own, which the user names: a Binance capture, or the REST answer as it was sent."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.binance import message as of
from nanoarb_jax.readers.binance.blocks import BOM, Block, read_blocks, read_text
from nanoarb_jax.readers.binance.files import sniff
from nanoarb_jax.readers.binance.snapshots import find_wanted, join_pieces
from nanoarb_jax.readers.compression import open_bytes
from nanoarb_jax.readers.format import Head

_BARE = re.compile(rb"\s*\{.*\"lastUpdateId\"", re.DOTALL)
_ANY_TIME = b"1735689600000 "  # a bare answer has none; it gets that of the message that it stands before


def is_snapshot_file(head: Head) -> bool:
    """A capture, or an answer that begins with its update id."""
    return not head.is_parquet and (sniff(head) or _BARE.match(head.start.removeprefix(BOM)) is not None)


class GivenSnapshot:
    """A snapshot that waits for its place: before the first diff that is newer than it.

    Args:
        path: its file; of a capture its last snapshot counts, with the diffs behind it.

    Raises:
        DataError: no snapshot in it.
    """

    def __init__(self, path: Path) -> None:
        scratch = np.zeros(1, of.LINE_STATE)
        with open_bytes(path) as stream:
            bare = _BARE.match(stream.read(1 << 16).removeprefix(BOM)) is not None
        if bare:
            with open_bytes(path) as stream:
                text = b" ".join(stream.read().removeprefix(BOM).split())
            blocks = [read_text(path, _ANY_TIME + text + b"\n", scratch)]
        else:
            blocks = list(read_blocks(path, scratch))
        self._path = path
        self._messages, self._events = join_pieces([(block.messages, block.events) for block in blocks])

    def put_in(self, block: Block, state: np.ndarray) -> Block | None:
        """The block with the snapshot in its place, dated as the message that it stands before; None: not in this one.

        Raises:
            DataError: the file holds no snapshot of the symbol.
        """
        books = find_wanted(self._messages, state, of.BOOK)
        if not len(books):
            raise DataError(f"--snapshot {self._path}: no depth snapshot of this symbol (lastUpdateId, bids, asks)")
        begin = int(books[-1])
        diffs = find_wanted(self._messages[begin:], state, of.DIFF) + begin
        given = self._messages[[begin, *diffs]]
        theirs = find_wanted(block.messages, state, of.DIFF)
        newer = theirs[block.messages["last_id"][theirs] > given["last_id"].max()]
        if not len(newer):
            return None
        # without an older diff nothing in the block, such as a trade, comes before the snapshot
        place = int(newer[0]) if newer[0] != theirs[0] else 0
        next_message, events = block.messages[place], self._events.copy()
        events["local_ts"] = next_message["local_ts"]
        given["local_ts"] = next_message["local_ts"]
        given["exch_ts"] = events["exch_ts"] = next_message["exch_ts"] or next_message["local_ts"]
        given["begin"] += len(block.events)
        given["end"] += len(block.events)
        messages = np.concatenate([block.messages[:place], given, block.messages[place:]])
        return block._replace(messages=messages, events=np.concatenate([block.events, events]))
