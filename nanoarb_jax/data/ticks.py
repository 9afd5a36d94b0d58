"""From files to ticks: a clock applied to the books of a source; everything that is dropped is counted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.report import REMEDIES, ReadReport, check_order, warn_of_losses
from nanoarb_jax.errors import DataError
from nanoarb_jax.features.clock import tick_clock
from nanoarb_jax.market.anomaly import FEED_DEFAULTS, HEAL, KEEP, Anomaly, Policy, policies
from nanoarb_jax.market.book.state import BookState, empty_state
from nanoarb_jax.market.clocks.from_books import choose_rows
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.series import COLUMNS, BookSeries
from nanoarb_jax.readers.feed import LOSSES, BookFeed, EventFeed, ReadOptions
from nanoarb_jax.readers.sources import Source, open_source

NO_TRADES = "no trades"
_BEGINS = "begins without a snapshot"
_ENOUGH = 1_000  # messages, to tell whether they are in order
_MOST_LOTS = 2.0**62
_OFF_LOT = 1e-3  # of a lot


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
        DataError: an unreadable file, settings that need times of a source that has none, or an anomaly whose policy
            is to raise; also while chunks are read.
    """
    feed = open_source(source, options._replace(exchange_time=config.timestamps == "exchange"))
    if not feed.timed:
        _check_untimed(source, config)
    report = ReadReport(feed.format, feed.timed, notes=feed.notes, dropped=feed.dropped)
    chosen = policy if isinstance(policy, str) else {**FEED_DEFAULTS, **(policy or {})}
    if isinstance(feed, EventFeed):
        ticks = _ticks_of_events(feed, config, chosen, report)
    else:
        ticks = _ticks_of_books(feed, config, chosen, report)
    kept = isinstance(policy, str) or "backwards" in (policy or {})
    received = None if kept else config.timestamps == "local"
    return _counted(ticks, source, report, received), report


def _check_untimed(source: Source, config: DataConfig) -> None:
    """Refuse settings that need times, of a source whose times are none."""
    for setting, needs_times in (("clock", "time"), ("split", "day")):
        if getattr(config, setting) == needs_times:
            others = "another clock" if setting == "clock" else "fraction"
            raise DataError(
                f"data {source.files[0]}: --{setting} {needs_times}: the files have no real times; choose {others}"
            )


def _ticks_of_books(
    feed: BookFeed, config: DataConfig, policy: Policy | Mapping[str, Policy], report: ReadReport
) -> Iterator[BookSeries]:
    chosen = policies(policy if isinstance(policy, str) else {"invalid": "skip", **policy})
    # every row of a file in our own book format is a tick: whoever wrote it chose them
    every_row = feed.format == "book-npz"
    yield from choose_rows(
        _counted_rows(feed.chunks, report), tick_clock(config.input), every_row, report.anomalies, chosen
    )
    lost = [Anomaly.CROSSED, Anomaly.ONE_SIDED, Anomaly.INVALID]
    lost += [kind for kind in (Anomaly.LOCKED, Anomaly.BACKWARDS, Anomaly.GAP) if chosen[kind] not in (KEEP, HEAL)]
    report.lost.update({kind.name.lower(): report.anomalies[kind.name.lower()] for kind in lost})


def _counted_rows(chunks: Iterator[BookSeries], report: ReadReport) -> Iterator[BookSeries]:
    latest, step, lots_per_unit = np.iinfo(np.int64).min, 0, 1.0
    for chunk in chunks:
        report.events += chunk.rows
        report.messages += chunk.rows
        ordered = np.maximum.accumulate(np.maximum(chunk.ts_ns, latest))
        latest = int(ordered[-1]) if chunk.rows else latest
        report.late_ns = max(report.late_ns, int((ordered - chunk.ts_ns).max(initial=0)))
        step, lots_per_unit = _common_step(step, *(lots for _, lots in chunk.sides)), chunk.lots_per_unit
        report.quantity_step = step / lots_per_unit if step else None
        if chunk.unsided is not None:
            report.unsided += float(chunk.unsided.sum() / chunk.lots_per_unit)
        yield chunk


