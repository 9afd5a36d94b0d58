"""The command `nanoarb-jax`: exit code 0 done, 2 the user's mistake in one line, 1 a bug (with its traceback)."""

from __future__ import annotations

from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nanoarb_jax import __version__
from nanoarb_jax.errors import NanoarbError

from . import bench, data, evaluate, export, quickstart, train


class _Group(TyperGroup):
    """Turns our own errors into one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except NanoarbError as error:
            typer.echo(f"error: {' '.join(str(error).split())}", err=True)
            raise typer.Exit(2) from error


app = typer.Typer(
    name="nanoarb-jax",
    cls=_Group,
    help="Predict short-term price moves from a limit order book, tick by tick.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.add_typer(data.app, name="data")
app.command("quickstart")(quickstart.quickstart)
app.command("train")(train.train)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("bench")(bench.bench)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"nanoarb-jax {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    pass


def main() -> None:
    """Entry point of the installed command."""
    app()
