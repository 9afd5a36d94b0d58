"""What a snapshot is followed by, and which books are no snapshots.

A REST snapshot is asked for when the first diffs have arrived, or when some are missing, and comes behind diffs that
are newer than it. Those are applied right after it, at its time, since no book was known before.

A partial book of spot (`@depth5`, `@depth10`, `@depth20`) on a line without a stream's name looks like a REST snapshot
with that limit. Beside diffs whose chain is unbroken it can tell nothing new, so it waits for the next diff: if that
follows the diff before, the waiting book is left out; if updates are missing, it is a snapshot that mends the book.

What else calls itself a snapshot is compared with the diffs behind it, for which it waits if need be:

* One that is ahead of an unbroken chain of diffs is taken if these reach its id; else it is of another symbol.
* One whose id is lower than the book's is older than it, unless a diff behind it has an id between both and was sent
  later than the book's latest: then the exchange has restarted, its ids begin anew, and the snapshot is the new book.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.readers.binance import message as of
from nanoarb_jax.readers.binance import sequence

_MOST_HELD = 5_000  # messages that a snapshot waits for
_MOST_BLOCKS = 16  # of diffs kept for a snapshot: minutes of a busy feed

_TAKE, _LEAVE, _RESTART, _WAIT = range(4)  # what becomes of a snapshot
Piece = tuple[NDArray[np.void], NDArray[np.void]]  # messages and the events that they index
# why a message is left out that comes before the first snapshot; a diff may still follow it
_EARLY = np.full(len(of.KINDS), sequence.EARLY)
_EARLY[[of.OTHER, of.RPI, of.PARTIAL]] = sequence.FOREIGN, sequence.OTHER_BOOK, sequence.UNUSED_PARTIAL


def is_small(messages: NDArray[np.void]) -> NDArray[np.bool_]:
    """(n,) which messages may be partial books of spot without a name, or REST snapshots of 5, 10 or 20 levels."""
    unnamed = (messages["symbol"] == 0) & (messages["exch_ts"] == 0)
    sized = (messages["bids"] == messages["asks"]) & np.isin(messages["bids"], of.PARTIAL_LEVELS)
    return (messages["kind"] == of.BOOK) & unnamed & sized


def find_wanted(messages: NDArray[np.void], state: NDArray[np.void], *kinds: int) -> NDArray[np.intp]:
    """Places of messages of one of the kinds, and of the symbol wanted or of one that is not said."""
    found = np.zeros(len(messages), np.bool_)
    for kind in kinds:
        found |= messages["kind"] == kind
    places = np.flatnonzero(found)
    symbols = messages["symbol"][places]
    return places[(symbols == 0) | (symbols == state["symbol"][0])]


class SnapshotOrder:
    """Messages in the order in which they are to be followed, around snapshots.

    Args:
        state: (1,) STATE; whoever takes a piece follows it before the next one is made.
        counts: (len(REASONS),) int64, how many messages were left out, and why; added to.
    """

    def __init__(self, state: NDArray[np.void], counts: NDArray[np.int64]) -> None:
        self._state, self._counts = state, counts
        self._recent: deque[Piece] = deque(maxlen=_MOST_BLOCKS)
        self._refused: deque[Piece] = deque(maxlen=_MOST_BLOCKS)  # diffs that may be of a new sequence
        self._waiting: Piece | None = None  # a small book
        self._held: Piece | None = None  # messages from a snapshot on that waits for diffs
        self._unfollowed = 0  # diffs since the book was last unknown

    def pieces(self, messages: NDArray[np.void], events: NDArray[np.void]) -> Iterator[Piece]:
        """A block in pieces, each to be followed before the next one is asked for."""
        if self._held is not None:
            (messages, events), self._held = join_pieces([self._held, (messages, events)]), None
        if not self._state["diffs"][0]:
            diffs = find_wanted(messages, self._state, of.DIFF)
            first = int(diffs[0]) if len(diffs) else len(messages)
            yield from self._whole_books(messages[:first], events)
            if not len(diffs):
                return
            messages = messages[first:]
            self._begin_with_diffs()
        yield from self._around_snapshots(messages, events)

    def finish(self) -> Iterator[Piece]:
        """What was held until the end; and count what still waits for a snapshot then."""
        if self._held is not None:
            (messages, events), self._held = self._held, None
            yield from self._around_snapshots(messages, events, last=True)
        self._counts[sequence.UNUSED_PARTIAL] += self._waiting is not None
        if self._state["last_id"][0] < 0:
            self._counts[sequence.EARLY] += self._unfollowed

    def _whole_books(self, messages: NDArray[np.void], events: NDArray[np.void]) -> Iterator[Piece]:
        """Where there are no diffs, every book is whole; what comes before the first one is left out."""
        if self._state["last_id"][0] < 0:
            books = find_wanted(messages, self._state, of.BOOK, of.PARTIAL)
            first = int(books[0]) if len(books) else len(messages)
            self._count_early(messages[:first])
            messages = messages[first:]
        if len(messages):
            yield messages, events

    def _begin_with_diffs(self) -> None:
        """The first diff: no partial book is the book from now on, and a snapshot is needed."""
        self._state["diffs"] = 1
        if self._state["partial"][0]:
            for field in ("last_id", "missing_id", "replaced_id"):
                self._state[field] = sequence.NONE

    def _around_snapshots(
        self, messages: NDArray[np.void], events: NDArray[np.void], last: bool = False
    ) -> Iterator[Piece]:
        state, start = self._state, 0
        for at in find_wanted(messages, state, of.BOOK):
            if state["last_id"][0] >= 0:
                yield from self._followed(messages[start:at], events)
            unknown, missing = state["last_id"][0] < 0, state["missing_id"][0]
            if unknown:
                self._count_early(messages[start:at])
            if unknown or (missing >= 0 and messages["last_id"][at] >= missing):
                self._keep(messages[start:at] if unknown else messages[:at], events)
                yield self._replayed(messages[at : at + 1], events)
                start = at + 1
            elif missing < 0 and messages["last_id"][at] >= state["last_id"][0] and is_small(messages[at : at + 1])[0]:
                self._counts[sequence.UNUSED_PARTIAL] += self._waiting is not None
                self._waiting = messages[at : at + 1], events
                start = at + 1
            elif (verdict := self._verdict(messages, int(at), last)) == _WAIT:
                self._held = messages[at:], events
                return
            elif verdict == _RESTART:
                yield self._begun_anew(messages, int(at), events)
                start = at + 1
            else:
                self._counts[sequence.STRANGE_BOOK] += verdict == _LEAVE
                start = at + (verdict == _LEAVE)
        if state["last_id"][0] >= 0:
            yield from self._followed(messages[start:], events)
            if state["missing_id"][0] >= 0:
                self._keep(messages[start:], events)
            elif len(refused := self._sent_later(messages[start:])):
                self._refused.append((refused, events))
        else:
            self._count_early(messages[start:])
            self._keep(messages[start:], events)

    def _verdict(self, messages: NDArray[np.void], at: int, last: bool) -> int:
        """What becomes of a snapshot beside a known book; `last`: no more diffs will come."""
        state, its_id, behind = self._state[0], messages["last_id"][at], messages[at + 1 :]
        diffs = behind[find_wanted(behind, self._state, of.DIFF)]
        reaching = diffs[diffs["last_id"] >= its_id]
        undecided = _TAKE if last or len(behind) >= _MOST_HELD or state["missing_id"] >= 0 else _WAIT
        if its_id < state["last_id"]:
            if not len(reaching):
                return undecided
            known = state["fresh"] and state["exch_ts"] > 0  # a snapshot of these diffs
            later = reaching["last_id"][0] < state["last_id"] and reaching["exch_ts"][0] > state["exch_ts"]
            return _RESTART if later and not known else _TAKE
        newer = diffs[diffs["last_id"] > state["last_id"]]
        if state["missing_id"] >= 0 or len(reaching) or not len(newer):
            return _TAKE if state["missing_id"] >= 0 or len(reaching) else undecided
        if sequence.begins_behind_a_hole(newer, self._state):
            return _TAKE
        return _LEAVE if undecided == _TAKE else _WAIT

    def _sent_later(self, messages: NDArray[np.void]) -> NDArray[np.void]:
        """Diffs that were sent later than the book's latest, but have lower ids."""
        state = self._state[0]
        later = (messages["last_id"] < state["last_id"]) & (messages["exch_ts"] > state["exch_ts"])
        return messages[later & (messages["kind"] == of.DIFF)]

    def _begun_anew(self, messages: NDArray[np.void], at: int, events: NDArray[np.void]) -> Piece:
        """The snapshot of a new sequence of ids, and the diffs of it that came before and were taken for old ones."""
        refused = [*self._refused, (messages[:at], events)]
        self._refused.clear()
        self._recent.clear()
        for earlier, theirs in refused:
            diffs = self._sent_later(earlier)
            self._counts[sequence.STALE if self._state["fresh"][0] else sequence.REPEATED] -= len(diffs)
            self._keep(diffs, theirs)
        for field in ("last_id", "missing_id", "replaced_id"):
            self._state[field] = sequence.NONE
        self._state["hole"] = 0
        self._counts[sequence.RESTART] += 1
        return self._replayed(messages[at : at + 1], events)

    def _followed(self, messages: NDArray[np.void], events: NDArray[np.void]) -> Iterator[Piece]:
        """Messages behind a known book; the small book that waits is left out or put in before the first diff."""
        if self._waiting is not None and len(diffs := find_wanted(messages, self._state, of.DIFF)):
            first = int(diffs[0])
            yield messages[:first], events
            book, theirs = self._waiting
            self._waiting = None
            messages = messages[first:]
            if sequence.begins_behind_a_hole(messages, self._state):
                yield _dated(book, theirs, messages["local_ts"][0])
            else:
                self._counts[sequence.UNUSED_PARTIAL] += 1
        yield messages, events

    def _count_early(self, messages: NDArray[np.void]) -> None:
        others = messages["kind"][messages["kind"] != of.DIFF]
        np.add.at(self._counts, _EARLY[others], 1)

    def _keep(self, messages: NDArray[np.void], events: NDArray[np.void]) -> None:
        diffs = messages[messages["kind"] == of.DIFF]
        self._unfollowed += len(diffs)
        if len(diffs):
            self._recent.append((diffs, events))

    def _replayed(self, book: NDArray[np.void], events: NDArray[np.void]) -> Piece:
        """The snapshot and the kept diffs behind it, all at its time."""
        diffs = list(self._recent)
        self._recent.clear()
        self._unfollowed = 0
        if (known := self._state["last_id"][0]) >= 0:  # what was followed already is told again, as far as it is newer
            newer = book["last_id"][0]
            diffs = [(part[(part["last_id"] > newer) & (part["last_id"] <= known)], theirs) for part, theirs in diffs]
            self._state["last_id"] = newer
        ordered, joined = join_pieces([(book, events), *diffs])
        for message in ordered[1:]:
            joined["local_ts"][message["begin"] : message["end"]] = book["local_ts"][0]
        return ordered, joined


def join_pieces(pieces: list[Piece]) -> Piece:
    """Pieces behind each other as one."""
    parts, offset = [], 0
    for messages, events in pieces:
        part = messages.copy()
        part["begin"] += offset
        part["end"] += offset
        offset += len(events)
        parts.append(part)
    return np.concatenate(parts), np.concatenate([events for _, events in pieces])


def _dated(book: NDArray[np.void], events: NDArray[np.void], local_ts: int) -> Piece:
    """A book of one message, at another local time."""
    (begin, end), book = book[["begin", "end"]][0], book.copy()
    events = events[begin:end].copy()
    book["begin"], book["end"], book["local_ts"], events["local_ts"] = 0, end - begin, local_ts, local_ts
    return book, events
