"""What a backtest records: every tick, every order, every fill, and the account at every tick."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

TICK = np.dtype(
    [
        ("local_ns", "i8"),  # when the event that made the tick was received
        ("exch_ns", "i8"),  # when it happened at the exchange
        ("ready", "i8"),  # 1: the model has warmed up
        ("bid_ticks", "i8"),
        ("ask_ticks", "i8"),
        ("bid_qty", "f8"),
        ("ask_qty", "f8"),
        ("sent_ns", "i8"),  # when orders decided at this tick left, or would have: received, queued and computed
    ],
    align=True,
)

# as hftbacktest's `record_dtype`, which its statistics read
ACCOUNT = np.dtype(
    [
        ("timestamp", "i8"),
        ("price", "f8"),  # mid
        ("position", "f8"),
        ("balance", "f8"),
        ("fee", "f8"),
        ("num_trades", "i8"),
        ("trading_volume", "f8"),
        ("trading_value", "f8"),
    ],
    align=True,
)

ORDER = np.dtype(
    [
        ("tick", "i8"),  # row of the tick that it was decided at
        ("sent_ns", "i8"),
        ("side", "i8"),  # 1 buy, -1 sell
        ("price_ticks", "i8"),
        ("qty", "f8"),
        ("filled_qty", "f8"),
        ("take", "i8"),  # 1: immediate or cancel, 0: post only
        ("status", "i8"),  # hftbacktest's: 0 none yet, 1 new, 2 expired, 3 filled, 4 cancelled, 5 partly, 6 rejected
        ("ahead_qty", "f8"),  # displayed at its price, on its side, at the tick that it was decided at
    ],
    align=True,
)

FILL = np.dtype(
    [
        ("order", "i8"),  # row of the order
        ("tick", "i8"),  # row of the latest tick when the fill became known
        ("exch_ns", "i8"),  # when it happened
        ("local_ns", "i8"),  # when it became known, to the tick
        ("side", "i8"),
        ("price_ticks", "f8"),
        ("qty", "f8"),
        ("fee", "f8"),  # in the account's currency; negative: a rebate
        ("maker", "i8"),
    ],
    align=True,
)


class Recorded(NamedTuple):
    """One run of a strategy over one market.

    Attributes:
        ticks: (n,) TICK.
        probabilities: (n, h, 3) float32, as the strategy saw them.
        account: (n + 1,) ACCOUNT, when each tick's decision was begun, and at the end.
        orders: (m,) ORDER, in the order in which they were sent.
        fills: (k,) FILL.
        stopped: why trading ended before the data did: "" (it did not), "drawdown" or "position".
        withdrawn: how often orders were withdrawn since data were stale.
        refused: orders that were not sent since their fills could have exceeded the largest position.
        events: of the market data that the exchange worked through.
        swept: fills of taking orders that had several prices; they are counted at the worst.
        off: largest difference between this account and hftbacktest's own at any tick, in quantity or currency; None
            where orders may be filled in parts, which hftbacktest's account leaves out.
        differs: ticks whose best prices are not those of the exchange's book at that time, which does not heal.
    """

    ticks: NDArray[np.void]
    probabilities: NDArray[np.float32]
    account: NDArray[np.void]
    orders: NDArray[np.void]
    fills: NDArray[np.void]
    stopped: str
    withdrawn: int
    refused: int
    events: int
    swept: int = 0
    off: float | None = None
    differs: int = 0


class Market(NamedTuple):
    """What a run was about, as statistics need it.

    Attributes:
        name: of the series.
        tick_size, lot_size: of the instrument.
        contract_size: units of the asset in one contract (linear), or of the quote currency (inverse).
        inverse: whether profit is in the asset itself, contract_size / price per contract, as on Binance COIN-M.
        horizons: (h,) of the model, in ticks.
    """

    name: str
    tick_size: float
    lot_size: float
    contract_size: float
    inverse: bool
    horizons: tuple[int, ...]


def equity(account: NDArray[np.void], market: Market) -> NDArray[np.float64]:
    """(n,) net equity at each record, position at the mid, less fees; in the asset itself for inverse contracts.

    hftbacktest's definitions: balance + position · price · contract_size - fee for linear contracts, and
    -balance - position · contract_size / price - fee for inverse ones.
    """
    if market.inverse:
        worth = -account["balance"] - account["position"] * market.contract_size / account["price"]
    else:
        worth = account["balance"] + account["position"] * account["price"] * market.contract_size
    return worth - account["fee"]
