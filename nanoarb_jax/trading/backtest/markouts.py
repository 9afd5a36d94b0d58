"""Where the mid went after fills and after predictions, and what became of resting orders.

Times after fills are of the exchange: the mid some time after a fill is that of the latest tick that had happened by
then. Values are in ticks of price and per fill or per tick, whatever its quantity. Means have standard errors clustered
by blocks of time, see `resampling`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.trading.backtest.fills import Floats, mid_ticks
from nanoarb_jax.trading.backtest.records import Market, Recorded
from nanoarb_jax.trading.backtest.resampling import clustered_means

MS = 1_000_000
DELTAS_NS = tuple(ms * MS for ms in (1, 3, 10, 30, 100, 300, 1_000, 3_000, 10_000, 30_000, 60_000))
NEUTRAL = 1
EXPIRED, FILLED, REJECTED = 2, 3, 6  # hftbacktest's


def markouts(recorded: Recorded, horizon: int = 0, deltas_ns: Sequence[int] = DELTAS_NS) -> dict[str, Any]:
    """Markout curves: how far the mid lies beyond the price of a fill, to its advantage, some time after it.

    Args:
        recorded: the run.
        horizon: place of the horizon whose confidence counts, max(p_down, p_up) at the order's tick.
        deltas_ns: times after a fill.

    Returns:
        "delta_ns" (list), and "maker" and "taker", each {"fills", "all": curve, "by_confidence": {"edges": 4 limits of
        the terciles over all fills, or [] without fills; "curves": 3 curves}}. A curve has lists with an entry per
        delta: "mean_ticks", "error_ticks" (None where not defined), "counted", "blocks", "left_out" (fills whose
        future lies beyond the end).
    """
    fills, maker = recorded.fills, recorded.fills["maker"] == 1
    rows = recorded.orders["tick"][fills["order"]]
    bins, edges = _quantile_bins(_confidence(recorded.probabilities[rows, horizon]), 3)
    start = fills["exch_ns"]
    after = _futures(recorded.ticks, start, deltas_ns)
    moved = [fills["side"] * (mid - fills["price_ticks"]) for mid in after]
    found: dict[str, Any] = {"delta_ns": list(deltas_ns)}
    for name, chosen in (("maker", maker), ("taker", ~maker)):
        values = [one[chosen] for one in moved]
        found[name] = {
            "fills": int(chosen.sum()),
            "all": _curves(values, start[chosen], deltas_ns, np.zeros(int(chosen.sum()), np.int64), 1)[0],
            "by_confidence": {"edges": edges, "curves": _curves(values, start[chosen], deltas_ns, bins[chosen], 3)},
        }
    return found


def signal_decay(
    recorded: Recorded, market: Market, bins: int = 10, deltas_ns: Sequence[int] = DELTAS_NS
) -> dict[str, Any]:
    """How far the mid goes the predicted way after a tick, by how sure the model was: direction · (mid later - mid).

    Decided are ready ticks whose most likely class is not neutral.

    Args:
        recorded: the run.
        market: names the horizons.
        bins: of equally many decisions by confidence, the probability of the decided class.
        deltas_ns: times after the tick, of the exchange.

    Returns:
        "delta_ns", and for every horizon "h10" … {"decisions", "edges" (bins + 1 limits, [] without decisions), "all":
        curve, "curves": one per bin}, with curves as those of `markouts`.
    """
    ticks, ready = recorded.ticks, recorded.ticks["ready"] == 1
    mid, found = mid_ticks(ticks), dict[str, Any](delta_ns=list(deltas_ns))
    after = [later - mid for later in _futures(ticks, _in_order(ticks["exch_ns"]), deltas_ns)]
    for place, horizon in enumerate(market.horizons):
        of = recorded.probabilities[:, place]
        decided = of.argmax(axis=1)
        chosen = np.flatnonzero(ready & (decided != NEUTRAL))
        binned, edges = _quantile_bins(of[chosen, decided[chosen]], bins)
        values, times = [(decided[chosen] - 1) * one[chosen] for one in after], ticks["exch_ns"][chosen]
        found[f"h{horizon}"] = {
            "decisions": len(chosen),
            "edges": edges,
            "all": _curves(values, times, deltas_ns, np.zeros(len(chosen), np.int64), 1)[0],
            "curves": _curves(values, times, deltas_ns, binned, bins),
        }
    return found


def adverse_selection(recorded: Recorded, deltas_ns: Sequence[int] = DELTAS_NS) -> dict[str, Any]:
    """What is left, some time later, of the half spread that resting orders earned when they were filled.

    half spread earned = what the mid kept (the markout, or realised spread) + what it took back (adverse selection):
    side · (mid before - price) = side · (mid later - price) + side · (mid before - mid later) (Huang and Stoll 1996).
    The mid before a fill is that of the latest tick that happened before it, not at the same time.

    Returns:
        "delta_ns", "fills" (of resting orders) and lists with an entry per delta, all over the fills that have a future
        so long and a tick before them: "half_spread_ticks", "markout_ticks", "adverse_ticks", "adverse_error_ticks"
        (standard error), "kept_share" (markout over half spread; None unless that is above 0), "counted".
    """
    fills = recorded.fills[recorded.fills["maker"] == 1]
    start, side, price = fills["exch_ns"], fills["side"], fills["price_ticks"]
    row = np.searchsorted(_in_order(recorded.ticks["exch_ns"]), start, side="left") - 1
    earned = np.full(len(fills), np.nan)
    earned[row >= 0] = (side * (mid_ticks(recorded.ticks)[np.maximum(row, 0)] - price))[row >= 0] if len(fills) else 0
    rows: list[tuple[Any, ...]] = []
    for delta, mid in zip(deltas_ns, _futures(recorded.ticks, start, deltas_ns), strict=True):
        markout = side * (mid - price)
        adverse = earned - markout
        counted = np.isfinite(adverse)
        taken = clustered_means(adverse[counted], start[counted], delta, np.zeros(int(counted.sum()), np.int64), 1)
        half, kept = _mean(earned[counted]), _mean(markout[counted])
        share = kept / half if half is not None and kept is not None and half > 0 else None
        rows.append((half, kept, taken["mean"][0], taken["error"][0], share, int(counted.sum())))
    names = ("half_spread_ticks", "markout_ticks", "adverse_ticks", "adverse_error_ticks", "kept_share", "counted")
    return {"delta_ns": list(deltas_ns), "fills": len(fills)} | {
        name: [row[place] for row in rows] for place, name in enumerate(names)
    }


def fill_probability(recorded: Recorded, bins: int = 5) -> dict[str, Any]:
    """How often resting orders were filled, by the quantity that was displayed at their price when they were decided.

    Orders that never rested are left out: expired since they would have taken, rejected, or not answered yet at the
    end. Strategies withdraw orders, which counts as not filled: the share is of this strategy, not of patience.

    Returns:
        "orders" (that rested), "never_rested", and "bins", a list of {"low", "high" (quantity ahead, units, smallest
        and largest of the bin), "orders", "filled_share" (at least in part), "filled_whole_share",
        "median_ns_to_fill" (from sending to the first fill, of those filled)}. Orders with nothing ahead have a bin of
        their own, the first; the others fall into bins of equally many. Empty bins are left out.
    """
    orders, fills = recorded.orders, recorded.fills
    first = np.full(len(orders), np.iinfo(np.int64).max)
    np.minimum.at(first, fills["order"], fills["exch_ns"])
    some = orders["filled_qty"] > 0
    answered = some | ~np.isin(orders["status"], (0, EXPIRED, REJECTED))
    rested = (orders["take"] == 0) & answered
    ahead = orders["ahead_qty"]
    binned = np.zeros(len(orders), np.int64)
    queued = rested & (ahead > 0)
    binned[queued] = 1 + _quantile_bins(ahead[queued], bins)[0]
    found = []
    for one in range(bins + 1):
        chosen = rested & (binned == one)
        if not chosen.any():
            continue
        waited = (first - orders["sent_ns"])[chosen & some & (first < np.iinfo(np.int64).max)]
        found.append(
            {
                "low": float(ahead[chosen].min()),
                "high": float(ahead[chosen].max()),
                "orders": int(chosen.sum()),
                "filled_share": float(some[chosen].mean()),
                "filled_whole_share": float((orders["status"][chosen] == FILLED).mean()),
                "median_ns_to_fill": float(np.median(waited)) if len(waited) else None,
            }
        )
    never = int((orders["take"] == 0).sum() - rested.sum())
    return {"orders": int(rested.sum()), "never_rested": never, "bins": found}


def _in_order(times_ns: NDArray[np.int64]) -> NDArray[np.int64]:
    """Exchange times of ticks in the order of receipt, none before its predecessor."""
    return np.maximum.accumulate(times_ns) if len(times_ns) else times_ns


def _futures(ticks: NDArray[np.void], start_ns: NDArray[np.int64], deltas_ns: Sequence[int]) -> list[Floats]:
    """(k,) mids, in ticks, of the latest tick so long after each start; NaN before the first and after the last."""
    times, mid = _in_order(ticks["exch_ns"]), mid_ticks(ticks)
    found: list[Floats] = []
    for delta in deltas_ns:
        row = np.searchsorted(times, start_ns + delta, side="right") - 1
        known = (row >= 0) & (start_ns + delta <= (times[-1] if len(times) else 0))
        later = np.full(len(start_ns), np.nan)
        later[known] = mid[row[known]]
        found.append(later)
    return found


def _confidence(of: NDArray[np.float32]) -> Floats:
    return np.maximum(of[:, 0], of[:, 2]).astype(np.float64)


def _quantile_bins(values: NDArray[Any], bins: int) -> tuple[NDArray[np.int64], list[float]]:
    """(n,) bin of each value, of about equally many, and the limits of the bins; values at a limit are above it."""
    if not len(values):
        return np.zeros(0, np.int64), []
    edges = np.quantile(values.astype(np.float64), np.linspace(0, 1, bins + 1))
    return np.searchsorted(edges[1:-1], values, side="right"), [float(edge) for edge in edges]


def _curves(
    values: list[Floats], times_ns: NDArray[np.int64], deltas_ns: Sequence[int], bins: NDArray[np.int64], count: int
) -> list[dict[str, list[Any]]]:
    """A curve per bin; values that are NaN are left out."""
    size = np.bincount(bins, minlength=count)
    found: list[dict[str, list[Any]]] = [
        {name: [] for name in ("mean_ticks", "error_ticks", "counted", "blocks", "left_out")} for _ in range(count)
    ]
    for of, delta in zip(values, deltas_ns, strict=True):
        known = np.isfinite(of)
        means = clustered_means(of[known], times_ns[known], delta, bins[known], count)
        for place, curve in enumerate(found):
            curve["mean_ticks"].append(means["mean"][place])
            curve["error_ticks"].append(means["error"][place])
            curve["counted"].append(means["counted"][place])
            curve["blocks"].append(means["blocks"][place])
            curve["left_out"].append(int(size[place]) - means["counted"][place])
    return found


def _mean(of: Floats) -> float | None:
    return float(of.mean()) if len(of) else None
