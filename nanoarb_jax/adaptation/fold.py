"""An adaptation put into a model's weights: what serves the model need not know of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx

from nanoarb_jax.adaptation.fit import Term
from nanoarb_jax.model.mamba import MambaLOB, abstract_model


def adapted_model(model: MambaLOB, terms: Sequence[Term]) -> MambaLOB:
    """A model whose logits are those of `model` with the terms added.

    The map of the own logits and the constant go into the last layer of the heads, the rest is the linear term of the
    model. A model that has a term already keeps what it says, and the new one comes on top.

    Args:
        model: stays as it is.
        terms: one per horizon.
    """
    adapted = abstract_model(dataclasses.replace(model.config, linear_term=True))
    weights = nnx.to_pure_dict(nnx.state(model))
    heads, term = dict(weights["heads"]), weights.get("linear_term")
    bias = np.stack([one.bias for one in terms])
    # own logits less their mean, times `own`: as a map of the logits themselves
    own = np.stack([np.eye(len(one.bias)) + one.own - one.own.mean(axis=0) for one in terms])
    last, inputs = (np.stack([getattr(one, name) for one in terms]) for name in ("last", "inputs"))
    if term is not None:
        last = last + np.asarray(term["last_kernel"]) @ own
        inputs = inputs + np.asarray(term["input_kernel"]) @ own
    heads["kernel_out"] = np.asarray(heads["kernel_out"]) @ own
    heads["bias_out"] = np.einsum("hc,hcd->hd", np.asarray(heads["bias_out"]), own) + bias
    weights |= {"heads": heads, "linear_term": {"last_kernel": last, "input_kernel": inputs}}
    state = nnx.state(adapted)
    nnx.replace_by_pure_dict(state, _float32(weights))
    nnx.update(adapted, state)
    return adapted


def _float32(weights: Any) -> Any:
    return jax.tree.map(lambda array: jnp.asarray(array, jnp.float32), weights)
