"""Sessions in lanes: every row once, in order, with no more calls than there need be."""

from __future__ import annotations

import numpy as np
from hypothesis import example, given
from hypothesis import strategies as st

from nanoarb_jax.evaluation.lanes import CALL_ROWS, MOST_LANES, choose_shape, lay_out

LENGTHS = st.lists(st.integers(0, 3_000), min_size=1, max_size=90)


@given(LENGTHS)
@example([0])
@example([64] * 90)
def test_every_row_has_its_turn(lengths: list[int]) -> None:
    lanes, chunk = choose_shape(lengths)
    plan = lay_out(lengths, lanes, chunk)
    shown: dict[int, list[int]] = {session: [] for session in range(len(lengths))}
    for sessions, firsts in zip(*plan, strict=True):
        assert len(set(sessions[sessions >= 0])) == (sessions >= 0).sum()  # a session is in one lane at a time
        for session, first in zip(sessions, firsts, strict=True):
            if session >= 0:
                shown[session] += range(first, min(first + chunk, lengths[session]))
    assert shown == {session: list(range(length)) for session, length in enumerate(lengths)}
    for lane in plan.session.T:  # a session stays in its lane, without a pause
        assert (np.diff(np.flatnonzero(np.diff(lane, prepend=-2))) > 0).all()
        kept = lane[lane >= 0]
        assert (np.diff(kept) != 0).sum() + bool(len(kept)) == len(set(kept))


@given(LENGTHS)
def test_work_is_about_the_sum_of_rows(lengths: list[int]) -> None:
    lanes, chunk = choose_shape(lengths)
    calls = [-(-length // chunk) for length in lengths]
    plan = lay_out(lengths, lanes, chunk)
    assert lanes <= MOST_LANES and lanes * chunk <= CALL_ROWS
    # the bound of list scheduling: lanes end within one session of each other
    assert plan.session.size <= sum(calls) + (lanes - 1) * max(calls)


def test_lengths_like_those_of_real_data() -> None:
    short = [23_986, 19_079, 6_103, 6_082, 6_641, 6_036, 7_163, 6_149, 25_553, 36_917, 34_698, 1_975, 9_999, 2_413]
    long = [65_600, 54_991, 91_779, 2_415, 107_165, 153_490, 144_003, *[150_000] * 3, 45_587, 51_317, 55_125]
    lanes, chunk = choose_shape(short + long)
    assert lay_out(short + long, lanes, chunk).session.size * chunk < 1.05 * sum(short + long)
    assert choose_shape([1_000, 10]) == (1, 512)
