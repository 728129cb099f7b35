"""Arrays for tests of TIFF files."""

from __future__ import annotations

import numpy as np


def ramp(shape: tuple[int, ...], dtype: object = np.uint8) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 250).astype(dtype).reshape(shape)


PLANE = ramp((4, 5))
