"""Options that several commands have, and words on the command line that are read into settings."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from nanoarb_jax.errors import ConfigError, DataError

if TYPE_CHECKING:
    from nanoarb_jax.artifacts.checkpoint import Checkpoint
    from nanoarb_jax.config import DataConfig
    from nanoarb_jax.market.anomaly import Policy

TickSizeOption = Annotated[float | None, typer.Option(help="Where the files do not say it (else inferred).")]
LotSizeOption = Annotated[float | None, typer.Option(help="Smallest quantity kept apart (else inferred).")]
SortOption = Annotated[bool, typer.Option("--sort", help="Put the rows of a table in order of time first.")]
UntimedOption = Annotated[
    bool, typer.Option("--untimed", help="The files' times are artificial: they put rows in order and say no more.")
]
SnapshotOption = Annotated[
    Path | None, typer.Option(metavar="FILE", help="The book at the beginning, for events that begin without one.")
]
SymbolOption = Annotated[str | None, typer.Option(help="The instrument, of files that hold several.")]
InstrumentOption = Annotated[str | None, typer.Option(help="Which instrument all series are of.")]
InstrumentsOption = Annotated[
    Path | None,
    typer.Option(metavar="FILE", help='TOML file that says which series are of which: "ES_*" = "ES", a line each.'),
]
PolicyOption = Annotated[
    list[str] | None,
    typer.Option(metavar="ANOMALY=POLICY", help="What to do about an anomaly, e.g. crossed=raise or gap=skip; repeat."),
]


def labelled_as_trained(model: Checkpoint, data: Path) -> DataConfig | None:
    """Settings that label books as those the model learnt from; None for a prepared dataset, which is labelled already,
    and for a model that does not say."""
    from nanoarb_jax.data.stored import is_dataset

    if "config" not in model.data or is_dataset(data):
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


def parse_counts(option: str, text: str) -> tuple[int, ...]:
    """The whole numbers of an option such as "25,50,100".

    Raises:
        ConfigError: the text is another one.
    """
    try:
        return tuple(int(word) for word in text.split(",") if word)
    except ValueError:
        raise ConfigError(f"{option} {text}: expected whole numbers with commas between, e.g. 25,50,100") from None


def parse_instruments(instrument: str | None, file: Path | None) -> str | dict[str, str] | None:
    """What `--instrument` and `--instruments` declare; None: neither is given.

    Raises:
        ConfigError: both are given.
        DataError: a file that says nothing of the kind.
    """
    from nanoarb_jax.data.declaration import read_instruments

    if instrument is not None and file is not None:
        raise ConfigError(f"--instrument {instrument}: --instruments {file} is given, too; leave one out")
    if instrument == "":
        raise ConfigError("--instrument: empty; give a name, or leave it out")
    return instrument if file is None else read_instruments(file)


def parse_policy(words: Sequence[str] | None) -> dict[str, Policy]:
    """{anomaly: policy} of words such as "crossed=raise".

    Raises:
        ConfigError: a word that is not of this form, or no such anomaly or policy.
    """
    from nanoarb_jax.market.anomaly import policies

    chosen = {}
    for word in words or ():
        name, equals, policy = word.partition("=")
        if not equals:
            raise ConfigError(f"--policy {word}: expected ANOMALY=POLICY, e.g. crossed=raise")
        chosen[name] = policy
    try:
        policies(chosen)  # type: ignore[arg-type]  # refuses what is none
    except DataError as error:  # "policy crossed=keep: …"
        raise ConfigError(f"--{error}") from error
    return chosen  # type: ignore[return-value]
