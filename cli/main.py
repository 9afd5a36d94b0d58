"""The command `nanoarb-jax`: exit code 0 done, 2 the user's mistake in one line, 1 a bug (with its traceback)."""

from __future__ import annotations

import errno
import warnings
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from nanoarb_jax import __version__
from nanoarb_jax.errors import DataWarning, NanoarbError
from nanoarb_jax.files import check_open_files

from . import adapt, backtest, bench, calibrate, data, evaluate, export, predict, quickstart, train

# what a path given by the user can meet: no permission, no space, a file where a folder should be
THEIRS = {errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.ENOTDIR, errno.EISDIR, errno.EEXIST}

# older names of --output; they work and are not shown
ALIASES = {"out": "output", "output-dir": "output", "work-dir": "output"}


class _Group(TyperGroup):
    """Turns errors that the user can mend into one line and exit code 2."""

    def invoke(self, ctx: Any) -> Any:
        warnings.showwarning = _warn
        warnings.simplefilter("always", DataWarning)
        try:
            return super().invoke(ctx)
        except NanoarbError as error:
            _refuse(str(error), error)
        except OSError as error:
            try:
                check_open_files(error)
            except NanoarbError as told:
                _refuse(str(told), error)
            if error.errno not in THEIRS:
                raise
            _refuse(f"{error.filename or 'output'}: {error.strerror}; give another place", error)


def _warn(message: Warning | str, category: type[Warning], filename: str, lineno: int, *_: Any, **__: Any) -> None:
    """Warnings about market data in one line; others as Python shows them."""
    if issubclass(category, DataWarning):
        typer.echo(f"warning: {' '.join(str(message).split())}", err=True)
    else:
        typer.echo(warnings.formatwarning(message, category, filename, lineno), err=True)


def _refuse(line: str, error: Exception) -> None:
    typer.echo(f"error: {' '.join(line.split())}", err=True)
    raise typer.Exit(2) from error


app = typer.Typer(
    name="nanoarb-jax",
    cls=_Group,
    help="Predict short-term price moves from a limit order book, tick by tick.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    add_completion=False,
    context_settings={"token_normalize_func": lambda name: ALIASES.get(name, name)},
)
app.command("quickstart")(quickstart.quickstart)
app.add_typer(data.app, name="data")
app.command("train")(train.train)
app.command("adapt")(adapt.adapt)
app.command("evaluate")(evaluate.evaluate)
app.command("export")(export.export)
app.command("predict")(predict.predict)
app.command("calibrate")(calibrate.calibrate)
app.command("backtest")(backtest.backtest)
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
