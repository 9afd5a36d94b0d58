"""Which rows each update of an epoch sees: a pure function of the stream lengths and a seed.

A resumed run makes the same plan again and goes on where it was stopped.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import ConfigError, DataError, SettingError, ShortSeriesError


class EpochPlan(NamedTuple):
    """One epoch: a chunk of consecutive rows for each update and each lane. All arrays are (updates, lanes)."""

    stream: np.ndarray  # int, index of the stream
    start: np.ndarray  # int, first row of the chunk
    mirrored: np.ndarray  # bool, bid and ask swapped, labels flipped
    age: np.ndarray  # int, ticks since the lane's state started anew; 0: the chunk does not continue the previous one


def plan_streams(
    lengths: Sequence[int],
    chunk_length: int,
    lanes: int,
    rng: np.random.Generator,
    *,
    instruments: Sequence[str] | None = None,
    power: float = 0.0,
    multiple: int = 1,
) -> EpochPlan:
    """Lay chunks of all streams end to end, in a random order of streams, and cut that line into lanes.

    Args:
        lengths: training rows of each stream.
        chunk_length: ticks per chunk.
        lanes: parallel streams per update; fewer if there are fewer chunks, or if fewer lanes leave fewer chunks out.
        rng: draws the order, how many rows a stream leaves out at its start rather than at its end, and which runs of
            chunks are mirrored.
        instruments: of each stream. Every instrument then gets its share of an epoch, see `quotas`: of a long stream
            some chunks are left out, those of a short one are repeated. None: every chunk once.
        power: of an instrument's rows, which its share is proportional to.
        multiple: lanes are rounded down to a multiple of this.

    Raises:
        ConfigError: fewer lanes than `multiple`.
    """
    chunks = [length // chunk_length for length in lengths]
    runs = []  # (stream, number of its chunks that follow each other)
    for stream, quota in enumerate(quotas(chunks, instruments, rng, power)):
        whole, rest = divmod(int(quota), chunks[stream])
        runs += [(stream, chunks[stream])] * whole + [(stream, rest)] * (rest > 0)
    parts = []
    for stream, count in (runs[i] for i in rng.permutation(len(runs))):
        offset = rng.integers(lengths[stream] - count * chunk_length + 1)
        parts.append(np.stack([np.full(count, stream), offset + chunk_length * np.arange(count)]))
    line = np.concatenate(parts, axis=1)  # (2, chunks)
    updates, lanes = _shape(line.shape[1], lanes, multiple)
    # lane i works through the i-th part of the line, one chunk an update
    stream, start = line[:, : updates * lanes].reshape(2, lanes, updates).swapaxes(1, 2)
    goes_on = (stream[1:] == stream[:-1]) & (start[1:] == start[:-1] + chunk_length)
    mirrored, age = rng.random(stream.shape) < 0.5, np.zeros_like(stream)
    for update in range(1, updates):  # all chunks of a run are mirrored, or none
        on, before = goes_on[update - 1], update - 1
        mirrored[update] = np.where(on, mirrored[before], mirrored[update])
        age[update] = np.where(on, age[before] + chunk_length, 0)
    return EpochPlan(stream, start, mirrored, age)


def plan_windows(
    lengths: Sequence[int],
    window: int,
    batch: int,
    rng: np.random.Generator,
    *,
    instruments: Sequence[str] | None = None,
    power: float = 0.0,
    multiple: int = 1,
) -> EpochPlan:
    """Put the windows of all streams in random order, each once; those that do not fill a last batch are left out.

    With `instruments` there are as many windows of each stream as `quotas` says, some left out or repeated. Other
    arguments and errors are those of `plan_streams`.
    """
    counts = [length - window + 1 for length in lengths]
    found = []
    for count, quota in zip(counts, quotas(counts, instruments, rng, power), strict=True):
        whole, rest = divmod(int(quota), count)
        some = rng.choice(count, rest, replace=False) if rest else np.arange(0)
        found.append(np.concatenate([np.tile(np.arange(count), whole), some]))
    stream, start = np.repeat(np.arange(len(lengths)), [len(part) for part in found]), np.concatenate(found)
    batch = _rounded(batch, len(start), multiple)
    order = rng.permutation(len(start))[: len(start) // batch * batch].reshape(-1, batch)
    return EpochPlan(stream[order], start[order], rng.random(order.shape) < 0.5, np.zeros_like(order))


def quotas(
    counts: Sequence[int], instruments: Sequence[str] | None, rng: np.random.Generator, power: float = 0.0
) -> np.ndarray:
    """How many chunks or windows of each stream an epoch sees; their sum is that of `counts`.

    Args:
        counts: chunks or windows that each stream has.
        instruments: of each stream. The streams of one instrument share its part of the epoch in proportion to their
            `counts`. None: every stream gets its own count.
        rng: rounds up or down at random, so that the shares are exact on average over epochs.
        power: an instrument's share is proportional to the sum of its counts to this power: 0 gives all instruments
            the same share, 0.5 one by the square root.

    >>> from nanoarb_jax.training.plan import quotas
    >>> quotas([30, 10, 2], ["ES", "ES", "BTC"], np.random.default_rng(0)).tolist()
    [16, 5, 21]
    >>> quotas([30, 6, 4], ["ES", "ES", "BTC"], np.random.default_rng(0), power=0.5).tolist()
    [25, 5, 10]
    """
    if instruments is None:
        return np.array(counts)
    together = dict.fromkeys(instruments, 0)
    for instrument, count in zip(instruments, counts, strict=True):
        together[instrument] += count
    parts = [count * together[name] ** (power - 1) for name, count in zip(instruments, counts, strict=True)]
    edges = np.cumsum([0.0, *parts]) * (sum(counts) / sum(parts))
    edges[-1] = sum(counts)  # exactly: every epoch has as many updates
    return np.diff(np.floor(edges + rng.random())).astype(int)


def _shape(chunks: int, lanes: int, multiple: int) -> tuple[int, int]:
    """Choose the numbers of updates and lanes (at most `lanes`) so that fewer chunks are left out.

    54 chunks fill 32 lanes once and leave 22 out; 27 lanes are filled twice, and none is left out.
    """
    lanes = _rounded(lanes, chunks, multiple)
    updates = chunks // lanes
    fewer = chunks // (updates + 1) // multiple * multiple
    return max((updates, lanes), (updates + 1, fewer), key=lambda shape: shape[0] * shape[1])


def _rounded(lanes: int, available: int, multiple: int) -> int:
    """As many lanes as there are chunks or windows for, rounded down to a multiple."""
    least = f"at least train.devices × train.accumulate = {multiple}"
    if lanes < multiple:
        raise SettingError("train.batch_size", lanes, f"{least}; raise it or lower these")
    if available < multiple:
        raise ConfigError(f"{available} chunks or windows in an epoch: expected {least}; lower these or give more data")
    return min(lanes, available) // multiple * multiple


class TrainingSession(NamedTuple):
    """Consecutive training rows of one session: chunks and windows lie within one."""

    stream: int  # index of the stream
    first: int  # row, from the first training row of the stream on
    rows: int


def training_sessions(
    streams: Sequence[Stream], ticks: int, setting: str, burn_in: int = 0
) -> tuple[TrainingSession, ...]:
    """The sessions of all training parts that are long enough to train on.

    Args:
        streams: to train on.
        ticks: of a chunk or window.
        setting: that gave `ticks`, for the error: "train.chunk_length".
        burn_in: ticks of a stream that do not count in the loss.

    Raises:
        DataError: no streams.
        ShortSeriesError: one of whose training sessions none is as long as one chunk or window, or longer than the
            burn-in.
    """
    if not streams:
        raise DataError("no streams to train on; give at least one")
    found = []
    for number, stream in enumerate(streams):
        parts = stream.sessions(*stream.train)
        found += [
            TrainingSession(number, start - stream.train[0], stop - start)
            for start, stop in parts
            if stop - start >= ticks and stop - start > burn_in
        ]
        if not (found and found[-1].stream == number):
            _refuse_short(stream, max(stop - start for start, stop in parts), ticks, setting, burn_in)
    return tuple(found)


def _refuse_short(stream: Stream, longest: int, ticks: int, setting: str, burn_in: int) -> None:
    """Say why none of a stream's training sessions, the longest of so many rows, is long enough."""
    rows = stream.train[1] - stream.train[0]
    met = f"{rows} training rows" if longest == rows else f"{longest} training rows in its longest session"
    wanted = f"train.burn_in={burn_in} leaves none that counts"
    if longest < ticks:
        wanted = f"{setting}={ticks} needs at least as many"
    raise ShortSeriesError(f"stream {stream.name!r}: {met}, {wanted}; shorten it or leave the stream out")
