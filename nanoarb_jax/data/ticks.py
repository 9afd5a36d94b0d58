"""From files to ticks: a clock applied to the books of a source; everything that is dropped is counted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.clock import tick_clock
from nanoarb_jax.market.anomaly import Anomaly, Policy, policies
from nanoarb_jax.market.book.state import BookState, empty_state
from nanoarb_jax.market.clocks.from_books import choose_rows
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.series import COLUMNS, BookSeries
from nanoarb_jax.readers.feed import EventFeed, Feed, ReadOptions
from nanoarb_jax.readers.sources import Source, open_source


@dataclass
class ReadReport:
    """What was read of a source, and what became of its messages; complete when its ticks are exhausted.

    Args:
        format: of the files.
        timed: False where the files have no times.
        events, messages: that were read; in files that hold books, every row is one event and one message.
        ticks: that the clock made of them.
        trades: in the files; None: the files have none.
        unsided: quantity traded by takers whose side is not known.
        dropped: messages that the reader left out, by reason.
        anomalies: of the book, by kind.
    """

    format: str
    timed: bool = True
    events: int = 0
    messages: int = 0
    ticks: int = 0
    trades: int | None = None
    unsided: float = 0.0
    dropped: Counter[str] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of `dropped` and `anomalies` only those that occurred."""
        counts = {"dropped": self.dropped, "anomalies": self.anomalies}
        met = {name: {key: int(n) for key, n in sorted(c.items()) if n} for name, c in counts.items()}
        return {
            "format": self.format,
            "timed": self.timed,
            "events": self.events,
            "messages": self.messages,
            "ticks": self.ticks,
            **met,
        }


def read_ticks(
    source: Source,
    config: DataConfig,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Policy | Mapping[str, Policy] | None = None,
) -> tuple[Iterator[BookSeries], ReadReport]:
    """A source's ticks, in chunks of bounded size, and the report that is filled while they are read.

    Args:
        source: of `find_sources`.
        config: clock and time stamps.
        options: what the files do not say.
        policy: about anomalies, see `anomaly.policies`.

    Raises:
        DataError: an unreadable file, or an anomaly whose policy is to raise; also while chunks are read.
    """
    feed = open_source(source, options._replace(exchange_time=config.timestamps == "exchange"))
    report = ReadReport(feed.format, isinstance(feed, EventFeed) or feed.timed, dropped=feed.dropped)
    return _counted(_ticks(feed, config, policy, report), report), report


def _ticks(
    feed: Feed, config: DataConfig, policy: Policy | Mapping[str, Policy] | None, report: ReadReport
) -> Iterator[BookSeries]:
    clock = tick_clock(config.input)
    if not isinstance(feed, EventFeed):
        chunks = _counted_rows(feed.chunks, report)
        given = {"invalid": "skip", **policy} if isinstance(policy, Mapping) else policy or {"invalid": "skip"}
        row_policies = policies(given)  # type: ignore[arg-type]  # the literal is a policy
        # every row of a file in our own book format is a tick: whoever wrote it chose them
        yield from choose_rows(chunks, clock, feed.format == "book-npz", report.anomalies, row_policies)
        return

    def note(state: BookState) -> None:
        report.events, report.messages = int(state.meta["events"][0]), int(state.meta["messages"][0])
        report.trades = int(state.meta["trades"][0]) or None
        report.unsided = float(state.meta["unsided"][0] * state.meta["lot_size"][0])
        for kind in Anomaly:
            report.anomalies[kind.name.lower()] = int(state.anomalies[kind])

    state = empty_state(feed.tick_size, feed.lot_size, policy=policy, clock=config.timestamps)
    yield from tick_chunks(feed.chunks, state, clock, feed.name, note)


def _counted_rows(chunks: Iterator[BookSeries], report: ReadReport) -> Iterator[BookSeries]:
    for chunk in chunks:
        report.events += chunk.rows
        report.messages += chunk.rows
        if chunk.unsided is not None:
            report.unsided += float(chunk.unsided.sum() / chunk.lots_per_unit)
        yield chunk


def _counted(chunks: Iterator[BookSeries], report: ReadReport) -> Iterator[BookSeries]:
    for chunk in chunks:
        report.ticks += chunk.rows
        yield chunk


def read_books(
    source: Source,
    config: DataConfig,
    options: ReadOptions = ReadOptions(),  # noqa: B008
    policy: Policy | Mapping[str, Policy] | None = None,
) -> tuple[BookSeries, ReadReport]:
    """All ticks of a source in memory.

    Raises:
        DataError: what `read_ticks` raises, or not one tick.
    """
    ticks, report = read_ticks(source, config, options, policy)
    chunks = list(ticks)
    if not chunks:
        raise DataError(no_ticks(source, report))
    columns: dict[str, Any] = {
        name: None if getattr(chunks[0], name) is None else np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in COLUMNS
    }
    return chunks[0]._replace(**columns, name=source.name), report


def no_ticks(source: Source, report: ReadReport) -> str:
    """The error text for a source without a single tick: what its messages were lost to."""
    counts = report.as_dict()
    lost = [f"{n:,} × {why}" for name in ("dropped", "anomalies") for why, n in counts[name].items()]
    return (
        f"data {source.files[0]}: not one tick in {report.events:,} events that end {report.messages:,} messages "
        f"({', '.join(lost) or 'nothing was dropped'}); expected messages that leave both sides quoted"
    )
