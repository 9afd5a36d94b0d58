"""The options that say how market data are read, of every command that reads some.

    @reader_options
    def inspect(*, path: Path, reader: Reader) -> None: ...

`inspect` then has these options in place of `reader`, and is called with what they say.
"""

from __future__ import annotations

import functools
import inspect
from typing import TYPE_CHECKING, Any, NamedTuple

from .options import (
    LotSizeOption,
    PolicyOption,
    SnapshotOption,
    SortOption,
    SymbolOption,
    TickSizeOption,
    UntimedOption,
    parse_policy,
)
from .settings_options import Command, replace_parameter

if TYPE_CHECKING:
    from nanoarb_jax.market.anomaly import Policy
    from nanoarb_jax.readers.feed import ReadOptions


class Reader(NamedTuple):
    """How files are read, and what is done about each anomaly that is met in them."""

    options: ReadOptions
    policy: dict[str, Policy]


def _reader(
    *,
    tick_size: TickSizeOption = None,
    lot_size: LotSizeOption = None,
    symbol: SymbolOption = None,
    sort: SortOption = False,
    snapshot: SnapshotOption = None,
    untimed: UntimedOption = False,
    policy: PolicyOption = None,
) -> Reader:
    from nanoarb_jax.readers.feed import ReadOptions

    options = ReadOptions(tick_size, lot_size, symbol, sort=sort, snapshot=snapshot, timed=not untimed)
    return Reader(options, parse_policy(policy))


def reader_options(command: Command) -> Command:
    """Give a command the options of reading, in place of its parameter `reader`."""
    options = inspect.signature(_reader, eval_str=True).parameters

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        given = {name: arguments.pop(name) for name in options}
        command(**arguments, reader=_reader(**given))

    return replace_parameter(with_options, command, "reader", options.values())
