"""Options that need reading: words on the command line into settings."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from nanoarb_jax.errors import ConfigError

if TYPE_CHECKING:
    from nanoarb_jax.market.anomaly import Policy


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
