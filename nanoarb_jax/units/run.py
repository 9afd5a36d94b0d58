"""Units of work whose results are kept: named by what they are made of, skipped when present, made again if damaged.

    units = [make_unit(f"{day.stem} {fee}", backtest_day, day, Costs(fee)) for day in days for fee in fees]
    results = run_units(units, Path("runs/sweep"), Workers("dask", address="tcp://127.0.0.1:8786"))

`backtest_day(folder, day, costs)` is a function of a module; it writes what it finds into the folder. See
docs/clusters.md.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from filelock import FileLock, Timeout

from nanoarb_jax.errors import ConfigError, DataError, DeviceError, NanoarbError, OutputError
from nanoarb_jax.files import first_line, sha256
from nanoarb_jax.progress import Note, silent
from nanoarb_jax.units.kept import MANIFEST, keep_result, remove_parts, remove_result, what_is_wrong
from nanoarb_jax.units.key import unit_key
from nanoarb_jax.units.pools import finished
from nanoarb_jax.units.tasks import Task
from nanoarb_jax.units.workers import Workers

MOST_NAMED = 10  # failed units in one error


class Unit(NamedTuple):
    """One piece of work.

    Attributes:
        name: for people.
        key: of everything that its result depends on, see `unit_key`.
        work: a function that a module defines at its top, called with a new folder to fill with files, and the
            arguments. The same arguments must give the same bytes: no times of day, no random numbers without a seed.
        arguments: plain values, settings and paths.
    """

    name: str
    key: str
    work: Callable[..., None]
    arguments: tuple[Any, ...] = ()


class Result(NamedTuple):
    """What became of a unit.

    Attributes:
        name: of the unit.
        folder: of its files and their manifest.
        state: it was there, it was made, or it was made again since what was there was damaged.
    """

    name: str
    folder: Path
    state: Literal["kept", "made", "made again"]


def make_unit(name: str, work: Callable[..., None], *arguments: Any) -> Unit:
    """A unit whose key holds its work and all of its arguments, files by their content; see `unit_key`.

    Raises:
        ConfigError: an argument of which nobody knows when it changes, or a function made inside another.
        DataError: a file or folder among the arguments that is missing.
    """
    return Unit(name, unit_key([work, arguments]), work, arguments)


def run_units(
    units: Sequence[Unit],
    output: str | Path,
    workers: Workers = Workers(),  # noqa: B008
    note: Note = silent,
) -> list[Result]:
    """Have the result of every unit in `output/KEY`: those that are there are kept, the others are made.

    Results are the same, byte for byte, whoever makes them, in whatever order, and however often a worker dies on the
    way. A unit that fails does not stop the others; run it again and only what failed is made.

    Args:
        units: of any number; those of one key are one.
        output: folder of the results, which all workers must see; made where it is missing.
        workers: who makes them.
        note: told how far it is, and which results were damaged.

    Returns:
        what became of each, in the order of the units.

    Raises:
        OutputError: another run is at work in `output`, or it cannot be written.
        DataError: units failed; it says which and why. The others are kept.
        RuntimeError: they failed for a reason that is no fault of the user's.
        ConfigError: see `finished`.
    """
    output = Path(output).absolute()
    wanted = {unit.key: unit for unit in reversed(units)}
    with _alone_in(output, set(wanted)):
        states: dict[str, Literal["kept", "made", "made again"]] = {}
        for key, unit in wanted.items():
            states[key] = _look(unit, output, note)
        missing = [unit for key, unit in wanted.items() if states[key] != "kept"][::-1]
        failed = _make(missing, output, workers, note, len(wanted))
        if failed:
            raise _failure(failed, len(wanted), output)
    return [Result(unit.name, output / unit.key, states[unit.key]) for unit in units]


@contextlib.contextmanager
def _alone_in(output: Path, keys: set[str]) -> Iterator[None]:
    """Keep a second run out of the folder, and unfinished results of these keys, before and after."""
    lock = FileLock(output / ".lock", blocking=False)
    try:
        output.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except Timeout:
        raise OutputError(f"{output}: another run is at work there; wait for it, or give another folder") from None
    except OSError as error:
        raise OutputError(f"{output}: cannot be written ({error.strerror}); give another folder") from error
    try:
        remove_parts(output, keys)
        yield
    finally:
        remove_parts(output, keys)
        lock.release()


def _look(unit: Unit, output: Path, note: Note) -> Literal["kept", "made", "made again"]:
    """Whether a unit's result is there; a damaged one is removed."""
    folder = output / unit.key
    if not folder.exists():
        return "made"
    why = what_is_wrong(folder, unit.key)
    if why is None:
        return "kept"
    note(f"{unit.name}: the result in {folder} is damaged ({why}); made again")
    remove_result(folder)
    return "made again"


def _make(units: list[Unit], output: Path, workers: Workers, note: Note, total: int) -> list[tuple[str, Exception]]:
    """Make results; returns names and errors of units that failed, in their order."""
    kept, made = total - len(units), 0
    failed: dict[int, Exception] = {}
    tasks = [Task(unit.name, keep_result, (output, unit.name, unit.key, unit.work, unit.arguments)) for unit in units]
    note(f"{kept} of {total} units are there already")
    if not tasks:
        return []
    with contextlib.closing(finished(tasks, workers)) as through:
        for number, manifest, error in through:
            unit = units[number]
            error = error or _not_here(output / unit.key, manifest)
            if error is None:
                made += 1
                note(f"{kept + made}/{total} units: {unit.name}")
            else:
                failed[number] = error
                note(f"{unit.name} failed: {first_line(error)}")
    return [(units[number].name, failed[number]) for number in sorted(failed)]


def _not_here(folder: Path, manifest: str) -> DeviceError | None:
    """What to say if a worker wrote a result that is not seen here."""
    with contextlib.suppress(OSError):
        if sha256(folder / MANIFEST) == manifest:
            return None
    return DeviceError(f"the worker's result is not in {folder}; workers must see the same files as who asks for work")


def _failure(failed: list[tuple[str, Exception]], total: int, output: Path) -> Exception:
    """One error for all units that failed."""
    said = [f"{name}: {first_line(error).removeprefix(f'{name}: ')}" for name, error in failed]
    more = "" if len(said) <= MOST_NAMED else f"; and {len(said) - MOST_NAMED} more"
    text = (
        f"{len(failed)} of {total} units failed; the others are kept in {output}, and a second run makes only what is "
        f"missing. {'; '.join(said[:MOST_NAMED])}{more}"
    )
    bugs = [error for _, error in failed if not isinstance(error, NanoarbError)]
    if not bugs:
        kinds = {type(error) for _, error in failed}
        return ConfigError(text) if kinds == {ConfigError} else DataError(text)
    other = RuntimeError(text)
    other.__cause__ = bugs[0]
    return other
