"""How well can the synthetic market be predicted at best? Class probabilities by Monte Carlo from its known state.

The future of a queue-reactive Hawkes market depends on the past through its state alone, and the state follows from the
past that the feed shows. So the class frequencies among many futures continued from a tick's state estimate the
probabilities that the best possible learner would give there; its log-loss and MCC are the ceiling for all others.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import ArrayLike, NDArray

from nanoarb_jax.config import CLASS_NAMES
from nanoarb_jax.data.labels import direction_labels
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.book.ladder import ASK, BID
from nanoarb_jax.market.compiled import allocating
from nanoarb_jax.simulation.arrivals import advance
from nanoarb_jax.simulation.config import MarketConfig
from nanoarb_jax.simulation.market import begin
from nanoarb_jax.simulation.queues import MAX_PARTS, STATE, TYPES

_CLASSES = len(CLASS_NAMES)


class ClassProbabilities(NamedTuple):
    """What can be known of the classes at k sampled ticks; h horizons, classes down, neutral, up.

    Attributes:
        ticks: (k,) int64 rows of the series.
        probabilities: (k, h, 3) float64 shares of the futures; the best prediction, up to its standard error.
        standard_errors: (k, h, 3) float64 of the probabilities; 0 where all futures agree.
        labels: (k, h) int8 what came to pass in the series itself.
        futures: continued from every tick.
    """

    ticks: NDArray[np.int64]
    probabilities: NDArray[np.float64]
    standard_errors: NDArray[np.float64]
    labels: NDArray[np.int8]
    futures: int

    @property
    def log_probabilities(self) -> NDArray[np.float64]:
        """(k, h, 3) logarithms that stay finite where no future fell into a class (half a count is added to each)."""
        return np.log((self.probabilities * self.futures + 0.5) / (self.futures + 0.5 * _CLASSES))


@allocating
def _price_ticks(state, weighted):  # type: ignore[no-untyped-def]
    """Mid, or the microprice, in ticks."""
    bid, ask = state.best[BID], state.best[ASK]
    if not weighted:
        return (bid + ask) / 2.0
    bid_lots, ask_lots = float(state.queue[BID, 0]), float(state.queue[ASK, 0])
    return (bid * ask_lots + ask * bid_lots) / (bid_lots + ask_lots)


@allocating
def _keep_states(states, rulebook, ticks, weighted, kept, prices):  # type: ignore[no-untyped-def]
    """Go through the series once: keep the state at every tick and the price of every row."""
    state, rules = states[0], rulebook[0]
    base, journal, found = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64), 0
    for row in range(len(prices)):
        advance(state, rules, base, journal)
        prices[row] = _price_ticks(state, weighted)
        while found < len(ticks) and ticks[found] == row:
            kept[found : found + 1] = states
            found += 1


@allocating
def _simulate_futures(kept, rulebook, seeds, horizons, weighted, moves):  # type: ignore[no-untyped-def]
    """Moves, (futures, h) in ticks, of futures from one state; one stream of random numbers serves all of them."""
    rules = rulebook[0]
    base, journal = np.empty(TYPES), np.empty((MAX_PARTS, 4), np.int64)
    states = kept.copy()
    anchor = _price_ticks(kept[0], weighted)
    rng = seeds.copy()
    for future in range(len(moves)):
        states[:] = kept
        state, done = states[0], 0
        for i in range(4):
            state.rng[i] = rng[i]
        for column in range(len(horizons)):
            while done < horizons[column]:
                advance(state, rules, base, journal)
                done += 1
            moves[future, column] = _price_ticks(state, weighted) - anchor
        for i in range(4):
            rng[i] = state.rng[i]


def class_probabilities(
    config: MarketConfig,
    seed: int | Sequence[int],
    ticks: ArrayLike,
    horizons: Sequence[int] = (10, 50, 100),
    threshold_ticks: float = 1.0,
    *,
    futures: int = 500,
    label_price: Literal["mid", "microprice"] = "mid",
) -> ClassProbabilities:
    """Best achievable class probabilities at sampled ticks of the series `synthetic_books(rows, seed, config)`.

    A tick costs futures x longest horizon orders, some 15 ms by default.

    Args:
        config, seed: of the series.
        ticks: (k,) rows of the series, ascending, each once.
        horizons: h horizons in ticks, ascending.
        threshold_ticks: UP from +threshold on, DOWN from -threshold on, as in `labels.direction_labels`.
        futures: continued from every tick, each with random numbers of its own; the same seed gives the same futures.
        label_price: the price whose move is labelled.

    Returns:
        probabilities, their standard errors and the realised labels.

    Raises:
        DataError: ticks or horizons that are not ascending, another argument out of range.

    >>> from nanoarb_jax.simulation.config import MarketConfig
    >>> from nanoarb_jax.simulation.oracle import class_probabilities
    >>> class_probabilities(MarketConfig(), 0, [100, 900], futures=50).probabilities.shape
    (2, 3, 3)
    """
    rows, steps = np.asarray(ticks, np.int64), np.asarray(horizons, np.int64)
    for label, values, least in (("ticks", rows, 0), ("horizons", steps, 1)):
        if values.ndim != 1 or len(values) == 0 or values[0] < least or (np.diff(values) <= 0).any():
            raise DataError(f"oracle: {label}={values.tolist()}; expected ascending integers of {least} or more")
    if futures < 1 or not 0 < threshold_ticks < np.inf:
        raise DataError(
            f"oracle: futures={futures}, threshold_ticks={threshold_ticks}; expected at least 1 and a number above 0"
        )
    if label_price not in ("mid", "microprice"):
        raise DataError(f"oracle: label_price={label_price!r}; expected 'mid' or 'microprice'")
    rules, state = begin(config, seed)
    weighted = label_price == "microprice"
    kept, prices = np.zeros(len(rows), STATE), np.empty(rows[-1] + steps[-1] + 1)
    _keep_states(state, rules, rows, weighted, kept, prices)
    seeds = SeedSequence(seed).spawn(1)[0].generate_state(4 * len(rows), np.uint64).reshape(-1, 4)
    counts, moves = np.empty((len(rows), len(steps), _CLASSES)), np.empty((futures, len(steps)))
    for i in range(len(rows)):
        _simulate_futures(kept[i : i + 1], rules, seeds[i], steps, weighted, moves)
        counts[i] = _count_classes(moves, threshold_ticks)
    shares = counts / futures
    errors = np.sqrt(shares * (1.0 - shares) / futures)
    labels = direction_labels(prices, steps.tolist(), threshold_ticks)[0][rows]
    return ClassProbabilities(rows, shares, errors, labels, futures)


def _count_classes(moves: NDArray[np.float64], threshold_ticks: float) -> NDArray[np.float64]:
    """(h, 3) how many of the moves, (futures, h), fall into each class, by the rule of all labels."""
    futures = len(moves)
    counts = np.empty((moves.shape[1], _CLASSES))
    for column, move in enumerate(moves.T):
        # the rule takes prices: anchors at 0, and `futures` ticks after each of them its future
        prices = np.concatenate([np.zeros(futures), move])
        labels, _ = direction_labels(prices, (futures,), threshold_ticks)
        counts[column] = np.bincount(labels[:futures, 0], minlength=_CLASSES)
    return counts
