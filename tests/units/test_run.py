"""Results are made once, kept, made again when damaged, and the same whoever makes them."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from nanoarb_jax.errors import ConfigError, DataError, DeviceError, OutputError, SettingError
from nanoarb_jax.units.pools import run_tasks
from nanoarb_jax.units.run import make_unit, run_units
from nanoarb_jax.units.tasks import Task
from nanoarb_jax.units.workers import Workers
from support.pages import blocks
from support.unit_work import (
    begun,
    contents,
    die_always,
    die_first,
    fail_at,
    write_day,
    write_normals,
    write_nothing,
    write_slowly,
)

HERE = Workers("serial")


@pytest.fixture
def log(tmp_path: Path) -> Path:
    """A folder in which units note that they have begun."""
    (tmp_path / "log").mkdir()
    return tmp_path / "log"


@pytest.fixture(scope="module", autouse=True)
def _end_processes() -> Iterator[None]:
    """loky's processes wait for more to do, for minutes."""
    yield
    from joblib.externals.loky import get_reusable_executor

    get_reusable_executor().shutdown(wait=True)


def test_what_is_there_is_not_made_again(tmp_path: Path, log: Path) -> None:
    """Results are in the order of the units, and those of one key are one."""
    out, said = tmp_path / "out", list[str]()
    units = [make_unit(f"seed {seed}", write_slowly, seed, str(log), 0.0) for seed in (3, 1, 2, 3)]
    first = run_units(units[1:], out, HERE, said.append)
    assert [(one.name, one.state) for one in first] == [("seed 1", "made"), ("seed 2", "made"), ("seed 3", "made")]
    assert said == ["0 of 3 units are there already", "1/3 units: seed 1", "2/3 units: seed 2", "3/3 units: seed 3"]
    held = contents(out)
    units.append(make_unit("seed 4", write_slowly, 4, str(log), 0.0))
    again = run_units(units, out, HERE)
    assert [one.state for one in again] == ["kept", "kept", "kept", "kept", "made"]
    assert again[0].folder == again[3].folder
    assert begun(log) == [1, 2, 3, 4] and held.items() <= contents(out).items()
    assert [one.folder for one in again] == [out / unit.key for unit in units]
    assert sorted(p.name for p in again[4].folder.rglob("*")) == ["about", "manifest.json", "mean.txt", "normals.npy"]


@pytest.mark.parametrize("damage", ["cut", "missing", "extra", "manifest", "other key"])
def test_a_damaged_result_is_made_again(damage: str, tmp_path: Path) -> None:
    out, said = tmp_path / "out", list[str]()
    units = [make_unit(str(seed), write_normals, seed) for seed in range(2)]
    whole, other = (result.folder for result in run_units(units, out, HERE))
    held = contents(out)
    if damage == "cut":
        (whole / "normals.npy").write_bytes((whole / "normals.npy").read_bytes()[:-8])
    elif damage == "missing":
        (whole / "about" / "mean.txt").unlink()
    elif damage == "extra":
        (whole / "new.txt").touch()
    elif damage == "manifest":
        (whole / "manifest.json").write_text("{")
    else:
        shutil.copyfile(other / "manifest.json", whole / "manifest.json")
    (out / f".{units[0].key}.0badcafe").mkdir()  # of a worker that died
    assert [one.state for one in run_units(units, out, HERE, said.append)] == ["made again", "kept"]
    assert contents(out) == held and len(list(out.iterdir())) == 3
    assert said[0].startswith(f"0: the result in {whole} is damaged (") and said[0].endswith("; made again")


