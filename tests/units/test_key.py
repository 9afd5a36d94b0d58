"""Keys change with everything that a result depends on, and with nothing else."""

from __future__ import annotations

import dataclasses
import os
from enum import Enum
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from nanoarb_jax.errors import ConfigError, DataError
from nanoarb_jax.units import key as keys
from nanoarb_jax.units.key import unit_key
from support.unit_work import write_normals

SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5)
SETTINGS = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3)
)


class Side(Enum):
    BUY = 1
    SELL = -1


@dataclasses.dataclass(frozen=True)
class Fees:
    maker: float = 0.0
    taker: float = 0.0


class Costs(NamedTuple):
    maker: float = 0.0
    taker: float = 0.0


def turned(value: Any) -> Any:
    """The same, with the entries of all mappings in the opposite order."""
    if isinstance(value, dict):
        return {name: turned(one) for name, one in reversed(value.items())}
    return [turned(one) for one in value] if isinstance(value, list) else value


@given(SETTINGS, SETTINGS)
def test_settings_alone_make_the_key(one: Any, other: Any) -> None:
    """Equal ones of equal kinds give one key, in whatever order they were written; any other gives another."""
    assert unit_key(one) == unit_key(turned(one))
    assert (unit_key(one) == unit_key(other)) == (repr(in_order(one)) == repr(in_order(other)))


def in_order(value: Any) -> Any:
    """The same, with the entries of all mappings in order."""
    if isinstance(value, dict):
        return {name: in_order(one) for name, one in sorted(value.items())}
    return [in_order(one) for one in value] if isinstance(value, list) else value


@given(st.dictionaries(st.text(max_size=3), SCALARS, min_size=1), st.data())
def test_any_setting_that_changes_changes_the_key(settings: dict[str, Any], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(settings)))
    value = data.draw(SCALARS.filter(lambda value: repr(value) != repr(settings[name])))
    assert unit_key(settings) != unit_key({**settings, name: value})
    assert unit_key(settings) != unit_key({other: one for other, one in settings.items() if other != name})


def test_what_is_alike_is_told_apart() -> None:
    """Classes with the same fields, kinds of number, arrays of the same bytes."""
    alike: list[Any] = [
        {"maker": 0.0, "taker": 0.0}, Fees(), Costs(), [0.0, 0.0], (0.0, 1.0), {0.0, 1.0}, Fees(taker=1.0), None, "", 0,
        0.0, False, Side.BUY, 1, Side.SELL, np.zeros(2), np.zeros(2, np.int64), np.zeros((2, 1)), np.float32(0), "Side",
        write_normals, {"": 1}, {"": [1]},
    ]  # fmt: skip
    assert len({unit_key(value) for value in alike}) == len(alike)
    assert unit_key([1, {"a": (2,)}]) == unit_key((1, {"a": [2]}))  # as JSON reads them back
    assert unit_key(np.float64(0.5)) == unit_key(0.5) and unit_key({1, 2, 3}) == unit_key({3, 2, 1})


def test_files_count_by_what_they_hold(tmp_path: Path) -> None:
    """Not by where they lie; a changed file counts anew also where its time and size say nothing of it."""
    day = tmp_path / "days" / "one.csv"
    day.parent.mkdir()
    day.write_text("1,2\n")
    key = unit_key({"data": day})
    assert key != unit_key({"data": str(day)}) and unit_key(1, [day]) != unit_key(1)
    moved = tmp_path / "one.csv"
    day.rename(moved)
    assert unit_key({"data": moved}) == key
    moved.rename(day)
    of_folder = unit_key(1, [day.parent])
    (day.parent / ".lock").touch()
    assert unit_key(1, [day.parent]) == of_folder
    (day.parent / "two.csv").touch()
    assert unit_key(1, [day.parent]) != of_folder
    day.write_text("1,3\n")
    os.utime(day, ns=(0, 0))
    assert unit_key({"data": day}) != key
    with pytest.raises(DataError, match=r"input .*none\.csv: No such file"):
        unit_key({"data": tmp_path / "none.csv"})


def test_software_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    key, versions = unit_key(1), dict(keys.software())
    assert versions["numpy"] == np.__version__ and {"python", "nanoarb-jax", "jaxlib"} < versions.keys()
    for what in versions:
        monkeypatch.setattr(keys, "software", lambda what=what: {**versions, what: "another"})
        assert unit_key(1) != key


def test_what_nobody_can_compare_is_refused() -> None:
    def inside() -> None: ...

    for value, met in (
        ({"a": [object()]}, r"settings\['a'\]\[0\]: object "),
        ({1: 2}, "settings: dict"),
        ([lambda: 1], r"settings\[0\]: .*<lambda> is made inside"),
        (inside, "is made inside a function"),
        (np.array([None]), "an array of objects"),
    ):
        with pytest.raises(ConfigError, match=met):
            unit_key(value)
