"""Files that we write and read back: claimed before the work, written whole or not at all, told apart by checksums."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import IO, Any

from nanoarb_jax.errors import DeviceError, OutputError


def first_line(error: BaseException, most: int = 200) -> str:
    """What an error says, cut to one line; the name of its class where it says nothing.

    >>> from nanoarb_jax.files import first_line
    >>> first_line(ValueError("no such key\\nin this file")), first_line(KeyError())
    ('no such key', 'KeyError')
    """
    text = str(error).strip()
    return text.splitlines()[0][:most] if text else type(error).__name__


def check_open_files(error: BaseException) -> None:
    """Say so where what failed is that this process, or the system, may open no more files.

    Libraries wrap that error, or tell it in words, and it would else be taken for a damaged file.

    Raises:
        DeviceError: too many files are open.
    """
    met: BaseException | None = error
    while met is not None:
        if getattr(met, "errno", None) in (errno.EMFILE, errno.ENFILE) or os.strerror(errno.EMFILE) in str(met):
            raise DeviceError(
                f"too many open files: this process may have {_most_open_files()} at a time; close some, or raise the "
                "limit (ulimit -n)"
            ) from error
        met = met.__cause__ or met.__context__


def _most_open_files() -> str:
    try:
        import resource
    except ImportError:  # a system without such limits
        return "no more"
    return str(resource.getrlimit(resource.RLIMIT_NOFILE)[0])


def claim_file(path: str | Path, what: str, suffixes: Collection[str] = (), makes_folder: bool = False) -> None:
    """Fail before the work, not after it, if a file cannot be made.

    Args:
        path: of the file to make.
        what: it is, for the error: "picture", "--json".
        suffixes: that it may have, in lower case; none: any.
        makes_folder: its folder need not be there yet, as for `new_file`.

    Raises:
        OutputError: it exists, its folder does not or cannot be written to, or it has another suffix.
    """
    path = Path(path)
    folder = path.absolute().parent
    if path.exists():
        raise OutputError(f"{what} {path}: exists already and is never overwritten; give another name or remove it")
    if makes_folder and not folder.exists():
        return
    if not folder.is_dir():
        raise OutputError(f"{what} {path}: no such folder {folder}; make it first")
    if not os.access(folder, os.W_OK):
        raise OutputError(f"{what} {path}: folder {folder} cannot be written to; give another")
    if suffixes and path.suffix.lower() not in suffixes:
        raise OutputError(f"{what} {path}: suffix {path.suffix!r}; expected one of {', '.join(suffixes)}")


def claim_folder(path: str | Path, what: str) -> None:
    """Fail before the work if a folder cannot be filled.

    Raises:
        OutputError: it is a file, or a folder that is not empty.
    """
    path = Path(path)
    if path.exists() and not (path.is_dir() and not any(path.iterdir())):
        raise OutputError(f"{what} {path}: exists and is not an empty folder; nothing is overwritten, give another")


def new_folder(path: str | Path, what: str) -> None:
    """Make a folder to fill, and those above it; an empty one may be there already.

    Raises:
        OutputError: see `claim_folder`; or it cannot be made.
    """
    claim_folder(path, what)
    try:
        Path(path).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise OutputError(f"{what} {path}: cannot be made ({error.strerror}); give another") from error


@contextlib.contextmanager
def new_file(path: str | Path, what: str) -> Iterator[IO[bytes]]:
    """A file that does not exist yet, open for writing; one that fails half-way is removed. Makes its folder.

    Raises:
        OutputError: it exists, or cannot be made.
    """
    path = Path(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("xb")
    except FileExistsError as error:
        raise OutputError(f"{what} {path}: exists already and is never overwritten; give another name") from error
    except OSError as error:
        raise OutputError(f"{what} {path}: cannot be written ({error.strerror}); give another place") from error
    try:
        with file:
            yield file
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace_file(path: Path, content: bytes) -> None:
    """Write a file anew: it has the old content or the new one, never a part of either."""
    written = path.with_name(f".{path.name}.new")
    written.write_bytes(content)
    os.replace(written, path)


def sha256(path: str | Path) -> str:
    """Of a file's bytes, in hex."""
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def json_checksum(values: Mapping[str, Any], entry: str, before: bytes = b"") -> str:
    """sha256 of `before` and of values as they read back from JSON, without the entry that holds this very checksum."""
    rest = json.loads(json.dumps({key: value for key, value in values.items() if key != entry}))
    return hashlib.sha256(before + json.dumps(rest, sort_keys=True).encode()).hexdigest()
