"""Who works on what: the options that several commands have, and what contradicts itself."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from nanoarb_jax.cli.main import app
from nanoarb_jax.cli.workers_options import workers_options
from nanoarb_jax.errors import ConfigError
from nanoarb_jax.units.workers import Workers

met: list[tuple[str, Workers]] = []


@workers_options("different things", default=1)
def command(*, what: str, workers: Workers) -> None:
    met.append((what, workers))


@pytest.mark.parametrize(
    ("executor", "jobs", "address", "expected"),
    [
        ("loky", None, None, Workers(jobs=1)),
        ("loky", 0, None, Workers()),
        ("dask", 3, None, Workers("dask", 3)),
        ("ray", None, "10.0.0.1:6379", Workers("ray", address="10.0.0.1:6379")),
    ],
)
def test_what_the_options_say(executor: str, jobs: int | None, address: str | None, expected: Workers) -> None:
    command(what="x", executor=executor, jobs=jobs, address=address)
    assert met.pop() == ("x", expected)


def test_options_that_contradict_each_other() -> None:
    with pytest.raises(ConfigError, match="--address a:1: --executor loky has no cluster"):
        command(what="x", executor="loky", jobs=None, address="a:1")
    with pytest.raises(ConfigError, match="--jobs 2: the cluster at --address a:1 has its own workers"):
        command(what="x", executor="dask", jobs=2, address="a:1")
    said = CliRunner().invoke(app, ["evaluate", "--checkpoint", "none", "--data", "none", "--jobs", "2"])
    assert said.exit_code == 2 and "--protocol split trains nothing" in " ".join(said.output.split())


@pytest.mark.parametrize("words", [["data", "prepare"], ["evaluate"]])
def test_commands_that_have_them(words: list[str]) -> None:
    text = CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "200"}).output
    assert all(option in text for option in ("--executor", "--jobs", "--address"))
