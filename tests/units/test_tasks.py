"""What a worker checks before it begins, and errors on their way back."""

from __future__ import annotations

import os
import pickle
import sys
from pathlib import Path

import pytest

from nanoarb_jax.errors import ConfigError, DataError, SettingError
from nanoarb_jax.units.tasks import Task, call, origin_here, portable, threads_here


def where() -> str:
    return os.getcwd()


TASK = Task("where", where, ())


def test_a_worker_works_where_it_was_asked_from(tmp_path: Path) -> None:
    assert call(TASK, origin_here()._replace(folder=str(tmp_path))) == (str(tmp_path), None)
    assert call(TASK, origin_here()) == (os.getcwd(), None)
    _, error = call(TASK, origin_here()._replace(folder=str(tmp_path / "none")))
    assert isinstance(error, DataError) and "workers must see the same files" in str(error)


def test_a_worker_with_other_software_refuses() -> None:
    origin = origin_here()
    _, error = call(TASK, origin._replace(software={**origin.software, "numpy": "0.1"}))
    assert isinstance(error, ConfigError) and "expected 0.1, as where the work was asked for" in str(error)


def test_threads_are_those_of_who_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once JAX is in use it is too late."""
    monkeypatch.setenv("NPROC", "3")
    assert threads_here() == origin_here().threads == 3
    origin = origin_here()._replace(threads=5)
    monkeypatch.setitem(sys.modules, "jaxlib", sys)
    _, error = call(TASK, origin)
    assert isinstance(error, ConfigError) and "used JAX with 3 threads; expected 5" in str(error)
    monkeypatch.delitem(sys.modules, "jaxlib")
    assert call(TASK, origin)[1] is None and threads_here() == 5


def test_errors_that_cannot_be_sent_become_others() -> None:
    class Local(Exception):
        pass

    sent = pickle.loads(pickle.dumps(portable(Local("inside"))))
    assert type(sent) is RuntimeError and str(sent) == "Local: inside" and "in a worker on" in sent.__notes__[0]
    kept = portable(SettingError("a.b", 1, "two"))
    assert isinstance(kept, SettingError) and str(pickle.loads(pickle.dumps(kept))) == str(kept)
    assert type(portable(SystemExit(3))) is RuntimeError
