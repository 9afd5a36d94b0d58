"""Which devices a run uses."""

from __future__ import annotations

import contextlib
import resource
import sys

import jax
import jax.numpy as jnp

from nanoarb_jax.data.prepare import usable_cores
from nanoarb_jax.errors import SettingError


def choose_devices(name: str, count: int | None = None) -> list[jax.Device]:
    """The first devices of the kind.

    Args:
        name: "auto" (a GPU where there is one), "cpu" or "gpu".
        count: how many; None: all. A CPU is one device to JAX unless it is asked to be several before its first use,
            which this does, up to its cores.

    Raises:
        SettingError: a GPU was asked for and JAX sees none, or more devices than there are.
    """
    if count is not None and 1 < count <= usable_cores() and name != "gpu":
        with contextlib.suppress(RuntimeError):  # JAX is in use already
            jax.config.update("jax_num_cpu_devices", count)
    try:
        found = jax.devices(None if name == "auto" else name)
    except RuntimeError as error:
        seen = f'"auto" where JAX sees only {jax.default_backend()}'
        remedy = "a GPU needs nanoarb-jax[cuda12] or [cuda13], and a machine with an NVIDIA one"
        raise SettingError("train.device", name, f"{seen}; {remedy}") from error
    if count is not None and count > len(found):
        expected = f"at most {len(found)}, as many as JAX sees of kind {found[0].platform} in this process"
        raise SettingError("train.devices", count, expected)
    return found[:count]


def choose_device(name: str) -> jax.Device:
    """The first of `choose_devices`."""
    return choose_devices(name, 1)[0]


def matmul_dtype(setting: str, device: jax.Device) -> jnp.dtype:
    """Operand type of the projections: "auto" is bfloat16 on a GPU and float32 elsewhere."""
    if setting == "auto":
        setting = "bfloat16" if device.platform == "gpu" else "float32"
    return jnp.dtype(setting)


def default_batch(device: jax.Device, rows: int, ticks: int, windows: bool, devices: int = 1) -> int:
    """Lanes of an update where the settings leave them open.

    A CPU is busy with 16 streams or 256 windows. A GPU is filled by as many as leave some 20 updates in an epoch, up to
    1,024 streams or 4,096 windows on each: fewer updates learn less from the same ticks.

    Args:
        device: where the run computes; the first of several.
        rows: training rows of all streams.
        ticks: rows per lane and update.
        windows: whether lanes are independent windows.
        devices: that share the lanes.
    """
    least, most = (256, 4096) if windows else (16, 1024)
    if device.platform == "cpu":
        return least
    lanes = rows if windows else rows // ticks
    return min(max(lanes // 20, least), most * devices)


def peak_memory_bytes(device: jax.Device) -> int:
    """Most memory used so far: on the device where it counts, else by this process."""
    statistics = device.memory_stats() or {}
    if "peak_bytes_in_use" in statistics:
        return int(statistics["peak_bytes_in_use"])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024
