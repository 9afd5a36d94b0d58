"""Whether this process can compute with JAX as models need it: said at once, not as a damaged file or a hang later."""

from __future__ import annotations

import os

import jax
from jax._src import xla_bridge

from nanoarb_jax.errors import DeviceError
from nanoarb_jax.files import first_line

_forked = False


def _note_fork() -> None:
    global _forked
    _forked = _forked or xla_bridge.backends_are_initialized()


os.register_at_fork(after_in_child=_note_fork)


def check_environment() -> None:
    """Refuse a process in which JAX would hang, fail, or compute with other numbers.

    Raises:
        DeviceError: forked from a process that had used JAX, JAX_ENABLE_X64 is set, or JAX finds no device of the kind
            that JAX_PLATFORMS asks for.
    """
    if _forked:
        raise DeviceError(
            "this process was forked from one that had used JAX, whose threads it lacks, so JAX would wait for ever; "
            'start workers with multiprocessing.get_context("spawn")'
        )
    if jax.config.jax_enable_x64:  # type: ignore[attr-defined]
        raise DeviceError("JAX_ENABLE_X64 is set, but models are of float32; unset it")
    try:
        jax.devices()
    except RuntimeError as error:
        platforms = jax.config.jax_platforms  # type: ignore[attr-defined]
        raise DeviceError(
            f"JAX_PLATFORMS={platforms}: {first_line(error)}; unset it, or name what this machine has, such as cpu"
        ) from error
