"""Is every handed case right, and what is read of every file of the data folder?

    python benchmarks/market_checks.py --cases ../shared/cases --data ../shared/data

Each case is read as a user would read it and compared with what its expected.txt says, with its true prices where there
are some. Of the data folder every source is read from end to end. Exit code 1 where a case is wrong or a file fails.
"""

from __future__ import annotations

import json
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import numpy as np
import typer

from nanoarb_jax.config import DataConfig
from nanoarb_jax.data.report import ReadReport, lost_messages
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.market.series import EMPTY_PRICE, BookSeries
from nanoarb_jax.readers.feed import ReadOptions
from nanoarb_jax.readers.sources import find_sources

MS = 10**6


class Read(NamedTuple):
    books: BookSeries
    report: ReadReport


def read(path: Path, policy: dict[str, Any] | None = None, clock: str = "local", **options: Any) -> Read:
    """All ticks of the one source in a path."""
    given = ReadOptions(**options)
    (source,) = find_sources([path], given.symbol)
    return Read(*read_books(source, DataConfig(timestamps=clock), given, policy))  # type: ignore[arg-type]


def refused(path: Path, *words: str, **options: Any) -> str:
    """The error of reading a path, which must hold these words."""
    try:
        found = read(path, **options)
    except DataError as error:
        missing = [word for word in words if word not in str(error)]
        assert not missing, f"refused, but without a word on {missing}: {error}"
        return f"refused: {error}"
    raise AssertionError(f"read in silence, {found.books.rows} ticks")


def best(books: BookSeries) -> np.ndarray:
    """(n, 2) best bid and ask."""
    return np.stack([books.bid_px[:, 0], books.ask_px[:, 0]], axis=1) / books.px_scale


def as_true(found: Read, truth: Path, least: float = 1.0) -> str:
    """Best prices against those of a truth.json at the latest time before each tick."""
    rows = np.array(json.loads(truth.read_text()))
    at = np.searchsorted(rows[:, 0] * MS, found.books.ts_ns, side="right") - 1
    known = at >= 0
    same = (np.abs(rows[at[known], 1:] - best(found.books)[known]) < 1e-6).all(axis=1)
    assert same.mean() >= least, f"best prices right at {same.sum()} of {len(same)} ticks"
    return f"best prices right at {same.sum():,} of {len(same):,} ticks{notes(found)}"


def levels_of(px: np.ndarray, scale: float) -> list[float]:
    return [round(p / scale, 9) for p in px.tolist() if p != EMPTY_PRICE]


def as_true_books(found: Read, truth: Path, sides: int) -> str:
    """The prices of whole books, each of which, but a snapshot's, must be among the true ones, in order."""
    true = json.loads(truth.read_text())
    books, at = found.books, 0
    for row in range(1, books.rows):
        bids, asks = (levels_of(px[row], books.px_scale) for px, _ in books.sides)
        seen = bids if sides == 1 else [bids, asks]
        while at < len(true) and true[at] != seen:
            at += 1
        assert at < len(true), f"book {row} is {seen}, none of the true ones"
    return f"all levels of {books.rows:,} books right{notes(found)}"


def notes(found: Read) -> str:
    said = [*found.report.notes, *(f"{n:,} × {why}" for why, n in found.report.dropped.items() if n)]
    said += [f"{n:,} × {why}" for why, n in found.report.anomalies.items() if n]
    return f" ({'; '.join(said)})" if said else ""


def same_books(path: Path, control: Path) -> str:
    found, right = read(path), read(control)
    assert np.array_equal(best(found.books), best(right.books)), "other books than b00_control"
    assert np.array_equal(found.books.ts_ns, right.books.ts_ns), "other times than b00_control"
    return f"the books of b00_control{notes(found)}"


def in_2025(found: Read) -> str:
    years = np.unique(found.books.ts_ns.astype("datetime64[ns]").astype("datetime64[Y]")).astype(str)
    assert years.tolist() == ["2025"], f"years {years}"
    return f"dated in 2025, {found.books.rows:,} ticks{notes(found)}"


