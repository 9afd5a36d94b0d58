"""Datasets: labelled streams prepared once on disk (`stored.py`), or made in memory from market data."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

from nanoarb_jax.config import DataConfig, InputSpec, ModelConfig
from nanoarb_jax.data.declaration import Instruments, instrument_of
from nanoarb_jax.data.stored import file_entry, is_dataset, open_stored
from nanoarb_jax.data.streams import Stream, make_stream
from nanoarb_jax.data.ticks import read_books
from nanoarb_jax.errors import DataError
from nanoarb_jax.readers.sources import find_sources


@dataclass(frozen=True)
class Dataset:
    """Streams made with one `DataConfig`, and the files they came from as {"name", "sha256"}."""

    streams: tuple[Stream, ...]
    config: DataConfig
    sources: list[dict[str, str]]

    @property
    def horizons(self) -> tuple[int, ...]:
        return self.config.horizons

    @property
    def rows(self) -> int:
        return sum(stream.rows for stream in self.streams)


def open_dataset(
    path: str | Path,
    config: DataConfig | None = None,
    *,
    verify: bool = False,
    instruments: Instruments | None = None,
) -> Dataset:
    """Open a prepared dataset, memory-mapped, or make streams of market data in memory.

    Args:
        path: a prepared folder, a folder of market data, or one file of it, in any format of `readers.sources`.
        config: for market data, how to make streams of it (None: the defaults); for a prepared folder, None takes the
            settings it was made with, anything else must equal them.
        verify: also compare the sha256 of every stream file with the manifest, and look for features that are not
            finite, which reads all of it. Without, only the manifest and the columns that the splits need are read.
        instruments: of the series, see `declaration.instrument_of`; None: as declared when the dataset was prepared.

    Raises:
        DataError: nothing usable there, an altered or truncated file, another schema, other settings, or features
            that are NaN or infinite.
    """
    path = Path(path)
    if is_dataset(path):
        prepared = Dataset(*open_stored(path, config, verify))
        return prepared if instruments is None else _declare(prepared, instruments)
    config = config or DataConfig()
    sources = find_sources([path])
    files = [[file_entry(file) for file in source.files] for source in sources]
    streams = tuple(
        make_stream(read_books(source, config)[0], config, instruments, [file["sha256"] for file in entries])
        for source, entries in zip(sources, files, strict=True)
    )
    return Dataset(streams, config, [file for entries in files for file in entries])


def _declare(dataset: Dataset, instruments: Instruments) -> Dataset:
    """The dataset with its series' instruments as they are declared now."""
    declared = [(stream, instrument_of(stream.name, instruments)) for stream in dataset.streams]
    streams = [stream._replace(instrument=one.instrument, instrument_declared=one.declared) for stream, one in declared]
    return dataclasses.replace(dataset, streams=tuple(streams))


def check_fit(dataset: Dataset, model: ModelConfig) -> None:
    """Check that the dataset has the features and horizons of a model.

    Raises:
        DataError: the dataset's horizons or feature count are not the model's.
    """
    if tuple(dataset.horizons) != model.horizons:
        raise DataError(
            f"labels at horizons {tuple(dataset.horizons)}, the model predicts {model.horizons}; "
            "prepare the data with the model's horizons"
        )
    for stream in dataset.streams:
        if stream.features.shape[1] != model.input_dim:
            raise DataError(
                f"stream {stream.name!r}: {stream.features.shape[1]} features per tick, "
                f"the model expects {model.input_dim}; prepare the data anew"
            )


def check_input(dataset: Dataset, spec: InputSpec) -> None:
    """Check that the ticks of a dataset were made as a model reads them.

    Raises:
        DataError: another clock, time stamps, session gap or feature set.
    """
    made, names = dataset.config.input, [field.name for field in dataclasses.fields(InputSpec)]
    unused = {"clock_interval_ms"} if spec.clock != "time" else set()
    unused |= {"clock_levels"} if spec.clock != "book" else set()
    unlike = [name for name in names if getattr(made, name) != getattr(spec, name) and name not in unused]
    if unlike:
        met, wanted = (getattr(one, unlike[0]) for one in (made, spec))
        raise DataError(
            f"dataset: prepared with {unlike[0]}={met!r}, the model reads {wanted!r}; prepare the data anew with "
            f"--{unlike[0].replace('_', '-')} {wanted}"
        )
