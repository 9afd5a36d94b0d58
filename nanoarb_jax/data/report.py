"""What was read of a source, what became of its messages, and what whoever uses them must be told."""

from __future__ import annotations

import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

from nanoarb_jax.errors import DataError, DataWarning

_WORTH_SAYING = 0.01  # share of the messages
_RUNS_BACK_NS = 10**9  # the exchange's times of different streams overtake each other by less
# what leaves messages out of the ticks, and what would help
REMEDIES = {
    "crossed": "before an opening and in an auction books are crossed, and are no ticks; else removals were never "
    "told: --policy crossed=heal, the default, mends what newer levels or trades show, crossed=resync waits for a "
    "snapshot",
    "one_sided": "a side of the book is empty then",
    "invalid": "check tick and lot size, --tick-size and --lot-size",
    "unsynced": "lost messages void the book until its next snapshot; --policy gap=keep goes on with it as it is",
    "incomplete": "the feed begins without a snapshot, so what rested before is not known; give its book with "
    "--snapshot, or let it grow from nothing with --policy incomplete=keep",
    "gap": "the feed marks lost messages; --policy gap=keep goes on with the book as it is",
    "backwards": "--sort puts the rows of a table in order of time",
    "locked": "--policy locked=keep takes such books for ticks",
}
_LEFT_OUT = "the reader left them out; check whether the files are whole, of one feed and in order"


@dataclass
class ReadReport:
    """What was read of a source, and what became of its messages; complete when its ticks are exhausted.

    Args:
        format: of the files.
        timed: False where the files have no times, or artificial ones.
        events, messages: that were read; in files that hold books, every row is one event and one message.
        ticks: that the clock made of them.
        trades: in the files; None: the files have none.
        unsided: quantity traded by takers whose side is not known.
        quantity_step: the coarsest step that all quantities are multiples of; None: no quantity was read.
        late_ns: the furthest that a message's time lay before that of an earlier one.
        lost: messages that made no tick and changed no later one, by the anomaly that was met.
        notes: what was recognised, assumed or is missing, a short clause each.
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
    quantity_step: float | None = None
    late_ns: int = 0
    lost: Counter[str] = field(default_factory=Counter)
    notes: list[str] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    anomalies: Counter[str] = field(default_factory=Counter)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON; of `dropped`, `anomalies` and `lost` only those that occurred."""
        counts = {"dropped": self.dropped, "anomalies": self.anomalies, "lost": self.lost}
        met = {name: {key: int(n) for key, n in sorted(c.items()) if n} for name, c in counts.items()}
        return {
            "format": self.format,
            "timed": self.timed,
            "events": self.events,
            "messages": self.messages,
            "ticks": self.ticks,
            "quantity_step": self.quantity_step,
            "notes": list(dict.fromkeys(self.notes)),
            **met,
        }


def check_order(name: str, report: ReadReport, received: bool) -> None:
    """Refuse a source whose rows are not in order of time.

    Args:
        name: of the source.
        report: of what was read so far.
        received: the times are those when messages were received, which never run backwards; those of an exchange's
            streams overtake each other.

    Raises:
        DataError: more than 1 % of the events lie before an earlier one, by more than a second where `received` is
            False.
    """
    backwards = report.anomalies["backwards"]
    if report.late_ns <= (0 if received else _RUNS_BACK_NS) or backwards <= _WORTH_SAYING * report.events:
        return
    raise DataError(
        f"data {name}: {backwards:,} of {report.events:,} events lie before an earlier one, by up to "
        f"{report.late_ns / 1e9:,.6g} s; expected rows in order of time: --sort puts those of a table in order, and "
        "--policy backwards=skip leaves them out"
    )


def lost_messages(name: str, account: dict[str, Any]) -> str | None:
    """One line on the messages that a source lost, and what would help; None: 1 % of them or less.

    Args:
        name: of the source.
        account: of `ReadReport.as_dict`, also one that a manifest holds.
    """
    lost: dict[str, int] = account.get("lost", {})
    # those that the reader left out are no messages of the book
    total = account["messages"] + sum(count for kind, count in lost.items() if kind not in REMEDIES)
    share = min(sum(lost.values()) / max(total, 1), 1.0)
    if share <= _WORTH_SAYING:
        return None
    most = max(lost, key=lost.__getitem__)
    told = ", ".join(f"{count:,} × {kind}" for kind, count in sorted(lost.items(), key=lambda item: -item[1]))
    return f"{name}: {100 * share:.3g} % of {total:,} messages lost ({told}); {REMEDIES.get(most, _LEFT_OUT)}"


def healed_levels(name: str, account: dict[str, Any]) -> str | None:
    """One line on levels that were never told to be gone; None: they are 1 % of the messages or fewer."""
    stale = account["anomalies"].get("stale", 0)
    if stale <= _WORTH_SAYING * account["messages"]:
        return None
    return (
        f"{name}: {stale:,} levels in {account['messages']:,} messages were removed where newer ones crossed them, "
        "never told to be gone; are sides exchanged, or removals missing? --policy crossed=raise shows the first"
    )


def warn_of_losses(name: str, account: dict[str, Any]) -> None:
    """Issue a `DataWarning` where `lost_messages` or `healed_levels` has something to say."""
    for text in (lost_messages(name, account), healed_levels(name, account)):
        if text:
            warnings.warn(text, DataWarning, stacklevel=2)
