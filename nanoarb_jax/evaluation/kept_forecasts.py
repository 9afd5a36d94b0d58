"""Forecasts of the baselines kept in files, so that the same series are not fitted again.

A file's name says of which series and baseline it is, and by a checksum of what the forecast follows from: the stream,
the horizons, the settings, scikit-learn's version, and the sources of all that is computed. Whatever of these changes,
the forecast is made anew, under another name.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import io
import json
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.data.streams import Stream
from nanoarb_jax.errors import OutputError
from nanoarb_jax.evaluation.tuned_models import Choice, Tuning
from nanoarb_jax.files import replace_file, sha256

# what forecasts are computed with; compared as text, so that any edit makes forecasts anew
_SOURCES = (
    "data/labels.py",
    "data/streams.py",
    "evaluation/baselines.py",
    "evaluation/baseline_inputs.py",
    "evaluation/flow_inputs.py",
    "evaluation/tuned_models.py",
    "features/flow.py",
    "features/lob44.py",
    "features/mirror.py",
    "features/order_flow.py",
    "features/outcomes.py",
    "model/transform.py",
)


def forecast_file(folder: Path, baseline: str, stream: Stream, horizons: Sequence[int], tuning: Tuning) -> Path:
    """Where the forecast of a stream by a baseline is kept."""
    checksum = hashlib.sha256(_version().encode())
    parts = (stream.train, stream.validation, stream.tick_size, stream.spread_scale, stream.session_gap_ns)
    checksum.update(repr((baseline, tuple(horizons), tuning, parts)).encode())
    # labels of the test part change no forecast but that of `persistence`; hashing them costs a fit at most
    for column in (stream.features, stream.labels, stream.mid, stream.spread, stream.ts_ns):
        checksum.update(repr((column.shape, column.dtype.str)).encode())
        checksum.update(np.ascontiguousarray(column).data)
    return folder / f"{stream.name}_{baseline}_{checksum.hexdigest()[:24]}.npz"


def kept_forecast(path: Path, shape: tuple[int, int, int]) -> tuple[NDArray[np.float32], list[Choice]] | None:
    """The log-probabilities and the chosen settings in a file; None where there is none, or it is damaged."""
    try:
        # opened here, since numpy leaves a file that it cannot read open
        with path.open("rb") as opened, np.load(opened, allow_pickle=False) as file:
            log_probs, choices = file["log_probs"], json.loads(str(file["choices"]))
    except (OSError, ValueError, KeyError, EOFError, NotImplementedError, TypeError, zipfile.BadZipFile):
        return None
    whole = log_probs.shape == shape and log_probs.dtype == np.float32 and len(choices) == shape[1]
    return (log_probs, choices) if whole else None


def keep_forecast(path: Path, log_probs: NDArray[np.float32], choices: list[Choice]) -> None:
    """Write a forecast, whole or not at all.

    Raises:
        OutputError: the folder cannot be written to.
    """
    content = io.BytesIO()
    np.savez(content, log_probs=log_probs, choices=np.array(json.dumps(choices)))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content.getvalue())
    except OSError as error:
        raise OutputError(f"baselines {path}: cannot be written ({error.strerror}); give another folder") from error


@cache
def _version() -> str:
    library = Path(__file__).parents[1]
    return " ".join([importlib.metadata.version("scikit-learn"), *(sha256(library / name) for name in _SOURCES)])
