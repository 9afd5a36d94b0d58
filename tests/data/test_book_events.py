"""Books told as events make the same books again."""

from __future__ import annotations

from collections import Counter

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from nanoarb_jax.data.book_events import book_events
from nanoarb_jax.market.book.state import empty_state
from nanoarb_jax.market.clocks.clock import TickClock
from nanoarb_jax.market.clocks.from_books import choose_rows
from nanoarb_jax.market.clocks.from_events import tick_chunks
from nanoarb_jax.market.event import LAST
from nanoarb_jax.market.series import EMPTY_PRICE, SIDE_COLUMNS
from support.examples import examples
from support.series import joined, random_books


@settings(max_examples=examples(30))
@given(st.integers(0, 10_000), st.integers(1, 120))
def test_events_make_the_books(seed: int, rows: int) -> None:
    rng = np.random.default_rng(seed)
    bought, sold = rng.integers(0, 3, (2, rows))
    books = random_books(seed, rows)._replace(bought=bought, sold=sold)
    events = book_events(books)
    assert int(((events["ival"] & LAST) > 0).sum()) == rows
    state = empty_state(books.tick_size, 1.0 / books.lots_per_unit, levels=4_096, policy={"locked": "keep"})
    made = joined(list(tick_chunks([events], state, TickClock(), "x")))
    assert made is not None
    ticks = joined(list(choose_rows([books], TickClock(), False, Counter())))
    assert ticks is not None
    np.testing.assert_array_equal(made.ts_ns, ticks.ts_ns)
    for name in ("bought", "sold"):  # before the first book there is no price to trade at
        np.testing.assert_array_equal(getattr(made, name)[1:], getattr(ticks, name)[1:])
    for name in SIDE_COLUMNS:
        scale = books.tick if name.endswith("px") else 1
        wanted = getattr(ticks, name)
        np.testing.assert_array_equal(getattr(made, name), np.where(wanted == EMPTY_PRICE, wanted, wanted // scale))
