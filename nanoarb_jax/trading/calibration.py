"""What a prediction of a model is worth in ticks: the table that strategies read.

The expected move of the mid over a horizon, given the probabilities p of a tick, is

    E[move | p] = sum over classes c of p_c · move_c

where move_c is the mean move of the training rows that were labelled c. This is the mean of the moves where p is
calibrated and where, within a class, the size of the move does not depend on p.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.declaration import instrument_of
from nanoarb_jax.errors import DataError

FORMAT = 1


class ThresholdRow(NamedTuple):
    """What trading on a probability was worth on the validation part.

    Attributes:
        threshold: least probability of up or down.
        trades: that did not overlap, each as long as the horizon.
        gross_ticks: mean move of the mid in the direction of the trade; None without a trade, as the next two.
        net_ticks: less half the spread at the entry and at the exit.
        net_bp: less fees of both ways, too; in hundredths of a percent of the mid at the entry.
    """

    threshold: float
    trades: int
    gross_ticks: float | None
    net_ticks: float | None
    net_bp: float | None


class HorizonTable(NamedTuple):
    """Of one horizon.

    Attributes:
        moves_ticks: mean move of the mid in ticks of training rows labelled down, neutral, up.
        class_rows: how many rows that were.
        thresholds: by ascending threshold.
    """

    moves_ticks: tuple[float, float, float]
    class_rows: tuple[int, int, int]
    thresholds: tuple[ThresholdRow, ...]


Tables = tuple[HorizonTable, ...]  # (h,)


@dataclass(frozen=True)
class Calibration:
    """The calibration table of a model.

    Args:
        version: of the weights that it was made of.
        horizons: (h,) of the model, in ticks.
        taker_fee: that `net_bp` was made with, as a share of the value.
        series: tables of every series with all classes in its training part, by its name.
        instruments: of all series of an instrument together.
        pooled: of all series.
    """

    version: str
    horizons: tuple[int, ...]
    taker_fee: float
    series: Mapping[str, Tables]
    instruments: Mapping[str, Tables]
    pooled: Tables

    def find(self, series: str | None = None) -> tuple[Tables, str]:
        """The tables for a series, and whose they are, in words: its own, else its instrument's, else all series'.

        Args:
            series: its name; None: all series.
        """
        if series is None:
            return self.pooled, "all series"
        if series in self.series:
            return self.series[series], f"series {series}"
        instrument = instrument_of(series).instrument
        if instrument in self.instruments:
            return self.instruments[instrument], f"instrument {instrument}"
        return self.pooled, "all series"

    def moves_ticks(self, series: str | None = None) -> NDArray[np.float64]:
        """(h, 3) expected move by horizon and class for a series, see `find`; strategies read it."""
        return np.array([one.moves_ticks for one in self.find(series)[0]])

    def check(self, version: str, horizons: Sequence[int], source: str = "calibration") -> None:
        """Refuse a table of another model.

        Args:
            version, horizons: of the model that trades.
            source: of the table, for the error.

        Raises:
            DataError: the table was made of other weights, or has other horizons.
        """
        made, wanted = (self.version, self.horizons), (version, tuple(horizons))
        if made != wanted:
            raise DataError(
                f"{source}: made of weights {made[0]!r} with horizons {made[1]}; the model has {wanted[0]!r}, "
                f"{wanted[1]}; make it anew with nanoarb-jax calibrate"
            )

    def as_dict(self) -> dict[str, Any]:
        """Plain values, as they stand in the file."""
        return {
            "format": FORMAT,
            "version": self.version,
            "horizons": list(self.horizons),
            "taker_fee": self.taker_fee,
            "series": {name: _plain(tables, self.horizons) for name, tables in self.series.items()},
            "instruments": {name: _plain(tables, self.horizons) for name, tables in self.instruments.items()},
            "pooled": _plain(self.pooled, self.horizons),
        }


def _plain(tables: Tables, horizons: Sequence[int]) -> dict[str, Any]:
    return {
        f"h{horizon}": {
            "moves_ticks": list(table.moves_ticks),
            "class_rows": list(table.class_rows),
            "thresholds": [row._asdict() for row in table.thresholds],
        }
        for horizon, table in zip(horizons, tables, strict=True)
    }
