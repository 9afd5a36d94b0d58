"""Which rows each update of an epoch sees: a pure function of the stream lengths and a seed.

Nothing here is state, so a resumed run finds its place by recomputing the plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from nanoarb_jax.dataset import Stream
from nanoarb_jax.errors import DataError


class Plan(NamedTuple):
    """One epoch: for each update and each lane, a run of consecutive rows. All arrays are (updates, lanes)."""

    stream: np.ndarray  # int, index of the stream
    start: np.ndarray  # int, first row of the chunk
    mirrored: np.ndarray  # bool, bid and ask swapped, labels flipped
    age: np.ndarray  # int, ticks since the lane's state started anew; 0: the chunk does not continue the previous one

    @property
    def fresh(self) -> np.ndarray:
        """Whether the lane's state starts anew."""
        return self.age == 0


def plan_streams(lengths: Sequence[int], chunk_length: int, lanes: int, rng: np.random.Generator) -> Plan:
    """Lay all chunks of all streams end to end, in a random order of streams, and cut that line into lanes.

    Args:
        lengths: training rows of each stream.
        chunk_length: ticks per chunk.
        lanes: parallel streams per update; fewer where there are fewer chunks, or where fewer leave less out.
        rng: draws the order, where in its leftover rows a stream starts, and which runs are mirrored.
    """
    runs = []
    for stream in rng.permutation(len(lengths)):
        chunks = lengths[stream] // chunk_length
        offset = rng.integers(lengths[stream] - chunks * chunk_length + 1)
        runs.append(np.stack([np.full(chunks, stream), offset + chunk_length * np.arange(chunks)]))
    line = np.concatenate(runs, axis=1)  # (2, chunks)
    updates, lanes = _shape(line.shape[1], lanes)
    # lane i works through the i-th part of the line, one chunk an update
    stream, start = line[:, : updates * lanes].reshape(2, lanes, updates).swapaxes(1, 2)
    goes_on = (stream[1:] == stream[:-1]) & (start[1:] == start[:-1] + chunk_length)
    mirrored, age = rng.random(stream.shape) < 0.5, np.zeros_like(stream)
    for update in range(1, updates):  # a run keeps the side it began with
        on, before = goes_on[update - 1], update - 1
        mirrored[update] = np.where(on, mirrored[before], mirrored[update])
        age[update] = np.where(on, age[before] + chunk_length, 0)
    return Plan(stream, start, mirrored, age)


def _shape(chunks: int, lanes: int) -> tuple[int, int]:
    """Updates and lanes that leave the fewest chunks out: 54 chunks in 32 lanes are one update, in 27 they are two."""
    lanes = min(lanes, chunks)
    updates = chunks // lanes
    return max((updates, lanes), (updates + 1, chunks // (updates + 1)), key=lambda shape: shape[0] * shape[1])


def plan_windows(lengths: Sequence[int], window: int, batch: int, rng: np.random.Generator) -> Plan:
    """Every window of every stream once, in random order; what does not fill a last batch is left out."""
    counts = [max(length - window + 1, 0) for length in lengths]
    stream = np.repeat(np.arange(len(lengths)), counts)
    start = np.concatenate([np.arange(count) for count in counts])
    batch = min(batch, len(start))
    order = rng.permutation(len(start))[: len(start) // batch * batch].reshape(-1, batch)
    return Plan(stream[order], start[order], rng.random(order.shape) < 0.5, np.zeros_like(order))


def training_lengths(streams: Sequence[Stream], ticks: int, setting: str, burn_in: int = 0) -> list[int]:
    """Training rows per stream.

    Raises:
        DataError: no streams, or one whose training part is shorter than one chunk or window, or all burn-in.
    """
    if not streams:
        raise DataError("no streams to train on; give at least one")
    lengths = [stream.train[1] - stream.train[0] for stream in streams]
    for stream, length in zip(streams, lengths, strict=True):
        if length < ticks:
            raise DataError(
                f"stream {stream.name!r}: {length} training rows, {setting}={ticks} needs at least as many; "
                "shorten it or leave the stream out"
            )
        if length <= burn_in:
            raise DataError(
                f"stream {stream.name!r}: {length} training rows, burn_in={burn_in} leaves none that counts; shorten it "
                "or leave the stream out"
            )
    return lengths
