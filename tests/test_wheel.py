"""What goes into the wheel; that it installs and runs is .ci/run's to show."""

from __future__ import annotations

import tomllib
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_every_package_is_listed() -> None:
    packages = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"]
    folders = {path.parent.relative_to(ROOT) for path in (ROOT / "nanoarb_jax").rglob("*.py")}
    assert set(packages) == {".".join(folder.parts) for folder in folders} | {"nanoarb_jax.cli"}


def test_every_folder_of_code_is_a_package() -> None:
    folders = {path.parent for part in ("nanoarb_jax", "cli") for path in (ROOT / part).rglob("*.py")}
    assert [folder for folder in folders if not (folder / "__init__.py").is_file()] == []
