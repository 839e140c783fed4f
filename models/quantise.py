"""Matrices as int8 with one float16 scale per row: a quarter of the size, for weights on disk."""

import numpy as np
from numpy.typing import NDArray

_LEVELS = 127


def quantised(matrix: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float16]]:
    """int8 (rows, columns) and float16 scales (rows, 1); the error is at most 0.51 scales per entry."""
    scale = (np.abs(matrix).max(axis=1, keepdims=True) / _LEVELS).astype(np.float16)
    divisor = np.where(scale > 0, scale, 1).astype(np.float32)
    return np.clip(np.rint(matrix / divisor), -_LEVELS, _LEVELS).astype(np.int8), scale


def dequantised(levels: NDArray[np.int8], scale: NDArray[np.float16]) -> NDArray[np.float32]:
    """float32 (rows, columns): levels times the scale of their row."""
    return levels.astype(np.float32) * scale.astype(np.float32)
