"""hftbacktest's exchange for one instrument: fees, latencies, queue model, contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.exchange_day import ExchangeDay
from nanoarb_jax.errors import ConfigError, DataError

Queue = Literal["risk-averse", "power", "log"]
Contract = Literal["linear", "inverse"]
Fills = Literal["partial", "whole"]
FeeUnit = Literal["value", "quantity"]


@dataclass(frozen=True)
class ExchangeSettings:
    """What trading at the exchange costs, and how long it takes.

    Args:
        maker_fee: Fee of a fill of a resting order; negative: a rebate. A share of the value, 0.0002 is 2 basis points.
        taker_fee: Fee of a fill of an order that takes, as a share of the value.
        fee_unit: What fees are a share of. Of the traded value, or an amount for each unit of quantity (futures).
        entry_latency_ns: Time from an order's leaving to the exchange, in ns.
        response_latency_ns: Time from the exchange to the news of an order, in ns.
        fills: Whether an order can be filled in parts, as far as quantities go, or is filled whole.
        queue: Which model says where a resting order stands in the queue. Risk-averse: only trades bring it forward.
        contract: Whether profit is in the quote currency (linear) or in the asset itself (inverse).
        contract_size: Units of the asset in a contract; of the quote currency where it is inverse.

    Raises:
        ConfigError: a value out of range.
    """

    maker_fee: float = 0.0
    taker_fee: float = 0.0
    fee_unit: FeeUnit = "value"
    entry_latency_ns: int = 0
    response_latency_ns: int = 0
    fills: Fills = "partial"
    queue: Queue = "risk-averse"
    contract: Contract = "linear"
    contract_size: float = 1.0

    def __post_init__(self) -> None:
        for name in ("maker_fee", "taker_fee"):
            value = getattr(self, name)
            if not np.isfinite(value) or (self.fee_unit == "value" and abs(value) >= 0.1):
                raise ConfigError(f"exchange.{name}={value!r}: expected a share of the value, e.g. 0.0004 for 4 bp")
        for name in ("entry_latency_ns", "response_latency_ns"):
            value = getattr(self, name)
            if not 0 <= value <= 60_000_000_000:
                raise ConfigError(f"exchange.{name}={value!r}: expected 0 to 60 s, in ns")
        choices = {"fee_unit": FeeUnit, "fills": Fills, "queue": Queue, "contract": Contract}
        for name, kind in choices.items():
            if getattr(self, name) not in kind.__args__:  # type: ignore[attr-defined]
                known = ", ".join(kind.__args__)  # type: ignore[attr-defined]
                raise ConfigError(f"exchange.{name}={getattr(self, name)!r}: expected one of {known}")
        if not (np.isfinite(self.contract_size) and self.contract_size > 0):
            raise ConfigError(f"exchange.contract_size={self.contract_size!r}: expected a number above 0")


class Rules(NamedTuple):
    """The exchange's sizes as the compiled loop needs them.

    Attributes:
        tick_size, lot_size, contract_size: see `Market`.
        inverse: whether the contract is inverse.
        maker_fee, taker_fee: see `ExchangeSettings`.
        fee_by_value: whether they are shares of the value.
        whole: whether orders are filled whole.
    """

    tick_size: float
    lot_size: float
    contract_size: float
    inverse: bool
    maker_fee: float
    taker_fee: float
    fee_by_value: bool
    whole: bool


def rules_of(settings: ExchangeSettings, tick_size: float, lot_size: float) -> Rules:
    """The numbers of the settings, for the compiled loop."""
    return Rules(
        float(tick_size),
        float(lot_size),
        float(settings.contract_size),
        settings.contract == "inverse",
        float(settings.maker_fee),
        float(settings.taker_fee),
        settings.fee_unit == "value",
        settings.fills == "whole",
    )


def open_exchange(day: ExchangeDay, settings: ExchangeSettings, tick_size: float, lot_size: float) -> Any:
    """hftbacktest, ready to run over a day; `close()` it at the end.

    The day's arrays are read where they lie: keep them until it is closed.

    Raises:
        DataError: hftbacktest is not installed.
    """
    try:
        import hftbacktest as hft
    except ImportError as error:
        raise DataError("backtests run on hftbacktest; pip install 'nanoarb-jax[backtest]'") from error
    asset = hft.BacktestAsset().data(day.events)
    if len(day.snapshot):
        asset = asset.initial_snapshot(day.snapshot)
    asset = (
        asset.linear_asset(settings.contract_size)
        if settings.contract == "linear"
        else asset.inverse_asset(settings.contract_size)
    )
    asset = asset.constant_order_latency(settings.entry_latency_ns, settings.response_latency_ns)
    asset = _with_queue(asset, settings.queue)
    asset = asset.no_partial_fill_exchange() if settings.fills == "whole" else asset.partial_fill_exchange()
    with_fees = asset.trading_value_fee_model if settings.fee_unit == "value" else asset.trading_qty_fee_model
    asset = with_fees(settings.maker_fee, settings.taker_fee).tick_size(tick_size).lot_size(lot_size)
    return hft.HashMapMarketDepthBacktest([asset.last_trades_capacity(0)])


def _with_queue(asset: Any, queue: Queue) -> Any:
    """The queue models of hftbacktest's documentation, with the exponent 3 that it uses."""
    if queue == "risk-averse":
        return asset.risk_adverse_queue_model()
    return asset.power_prob_queue_model3(3.0) if queue == "power" else asset.log_prob_queue_model2()


def feed_latency_ns(events: NDArray[np.void], shift_ns: int) -> int:
    """Median time from the exchange to the receiver, ns; 0 where the feed knows one clock only."""
    if len(events) == 0:
        return 0
    return max(0, int(np.median(events["local_ts"] - events["exch_ts"])) + shift_ns)
