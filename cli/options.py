"""Options that need reading: words on the command line into settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nanoarb_jax.errors import ConfigError

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.checkpoint import Checkpoint
    from nanoarb_jax.config import DataConfig
    from nanoarb_jax.market.anomaly import Policy


def labelled_as_trained(model: Checkpoint, data: Path) -> DataConfig | None:
    """Settings that label books as those the model learnt from; None for a prepared dataset, which is labelled already,
    and for a model that does not say."""
    from nanoarb_jax.data.dataset import MANIFEST

    if "config" not in model.data or (data / MANIFEST).is_file():
        return None
    return data_settings(model.config.horizons, model.data["config"], f"checkpoint {model.path}")


def data_settings(horizons: Sequence[int], made: Mapping[str, Any], source: str) -> DataConfig:
    """How a model's data were made, read back from what a checkpoint or an exported file says.

    Raises:
        ConfigError: it says what this version does not know.
    """
    from nanoarb_jax.config import config_from_dict

    shared = {"horizons": horizons}
    return config_from_dict({"model": shared, "data": {**made, **shared}}, source).data


def parse_policy(words: Sequence[str]) -> dict[str, Policy]:
    """{anomaly: policy} of words such as "crossed=raise".

    Raises:
        ConfigError: a word that is not of this form.
        DataError: no such anomaly or policy.
    """
    from nanoarb_jax.market.anomaly import policies

    chosen = {}
    for word in words:
        name, equals, policy = word.partition("=")
        if not equals:
            raise ConfigError(f"--policy {word}: expected ANOMALY=POLICY, e.g. crossed=raise")
        chosen[name] = policy
    policies(chosen)  # type: ignore[arg-type]  # refuses what is none
    return chosen  # type: ignore[return-value]
