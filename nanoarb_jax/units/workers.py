"""Who works on independent tasks: this process, others of this machine, or a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from nanoarb_jax.config.checks import check_types, require


@dataclass(frozen=True)
class Workers:
    """Who works on independent tasks.

    Args:
        executor: processes of this machine (loky), or a Dask or Ray cluster. With serial, or one job of loky, this
            process itself.
        jobs: processes at work at the same time, one per core unless given. Not of a cluster, which has its own.
        address: of a running cluster, such as tcp://10.0.0.1:8786 (Dask) or 10.0.0.1:6379 (Ray). Without, one of this
            machine's processes is started, and stopped at the end.

    Raises:
        SettingError: a value is out of range, or an address that the executor has no use for.
    """

    executor: Literal["serial", "loky", "dask", "ray"] = "loky"
    jobs: int | None = None
    address: str | None = None

    def __post_init__(self) -> None:
        check_types("workers", self)
        require(self.jobs is None or self.jobs >= 1, "workers.jobs", self.jobs, "a number from 1 on")
        if self.address is not None:
            cluster = self.executor in ("dask", "ray")
            require(cluster, "workers.address", self.address, f"none with executor {self.executor}; use dask or ray")
            require(self.jobs is None, "workers.jobs", self.jobs, "none with an address: a cluster has its own workers")

    def only_here(self, tasks: int) -> bool:
        """Whether so many tasks are worked on in this process, one after the other."""
        return self.executor == "serial" or (self.executor == "loky" and self.at_once(tasks) == 1)

    def at_once(self, tasks: int) -> int:
        """Processes of this machine that so many tasks are given to."""
        from joblib import cpu_count

        return max(1, min(self.jobs or cpu_count(), tasks))
