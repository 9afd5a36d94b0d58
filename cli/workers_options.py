"""The options that say who works on what can be done at the same time, of every command that has such work.

    @workers_options("different models", default=1)
    def evaluate(*, data: Path, workers: Workers) -> None: ...

`evaluate` then has `--executor`, `--jobs` and `--address` in place of `workers`, and is called with what they say.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from inspect import Parameter
from typing import Annotated, Any, Literal, TypeAlias

import typer

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.units.workers import Workers

from .settings_options import Command, replace_parameter

Executor: TypeAlias = Literal["loky", "dask", "ray"]
ExecutorOption = Annotated[
    Executor,
    typer.Option(help="Processes of this machine (loky), or a Dask or Ray cluster; needs nanoarb-jax[cluster]."),
]
AddressOption = Annotated[
    str | None,
    typer.Option(
        metavar="HOST:PORT", help="Of a running cluster, whose workers see the same files.  [default: start one here]"
    ),
]


def workers_options(what: str, default: int = 0) -> Callable[[Command], Command]:
    """Give a command the options of workers, in place of its parameter `workers`.

    Args:
        what: each of the jobs is about, for the help: "different sources".
        default: jobs unless the user says how many; 0: one per core.
    """
    shown = "one per core" if default == 0 else str(default)
    jobs = typer.Option(min=0, help=f"Processes at work on {what}; 0: one per core.  [default: {shown}]")
    parameters = [
        Parameter("executor", Parameter.KEYWORD_ONLY, default="loky", annotation=ExecutorOption),
        Parameter("jobs", Parameter.KEYWORD_ONLY, default=None, annotation=Annotated[int | None, jobs]),
        Parameter("address", Parameter.KEYWORD_ONLY, default=None, annotation=AddressOption),
    ]

    def decorate(command: Command) -> Command:
        @functools.wraps(command)
        def with_options(**arguments: Any) -> None:
            given = {parameter.name: arguments.pop(parameter.name) for parameter in parameters}
            command(**arguments, workers=_workers(**given, default=default))

        return replace_parameter(with_options, command, "workers", parameters)

    return decorate


def _workers(*, executor: Executor, jobs: int | None, address: str | None, default: int) -> Workers:
    """What the options say.

    Raises:
        ConfigError: they contradict each other.
    """
    if address is None:
        return Workers(executor, (default if jobs is None else jobs) or None)
    if executor == "loky":
        raise ConfigError(f"--address {address}: --executor loky has no cluster; give dask or ray, or leave it out")
    if jobs is not None:
        raise ConfigError(f"--jobs {jobs}: the cluster at --address {address} has its own workers; leave one out")
    return Workers(executor, address=address)
