"""Who may import whom: the arrows of the design, and nothing heavy before it is used."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What each part may import of ours, beside its own package, errors and config; `serving.jax_step` adds to `serving`.
ALLOWED: dict[str, set[str]] = {
    "errors": set(),
    "files": set(),
    "config": set(),
    "market": set(),
    "features": {"market"},
    "readers": {"market"},
    "simulation": {"market", "data.labels"},
    "data": {"market", "features", "readers"},
    "reports": {"market", "evaluation"},
    "model": set(),
    "artifacts": {"features", "model"},
    "evaluation": {"features", "data", "model", "artifacts"},
    "training": {"features", "data", "model", "artifacts", "evaluation"},
    "studies": {"data", "model", "artifacts", "evaluation", "training"},
    "exporters": {"simulation", "features", "data", "model", "artifacts", "evaluation", "serving"},
    "serving": {"features"},
    "serving.predictor": {"artifacts"},
    "serving.backends": {"artifacts", "model"},
    "serving.batching": {"artifacts"},
    "serving.replay": {"market", "readers", "data"},
    "serving.predictions": {"data"},
    "trading": {"serving"},
    "bench": {"simulation", "features", "market", "model", "artifacts", "exporters", "serving"},
}
JAX = {"jax", "jaxlib", "flax", "optax", "orbax", "jax2onnx"}
JAX_FREE = {
    "market",
    "data",
    "simulation",
    "readers",
    "features",
    "trading",
    "evaluation.calibration",
    "evaluation.metrics",
    "evaluation.baselines",
    "evaluation.baseline_inputs",
    "evaluation.trading",
    "evaluation.bootstrap",
    "evaluation.summaries",
    "evaluation.judging",
    "serving.predictor",
    "serving.swap",
    "serving.metrics",
    "serving.batching",
    "serving.replay",
    "serving.predictions",
    "serving.schema",
    "serving.backends.onnx",
    "serving.backends.native",
}
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


def modules(folder: Path) -> dict[str, Path]:
    """{dotted name below the folder: file}, found on disk."""
    parts = {path: path.relative_to(folder).with_suffix("").parts for path in sorted(folder.rglob("*.py"))}
    return {".".join(p[:-1] if p[-1] == "__init__" else p): path for path, p in parts.items()}


LIBRARY = modules(ROOT / "nanoarb_jax")
COMMANDS = modules(ROOT / "cli")


def imports(tree: ast.AST, deep: bool = True) -> Iterator[str]:
    """Dotted names a file imports; only what runs at import time unless deep."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            # `from package import module` imports that module
            yield from (f"{'.' * node.level}{node.module or ''}.{alias.name}" for alias in node.names)
        elif deep or not (isinstance(node, ast.FunctionDef) or is_type_checking(node)):
            yield from imports(node, deep)


def is_type_checking(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"


def parse(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


def covers(part: str, module: str) -> bool:
    return module == part or module.startswith(f"{part}.")


@pytest.mark.parametrize("module", [name for name in LIBRARY if name])
def test_arrows(module: str) -> None:
    rules = [part for part in ALLOWED if covers(part, module)]
    assert rules, f"nanoarb_jax.{module}: say in ALLOWED what it may import"
    own = module.split(".")[0]
    allowed = {own, "errors", "files", "config"}.union(*(ALLOWED[part] for part in rules))
    names = list(imports(parse(LIBRARY[module])))
    assert not [name for name in names if name.startswith(".")], "the library names its modules in full"
    ours = {name.removeprefix("nanoarb_jax.") for name in names if covers("nanoarb_jax", name)}
    wrong = {name for name in ours if not any(covers(part, name) for part in allowed)}
    assert not wrong, f"nanoarb_jax.{module} imports {sorted(wrong)}, may import {sorted(allowed)}"


@pytest.mark.parametrize("module", LIBRARY)
def test_packages_stay_in_their_place(module: str) -> None:
    tree = parse(LIBRARY[module])
    everywhere = {name.split(".")[0] for name in imports(tree)}
    at_import = {name.split(".")[0] for name in imports(tree, deep=False)}
    assert not at_import & HEAVY, "heavy packages are imported where they are used"
    assert not everywhere & (TERMINAL | {"cli"}), "the library neither prints nor parses arguments"
    assert covers("exporters", module) or "jax2onnx" not in everywhere, "only exporters import jax2onnx"
    if covers("model", module):
        assert not everywhere & {"optax", "orbax"}
    if any(covers(part, module) for part in JAX_FREE):
        assert not everywhere & JAX


@pytest.mark.parametrize("module", LIBRARY)
def test_library_does_not_print(module: str) -> None:
    calls = [node for node in ast.walk(parse(LIBRARY[module])) if isinstance(node, ast.Call)]
    assert not [call.lineno for call in calls if isinstance(call.func, ast.Name) and call.func.id == "print"]


@pytest.mark.parametrize("module", COMMANDS)
def test_commands_start_light(module: str) -> None:
    assert not {name.split(".")[0] for name in imports(parse(COMMANDS[module]), deep=False)} & (HEAVY | JAX)


def loaded_by(names: list[str]) -> set[str]:
    """Top-level packages loaded by a fresh interpreter that imports these modules of ours."""
    code = "\n".join([f"import {name}" for name in names] + ["import sys", "print(*sys.modules)"])
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.returncode == 0, done.stderr
    return {name.split(".")[0] for name in done.stdout.split()}


def dotted(module: str) -> str:
    return f"nanoarb_jax.{module}".rstrip(".")


def test_books_and_served_files_need_no_jax() -> None:
    light = [dotted(m) for m in LIBRARY if m == "" or any(covers(p, m) for p in {"errors", "config", *JAX_FREE})]
    assert not loaded_by([*light, "nanoarb_jax.cli.main"]) & JAX


def test_model_needs_no_checkpoints() -> None:
    # optax is loaded by flax.nnx itself
    assert "orbax" not in loaded_by([dotted(m) for m in LIBRARY if covers("model", m)])


def test_nothing_heavy_before_it_is_used() -> None:
    assert not loaded_by([dotted(m) for m in LIBRARY]) & HEAVY
