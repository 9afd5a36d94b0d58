"""Files of predictions: one row per tick, as `.npz`, `.csv` or `.parquet`."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np

from nanoarb_jax.config import CLASS_NAMES
from nanoarb_jax.data.labels import UNDEFINED
from nanoarb_jax.files import claim_file, new_file
from nanoarb_jax.serving.replay import Replayed

if TYPE_CHECKING:
    import pyarrow as pa

SUFFIXES = (".npz", ".csv", ".parquet")


def write_predictions(
    path: Path,
    replayed: Sequence[Replayed],
    horizons: Sequence[int],
    version: str,
    about: Mapping[str, Any] | None = None,
) -> None:
    """Write the predictions of some streams, one after the other.

    `.npz` holds arrays: streams (s,) names, stream (n,) int32 position in it, the columns of `Replayed` joined,
    horizons (h,), version and about. `.csv` and `.parquet` hold the columns stream, ts_ns, mid, ready and, for each
    horizon, h10_down, h10_neutral, h10_up, h10_direction and h10_label, which is empty where it is not known.

    Args:
        path: file to make; must not exist.
        replayed: one per stream, none or more rows each.
        horizons: in ticks.
        version: of the weights; not in the CSV file.
        about: plain JSON values about the predictions, such as the scales of each series; kept as JSON text in
            `.npz` and in the metadata of `.parquet`.

    Raises:
        OutputError: the suffix is none of SUFFIXES, the file exists, or its folder does not.

    >>> from pathlib import Path
    >>> from nanoarb_jax.serving.predictions import write_predictions
    >>> from nanoarb_jax.serving.replay import replay_dataset
    >>> predictor = nj.StepPredictor.load("checkpoints/small")
    >>> dataset = nj.open_dataset("books", nj.DataConfig(feature_set="flow"))
    >>> replayed = replay_dataset(predictor, dataset, (10, 50, 100), nj.ModelMetrics())
    >>> write_predictions(Path("predictions.csv"), replayed, (10, 50, 100), predictor.version)
    >>> Path("predictions.csv").read_text().split(",")[:4]
    ['"stream"', '"ts_ns"', '"mid"', '"ready"']
    """
    claim_file(path, "predictions", SUFFIXES)
    suffix = path.suffix.lower()
    with new_file(path, "predictions") as file:
        if suffix == ".npz":
            np.savez(file, **_arrays(replayed, horizons), version=version, about=json.dumps(about or {}))
        else:
            _write_table(file, suffix, replayed, horizons, {"version": version, "about": json.dumps(about or {})})


def _arrays(replayed: Sequence[Replayed], horizons: Sequence[int]) -> dict[str, Any]:
    rows = [len(one.ts_ns) for one in replayed]
    joined = {
        name: np.concatenate([getattr(one, name) for one in replayed]) for name in Replayed._fields if name != "name"
    }
    return {
        "streams": np.array([one.name for one in replayed]),
        "stream": np.repeat(np.arange(len(replayed), dtype=np.int32), rows),
        **joined,
        "horizons": np.array(horizons, np.int64),
    }


def _write_table(
    file: IO[bytes], suffix: str, replayed: Sequence[Replayed], horizons: Sequence[int], metadata: dict[str, str]
) -> None:
    tables = [_table(one, horizons) for one in replayed]
    schema = tables[0].schema.with_metadata(metadata)
    if suffix == ".csv":
        from pyarrow import csv

        with csv.CSVWriter(file, schema, write_options=csv.WriteOptions(quoting_style="needed")) as writer:
            for table in tables:
                writer.write_table(table)
        return
    from pyarrow import parquet

    with parquet.ParquetWriter(file, schema) as writer:
        for table in tables:
            writer.write_table(table.replace_schema_metadata(schema.metadata))


def _table(one: Replayed, horizons: Sequence[int]) -> pa.Table:
    import pyarrow as pa

    columns = {
        "stream": pa.array([one.name] * len(one.ts_ns), pa.string()),
        "ts_ns": pa.array(one.ts_ns),
        "mid": pa.array(one.mid),
        "ready": pa.array(one.ready),
    }
    for i, horizon in enumerate(horizons):
        for j, name in enumerate(CLASS_NAMES):
            columns[f"h{horizon}_{name}"] = pa.array(one.probabilities[:, i, j])
        columns[f"h{horizon}_direction"] = pa.array(one.direction[:, i])
        columns[f"h{horizon}_label"] = pa.array(one.labels[:, i], mask=one.labels[:, i] == UNDEFINED)
    return pa.table(columns)
