"""Tasks on a Dask or a Ray cluster, that is running already or is started on this machine for them."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import socket
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any

from nanoarb_jax.errors import ConfigError
from nanoarb_jax.files import first_line
from nanoarb_jax.units.tasks import Done, Numbered, Task, Through, died, numbered_call, origin_here, portable
from nanoarb_jax.units.workers import Workers

RETRIES = 3  # of a task whose worker died, on a Ray cluster; Dask's schedulers have a setting of their own: 3, too
KNOCK_SECONDS = 10.0


def on_dask(wanted: Numbered, workers: Workers, tasks: int) -> Through:
    """On a Dask cluster; its scheduler gives the tasks of a worker that died to others."""
    try:
        from distributed import as_completed
    except ImportError as error:
        raise _missing_package(workers, error) from error
    with _dask_client(workers, tasks) as client:
        origin = origin_here()
        named: dict[Any, tuple[int, Task]] = {}

        def begin() -> list[Any]:
            """Give the cluster as many tasks as each worker needs to have two, and at least one."""
            room = max(1, 2 * len(client.nthreads())) - len(named)
            new = {
                client.submit(numbered_call, number, task, origin, pure=False): (number, task)
                for number, task in islice(wanted, max(room, 0))
            }
            named.update(new)
            return list(new)

        try:
            through = as_completed(begin(), loop=client.loop)
            for future in through:
                number, task = named.pop(future)
                yield _result(number, task, future.result, "KilledWorker")
                through.update(begin())
        finally:
            client.cancel(list(named))


@contextlib.contextmanager
def _dask_client(workers: Workers, tasks: int) -> Iterator[Any]:
    """Of the scheduler at the address; or of one that is started here, on loopback, with workers of one thread."""
    from distributed import Client, LocalCluster

    with contextlib.ExitStack() as stack:
        place: Any = workers.address
        if place is None:
            stack.enter_context(_only_warnings())
            any_port = {"dashboard": False, "dashboard_address": "127.0.0.1:0"}
            place = LocalCluster(n_workers=workers.at_once(tasks), threads_per_worker=1, scheduler_kwargs=any_port)
            stack.enter_context(place)
        try:
            client = stack.enter_context(Client(place, set_as_default=False))
        except (OSError, ValueError) as error:
            raise ConfigError(f"no Dask scheduler at {place}: {first_line(error)}; start one there") from error
        yield client


@contextlib.contextmanager
def _only_warnings() -> Iterator[None]:
    """Keep a scheduler in this process from telling where it listens and who came."""
    logger = logging.getLogger("distributed")
    level = logger.level
    logger.setLevel(logging.WARNING)
    try:
        yield
    finally:
        logger.setLevel(level)


def on_ray(wanted: Numbered, workers: Workers, tasks: int) -> Through:
    """On a Ray cluster, which gives the tasks of a worker that died to others."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray would else report its use over the network
    try:
        import ray
    except ImportError as error:
        raise _missing_package(workers, error) from error
    with _ray_cluster(workers, tasks):
        origin, remote = origin_here(), ray.remote(numbered_call).options(num_cpus=1, max_retries=RETRIES)
        named: dict[Any, tuple[int, Task]] = {}

        def begin() -> None:
            """Give the cluster two tasks for each of its processors, at least one."""
            room = max(1, 2 * int(ray.cluster_resources().get("CPU", 0))) - len(named)
            for number, task in islice(wanted, max(room, 0)):
                named[remote.remote(number, task, origin)] = number, task

        try:
            begin()
            while named:
                (future,), _ = ray.wait(list(named), num_returns=1)
                number, task = named.pop(future)
                yield _result(number, task, lambda: ray.get(future), "WorkerCrashedError")  # noqa: B023 - at once
                begin()
        finally:
            for future in named:
                ray.cancel(future)


@contextlib.contextmanager
def _ray_cluster(workers: Workers, tasks: int) -> Iterator[None]:
    """Connected to the cluster at the address, or to one that is started here; left alone where the caller is connected
    already."""
    import ray

    if ray.is_initialized():
        yield
        return
    start = functools.partial(ray.init, log_to_driver=False, logging_level=logging.ERROR)
    if workers.address is None:
        start(num_cpus=workers.at_once(tasks), include_dashboard=False)
    else:
        _check_ray(workers.address)
        try:
            start(address=workers.address)
        except (ConnectionError, ValueError, RuntimeError) as error:
            raise ConfigError(
                f"no Ray cluster to be used at {workers.address}: {first_line(error)}; start one there; if it asks for "
                "a token, set RAY_AUTH_MODE=token, see docs/clusters.md"
            ) from error
    try:
        yield
    finally:
        ray.shutdown()


def _check_ray(address: str) -> None:
    """Knock first: Ray itself tries for many minutes where nobody listens.

    Raises:
        ConfigError: nobody does.
    """
    host, _, port = address.rpartition("://")[2].rpartition(":")
    if host and port.isdecimal():  # else it is a word of Ray's, such as auto
        try:
            socket.create_connection((host, int(port)), KNOCK_SECONDS).close()
        except OSError as error:
            raise ConfigError(f"no Ray cluster at {address}: {error}; start one there") from error


def _missing_package(workers: Workers, error: ImportError) -> ConfigError:
    return ConfigError(
        f"executor {workers.executor}: package {error.name} is not installed; install nanoarb-jax[cluster], or use loky"
    )


def _result(number: int, task: Task, get: Callable[[], Done], killed: str) -> Done:
    """What a cluster hands over; what it says itself, rather than the task, is an error of the task."""
    try:
        return get()
    except Exception as error:
        return Done(number, None, died(task) if type(error).__name__ == killed else portable(error))
