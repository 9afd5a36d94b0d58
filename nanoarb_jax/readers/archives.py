"""Zip archives of text files, as LOBSTER and data.binance.vision give them; members are named ARCHIVE.zip/MEMBER."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import IO

from nanoarb_jax.errors import DataError
from nanoarb_jax.files import check_open_files, first_line

_ZIP = (b"PK\x03\x04", b"PK\x05\x06")
_ARRAY = (".npy", ".npz")  # members of NumPy's own archives


def zip_members(path: Path) -> list[Path]:
    """The members of a zip archive of data files, each as ARCHIVE.zip/MEMBER; of any other file none.

    NumPy's archives (.npz) are zip archives too, and are files of their own formats: they have none.

    Raises:
        DataError: a damaged archive.

    >>> from pathlib import Path
    >>> from nanoarb_jax.readers.archives import zip_members
    >>> zip_members(Path("feeds/synthetic_00.npz"))  # of `nanoarb-jax data synth --output feeds --events`
    []
    """
    try:
        with path.open("rb") as file:
            if file.read(4) not in _ZIP:
                return []
            with zipfile.ZipFile(file) as archive:
                names = [info.filename for info in archive.infolist() if not info.is_dir()]
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        check_open_files(error)
        raise DataError(f"data {path}: damaged archive ({first_line(error)}); write or fetch it again") from error
    if any(name.endswith(_ARRAY) for name in names):
        return []
    # what macOS and hidden files leave in archives is no data
    return [path / name for name in sorted(names) if not any(p.startswith((".", "__MACOSX")) for p in Path(name).parts)]


def archive_of(path: Path) -> Path | None:
    """The archive that a member ARCHIVE.zip/MEMBER lies in; None: the path is no member's."""
    return None if path.exists() else next((parent for parent in path.parents if parent.is_file()), None)


def open_member(archive: Path, path: Path) -> IO[bytes]:
    """The bytes of a member, to be closed by the caller.

    Raises:
        DataError: no such member, a damaged archive, or one with a password.
    """
    name = path.relative_to(archive).as_posix()
    try:
        with zipfile.ZipFile(archive) as opened:  # a member's stream keeps the file open for itself
            return opened.open(name)
    except (zipfile.BadZipFile, KeyError, RuntimeError, OSError, NotImplementedError) as error:
        check_open_files(error)
        reason = first_line(error)
        raise DataError(f"data {path}: cannot be read ({reason}); unpack the archive, and name the files") from error
