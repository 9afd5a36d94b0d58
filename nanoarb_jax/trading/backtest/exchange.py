"""hftbacktest's exchange for one instrument: fees, latencies, queue model, contract."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from nanoarb_jax.data.exchange_day import ExchangeDay
from nanoarb_jax.errors import ConfigError, DataError

Fills = Literal["partial", "whole"]
Queue = Literal["risk-averse", "power", "log", "fifo"]
Contract = Literal["linear", "inverse"]
FeeUnit = Literal["value", "quantity"]
_CHOICES = {"fee_unit": FeeUnit, "fills": Fills, "queue": Queue, "contract": Contract}
_LONGEST_NS = 60_000_000_000


@dataclass(frozen=True)
class ExchangeSettings:
    """What trading at the exchange costs, and how long it takes.

    Args:
        maker_fee: Fee of fills of orders that rested, 0.0002 is 2 basis points of the value; negative: a rebate.
        taker_fee: Fee of fills of orders that took.
        fee_unit: Whether fees are shares of the value that is traded, or amounts for each unit of quantity.
        entry_latency_ns: From an order's leaving to the exchange, in ns; None: as long as the feed takes (median).
        response_latency_ns: From the exchange to the news of an order, in ns; None: as long as the feed takes.
        fills: Whether orders are filled in parts, as far as quantities go, or whole.
        queue: How resting orders come forward in their queue. Risk-averse: by trades alone; fifo: as the orders of an
            L3 feed do, whose orders are filled whole.
        contract: Whether profit is in the quote currency or in the asset itself; None: as on the feed's exchange.
        contract_size: Units of the asset in a contract, or of the quote currency where it is inverse; None: likewise.

    Raises:
        ConfigError: a value out of range.
    """

    maker_fee: float = 0.0
    taker_fee: float = 0.0
    fee_unit: FeeUnit = "value"
    entry_latency_ns: int | None = None
    response_latency_ns: int | None = None
    fills: Fills = "partial"
    queue: Queue = "risk-averse"
    contract: Contract | None = None
    contract_size: float | None = None

    def __post_init__(self) -> None:
        for name in ("maker_fee", "taker_fee"):
            value = getattr(self, name)
            if not np.isfinite(value) or (self.fee_unit == "value" and abs(value) >= 0.1):
                raise ConfigError(f"exchange.{name}={value!r}: expected a share of the value, e.g. 0.0004 for 4 bp")
        for name in ("entry_latency_ns", "response_latency_ns"):
            value = getattr(self, name)
            if value is not None and not 0 <= value <= _LONGEST_NS:
                raise ConfigError(f"exchange.{name}={value!r}: expected 0 to 60 s, in ns")
        for name, kind in _CHOICES.items():
            value = getattr(self, name)
            if value not in get_args(kind) and not (name == "contract" and value is None):
                raise ConfigError(f"exchange.{name}={value!r}: expected one of {', '.join(get_args(kind))}")
        size = self.contract_size
        if self.queue == "fifo" and self.fills != "whole":
            raise ConfigError("exchange.fills='partial': with queue='fifo', orders are filled whole; expected 'whole'")
        if size is not None and not (np.isfinite(size) and size > 0):
            raise ConfigError(f"exchange.contract_size={size!r}: expected a number above 0")


class Rules(NamedTuple):
    """The exchange's numbers as the compiled loop needs them.

    Attributes:
        tick_size, lot_size, contract_size: see `Market`.
        inverse: whether the contract is inverse.
        maker_fee, taker_fee: see `ExchangeSettings`.
        fee_by_value: whether they are shares of the value.
        whole: whether orders are filled whole.
        round_trip_ns: from an order's leaving to the news of it.
    """

    tick_size: float
    lot_size: float
    contract_size: float
    inverse: bool
    maker_fee: float
    taker_fee: float
    fee_by_value: bool
    whole: bool
    round_trip_ns: int


def rules_of(settings: ExchangeSettings, tick_size: float, lot_size: float) -> Rules:
    """The numbers of settings; what they leave open is a linear contract of size 1."""
    return Rules(
        float(tick_size),
        float(lot_size),
        float(settings.contract_size or 1.0),
        settings.contract == "inverse",
        float(settings.maker_fee),
        float(settings.taker_fee),
        settings.fee_unit == "value",
        settings.fills == "whole",
        (settings.entry_latency_ns or 0) + (settings.response_latency_ns or 0),
    )


def open_exchange(day: ExchangeDay, settings: ExchangeSettings, tick_size: float, lot_size: float) -> Any:
    """hftbacktest, ready to run over a day; `close()` it at the end.

    The day's arrays are read where they lie: keep them until it is closed. Latencies that are left open are 0.

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
    size = settings.contract_size or 1.0
    asset = asset.inverse_asset(size) if settings.contract == "inverse" else asset.linear_asset(size)
    asset = asset.constant_order_latency(settings.entry_latency_ns or 0, settings.response_latency_ns or 0)
    asset = _with_queue(asset, settings.queue)
    asset = asset.no_partial_fill_exchange() if settings.fills == "whole" else asset.partial_fill_exchange()
    with_fees = asset.trading_value_fee_model if settings.fee_unit == "value" else asset.trading_qty_fee_model
    asset = with_fees(settings.maker_fee, settings.taker_fee).tick_size(tick_size).lot_size(lot_size)
    return hft.HashMapMarketDepthBacktest([asset.last_trades_capacity(0)])


def _with_queue(asset: Any, queue: Queue) -> Any:
    """The queue models of hftbacktest's documentation, with the exponent 3 that it uses."""
    if queue == "fifo":
        return asset.l3_fifo_queue_model()
    if queue == "risk-averse":
        return asset.risk_adverse_queue_model()
    return asset.power_prob_queue_model3(3.0) if queue == "power" else asset.log_prob_queue_model2()