@pytest.mark.parametrize("workers", [HERE, Workers(jobs=2)])
def test_units_that_fail_are_named_and_stop_no_others(workers: Workers, tmp_path: Path) -> None:
    units = [make_unit(f"unit {seed}", fail_at, seed, (1, 2)) for seed in range(4)]
    with pytest.raises(DataError, match=r"^2 of 4 units failed; .* unit 1: seed 1: not a good one; unit 2: seed 2: "):
        run_units(units, tmp_path, workers)
    assert {path.name for path in tmp_path.iterdir()} == {".lock", units[0].key, units[3].key}
    bug = [make_unit("unit", fail_at, 5, (5,), False)]
    with pytest.raises(RuntimeError, match="unit: seed 5") as caught:
        run_units([*bug, *units[2:]], tmp_path, workers)
    assert isinstance(caught.value.__cause__, ZeroDivisionError) and "2 of 3" in str(caught.value)
    if workers != HERE:
        assert "unit_work.py" in caught.value.__cause__.__notes__[0]


@pytest.mark.subprocess
def test_a_killed_process_changes_no_byte(tmp_path: Path, log: Path) -> None:
    """What was whole is not made again; what the dead one left behind is gone."""
    units = [make_unit(str(seed), die_first, seed, str(log)) for seed in range(5)]
    results = run_units(units, tmp_path / "killed", Workers(jobs=2))
    assert (log / "died").exists() and [one.name for one in results] == list("01234")
    run_units(units, tmp_path / "serial", HERE)
    assert contents(tmp_path / "killed") == contents(tmp_path / "serial")


@pytest.mark.subprocess
def test_a_unit_that_kills_every_process_is_named(tmp_path: Path) -> None:
    units = [make_unit(f"seed {seed}", die_always, seed) for seed in range(4)]
    with pytest.raises(DataError, match=r"1 of 4 units failed; .* seed 1: its worker died"):
        run_units(units, tmp_path, Workers(jobs=2))
    assert sum(path.is_dir() for path in tmp_path.iterdir()) == 3
    with pytest.raises(DeviceError, match=r"^first: its worker died"):
        tasks = [Task("first", die_always, (tmp_path, 1)), Task("second", write_nothing, (tmp_path,))]
        run_tasks(tasks, Workers(jobs=2))


def test_the_first_error_of_tasks_ends_them(tmp_path: Path) -> None:
    tasks = [Task(str(seed), fail_at, (tmp_path / str(seed), seed, (1,))) for seed in range(3)]
    for seed in range(3):
        (tmp_path / str(seed)).mkdir()
    with pytest.raises(DataError, match="seed 1: not a good one"):
        run_tasks(tasks, HERE)
    assert not list((tmp_path / "2").iterdir())


def test_a_second_run_keeps_out(tmp_path: Path) -> None:
    units = [make_unit("one", write_normals, 1)]

    def again(text: str) -> None:
        with pytest.raises(OutputError, match="another run is at work there"):
            run_units(units, tmp_path, HERE)

    run_units(units, tmp_path, HERE, again)
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"):
        run_units(units, tmp_path / "file", HERE)
    assert run_units([], tmp_path / "none", HERE) == []


def test_what_is_asked_for_wrongly(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="unit empty: wrote nothing"):
        run_units([make_unit("empty", write_nothing)], tmp_path, HERE)
    for wrong in ({"executor": "slurm"}, {"jobs": 0}, {"address": "tcp://127.0.0.1:1"}):
        with pytest.raises(SettingError, match=f"workers.{next(iter(wrong))}="):
            Workers(**wrong)  # type: ignore[arg-type]
    with pytest.raises(SettingError, match=r"workers.jobs=2: expected none with an address"):
        Workers("dask", 2, "tcp://127.0.0.1:1")


def test_the_example_of_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the work done here instead of on a cluster."""
    monkeypatch.chdir(tmp_path)
    days = [tmp_path / name for name in ("monday.txt", "tuesday.txt")]
    for day in days:
        day.write_text(day.stem)
    names = {"my_module": SimpleNamespace(backtest_day=write_day), "days": days, "fees": (0, 5), "Fees": int}
    (code,) = blocks("docs/clusters.md", "python")
    exec(code.replace('Workers("dask", address="127.0.0.1:8786")', 'Workers("serial")'), names)
    results = names["results"]
    assert [result.name for result in results] == ["monday 0", "monday 5", "tuesday 0", "tuesday 5"]
    assert (results[3].folder / "day.txt").read_text() == "tuesday 5"
