"""Independent tasks, and how one is worked on in whatever process that is."""

from __future__ import annotations

import contextlib
import os
import pickle
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from filelock import FileLock

from nanoarb_jax.errors import ConfigError, DataError, DeviceError, NanoarbError
from nanoarb_jax.units.key import software

# A process works on one task at a time, also a Dask worker of several threads: numba, JAX and warnings are shared.
_at_work = threading.RLock()


class Task(NamedTuple):
    """One call.

    Attributes:
        name: for people.
        work: a function that a module defines at its top, so that another process can import it.
        arguments: of it, which can be pickled.
        claim: a lock file that only one process at a time may hold while it works, for work that writes in place: a
            worker that a cluster gave up may still be writing. None: no lock.
    """

    name: str
    work: Callable[..., Any]
    arguments: tuple[Any, ...]
    claim: Path | None = None


class Origin(NamedTuple):
    """What the process that asks for work has, and workers need, too.

    Attributes:
        folder: it works in, so that a relative path means the same file everywhere.
        software: see `key.software`.
        threads: of XLA on a CPU, whose sums are not the same to the last bit with another number of them.
        ends_with: number of the process whose end ends a worker; None: workers live on.
    """

    folder: str
    software: Mapping[str, str]
    threads: int
    ends_with: int | None = None


class Done(NamedTuple):
    """One task that is through.

    Attributes:
        number: its place among the tasks.
        value: what it returned; None if it failed.
        error: it ended with; None if it did not fail.
    """

    number: int
    value: Any
    error: Exception | None


Numbered = Iterator[tuple[int, Task]]
Through = Generator[Done, None, None]


def origin_here(ends_with: int | None = None) -> Origin:
    """Of this process; see `Origin` for `ends_with`."""
    return Origin(os.getcwd(), software(), threads_here(), ends_with)


def threads_here() -> int:
    """Threads that XLA computes with on a CPU in this process: NPROC, where that is set, or the cores it may use."""
    told = os.environ.get("NPROC", "")
    if told.isdecimal():
        return int(told)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def numbered_call(number: int, task: Task, origin: Origin) -> Done:
    """`call`, with the task's place beside what became of it."""
    return Done(number, *call(task, origin))


def died(task: Task) -> DeviceError:
    """What to say of a task that no worker survived."""
    return DeviceError(
        f"{task.name}: its worker died, and so did those that tried again, perhaps for want of memory; give each more "
        "of it, with fewer --jobs, and run it again"
    )


def call(task: Task, origin: Origin) -> tuple[Any, Exception | None]:
    """Work on a task in a worker process.

    Returns:
        what the task returned, and None; or None, and the error that it ended with.
    """
    if origin.ends_with is not None:
        _end_with(origin.ends_with)
    try:
        with _at_work, _same_place(origin), _claimed(task.claim):
            return task.work(*task.arguments), None
    except (Exception, SystemExit) as error:
        return None, portable(error)


@contextlib.contextmanager
def _same_place(origin: Origin) -> Iterator[None]:
    """Have files, software and threads as the process that asks has them.

    Raises:
        DataError: no such folder here.
        ConfigError: other software, or JAX is in use already with other threads.
    """
    host = socket.gethostname()
    for what, version in origin.software.items():
        met = software().get(what, "none")
        if met != version:
            raise ConfigError(f"worker on {host}: {what} {met}; expected {version}, as where the work was asked for")
    if threads_here() != origin.threads:
        if "jaxlib" in sys.modules:
            raise ConfigError(
                f"worker on {host}: has used JAX with {threads_here()} threads; expected {origin.threads}, as where "
                "the work was asked for, since the last bits of sums depend on it; restart the worker, or set "
                f"NPROC={threads_here()} where the work is asked for"
            )
        os.environ["NPROC"] = str(origin.threads)
    if not os.path.isdir(origin.folder):
        raise DataError(f"worker on {host}: no folder {origin.folder}; workers must see the same files as who asks")
    with contextlib.chdir(origin.folder):
        yield


@contextlib.contextmanager
def _claimed(claim: Path | None) -> Iterator[None]:
    """Wait until nobody else holds the lock file; it is let go when its process ends, however it ends."""
    if claim is None:
        yield
        return
    claim.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(claim):
        yield


def portable(error: BaseException) -> Exception:
    """The error as it can be sent to another process; one that is not the user's says where it happened."""
    if not isinstance(error, NanoarbError):
        error.add_note(f"in a worker on {socket.gethostname()}:\n{''.join(traceback.format_exception(error))}")
    try:
        again = pickle.loads(pickle.dumps(error))
    except Exception:  # an error of somebody else's, which holds or does anything
        again = None
    if isinstance(error, Exception) and type(again) is type(error):
        return error
    other = RuntimeError(f"{type(error).__name__}: {error}")
    for note in getattr(error, "__notes__", ()):
        other.add_note(note)
    return other


_watched: set[int] = set()


def _end_with(parent: int) -> None:
    """End this process as soon as its parent is killed, so that it neither writes nor waits on."""

    def watch() -> None:
        while os.getppid() == parent:
            time.sleep(0.2)
        os._exit(1)

    if parent not in _watched:
        _watched.add(parent)
        threading.Thread(target=watch, daemon=True).start()
