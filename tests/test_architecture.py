"""The rules of docs/architecture.md: who may import whom, what needs no JAX, and nothing heavy before it is used."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.structure import circles, layers, package_imports, source_files
from support.structure import imports as imports_of_ours

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "architecture.md").read_text()
EVERYWHERE = {"errors", "files", "config", "progress", "kernel_cache"}
ON_TOP = {"nanoarb_jax", "cli", "benchmarks"}  # nanoarb_jax/__init__.py hands on names of any package
TABLE = PAGE.partition("| package | holds | imports |")[2].partition("\n\n")[0]
ROWS = re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \|$", TABLE, re.MULTILINE)
ALLOWED = {package: re.findall(r"`(\w+)`", listed) for package, listed in ROWS}
LAYERS = {int(number): names.split() for number, names in re.findall(r"^(\d)   (\w.*)$", PAGE, re.MULTILINE)}

JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "jax2onnx"}
NEED_JAX = (
    "model",
    "training",
    "studies",
    "exporters",
    "bench",
    "artifacts.checkpoint",
    "adaptation.fold",
    "evaluation.flow_inputs",
    "evaluation.own_past",
    "evaluation.scoring",
    "evaluation.validation",
    "serving.backends.jax",
)
HEAVY = {
    "jax2onnx",
    "onnx",
    "onnxruntime",
    "sklearn",
    "tensorboardX",
    "hftbacktest",
    "matplotlib",
    "torch",
    "pyarrow",
    "databento_dbn",
}
TERMINAL = {"argparse", "click", "rich", "typer"}


def within(folder: str) -> dict[str, Path]:
    """{dotted name below the folder: file} of the library or the commands."""
    cut = f"{folder}."
    return {m.removeprefix(cut): path for m, path in source_files(ROOT).items() if m.startswith(cut) or m == folder}


COMMANDS = within("nanoarb_jax.cli")
LIBRARY = {module: path for module, path in within("nanoarb_jax").items() if not module.startswith("cli")}


def imports(tree: ast.AST, deep: bool = True) -> Iterator[str]:
    """Top-level packages that a file imports; only those that it imports at once unless deep."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name.split(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level:
            yield (node.module or "").split(".")[0]
        elif deep or not (isinstance(node, ast.FunctionDef) or is_type_checking(node)):
            yield from imports(node, deep)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def is_in(module: str, parts: tuple[str, ...]) -> bool:
    return any(module == part or module.startswith(f"{part}.") for part in parts)


def test_every_package_imports_what_its_row_says() -> None:
    packages = package_imports(ROOT)
    met = {package: packages[package] - EVERYWHERE for package in packages if package not in ON_TOP | EVERYWHERE}
    assert {package: set(listed) for package, listed in ALLOWED.items()} == met
    assert all(packages[package] <= EVERYWHERE for package in EVERYWHERE)


def test_packages_lie_in_the_layers_of_the_page() -> None:
    met = {package: layer for package, layer in layers(package_imports(ROOT)).items() if package != "nanoarb_jax"}
    assert {package: layer for layer, packages in LAYERS.items() for package in packages} == met


def test_no_circles() -> None:
    assert circles(imports_of_ours(ROOT)) == []


@pytest.mark.parametrize("module", LIBRARY)
def test_packages_stay_in_their_place(module: str) -> None:
    tree = parse(LIBRARY[module])
    everywhere, at_import = set(imports(tree)), set(imports(tree, deep=False))
    assert not at_import & HEAVY, "heavy packages are imported where they are used"
    assert not everywhere & (TERMINAL | {"cli"}), "the library neither prints nor parses arguments"
    assert is_in(module, ("exporters",)) or "jax2onnx" not in everywhere, "only exporters import jax2onnx"
    if is_in(module, ("model",)):
        assert not everywhere & {"optax", "orbax"}
    assert is_in(module, NEED_JAX) or not everywhere & JAX


@pytest.mark.parametrize("module", LIBRARY)
def test_library_does_not_print(module: str) -> None:
    calls = [node for node in ast.walk(parse(LIBRARY[module])) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.parametrize("module", COMMANDS)
def test_commands_start_light(module: str) -> None:
    assert not set(imports(parse(COMMANDS[module]), deep=False)) & (HEAVY | JAX)


def test_no_test_imports_another() -> None:
    for path in (ROOT / "tests").rglob("test_*.py"):
        named = [node.module or "" for node in ast.walk(parse(path)) if isinstance(node, ast.ImportFrom)]
        assert not [name for name in named if name.split(".")[-1].startswith("test_")], path


def loaded_by(names: list[str]) -> set[str]:
    """Top-level packages loaded by a fresh interpreter that imports these modules of ours."""
    code = "\n".join([f"import {name}" for name in names] + ["import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split()}


def dotted(module: str) -> str:
    return f"nanoarb_jax.{module}".removesuffix(".nanoarb_jax")


@pytest.mark.subprocess
def test_books_and_served_files_need_no_jax() -> None:
    light = [dotted(m) for m in LIBRARY if not is_in(m, NEED_JAX)]
    assert not loaded_by([*light, "nanoarb_jax.cli.main"]) & JAX


@pytest.mark.subprocess
def test_model_needs_no_checkpoints() -> None:
    # optax is loaded by flax.nnx itself
    assert "orbax" not in loaded_by([dotted(m) for m in LIBRARY if is_in(m, ("model",))])


@pytest.mark.subprocess
def test_nothing_heavy_before_it_is_used() -> None:
    assert not loaded_by([dotted(m) for m in LIBRARY]) & HEAVY
