"""Does a strategy know what it cannot know? A screen for predictions whose origin is not known.

The proof that predictions do not look ahead is to alter later events and to see that no earlier prediction changes. It
needs the model. Of predictions alone, three things together are suspicious, each of them measured on the mid, without
costs, so that costs cannot hide them:

1. What they earn is beyond every control with random signals.
2. The same predictions, late by as many ticks as they look ahead, earn less than half. Honest predictions age as well,
   so this alone says little.
3. Nearly all signals are followed by a move their way, where no move counts as wrong. Which way the mid will move can
   be known well, when it will cannot: on seven feeds of Binance from 2024, the queue imbalance named the side of 90 to
   100 % of the next moves, but was right at 4 to 40 % of its signals only, as mostly no move came with the next tick.
   Who reads the answer knows both. The lower limit of the share, clustered by time, must lie above `plausible`.

Limits: it finds predictions that hold the answer, not those that a little of the future has leaked into (scales fitted
on the whole day, labels smoothed over the present). Over many ticks a move is nearly certain, so the third test becomes
one of the side alone. It flags the honest oracle of a market whose moves can be timed; raise `plausible` there. Where
moves go on in the next ticks, late answers are worth something too, and the second test may miss them. Look-ahead over
a horizon is found with `ahead` set to that horizon: try 1 and each horizon of the model.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.trading.backtest.controls import Probabilities, percentile_of, scattered
from nanoarb_jax.trading.backtest.fills import Floats, mid_ticks
from nanoarb_jax.trading.backtest.resampling import clustered_means

LEAST_SIGNALS = 30


def flag_lookahead(
    probabilities: Probabilities,
    ticks: NDArray[np.void],
    horizon: int = 0,
    ahead: int = 1,
    threshold: float = 0.5,
    plausible: float = 0.9,
    kept: float = 0.5,
    controls: int = 39,
    seed: int = 0,
) -> dict[str, Any]:
    """Flag predictions that seem to hold the move that they predict; see the module on what is tested, and its limits.

    Args:
        probabilities: (n, h, 3) as they are traded.
        ticks: (n,) TICK, of which those that are ready count.
        horizon: place of the horizon that is judged.
        ahead: ticks over which moves are measured, and by which the same predictions are made late.
        threshold: least probability of the likelier side at which a tick counts as a signal.
        plausible: share of signals followed by a move their way that honest predictions are not taken to exceed.
        kept: share of the profit that honest predictions are taken to keep when late.
        controls: random signals, of the seeds from `seed` on.
        seed: of the first.

    Returns:
        "flagged" (all three of the next), "beyond_controls", "gone_when_late", "implausible"; "signals" and "moves"
        (signals after which the mid moved), "profit_ticks" and "late_profit_ticks" (sum over signals of direction ·
        move, in ticks), "kept_share" (late over profit; None unless the profit is above 0), "hit_rate" (share of moves
        that went the way of the signal, None without moves), "right_share" (of signals) and "right_share_low" (1.96
        standard errors below; both None without signals), "percentile" among the controls. Fewer than `LEAST_SIGNALS`
        signals are never implausible.

    Raises:
        ConfigError: no tick ahead, or no control.
    """
    if ahead < 1 or controls < 1:
        raise ConfigError(f"ahead={ahead}, controls={controls}: expected at least 1 of each")
    direction = _directions(probabilities[:, horizon], ticks["ready"] == 1, threshold)
    now, late = _moves(ticks, ahead)
    profit, later = float(direction @ now), float(direction @ late)
    signals = (direction != 0) & (np.arange(len(ticks)) < len(ticks) - ahead)
    right = (direction * now > 0)[signals].astype(np.float64)
    moves = int((now[signals] != 0).sum())
    apart_ns = int(np.median(np.diff(ticks["exch_ns"]))) if len(ticks) > 1 else 0
    share, low = _share_with_limit(right, ticks["exch_ns"][signals], ahead * max(apart_ns, 0))
    luck = _luck(
        probabilities[:, horizon].argmax(axis=1), direction, now, ticks["ready"] == 1, range(seed, seed + controls)
    )
    beyond = profit > max(luck)
    gone = profit > 0 and later <= kept * profit
    implausible = low is not None and len(right) >= LEAST_SIGNALS and low > plausible
    return {
        "flagged": beyond and gone and implausible,
        "beyond_controls": beyond,
        "gone_when_late": gone,
        "implausible": implausible,
        "signals": len(right),
        "moves": moves,
        "profit_ticks": profit,
        "late_profit_ticks": later,
        "kept_share": later / profit if profit > 0 else None,
        "hit_rate": float(right.sum()) / moves if moves else None,
        "right_share": share,
        "right_share_low": low,
        "percentile": percentile_of(profit, luck),
    }


def _directions(of: NDArray[np.float32], ready: NDArray[np.bool_], threshold: float) -> Floats:
    """(n,) -1, 0 or 1: the side that is at least so likely, and likelier than the other."""
    down, up = of[:, 0], of[:, 2]
    sure = ready & (np.maximum(down, up) >= threshold)
    return np.where(sure, np.sign(up - down), 0).astype(np.float64)


def _moves(ticks: NDArray[np.void], ahead: int) -> tuple[Floats, Floats]:
    """(n,) moves of the mid over the next ticks, and over as many after those; 0 where the series ends before."""
    mid, moves = mid_ticks(ticks), np.zeros((2, len(ticks)))
    for after in range(2):
        last = max(len(mid) - (after + 1) * ahead, 0)
        moves[after, :last] = mid[(after + 1) * ahead :] - mid[after * ahead : after * ahead + last]
    return moves[0], moves[1]


def _share_with_limit(right: Floats, times_ns: NDArray[np.int64], ahead_ns: int) -> tuple[float | None, float | None]:
    """A share and its lower limit, by the larger of the clustered error and that of independent signals."""
    if not len(right):
        return None, None
    clustered = clustered_means(right, times_ns, ahead_ns, np.zeros(len(right), np.int64), 1)["error"][0]
    share = float(right.mean())
    return share, share - 1.96 * max(clustered or 0.0, (share * (1 - share) / len(right)) ** 0.5)


def _luck(
    classes: NDArray[np.int64], direction: Floats, now: Floats, ready: NDArray[np.bool_], seeds: range
) -> list[float]:
    """Profits of random signals: those of `random_signals`, without making their probabilities."""
    classes, direction, now, found = classes[ready], direction[ready], now[ready], []
    for seed in seeds:
        order, mirrored = scattered(classes, np.random.default_rng(seed))
        found.append(float(np.where(mirrored, -direction[order], direction[order]) @ now))
    return found
