"""Streams of given labels and features."""

from __future__ import annotations

import numpy as np

from nanoarb_jax.data.streams import Stream


def stream_of(
    labels: np.ndarray, features: np.ndarray | None = None, train: tuple[int, int] = (0, 0), name: str = "made"
) -> Stream:
    """A stream of these labels and raw features on a tick of 0.01, without a validation or test part."""
    rows, horizons = labels.shape
    features = random_features(rows) if features is None else features
    microprice, _, spread, imbalance = features[:, :4].astype(np.float64).T
    mid = np.round((microprice - 0.01 * imbalance * spread / 2) / 0.005) * 0.005
    moves = np.zeros((rows, horizons), np.float32)
    return Stream(
        name, name, 0.01, 1.0, 1.0, 1.0, (1.0,) * horizons, train, (rows, rows), (rows, rows), features,
        labels.astype(np.int8), moves, mid, features[:, 2], np.arange(rows),
    )  # fmt: skip


def random_features(rows: int, seed: int = 0) -> np.ndarray:
    """Random books as (rows, 44) raw features: prices a walk, quantities log-normal, a few levels empty."""
    rng = np.random.default_rng(seed)
    quantities = rng.lognormal(size=(rows, 2, 10))
    quantities[:, :, 5:] *= rng.random((rows, 2, 5)) > 0.1
    spread = rng.integers(1, 4, rows)
    bid, ask = quantities[:, 0], quantities[:, 1]
    imbalance = (bid[:, 0] - ask[:, 0]) / (bid[:, 0] + ask[:, 0])
    microprice = 1000 + 0.01 * (rng.integers(-1, 2, rows).cumsum() + imbalance * spread / 2)
    prices = [microprice, microprice + 0.001 * rng.normal(size=rows), spread, imbalance]
    sides = [bid, ask, bid.cumsum(axis=1), ask.cumsum(axis=1)]
    return np.column_stack([*prices, *sides]).astype(np.float32)
