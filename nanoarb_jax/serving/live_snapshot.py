"""The state of a live predictor as bytes: a numpy archive with a checksum, nothing pickled."""

from __future__ import annotations

import hashlib
import io

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.errors import DataError

FORMAT = 3


def write_snapshot(state: NDArray[np.uint8], version: str, settings: str) -> bytes:
    """The bytes of a state.

    Args:
        state: (bytes,) uint8, see `nanoarb_jax.features.live_state`.
        version: of the weights.
        settings: what must be the same where it is read.
    """
    buffer, checksum = io.BytesIO(), hashlib.sha256(state.tobytes()).hexdigest()
    np.savez_compressed(buffer, format=FORMAT, weights=version, input=settings, state=state, checksum=checksum)
    return buffer.getvalue()


def read_snapshot(blob: bytes, version: str, settings: str) -> NDArray[np.uint8]:
    """The state in the bytes that `write_snapshot` gave for the same version and settings.

    Raises:
        DataError: damaged, or written for others.
    """
    names = ("format", "weights", "input", "checksum")
    try:
        with np.load(io.BytesIO(blob), allow_pickle=False) as file:
            met = [str(file[name]) for name in names]
            state = np.ascontiguousarray(file["state"], np.uint8)
    except Exception as error:  # numpy and zipfile raise many kinds on bytes that are not, or no longer, an archive
        raise DataError("snapshot: damaged; give the bytes that snapshot() returned") from error
    expected = [str(FORMAT), version, settings, hashlib.sha256(state.tobytes()).hexdigest()]
    for name, one, wanted in zip(names, met, expected, strict=True):
        if one != wanted:
            raise DataError(f"snapshot: {name} {one}; expected {wanted}; load the model it was taken from")
    return state
