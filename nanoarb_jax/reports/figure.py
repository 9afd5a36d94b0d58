"""Matplotlib figures as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nanoarb_jax.errors import OutputError
from nanoarb_jax.files import claim_file

SUFFIXES = (".png", ".svg", ".pdf")


def claim_picture(path: str | Path, what: str = "picture") -> Path:
    """Fail before the work, not after it, if the picture cannot be made; returns its path.

    Args:
        path: of the file to make.
        what: it is, for the error: "--picture" on the command line.

    Raises:
        OutputError: it exists, its folder does not, or its suffix is none of SUFFIXES.
    """
    claim_file(path, what, SUFFIXES)
    return Path(path)


def save_picture(figure: Any, path: Path) -> None:
    """Write a matplotlib figure.

    Raises:
        OutputError: it cannot be written.
    """
    try:
        figure.savefig(path, dpi=120)
    except (OSError, ValueError) as error:
        raise OutputError(f"picture {path}: cannot be written ({error})") from error
