"""FI-2010 as the literature uses it: the file's own 40 normalised numbers per event, and its own labels.

z-score and min-max files cannot become books again, so none of our features, labels or baselines apply to them; a
model with `ModelConfig(feature_set=40, …)` learns from the numbers as they are. DecPre files
hold books: `nanoarb-jax data prepare` makes our features and labels of those.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.labelling import split_rows
from nanoarb_jax.data.labels import NEUTRAL, UP
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers import fi2010


def fi2010_stream(path: str | Path, config: DataConfig) -> Stream:
    """One file as a stream with the labels it brings.

    The file says only where the price went, not how far: every direction counts one threshold (`moves` is -1, 0 or 1).
    Its rows have no times, and stocks and days follow each other unmarked.

    Args:
        path: e.g. Train_Dst_NoAuction_ZScore_CF_7.txt, plain or compressed.
        config: horizons out of 10, 20, 30, 50, 100, and the shares of train, validation and test; nothing else of it
            applies.

    Raises:
        DataError: an unreadable file, or a horizon that it has no labels for.

    >>> from nanoarb_jax.data.fi2010 import fi2010_stream
    >>> stream = fi2010_stream("Train_Dst_NoAuction_ZScore_CF_7.txt", nj.DataConfig())  # of the FI-2010 benchmark
    >>> stream.features.shape[1], stream.labels.shape[1]  # ten levels of price and quantity on two sides; horizons
    (40, 3)
    """
    read = fi2010.read_fi2010(path)
    missing = [horizon for horizon in config.horizons if horizon not in read.horizons]
    if missing:
        raise DataError(f"{path}: no labels at horizon {missing[0]}; expected some of {read.horizons}")
    theirs = read.labels[:, [read.horizons.index(horizon) for horizon in config.horizons]]
    labels = (UP + fi2010.UP - theirs).astype(np.int8)  # 1 up, 2 stationary, 3 down there; 2, 1, 0 here
    rows = len(labels)
    train, validation, test = split_rows(rows, config, np.arange(rows))
    mid = read.mid if read.mid is not None else read.features[:, [0, 2]].mean(axis=1, dtype=np.float64)
    return Stream(
        name=read.name,
        instrument=read.name,
        tick_size=1.0,
        lot_size=1.0,
        quantity_scale=1.0,
        spread_scale=1.0,
        threshold_ticks=(1.0,) * len(config.horizons),
        train=train,
        validation=validation,
        test=test,
        features=read.features,
        labels=labels,
        moves=(labels - NEUTRAL).astype(np.float32),
        mid=mid,
        spread=(read.features[:, 0] - read.features[:, 2]).astype(np.float32),
        ts_ns=np.arange(rows, dtype=np.int64),
    )
