"""Calibration tables on disk: JSON, read strictly."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import first_line, new_file
from nanoarb_jax.trading.calibration import FORMAT, Calibration, HorizonTable, Tables, ThresholdRow


def write_calibration(path: str | Path, calibration: Calibration) -> None:
    """Write a table to a new JSON file.

    Raises:
        OutputError: see `files.new_file`.
    """
    with new_file(path, "calibration") as file:
        file.write(f"{json.dumps(calibration.as_dict(), indent=1, allow_nan=False)}\n".encode())


def read_calibration(path: str | Path, version: str, horizons: Sequence[int]) -> Calibration:
    """Read a table for a model.

    Args:
        path: of the file.
        version, horizons: of the model that trades.

    Raises:
        DataError: no such file, one that is damaged or of another format, or a table of another model.
    """
    source = f"calibration {path}"
    try:
        values = json.loads(Path(path).read_text(encoding="utf-8"), parse_constant=_refuse_constant)
        if isinstance(values, dict) and values.get("format") not in (None, FORMAT):
            raise DataError(f"{source}: format {values['format']!r}; expected {FORMAT}; make it anew")
        calibration = calibration_of(values)
    except FileNotFoundError:
        raise DataError(f"{source}: no such file; make it with nanoarb-jax calibrate") from None
    except (OSError, ValueError) as error:
        if isinstance(error, DataError):
            raise
        raise DataError(f"{source}: not a calibration table ({first_line(error)}); make it anew") from error
    calibration.check(version, horizons, source)
    return calibration


def calibration_of(values: Any) -> Calibration:
    """A table of plain values, see `Calibration.as_dict`.

    Raises:
        ValueError: an entry is missing, not known, or of another kind; it says which.
    """
    parts = ("format", "version", "horizons", "taker_fee", "series", "instruments", "pooled")
    entries = _entries(values, parts, "file")
    horizons = tuple(_whole(one, "horizons") for one in _list(entries["horizons"], None, "horizons"))
    if not horizons or horizons[0] < 1 or list(horizons) != sorted(set(horizons)):
        raise ValueError(f"horizons: {list(horizons)}; expected ascending ticks from 1 on")
    if not isinstance(entries["version"], str):
        raise ValueError(f"version: {entries['version']!r}; expected a text")
    named = {}
    for part in ("series", "instruments"):
        if not isinstance(entries[part], dict):
            raise ValueError(f"{part}: a {type(entries[part]).__name__}; expected an object")
        named[part] = {name: _tables(of, horizons, f"{part}.{name}") for name, of in entries[part].items()}
    return Calibration(
        version=entries["version"],
        horizons=horizons,
        taker_fee=_number(entries["taker_fee"], "taker_fee"),
        pooled=_tables(entries["pooled"], horizons, "pooled"),
        **named,
    )


def _tables(values: Any, horizons: Sequence[int], where: str) -> Tables:
    named = _entries(values, [f"h{horizon}" for horizon in horizons], where)
    return tuple(_table(of, f"{where}.{name}") for name, of in named.items())


def _table(values: Any, where: str) -> HorizonTable:
    entries = _entries(values, HorizonTable._fields, where)
    down, neutral, up = (_number(one, f"{where}.moves_ticks") for one in _list(entries["moves_ticks"], 3, where))
    rows = tuple(_whole(one, f"{where}.class_rows") for one in _list(entries["class_rows"], 3, where))
    thresholds = tuple(_threshold(one, f"{where}.thresholds") for one in _list(entries["thresholds"], None, where))
    return HorizonTable((down, neutral, up), (rows[0], rows[1], rows[2]), thresholds)


def _threshold(values: Any, where: str) -> ThresholdRow:
    entries = _entries(values, ThresholdRow._fields, where)
    means = ("gross_ticks", "net_ticks", "net_bp")
    known = {name: None if entries[name] is None else _number(entries[name], f"{where}.{name}") for name in means}
    threshold = _number(entries["threshold"], f"{where}.threshold")
    return ThresholdRow(threshold, _whole(entries["trades"], f"{where}.trades"), **known)


def _entries(values: Any, names: Sequence[str], where: str) -> dict[str, Any]:
    """An object with exactly these entries, in their order."""
    if not isinstance(values, dict) or set(values) != set(names):
        met = sorted(values) if isinstance(values, dict) else type(values).__name__
        raise ValueError(f"{where}: {met}; expected the entries {', '.join(names)}")
    return {name: values[name] for name in names}


def _list(values: Any, length: int | None, where: str) -> list[Any]:
    if not isinstance(values, list) or (length is not None and len(values) != length):
        raise ValueError(f"{where}: {values!r}; expected a list{f' of {length}' if length else ''}")
    return values


def _number(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{where}: {value!r}; expected a finite number")
    return float(value)


def _whole(value: Any, where: str) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise ValueError(f"{where}: {value!r}; expected a whole number from 0 on")
    return value


def _refuse_constant(text: str) -> float:
    raise ValueError(f"{text}; expected finite numbers")
