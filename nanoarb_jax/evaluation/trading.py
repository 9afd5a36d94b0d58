"""What decisions are worth to someone who trades on them: correct transactions, and profit after the spread."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream

THRESHOLDS = (0.0, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9)
NEUTRAL = 1


class Decisions(NamedTuple):
    """What one judge decided on one series and horizon, at n rows with a known label, in time order.

    Attributes:
        rows: (n,) of the stream.
        labels: (n,) 0 down, 1 neutral, 2 up.
        decided: (n,) the same, decided.
        confidence: (n,) probability the judge gave to what was decided.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int64]
    decided: NDArray[np.int64]
    confidence: NDArray[np.float64]


def transactions(decisions: Decisions) -> dict[str, list[Any]]:
    """p_T, the probability of a correct complete transaction, at confidence thresholds.

    Our reading of LOBFrame (Briola, Bartolucci, Aste 2024, arXiv:2403.09267): a transaction opens at the first
    directional signal and closes at the first opposite one, which opens the next; signals are directional decisions
    whose confidence reaches the threshold. A transaction is correct if the labels at its opening and at its closing
    are both as decided. One that never closes does not count.

    Returns:
        lists as long as `THRESHOLDS`: "threshold", "transactions", "correct", "p_t" (None without a transaction).
    """
    counted, correct = [], []
    for threshold in THRESHOLDS:
        signals = np.flatnonzero((decisions.decided != NEUTRAL) & (decisions.confidence >= threshold))
        turned = np.diff(decisions.decided[signals], prepend=NEUTRAL) != 0
        turns = signals[turned]
        right = decisions.labels[turns] == decisions.decided[turns]
        counted.append(max(len(turns) - 1, 0))
        correct.append(int((right[:-1] & right[1:]).sum()))
    return transaction_shares(counted, correct)


def transaction_shares(counted: list[int], correct: list[int]) -> dict[str, list[Any]]:
    """The lists of `transactions`, also of counts summed over series."""
    shares = [right / n if n else None for n, right in zip(counted, correct, strict=True)]
    return {"threshold": list(THRESHOLDS), "transactions": counted, "correct": correct, "p_t": shares}


def trades(stream: Stream, decisions: Decisions, horizon: int) -> dict[str, Any]:
    """Profit per trade of crossing the spread at every directional decision and back `horizon` ticks later.

    Up buys at the ask and sells at the bid, down the reverse: direction · (mid[t+h] - mid[t]) - spread[t]/2 -
    spread[t+h]/2. Trades do not overlap: the next opens when the last was closed, or later. No fees, no latency, any
    quantity at the best price.

    Args:
        stream: gives mid and spread.
        decisions: rows whose exit is not in the stream open no trade.
        horizon: in ticks.

    Returns:
        "trades", and means "gross_per_trade_ticks" (mid to mid), "profit_per_trade_ticks", and for comparison with
        fees and between instruments "profit_per_trade_bp", in hundredths of a percent of the mid's size, without trades
        at a mid of 0; None without a trade.
    """
    opening = (decisions.decided != NEUTRAL) & (decisions.rows + horizon < stream.rows)
    chosen = _apart(decisions.rows[opening], horizon)
    entry, direction = decisions.rows[opening][chosen], decisions.decided[opening][chosen] - NEUTRAL
    gross = direction * (stream.mid[entry + horizon] - stream.mid[entry]) / stream.tick_size
    profit = gross - (stream.spread[entry].astype(np.float64) + stream.spread[entry + horizon]) / 2
    means = {
        "gross_per_trade_ticks": gross,
        "profit_per_trade_ticks": profit,
    }
    at_a_price = stream.mid[entry] != 0  # spreads trade at 0 too, where a share of the price is not defined
    price = np.abs(stream.mid[entry][at_a_price])
    means["profit_per_trade_bp"] = 1e4 * profit[at_a_price] * stream.tick_size / price
    return {"trades": len(entry), **{key: float(of.mean()) if len(of) else None for key, of in means.items()}}


def _apart(rows: NDArray[np.int64], horizon: int) -> list[int]:
    """Positions in ascending rows of a greedy choice: the first, then always the next at least `horizon` later."""
    after = np.searchsorted(rows, rows + horizon)
    chosen, at = [], 0
    while at < len(rows):
        chosen.append(at)
        at = int(after[at])
    return chosen
