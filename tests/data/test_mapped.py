"""More streams than files may be open; and what is said where none can be opened."""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import resource
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from nanoarb_jax.artifacts.checkpoint import load_checkpoint
from nanoarb_jax.config import DataConfig
from nanoarb_jax.data import mapped
from nanoarb_jax.data.dataset import open_dataset
from nanoarb_jax.data.labelling import Block
from nanoarb_jax.data.prepare import prepare
from nanoarb_jax.data.stored import MANIFEST
from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import DataError, DeviceError
from nanoarb_jax.readers.book_npz import write_book_npz
from nanoarb_jax.simulation.market import synthetic_books

NANO = Path(__file__).parents[2] / "checkpoints" / "nano"


@contextlib.contextmanager
def open_files(most: int) -> Iterator[None]:
    """No more open files than that."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of one stream, and its feed."""
    folder = tmp_path_factory.mktemp("mapped")
    write_book_npz(folder / "one.npz", synthetic_books(1_400, seed=0))
    prepare([folder / "one.npz"], folder / "dataset", DataConfig())
    return folder


def many(folder: Path, streams: int) -> None:
    """List the stream of a dataset so often, each time under another name."""
    manifest = json.loads((folder / "dataset" / MANIFEST).read_text())
    manifest["streams"] = [manifest["streams"][0] | {"name": f"s{i}"} for i in range(streams)]
    (folder / "dataset" / MANIFEST).write_text(json.dumps(manifest))


def test_1100_streams_open_under_1024_files(folder: Path) -> None:
    many(folder, 1_100)
    with open_files(min(1_024, resource.getrlimit(resource.RLIMIT_NOFILE)[1])):
        dataset = open_dataset(folder / "dataset")
        held = [stream.features for stream in dataset.streams[:200]]  # arrays in use stay valid
        assert len({float(stream.mid[-1]) for stream in dataset.streams}) == 1
        assert sum(len(stream.labels) for stream in dataset.streams) == dataset.rows == 1_100 * 1_400
        assert len(mapped._mapped) <= mapped.MOST_MAPPED
    np.testing.assert_array_equal(held[0], held[-1])
    del dataset
    assert not mapped._mapped  # nothing stays open for a dataset that is gone


def test_a_mapped_stream_is_a_stream(folder: Path) -> None:
    """Replaced fields hold, others are mapped still; a file that was changed meanwhile is refused."""
    prepare([folder / "one.npz"], folder / "again", DataConfig())
    (stream,) = open_dataset(folder / "again").streams
    changed = stream._replace(name="other", labels=np.zeros((1_400, 3), np.int8))
    assert (changed.name, changed.rows, changed.labels.sum()) == ("other", 1_400, 0)
    for name in Block._fields:
        if name != "labels":
            np.testing.assert_array_equal(getattr(changed, name), getattr(stream, name))
    assert stream.sessions(0, 1_400) == [(0, 1_400)]
    mapped._mapped.clear()
    path = folder / "again" / "one.npy"
    path.write_bytes(path.read_bytes()[:-1] + b"x")
    with pytest.raises(DataError, match=r"one\.npy: changed while it was in use; open it again$"):
        _ = stream.mid


@pytest.mark.parametrize("what", ["dataset", "one.npz", "checkpoint"])
def test_no_file_can_be_opened(folder: Path, what: str) -> None:
    acts: dict[str, Callable[[], object]] = {"checkpoint": lambda: load_checkpoint(NANO)}
    act = acts.get(what, lambda: open_dataset(folder / what))
    act()  # imports what it needs
    taken: list[int] = []
    with open_files(400):
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(os.open(os.devnull, os.O_RDONLY))
            with pytest.raises(DeviceError, match=r"^too many open files: .* 400 at a time; .* \(ulimit -n\)$"):
                act()
        finally:
            for number in taken:
                os.close(number)
    act()


def test_a_stream_is_sent_as_the_place_of_its_file(folder: Path, tmp_path: Path) -> None:
    """Another process maps the file, if it is still the same, under a number of its own."""
    (tmp_path / "one.npz").write_bytes((folder / "one.npz").read_bytes())
    stream = prepare([tmp_path / "one.npz"], tmp_path / "dataset", DataConfig()).streams[0]
    sent = pickle.dumps(stream)
    first, second = pickle.loads(sent), pickle.loads(sent)
    assert len(sent) < 2_000 and first.features.nbytes > 100_000 and type(first) is type(stream)
    for name in Block._fields:
        np.testing.assert_array_equal(getattr(first, name), getattr(stream, name))
    held = [dict(zip(Stream._fields, one, strict=True))["mid"] for one in (first, second)]
    assert held[0].rows._number != held[1].rows._number
    (tmp_path / "dataset" / "one.npy").write_bytes(b"another")
    with pytest.raises(DataError, match="changed while it was in use"):
        pickle.loads(sent)
    (tmp_path / "dataset" / "one.npy").unlink()
    with pytest.raises(DataError, match="workers must see the same files"):
        pickle.loads(sent)
