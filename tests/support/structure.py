"""The structure of a checkout in figures: packages, layers, imports, circles, long files and functions, repeated lines.

    python tests/support/structure.py [CHECKOUT]

A package is here what lies directly in `nanoarb_jax/`, a single module too, and the folders `cli` and `benchmarks`. It
is one layer above the highest package that it imports. Imports inside functions count, and those for type checkers
alone, since a reader follows them as well.
"""

from __future__ import annotations

import ast
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

LIBRARY = "nanoarb_jax"
LONG_FILE, LONG_FUNCTION, RUN = 300, 40, 6


def source_files(root: Path) -> dict[str, Path]:
    """{dotted module: file} of the library, the commands and the benchmarks."""
    found = {}
    for folder, name in ((LIBRARY, LIBRARY), ("cli", f"{LIBRARY}.cli"), ("benchmarks", "benchmarks")):
        for path in sorted((root / folder).rglob("*.py")):
            parts = path.relative_to(root / folder).with_suffix("").parts
            parts = parts[:-1] if parts[-1] == "__init__" else parts
            found[".".join((name, *parts))] = path
    return found


def imported(path: Path, module: str, modules: set[str]) -> set[str]:
    """The modules of ours that a file imports, wherever in it."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            base = package.rsplit(".", node.level - 1)[0] + "." if node.level else ""
            base += node.module or ""
            for alias in node.names:
                member = f"{base.rstrip('.')}.{alias.name}"
                names.add(member if member in modules else base)
    return {name for name in names if name in modules and name != module}


def imports(root: Path) -> dict[str, set[str]]:
    """{module: modules of ours that it imports}."""
    files = source_files(root)
    return {module: imported(path, module, set(files)) for module, path in files.items()}


def package_of(module: str) -> str:
    """The package that a module is in; `nanoarb_jax/__init__.py` counts as one."""
    parts = module.split(".")
    return parts[1] if parts[0] == LIBRARY and len(parts) > 1 else parts[0]


def package_imports(root: Path) -> dict[str, set[str]]:
    """{package: packages that it imports}."""
    found: dict[str, set[str]] = defaultdict(set)
    for module, others in imports(root).items():
        found[package_of(module)] |= {package_of(other) for other in others} - {package_of(module)}
    return dict(found)


def layers(packages: dict[str, set[str]]) -> dict[str, int]:
    """{package: layer}, 1 for a package that imports none."""
    level = dict.fromkeys(packages, 1)
    for _ in packages:
        level = {
            package: 1 + max((level[other] for other in others), default=0) for package, others in packages.items()
        }
    return level


def circles(graph: dict[str, set[str]]) -> list[set[str]]:
    """Sets of modules that import each other, directly or through others."""
    reach = {name: set(others) for name, others in graph.items()}
    for middle in graph:
        for name in graph:
            if middle in reach[name]:
                reach[name] |= reach[middle]
    found: list[set[str]] = []
    for name in graph:
        circle = {other for other in reach[name] if name in reach[other]}
        if circle and circle not in found:
            found.append(circle)
    return found


def long_functions(files: dict[str, Path]) -> list[str]:
    """Functions whose lines, without their docstring, are more than LONG_FUNCTION."""
    found = []
    for module, path in files.items():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if ast.get_docstring(node) is not None:
                    lines -= (node.body[0].end_lineno or 0) - node.body[0].lineno + 1
                if lines > LONG_FUNCTION:
                    found.append(f"{module}.{node.name} ({lines})")
    return found


def code_lines(path: Path) -> Iterator[str]:
    """Lines of code without white space; comments, docstrings, imports and lone brackets left out."""
    text = path.read_text(encoding="utf-8")
    left_out: set[int] = set()
    for node in ast.walk(ast.parse(text)):
        bare = isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        if bare or isinstance(node, ast.Import | ast.ImportFrom):
            left_out |= set(range(node.lineno, (node.end_lineno or node.lineno) + 1))  # type: ignore[attr-defined]
    for number, line in enumerate(text.splitlines(), 1):
        bare_line = line.partition("  #")[0].strip()
        if number not in left_out and not bare_line.startswith("#") and any(c.isalnum() for c in bare_line):
            yield bare_line


def repeated_runs(files: dict[str, Path]) -> list[tuple[str, str]]:
    """Pairs of modules with RUN or more lines in a row that are the same; a pair counts once for each such run."""
    places: dict[tuple[str, ...], list[tuple[str, int]]] = defaultdict(list)
    for module, path in files.items():
        lines = list(code_lines(path))
        for start in range(len(lines) - RUN + 1):
            places[tuple(lines[start : start + RUN])].append((module, start))
    starts = {(a, b) for met in places.values() for i, a in enumerate(met) for b in met[i + 1 :]}
    longer = {((m, i + 1), (n, j + 1)) for (m, i), (n, j) in starts}
    return sorted((a[0], b[0]) for a, b in starts - longer)


def figures(root: Path) -> dict[str, object]:
    """What `docs/architecture.md` compares."""
    files, graph, packages = source_files(root), imports(root), package_imports(root)
    long_files = [(module, len(path.read_text().splitlines())) for module, path in files.items()]
    return {
        "packages": len(packages),
        "layers": max(layers(packages).values()),
        "imports between packages": sum(map(len, packages.values())),
        "loose modules": len([p for p in (root / LIBRARY).glob("*.py") if p.name != "__init__.py"]),
        "circles": [sorted(circle) for circle in circles(graph)],
        f"files above {LONG_FILE} lines": [f"{module} ({n})" for module, n in long_files if n > LONG_FILE],
        f"functions above {LONG_FUNCTION} lines": long_functions(files),
        f"runs of {RUN} lines that stand twice": repeated_runs(files),
    }


def main() -> None:
    root = Path(sys.argv[1] if len(sys.argv) > 1 else Path(__file__).parents[2])
    for name, value in figures(root).items():
        print(f"{name}: {len(value) if isinstance(value, list) else value}")
        if isinstance(value, list):
            print("".join(f"    {one}\n" for one in value), end="")
    by_layer: dict[int, list[str]] = defaultdict(list)
    for package, layer in layers(package_imports(root)).items():
        by_layer[layer].append(package)
    for layer in sorted(by_layer, reverse=True):
        print(f"layer {layer}: {', '.join(by_layer[layer])}")


if __name__ == "__main__":
    main()
