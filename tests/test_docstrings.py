"""The examples in docstrings run as they stand, pasted after `import nanoarb_jax as nj; import numpy as np`."""

from __future__ import annotations

import doctest
import importlib
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import nanoarb_jax as nj
from support.example_files import write_example_files
from support.structure import source_files

pytestmark = pytest.mark.usefixtures("compile_quickly")
ROOT = Path(__file__).parents[1]
# modules with examples that are not run, and why
SKIPPED = {
    "nanoarb_jax.serving.backends.native.live": "docs/live.md runs this loop, which takes seconds to compile",
    "nanoarb_jax.training.loop": "trains for minutes",
}


def with_examples() -> dict[str, str]:
    """{module: source} of the library and the commands, where there is an example."""
    sources = {name: path.read_text(encoding="utf-8") for name, path in source_files(ROOT).items()}
    return {name: text for name, text in sources.items() if ">>> " in text and not name.startswith("benchmarks")}


def examples_of(module: ModuleType) -> list[doctest.DocTest]:
    """Each docstring begins with the two names, and with nothing of the module's own."""
    found = doctest.DocTestFinder(exclude_empty=True).find(module, globs={"nj": nj, "np": np})
    return [one for one in found if one.examples]


@pytest.fixture(scope="module")
def example_files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("examples")
    write_example_files(folder)
    return folder


@pytest.mark.parametrize("name", with_examples())
def test_examples(name: str, example_files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(example_files)
    tests = examples_of(importlib.import_module(name))
    examples = [example for one in tests for example in one.examples]
    assert len(examples) == with_examples()[name].count(">>> "), "an example in a place where doctest does not look"
    skips = any(example.options.get(doctest.SKIP) for example in examples)
    assert skips == (name in SKIPPED)
    told: list[str] = []
    for one in tests:
        doctest.DocTestRunner(verbose=False).run(one, out=told.append)
    assert not told, "".join(told)
