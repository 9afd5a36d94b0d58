"""Matrices as the native step reads them, in each precision.

A matrix is its scale per output (float32), then its cells of 4 rows × 16 outputs, stored as `memory.load_rows` reads
them: for every tile of 64 outputs (16 at the end), for every 4 rows, the tile's 4 cells (1 at the end) in a row.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from nanoarb_jax.serving.backends.native.layout import CELL_ROWS, TILE
from nanoarb_jax.serving.backends.native.simd import LANES


def stored_matrix(weights: NDArray[np.float32], precision: str) -> tuple[NDArray[np.float32], NDArray[Any]]:
    """The scales and the cells of a matrix.

    Args:
        weights: (rows, outputs), a multiple of 4 and one of 16.
        precision: of the cells, one of PRECISIONS.
    """
    outputs = weights.shape[1]
    scales: NDArray[np.float32] = np.ones(outputs, np.float32)
    if precision == "bf16":
        scales = _bfloat16_scales(weights)
    elif precision == "int8":
        scales = np.maximum(np.abs(weights).max(axis=0) / 127, np.float32(1e-30)).astype(np.float32)
    groups = weights.reshape(-1, CELL_ROWS, outputs) / scales  # (g, 4, o)
    stored = {"fp32": lambda g: g, "bf16": _bfloat16_words, "int8": _int8_words}[precision](groups)  # (g, words, o)
    in_tiles = outputs // TILE * TILE
    cells = [
        part.reshape(*part.shape[:2], -1, width // LANES, LANES).transpose(2, 0, 3, 1, 4).ravel()
        for part, width in ((stored[..., :in_tiles], TILE), (stored[..., in_tiles:], LANES))
    ]
    # an int8 comes out of its word in units of 2**-24
    return scales * np.float32(2.0**-24 if precision == "int8" else 1.0), np.concatenate(cells)


def _bfloat16_scales(weights: NDArray[np.float32]) -> NDArray[np.float32]:
    """The scale of each output, in [1, 2), with the least sum of squared rounding errors of its weights.

    A scale shifts where the numbers of a column lie between two bfloat16s. The best of 32 scales takes away a third or
    more of a model's mean error.
    """
    best: NDArray[np.float32] = np.ones(weights.shape[1], np.float32)
    least: NDArray[np.float32] = np.full(weights.shape[1], np.inf, np.float32)
    for scale in np.exp2(np.arange(32) / 32).astype(np.float32):
        rounded = (_to_bfloat16(weights / scale) << 16).view(np.float32) * scale
        error = np.square(rounded - weights).sum(axis=0)
        best = np.where(error < least, scale, best).astype(np.float32)
        least = np.minimum(error, least)
    return best


def _to_bfloat16(array: NDArray[np.float32]) -> NDArray[np.uint32]:
    """The upper halves of float32 numbers, rounded to nearest even."""
    bits = np.ascontiguousarray(array, np.float32).view(np.uint32)
    rounded = bits + 0x7FFF + ((bits >> 16) & 1)
    return (rounded >> 16).astype(np.uint32)


def _bfloat16_words(groups: NDArray[np.float32]) -> NDArray[np.uint32]:
    """(g, 4, o) rows as (g, 2, o) pairs: rows 0 and 1, 2 and 3, the first of each pair in the lower half."""
    halves = _to_bfloat16(groups)
    return (halves[:, 0::2] | halves[:, 1::2] << 16).astype(np.uint32)


def _int8_words(groups: NDArray[np.float32]) -> NDArray[np.uint32]:
    """(g, 4, o) rows in units of the scale as (g, 1, o) words, row 0 in the lowest byte.

    The kernel does not mask: a row's value is its byte and, as a fraction, the bytes below it. So each byte is rounded
    after that fraction is taken off, and no row is further from its value than half a unit.
    """
    word = np.zeros((len(groups), 1, groups.shape[2]), np.int64)
    for row in range(CELL_ROWS):
        byte = np.rint(groups[:, row : row + 1] - word / (1 << 8 * row))
        word |= (np.clip(byte, -128, 127).astype(np.int64) & 0xFF) << 8 * row
    return word.astype(np.uint32)