def only_near(path: Path, low: float, high: float, **options: Any) -> str:
    found = read(path, **options)
    prices = best(found.books)
    assert low < prices.min() and prices.max() < high, f"prices from {prices.min()} to {prices.max()}"
    return f"prices from {prices.min():g} to {prices.max():g}, {found.books.rows:,} ticks{notes(found)}"


def first(folder: Path, pattern: str) -> Path:
    return next(folder.glob(pattern))


def hftbacktest_variants(folder: Path) -> str:
    ok = read(folder / "ok.npz", {"incomplete": "keep"})
    told = []
    for name, unit in {"us": "µs", "ms": "ms", "s": "s"}.items():
        try:
            found = read(folder / f"{name}.npz", {"incomplete": "keep"})
        except DataError as error:
            told.append(f"{name} refused: {error}")
            continue
        in_2025(found)
        assert any(f"times are in {unit}" in note for note in found.report.notes), f"nothing said: {found.report.notes}"
        # times in seconds make one message of all events of a second
        assert name == "s" or np.array_equal(best(found.books), best(ok.books)), f"{name}.npz has other books"
        told.append(f"{name} read, and said")
    fresh = read(folder / "snapshots_no_clear.npz", {"incomplete": "keep"})
    deep = [len(levels_of(px, fresh.books.px_scale)) for px in fresh.books.bid_px]
    return f"{'; '.join(told)}; snapshots without clear: {min(deep)} to {max(deep)} levels{notes(fresh)}"


def counted_gap(path: Path) -> str:
    found = read(path)
    assert found.report.anomalies["gap"] == 100, f"gap counted {found.report.anomalies['gap']} times"
    return f"100 gaps counted{notes(found)}; with --policy gap=raise {refused(path, 'gap', policy={'gap': 'raise'})}"


def negative(path: Path) -> str:
    found = read(path)
    prices = best(found.books)
    assert prices.min() < 0, f"prices from {prices.min()}"
    return f"prices from {prices.min():g} to {prices.max():g}{notes(found)}"


CASES: dict[str, Callable[[Path], str]] = {
    "b00_control": lambda d: as_true(read(d), d / "truth.json"),
    "b02b_usdm_depth5_quiet": lambda d: as_true_books(read(d), d / "truth.json", 2),
    "b04_spot_depth20_two_symbols": lambda d: (
        f"{refused(d, '--symbol')}; with it {only_near(d, 59_000, 61_000, symbol='BTCUSDT')}"
    ),
    "b05_spot_microseconds": lambda d: in_2025(read(d, clock="exchange")),
    "b06_local_us": lambda d: in_2025(read(d)),
    "b08_usdm_array_stream": lambda d: same_books(d, d.parent / "b00_control"),
    "b10_json_dumps_spaces": lambda d: same_books(d, d.parent / "b00_control"),
    "b15_missing_zero_update": lambda d: as_true(read(d), d / "truth.json", 0.99),
    "b18_tick_size_gets_finer": lambda d: refused(d, "--tick-size", "0.01"),
    "b25_spot_diff_and_depth5": lambda d: as_true_books(read(d), d / "truth.json", 1),
    "b27_hourly_rotation": lambda d: as_true(read(d), d.parent / "b00_control" / "truth.json"),
    "c01b_dbn_number_reused": lambda d: only_near(d, 15, 25, symbol="ZZZT"),
    "c03_dbn_calendar_spread_negative": lambda d: negative(d),
    "c03b_dbn_negative_only": lambda d: negative(d),
    "c04_mbp10_maybe_bad_book": counted_gap,
    "c05_databento_batch_folder": lambda d: f"{read(d).books.rows:,} ticks",
    "c07_mbo_starts_midday": lambda d: refused(d, "begins without a snapshot", "--snapshot"),
    "d01_trades_csv": lambda d: refused(d, "trades"),
    "d02b_table_two_symbols_books": lambda d: (
        f"{refused(d, '--symbol')}; with it {only_near(d, 3_000, 4_000, symbol='ETHUSDT')}"
    ),
    "d03_mbo_table_action_column": lambda d: only_near(d, 150, 200, policy={"incomplete": "keep"}),
    "d06_newest_first": lambda d: (
        f"{refused(d, '--sort')}; with it times run forwards, {read(d, sort=True).books.rows:,} ticks"
    ),
    "d07b_snapshots_only": lambda d: as_true_books(read(d), d / "truth.json", 2),
    "d10_tardis_renamed": lambda d: as_true(read(d, clock="exchange"), d / "truth.json"),
    "d12_semicolon_tab": lambda d: (
        f"without --sort {refused(d / 'semi.csv', '--sort')}; with it "
        f"{read(d / 'semi.csv', sort=True).books.rows} and {read(d / 'tab.tsv', sort=True).books.rows} ticks"
    ),
    "e06_zip": lambda d: f"{read(first(d, '*.zip')).books.rows} ticks",
    "f01_hftbacktest_variants": hftbacktest_variants,
    "f02_hftbacktest_day_without_snapshot": lambda d: "; ".join(
        refused(d / name, "begins without a snapshot") for name in ("btcusdt_20250102.npz", "table.csv")
    ),
}


