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
    *("exchange", "venue", "publisher_id", "channel", "stream", "topic", "exchange_id", "exch", "mic"),
    *("sym", "symbol_id", "instr", "instrumentid", "securityid", "contract_id", "market_id", "coin_id", "asset"),
    *("asset_id", "book_id", "figi", "cusip", "product_code", "underlying", "expiry", "expiration", "maturity"),
    *("strike", "base_currency", "quote_currency", "currency", "base_asset", "quote_asset", "option_type", "outcome"),
)

# columns that say what a row does; one of them at most
KIND = (
    *("kind", "action", "update_type", "update_action", "update", "type", "event", "event_type"),
    *("msg_type", "message_type", "record_type", "operation", "op", "msgtype", "eventtype", "updatetype"),
    *("action_type", "change_type", "event_kind", "row_type", "operation_type", "md_update_action", "mdupdateaction"),
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
_CHANGE_NAMES = (
    *("delta", "is_delta", "size_delta", "delta_size", "size_change", "qty_change", "diff", "size_diff", "qty_diff"),
    *("chg", "incremental", "is_incremental"),
)
_ORDER_NAMES = (
    *("orderid", "oid", "order_ref", "orderref", "order_reference", "order_no", "orderno", "order_number", "order_uid"),
    *("order_uuid", "exchange_order_id", "client_order_id", "cl_ord_id", "md_entry_id"),
)
# columns of events that would change what rows mean, and are not read: why, and what to do
REFUSED = (
    dict.fromkeys(_CHANGE_NAMES, _CHANGES)
    | dict.fromkeys(("deleted", "is_deleted", "is_delete", "removed", "is_cancel"), _DELETES)
    | dict.fromkeys(_ORDER_NAMES, _ORDER_ID)
    | dict.fromkeys(
        ("snapshot", "is_snap", "snap", "issnapshot", "snapshot_flag"), "call it is_snapshot if it marks snapshots"
    )
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

# columns that are not read, see `unread.py`: parts of names, words of cells, and how to go on
STATES = {"valid", "invalid", "status", "state"}
TEXT = {"note", "notes", "comment", "comments", "remark", "text", "description", "file", "filename", "path", "raw"}
# of numbers: what follows from the book, times, counters
HARMLESS = {
    *("num", "count", "cnt", "ct", "orders", "seq", "sequence", "seqno", "seqnum", "index", "idx", "row", "line"),
    *("mid", "midprice", "microprice", "vwap", "spread", "imbalance", "bid", "ask", "bids", "asks", "best"),
    *("price", "px", "qty", "size", "sz", "amount", "volume", "notional", "value", "turnover", "total", "cum"),
    *("date", "day", "hour", "minute", "second", "time", "ts", "ms", "us", "ns", "latency", "delay", "offset"),
    *("level", "levels", "position", "depth", "rank", "label", "target", "signal", "feature", "checksum", "crc"),
}
# which take that back
TELLING_NAMES = {
    *("is", "has", "type", "kind", "action", "mode", "op", "flag", "flags", "event", "side", "change", "delta"),
    *("scale", "factor", "multiplier", "force", "snapshot", "snap", "trade", "implied"),
}
INSERTS = {"insert", "new", "add", "a"}
INSERTED = {"delete", "remove", "update", "change", "modify", "cancel"}
TRADE = {"trade", "t"}
# of a column that always says the same
TELLING = {"snapshot", "snap", "partial", "trade", "trades", "fill", "execute", "delete", "remove", "cancel"}
ACTIONS = {
    *("", *TELLING, *INSERTS, *INSERTED, *"acmtfrdnuisx", "none", "set", "depth", "l2update", "incremental", "delta"),
    *(
        "replace",
        "overlay",
        "clear",
        "reset",
        "execution",
        "executed",
        "deletion",
        "insertion",
        "cancelled",
        "canceled",
    ),
    *("filled", "modified", "deleted", "inserted", "removed", "open", "done", "match", "received", "quote", "level"),
}
SAYS_KIND = (
    "may say what a row does: rename it kind if it does, is_snapshot if it marks snapshots, symbol if it tells "
    "instruments apart, or leave it out if it changes nothing"
)
TELLS_APART = (
    "may tell instruments or venues apart: rename it symbol and choose one by --symbol, or kind if it says what a row "
    "does, or leave it out if it changes nothing"
)
NAMES_SOMETHING = (
    "may be ids of orders or tell instruments apart: rename it order_id or symbol, or leave it out if it changes "
    "nothing"
)
NAMES_ORDERS = "looks like ids of orders: rename it order_id, or leave it out if the rows are levels"

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
