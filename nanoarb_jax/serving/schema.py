"""Which of our feature sets a model reads, and whether a file at rest means the same features by its name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from nanoarb_jax.errors import ExportError
from nanoarb_jax.features.feature_set import FEATURE_SETS, feature_set_of

UNNAMED = "unnamed"


def named_features(features: int) -> tuple[str, tuple[str, ...]]:
    """Name of the feature set, and names of its features, that a model with so many reads; made up where none has."""
    known = feature_set_of(features)
    return (known.name, known.names) if known else (UNNAMED, tuple(f"feature_{i}" for i in range(features)))


def check_schema(path: str | Path, schema: str, names: Sequence[str]) -> None:
    """Refuse an exported file whose features are not what this version computes under that name.

    Args:
        path: of the file.
        schema, names: what it says that it reads.

    Raises:
        ExportError: they differ.
    """
    known = FEATURE_SETS.get(schema)
    if schema != UNNAMED and (known is None or known.names != tuple(names)):
        raise ExportError(f"{path}: made for other {schema} features than this version computes; export it anew")