def check_cases(folder: Path) -> list[dict[str, Any]]:
    rows = []
    for name, check in CASES.items():
        began = time.perf_counter()
        try:
            told, right = check(folder / name), True
        except (AssertionError, DataError, ValueError) as error:
            told, right = f"{type(error).__name__}: {error}", False
        rows.append({"case": name, "right": right, "told": told, "seconds": round(time.perf_counter() - began, 2)})
        print(f"{'right' if right else 'WRONG'}  {name}: {told}", flush=True)
    return rows


def check_data(folder: Path) -> list[dict[str, Any]]:
    """Every folder of the tree that holds files is read as one path, as `data inspect` would."""
    rows = []
    folders = sorted({path.parent for path in folder.rglob("*") if path.is_file() and path.suffix != ".md"})
    for place in folders:
        try:
            sources = find_sources([place])
        except DataError as error:
            print(f"WRONG  {place.relative_to(folder)}: {error}", flush=True)
            rows.append({"source": str(place.relative_to(folder)), "right": False, "told": str(error)})
            continue
        for source in sources:
            name, right = f"{place.relative_to(folder)}/{source.name}", True
            try:
                account = read_books(source, DataConfig())[1].as_dict()
                lost = lost_messages(source.name, account)
                told = f"{account['format']}, {account['ticks']:,} ticks of {account['messages']:,} messages"
                told += f"; {'; '.join([*account['notes'], *([lost] if lost else [])])}"
            except DataError as error:
                told = str(error)
                right = "not one tick" in told  # what a file of four records gives
            rows.append({"source": name, "right": right, "told": told})
            print(f"{'read ' if right else 'WRONG'}  {name}: {told}", flush=True)
    return rows


def main(
    cases: Annotated[Path | None, typer.Option(help="Folder of handed cases.")] = None,
    data: Annotated[Path | None, typer.Option(help="Folder of market data.")] = None,
    json_path: Annotated[Path | None, typer.Option("--json", metavar="FILE")] = None,
) -> None:
    warnings.simplefilter("ignore")
    found = {"cases": check_cases(cases) if cases else [], "data": check_data(data) if data else []}
    wrong = [row for rows in found.values() for row in rows if not row["right"]]
    print(f"{len(found['cases'])} cases, {len(found['data'])} sources, {len(wrong)} wrong")
    if json_path:
        json_path.write_text(json.dumps(found, indent=1, ensure_ascii=False) + "\n")
    if wrong:
        raise typer.Exit(1)


if __name__ == "__main__":
    typer.run(main)