def _ticks_of_events(
    feed: EventFeed, config: DataConfig, policy: Policy | Mapping[str, Policy], report: ReadReport
) -> Iterator[BookSeries]:
    def note(state: BookState) -> None:
        meta = state.meta[0]
        report.events, report.messages = int(meta["events"]), int(meta["messages"])
        report.trades = int(meta["trades"]) or None
        report.unsided = float(meta["unsided"] * meta["lot_size"])
        report.late_ns = int(meta["late_ns"])
        for kind in Anomaly:
            report.anomalies[kind.name.lower()] = int(state.anomalies[kind])
        lost = [kind for kind in (Anomaly.LOCKED, Anomaly.INCOMPLETE) if state.policy[kind] not in (KEEP, HEAL)]
        for kind in (Anomaly.ONE_SIDED, *lost):
            report.lost[kind.name.lower()] = int(state.anomalies[kind])
        for name in ("unsynced", "invalid", "backwards", "gap"):
            report.lost[name] = int(meta[f"lost_{name}"])
        report.lost["crossed"] = int(state.anomalies[Anomaly.CROSSED] - meta["healed"])
        if not meta["whole"] and _BEGINS not in report.notes:
            report.notes.append(_BEGINS)

    state = empty_state(feed.tick_size, feed.lot_size, policy=policy, clock=config.timestamps)
    chunks = _measured(feed.chunks, feed.lot_size, report)
    yield from tick_chunks(chunks, state, tick_clock(config.input), feed.name, note)


def _measured(chunks: Iterator[NDArray[np.void]], lot_size: float, report: ReadReport) -> Iterator[NDArray[np.void]]:
    """The chunks; the step of their quantities is noted, and whether any lies between the lots."""
    step, between = 0, 0
    for events in chunks:
        with np.errstate(over="ignore", invalid="ignore"):  # the book refuses what is no quantity
            lots = events["qty"] / lot_size
            whole = np.rint(lots)
            sane = np.abs(whole) < _MOST_LOTS
            between += int((np.abs(lots - whole) > np.maximum(_OFF_LOT, np.abs(whole) * 1e-12)).sum())
        step = _common_step(step, whole[sane].astype(np.int64))
        report.quantity_step = _decimal(step * lot_size) if step else None
        yield events
    if between:
        report.notes.append(f"{between:,} quantities are no multiple of the lot size {lot_size:g} and were rounded")


def _common_step(step: int, *lots: NDArray[np.int64]) -> int:
    """The greatest common divisor of a step and of quantities in lots."""
    for quantities in lots:
        if step != 1 and quantities.size:
            step = math.gcd(step, int(np.gcd.reduce(quantities, axis=None)))
    return step


def _decimal(value: float) -> float:
    """Without what the product of two decimals leaves behind the fifteenth digit."""
    return float(f"{value:.15g}")


def _counted(
    chunks: Iterator[BookSeries],
    source: Source,
    report: ReadReport,
    received: bool | None,
) -> Iterator[BookSeries]:
    """The chunks; what is known of the whole source is noted at their end.

    `received` is for `check_order`; None: the user chose what is done about times that run backwards.
    """
    traded = False
    for chunk in chunks:
        report.ticks += chunk.rows
        traded = traded or any(lots is not None and lots.any() for lots in (chunk.bought, chunk.sold))
        if report.messages > _ENOUGH and received is not None:
            check_order(source.name, report, received)
        yield chunk if report.timed else chunk._replace(timed=False)
    if received is not None:
        check_order(source.name, report, received)
    report.lost.update({reason: n for reason, n in report.dropped.items() if reason in LOSSES})
    if not (report.trades or report.unsided or traded):
        report.notes.append(NO_TRADES)


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
    warn_of_losses(source.name, report.as_dict())
    columns: dict[str, Any] = {
        name: None if getattr(chunks[0], name) is None else np.concatenate([getattr(chunk, name) for chunk in chunks])
        for name in COLUMNS
    }
    return chunks[0]._replace(**columns, name=source.name), report


def no_ticks(source: Source, report: ReadReport) -> str:
    """The error text for a source without a single tick: what its messages were lost to."""
    counts = report.as_dict()
    lost = [f"{n:,} × {why}" for name in ("dropped", "anomalies") for why, n in counts[name].items()]
    remedy = REMEDIES.get(max(counts["lost"], key=counts["lost"].__getitem__), "") if counts["lost"] else ""
    if report.events and not report.messages:
        remedy = "no event ends a message (record flag LAST, 128, in ival or flags); without such flags leave all at 0"
    elif NO_TRADES in report.notes and not remedy:
        remedy = "expected messages that leave both sides quoted, and for a trade clock trades, of which there are none"
    return (
        f"data {source.files[0]}: not one tick in {report.events:,} events that end {report.messages:,} messages "
        f"({', '.join(lost) or 'nothing was dropped'}); {remedy or 'expected messages that leave both sides quoted'}"
    )
