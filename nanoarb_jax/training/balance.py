"""Class frequencies in the training rows, for losses that weigh rare classes more."""

from __future__ import annotations

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.evaluation.metrics import PRIOR_FLOOR, class_prior


def class_weights(streams: Sequence[Stream]) -> jax.Array:
    """(c,) inverse class frequencies over all training labels, mean 1."""
    prior = class_prior(np.concatenate([stream.labels[slice(*stream.train)].ravel() for stream in streams]))
    weights = 1 / np.maximum(prior, 1e-3)
    return jnp.asarray(weights / weights.mean(), jnp.float32)


def log_prior(streams: Sequence[Stream]) -> jax.Array:
    """(h, c) log class frequencies per horizon; each stream counts once, however long."""
    labels = [stream.labels[slice(*stream.train)] for stream in streams]
    priors = np.mean([[class_prior(column) for column in y.T] for y in labels], axis=0)
    return jnp.asarray(np.log(np.maximum(priors, PRIOR_FLOOR)), jnp.float32)
