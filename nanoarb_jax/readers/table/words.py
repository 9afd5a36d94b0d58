"""The words of tables: names of columns that are understood or refused, and what the cells of some of them say.

`docs/table.md` explains them to users.
"""

from __future__ import annotations

from nanoarb_jax.market import event

# columns of times; `timestamp` is the time received, or the exchange's where one of LOCAL is there too
LOCAL = ("local_timestamp", "local_ts")
RECEIVED = ("ts_ns", *LOCAL, "ts_recv", "timestamp")
EXCHANGE = ("exch_ts", "exchange_timestamp", "ts_event")

# columns that tell whose rows these are: in one series each holds one value
IDENTITY = (
    *("symbol", "instrument", "ticker", "product", "product_id", "instrument_id", "instrument_name", "inst_id"),
    *("instid", "market", "pair", "coin", "contract", "security_id", "isin", "ric", "raw_symbol"),
    *("exchange", "venue", "publisher_id", "channel", "stream", "topic"),
)

# columns that say what a row does; one of them at most
KIND = (
    *("kind", "action", "update_type", "update_action", "update", "type", "event", "event_type"),
    *("msg_type", "message_type", "record_type", "operation", "op"),
)

# columns that only tables of trades have
TRADES = (
    *("trade_id", "tradeid", "trdmatchid", "match_id", "exec_id", "execid", "agg_trade_id", "tid"),
    *("first_trade_id", "last_trade_id", "tickdirection", "grossvalue", "homenotional", "foreignnotional"),
    *("is_buyer_maker", "isbuyermaker", "buyer_is_maker", "aggressor", "aggressor_side", "taker_side"),
    *("maker_order_id", "taker_order_id", "buyer_order_id", "seller_order_id"),
)

_CHANGES = "its sizes may be changes, and a size here is what a level now holds; add them up"
_DELETES = "a deleted level has the size 0 here; write it so, and leave the column out"
_LEVELS = "give rows that tell whole books the kind snapshot; else leave the column out"
_ORDER_ID = "name the column of orders' ids order_id; if it is something else, leave it out"
# columns of events that would change what rows mean, and are not read: why, and what to do
REFUSED = (
    dict.fromkeys(("delta", "is_delta", "size_delta", "delta_size", "size_change", "qty_change"), _CHANGES)
    | dict.fromkeys(("deleted", "is_deleted", "is_delete", "removed", "is_cancel"), _DELETES)
    | dict.fromkeys(("orderid", "oid", "order_ref", "order_reference"), _ORDER_ID)
    | dict.fromkeys(("order_type", "ord_type"), "orders that are not limit orders never rest; leave them and it out")
    | dict.fromkeys(("is_trade",), "say by a column kind which rows are trades")
    | dict.fromkeys(("reset", "is_reset", "is_clear"), "say by a column kind which rows clear the book")
)
# the number of a level on its side: refused where no column says what a row does
LEVEL_NUMBERS = dict.fromkeys(("level", "position", "depth", "rank", "level_index"), _LEVELS)
# what others call the three columns of events: to advise
OTHER_NAMES = {
    "size": ("qty", "quantity", "amount", "volume", "vol", "sz"),
    "price": ("px", "rate"),
    "side": ("direction", "is_bid", "is_buy", "bid_ask"),
}

SIDES = (
    dict.fromkeys(("buy", "bid", "b", "bids"), event.BUY)
    | dict.fromkeys(("sell", "ask", "s", "a", "asks"), event.SELL)
    | dict.fromkeys(("", "n", "none"), 0)
)

WHOLE = 1 << 8  # with a kind: what is told of goes as a whole, whatever its size (a level, an order, all levels)
NO_ACTION = -1
_ALWAYS = {
    "depth": event.DEPTH,
    "snapshot": event.DEPTH_SNAPSHOT,
    "trade": event.TRADE,
    "t": event.TRADE,
    "clear": event.CLEAR,
    "r": event.CLEAR | WHOLE,  # Databento's clears are of both sides
    "n": NO_ACTION,
    "none": NO_ACTION,
}
_OF_LEVELS = (
    {"": event.DEPTH}
    | dict.fromkeys(("update", "l2update", "set", "change", "new", "insert"), event.DEPTH)
    | dict.fromkeys(("delete", "remove"), event.DEPTH | WHOLE)
    | dict.fromkeys(("snap", "partial"), event.DEPTH_SNAPSHOT)
)
_OF_ORDERS = (
    dict.fromkeys(("add", "a", "new", "insert"), event.ADD)
    | dict.fromkeys(("cancel", "c"), event.CANCEL)
    | dict.fromkeys(("delete", "remove"), event.CANCEL | WHOLE)
    | dict.fromkeys(("modify", "m", "update", "change"), event.MODIFY)
    | dict.fromkeys(("fill", "f"), event.FILL)
)
# by whether the rows have an order id; orders without one are refused by their kind, not as an unknown word
KINDS = {
    True: _ALWAYS | _OF_ORDERS,
    False: _ALWAYS | {w: kind for w, kind in _OF_ORDERS.items() if kind < WHOLE} | _OF_LEVELS,
}
KIND_NAMES = ("depth", "snapshot", "trade", "clear", "add", "cancel", "modify", "fill")  # the words to advise
ORDER_KINDS = (event.ADD, event.CANCEL, event.MODIFY, event.FILL)
TRUTH = dict.fromkeys(("true", "1", "t", "yes", "y"), 1) | dict.fromkeys(("", "false", "0", "f", "no", "n"), 0)
