"""p_T and profit per trade, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from nanoarb_jax.evaluation.trading import THRESHOLDS, Decisions, trades, transactions
from support.made_stream import stream_of


def decisions(decided: list[int], labels: list[int] | None = None, confidence: list[float] | None = None) -> Decisions:
    n = len(decided)
    return Decisions(
        np.arange(n), np.array(decided if labels is None else labels), np.array(decided),
        np.full(n, 0.95) if confidence is None else np.array(confidence),
    )  # fmt: skip


def test_a_transaction_opens_at_the_first_signal_and_closes_at_the_first_opposite_one() -> None:
    #               opens           closes   opens, closes
    decided = [1, 2, 2, 1, 0, 0, 1, 2, 2]
    labels = [1, 2, 0, 1, 0, 2, 1, 1, 2]
    met = transactions(decisions(decided, labels))
    assert met["threshold"] == list(THRESHOLDS)
    # rows 1 to 4: right at both ends, whatever lies between; rows 4 to 7: the closing was no rise; row 7 never closes
    assert met["transactions"] == [2] * len(THRESHOLDS)
    assert met["correct"] == [1] * len(THRESHOLDS)
    assert met["p_t"] == [0.5] * len(THRESHOLDS)


def test_unsure_signals_neither_open_nor_close() -> None:
    met = transactions(decisions([2, 0, 2, 0], [2, 1, 2, 0], [0.6, 0.45, 0.9, 0.6]))
    assert dict(zip(met["threshold"], met["transactions"], strict=True)) == {
        0.0: 3, 0.4: 3, 0.5: 1, 0.6: 1, 0.7: 0, 0.8: 0, 0.9: 0,
    }  # fmt: skip
    assert met["correct"][:3] == [1, 1, 1] and met["p_t"][3:5] == [1.0, None]


@pytest.mark.parametrize("decided", [[1, 1, 1], [2, 2, 1], []])
def test_without_an_opposite_signal_there_is_no_transaction(decided: list[int]) -> None:
    met = transactions(decisions(decided))
    assert set(met["transactions"]) == {0} and set(met["p_t"]) == {None}


def test_profit_crosses_the_spread_twice() -> None:
    stream = stream_of(np.ones((8, 1)))._replace(
        mid=0.01 * np.array([100, 103, 104, 105, 100, 100, 99, 99.0]),
        spread=np.array([1, 2, 4, 2, 2, 1, 1, 3], np.float32),
    )
    # buys at 0 until 2, passing over row 1; sells at 2 until 4; what row 6 would open could not close
    met = trades(stream, decisions([2, 2, 0, 2, 1, 1, 2, 1]), horizon=2)
    assert met["trades"] == 2
    assert met["gross_per_trade_ticks"] == pytest.approx((4 + 4) / 2)
    assert met["profit_per_trade_ticks"] == pytest.approx((4 - 0.5 - 2 + 4 - 2 - 1) / 2)
    assert met["profit_per_trade_bp"] == pytest.approx(1e4 * (1.5 / 100 + 1 / 104) / 2)


def test_a_trade_opens_where_the_last_closed_at_the_earliest() -> None:
    stream = stream_of(np.ones((100, 1)))._replace(mid=0.01 * np.arange(100, 200.0), spread=np.ones(100, np.float32))
    met = trades(stream, decisions([2] * 100), horizon=10)
    assert met == {
        "trades": 9, "gross_per_trade_ticks": pytest.approx(10), "profit_per_trade_ticks": pytest.approx(9),
        "profit_per_trade_bp": pytest.approx(np.mean([9e4 / (100 + 10 * i) for i in range(9)])),
    }  # fmt: skip
    held = decisions([0] * 100)
    assert trades(stream, held, horizon=10)["profit_per_trade_ticks"] == pytest.approx(-11)


def test_no_decision_no_trade() -> None:
    met = trades(stream_of(np.ones((20, 1))), decisions([1] * 20), horizon=3)
    assert met == {
        "trades": 0, "gross_per_trade_ticks": None, "profit_per_trade_ticks": None, "profit_per_trade_bp": None,
    }  # fmt: skip


def test_profit_where_prices_are_negative() -> None:
    """A calendar spread: the same profit in ticks has the same sign in basis points, and 0 is no price to divide by."""
    rise = np.array([100, 100, 103, 103, 103.0])
    stream = stream_of(np.ones((5, 1)))._replace(spread=np.ones(5, np.float32))
    chosen = decisions([2, 1, 1, 1, 1])
    above, below, at_zero = (trades(stream._replace(mid=0.01 * (rise - level)), chosen, 2) for level in (0, 300, 100))
    assert above["profit_per_trade_ticks"] == pytest.approx(2) == below["profit_per_trade_ticks"]
    assert above["profit_per_trade_bp"] == pytest.approx(200) == 2 * below["profit_per_trade_bp"]
    assert at_zero["profit_per_trade_ticks"] == pytest.approx(2) and at_zero["profit_per_trade_bp"] is None
