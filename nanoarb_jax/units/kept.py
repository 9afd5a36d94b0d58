"""The result of a unit on disk: a folder of files and a manifest of their checksums, there as a whole or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.files import sha256

MANIFEST = "manifest.json"


def what_is_wrong(folder: Path, key: str) -> str | None:
    """Why a folder is not the whole result of the unit of this key; None: it is.

    Reads all of its files.
    """
    try:
        manifest = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        listed = {str(name): str(entry["sha256"]) for name, entry in manifest["files"].items()}
        if manifest["key"] != key:
            return f"its {MANIFEST} is that of another key"
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return f"it has no readable {MANIFEST}"
    found = _files(folder)
    unlike = sorted(found.symmetric_difference(listed))
    if unlike:
        return f"{unlike[0]} is {'missing' if unlike[0] in listed else 'not in its manifest'}"
    altered = next((name for name in sorted(found) if sha256(folder / name) != listed[name]), None)
    return None if altered is None else f"{altered} was cut or altered"


def keep_result(output: Path, name: str, key: str, work: Callable[..., None], arguments: tuple[Any, ...]) -> str:
    """Work on a unit, unless its whole result is there; called where the work is done.

    Args:
        output: folder of all results; this one's is `output / key`.
        name: of the unit.
        key: of the unit.
        work: called with a new folder, which it fills with files, and the arguments.
        arguments: of the unit.

    Returns:
        sha256 of the manifest.

    Raises:
        ConfigError: the work wrote no file, or one with the manifest's name.
        others: those of the work.
    """
    from threadpoolctl import threadpool_limits

    folder = output / key
    if not folder.is_dir() or what_is_wrong(folder, key) is not None:
        part = output / f".{key}.{uuid.uuid4().hex[:8]}"
        try:
            part.mkdir(parents=True)
            with threadpool_limits(1):  # what BLAS sums up depends on how many threads share it
                work(part, *arguments)
            _write_manifest(part, name, key)
            _put_in_place(part, folder, key)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return sha256(folder / MANIFEST)


def _write_manifest(folder: Path, name: str, key: str) -> None:
    files = sorted(_files(folder))
    if not files or (folder / MANIFEST).exists():
        raise ConfigError(
            f"unit {name}: wrote {'a file' if files else 'nothing'}{f' {MANIFEST}' if files else ''}; "
            "expected files of its own names, with whatever it found"
        )
    entries = {file: {"bytes": (folder / file).stat().st_size, "sha256": sha256(folder / file)} for file in files}
    manifest = {"unit": name, "key": key, "files": entries}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")


def _put_in_place(part: Path, folder: Path, key: str) -> None:
    """Give a finished result its name; one that another worker has finished meanwhile stays, being the same."""
    with contextlib.suppress(OSError):
        os.rename(part, folder)  # fails where there is a folder that is not empty
        return
    if what_is_wrong(folder, key) is not None:
        remove_result(folder)
        os.rename(part, folder)


def remove_result(folder: Path) -> None:
    """Remove a result, so that nothing ever has its name that is only a part of it."""
    away = folder.with_name(f".{folder.name}.{uuid.uuid4().hex[:8]}")
    os.rename(folder, away)
    shutil.rmtree(away)


def remove_parts(output: Path, keys: set[str]) -> None:
    """Remove what workers that died left of these units."""
    for path in output.glob(".*.*"):
        if path.is_dir() and path.name[1:].partition(".")[0] in keys:
            shutil.rmtree(path, ignore_errors=True)


def _files(folder: Path) -> set[str]:
    """Names of all files below a folder, less the manifest."""
    names = {path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file()}
    return names - {MANIFEST}
