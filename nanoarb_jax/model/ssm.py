"""The selective state space recurrence (Gu & Dao 2023, *Mamba*, arXiv:2312.00752, algorithm 2).

Symbols, as in the paper: u input, delta (Δ) step size after softplus, A state matrix (diagonal, negative), B input and
C output vectors (both depend on the input), D skip, h state. Shapes: b batch, l length, d channels, n states.

    h = exp(Δ·A) · h + Δ·B·u        y = C·h + D·u

The state is (b, d, n) here, the paper's layout; recurrence.py computes with another.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import jax.numpy as jnp

from nanoarb_jax.model.recurrence import recur, recur_sequence

if TYPE_CHECKING:
    from jaxtyping import Array, Float


def selective_scan(
    u: Float[Array, "b l d"],
    delta: Float[Array, "b l d"],
    A: Float[Array, "d n"],
    B: Float[Array, "b l n"],
    C: Float[Array, "b l n"],
    D: Float[Array, d] | None = None,
    initial_state: Float[Array, "b d n"] | None = None,
    *,
    checkpoint_ticks: int | None = None,
) -> tuple[Float[Array, "b l d"], Float[Array, "b d n"]]:
    """Run the recurrence over a sequence.

    Args:
        u: input.
        delta: step sizes, after softplus.
        A: diagonal state matrix, negative for a stable recurrence.
        B, C: input and output vectors of every tick.
        D: skip; None for none.
        initial_state: state before the first tick; None for zeros.
        checkpoint_ticks: see `recur_sequence`; changes memory and speed of the gradient, never a value.

    Returns:
        y, and the state after the last tick.

    Example:
        >>> import jax.numpy as jnp
        >>> u, delta = jnp.ones((1, 6, 2)), jnp.full((1, 6, 2), 0.1)   # (b, l, d)
        >>> A, B, C = -jnp.ones((2, 4)), jnp.ones((1, 6, 4)), jnp.ones((1, 6, 4))
        >>> whole, last = nj.selective_scan(u, delta, A, B, C)
        >>> first, state = nj.selective_scan(u[:, :4], delta[:, :4], A, B[:, :4], C[:, :4])
        >>> rest, again = nj.selective_scan(u[:, 4:], delta[:, 4:], A, B[:, 4:], C[:, 4:], initial_state=state)
        >>> bool(jnp.allclose(rest, whole[:, 4:])), bool(jnp.allclose(again, last))  # it goes on where it stopped
        (True, True)
    """
    if initial_state is None:
        h = jnp.zeros((u.shape[0], A.shape[1], A.shape[0]), jnp.result_type(u, delta))
    else:
        h = jnp.swapaxes(initial_state, 1, 2)
    u_l, delta_l, B_l, C_l = (jnp.moveaxis(a, 1, 0) for a in (u, delta, B, C))  # ticks first
    h, y = recur_sequence(h, u_l, delta_l, A.T, B_l, C_l, checkpoint_ticks)
    y = jnp.moveaxis(y, 0, 1)
    if D is not None:
        y = y + u * D[None, None, :]
    return y, jnp.swapaxes(h, 1, 2)


def selective_step(
    u_t: Float[Array, "b d"],
    delta_t: Float[Array, "b d"],
    A: Float[Array, "d n"],
    B_t: Float[Array, "b n"],
    C_t: Float[Array, "b n"],
    D: Float[Array, d] | None,
    state: Float[Array, "b d n"],
) -> tuple[Float[Array, "b d"], Float[Array, "b d n"]]:
    """One tick of `selective_scan`; arguments as there, without the length axis.

    Returns:
        y_t, and the state after the tick.
    """
    h, y = recur(jnp.swapaxes(state, 1, 2), u_t, delta_t, A.T, B_t, C_t)
    if D is not None:
        y = y + u_t * D[None, :]
    return y, jnp.swapaxes(h, 1, 2)
