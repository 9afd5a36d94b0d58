"""The same tasks on any executor: results as they are finished, and workers that die replaced."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Sequence
from concurrent.futures.process import BrokenProcessPool
from typing import Any

from nanoarb_jax.units.clusters import on_dask, on_ray
from nanoarb_jax.units.tasks import Done, Numbered, Task, Through, died, numbered_call, origin_here
from nanoarb_jax.units.workers import Workers


def finished(tasks: Sequence[Task], workers: Workers, stopped: Callable[[], bool] = lambda: False) -> Through:
    """Work on tasks, and give each when it is through, whichever is first.

    A worker that dies costs time alone: its task is given to another. Whoever ends the iteration before its end (close
    it, see `contextlib.closing`) ends the tasks under way on this machine; on a cluster that was running already those
    that have begun go on, and nobody waits for them.

    Args:
        tasks: independent of each other, each idempotent: one may be begun twice.
        workers: at work on them.
        stopped: asked before a task is begun; True: no more are.

    Raises:
        ConfigError: the executor's package is not installed, or there is no cluster at the address.
    """
    wanted = ((number, task) for number, task in enumerate(tasks) if not stopped())
    if workers.executor == "dask":
        return on_dask(wanted, workers, len(tasks))
    if workers.executor == "ray":
        return on_ray(wanted, workers, len(tasks))
    if workers.only_here(len(tasks)):
        return _in_turn(wanted)
    return _on_loky(tasks, workers, stopped)


def run_tasks(
    tasks: Sequence[Task], workers: Workers, tell: Callable[[int, int, str], None] = lambda done, total, name: None
) -> list[Any]:
    """What tasks return, in their order.

    The first error lets those under way finish, begins no others, and is raised then.

    Args:
        tasks, workers: see `finished`.
        tell: called with (tasks done, tasks in all, name of the last one).

    Raises:
        DeviceError: a task whose worker died again and again.
        others: those of the tasks.
    """
    values: dict[int, Any] = {}
    failed: dict[int, Exception] = {}
    with contextlib.closing(finished(tasks, workers, lambda: bool(failed))) as through:
        for number, value, error in through:
            if error is not None:
                failed[number] = error
            else:
                values[number] = value
                tell(len(values), len(tasks), tasks[number].name)
    if failed:
        raise failed[min(failed)]
    return [values[number] for number in range(len(tasks))]


def _in_turn(wanted: Numbered) -> Through:
    """In this process."""
    for number, task in wanted:
        try:
            value = task.work(*task.arguments)
        except Exception as error:
            yield Done(number, None, error)
        else:
            yield Done(number, value, None)


def _on_loky(tasks: Sequence[Task], workers: Workers, stopped: Callable[[], bool]) -> Through:
    """In processes of this machine.

    loky ends all processes when one dies and does not say whose task that was. So the tasks that are missing then are
    begun again together; if another dies, one by one, where the one that is to blame is known.
    """
    missing = dict(enumerate(tasks))
    for _ in range(2):
        try:
            with contextlib.closing(_round_of_loky(missing, workers.at_once(len(tasks)), stopped)) as through:
                for done in through:
                    del missing[done.number]
                    yield done
            return
        except BrokenProcessPool:
            continue
    for number, task in list(missing.items()):
        if stopped():
            return
        try:
            yield from _round_of_loky({number: task}, workers.at_once(len(tasks)), stopped)
        except BrokenProcessPool:
            yield Done(number, None, died(task))


def _round_of_loky(tasks: dict[int, Task], jobs: int, stopped: Callable[[], bool]) -> Through:
    from joblib import Parallel, cpu_count, delayed, parallel_config

    origin = origin_here(os.getpid())
    with parallel_config(backend="loky", n_jobs=jobs, inner_max_num_threads=max(1, cpu_count() // jobs)):
        parallel = Parallel(return_as="generator_unordered", batch_size=1, pre_dispatch=jobs, max_nbytes=None)
    return parallel(
        delayed(numbered_call)(number, task, origin) for number, task in list(tasks.items()) if not stopped()
    )
