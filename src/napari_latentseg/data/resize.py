"""Resizing of slices, and of rows of slices: bilinear, with antialiasing where it shrinks.

Along an axis each value of the result is a weighted mean of neighbouring values. The weights are a triangle,
whose half-width is the step in source pixels when shrinking and 1 otherwise: those of Pillow, and of
`torch.nn.functional.interpolate` with `antialias`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

__all__ = ["resize", "resize_labels", "resize_rows", "source_rows"]

FloatArray = NDArray[np.float32]

# Not Pillow, which takes three times as long. Not the whole matrix of weights, nearly all of which is 0: of a
# block of rows, the part that is not takes the least time where it has about so many columns.
_BLOCK_COLUMNS = 64
_MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS = 4, 32
# Multiply-adds of a product. OpenBLAS shares larger ones among threads, which would take the cores from the
# networks, and wait for each other.
_MAX_PRODUCT = 2**18
# float32 values of a block, 1 MiB: what fits into the cache of a core
_MAX_BLOCK_VALUES = 2**18


@dataclass(frozen=True)
class _Block:
    """The weights of some rows: ``weights[i] @ source[first:first + k]`` gives row ``start + i``."""

    start: int
    first: int
    weights: FloatArray


@dataclass(frozen=True)
class _AxisWeights:
    """The weights along an axis.

    Attributes
    ----------
    firsts, stops
        Of each value of the result, the first value of the source that it needs, and the one after the last.
    blocks
        The weights, in blocks.
    """

    firsts: NDArray[np.int64]
    stops: NDArray[np.int64]
    blocks: tuple[_Block, ...]


@lru_cache(maxsize=8)  # to the working size and back, along two axes, of two models
def _axis_weights(source_length: int, length: int) -> _AxisWeights:
    # in float32 as torch, so that the weights are the same to the last bit
    scale = np.float32(source_length) / np.float32(length)
    radius = max(scale, np.float32(1))
    centres = scale * (np.arange(length, dtype=np.float32) + np.float32(0.5))
    firsts = np.maximum((centres - radius + np.float32(0.5)).astype(np.int64), 0)
    stops = np.minimum((centres + radius + np.float32(0.5)).astype(np.int64), source_length)
    positions = firsts[:, None] + np.arange(int((stops - firsts).max()))
    distances = (positions - centres[:, None] + np.float32(0.5)).astype(np.float32) * (np.float32(1) / radius)
    weights = np.maximum(1 - np.abs(distances), 0)
    weights[positions >= stops[:, None]] = 0
    weights /= weights.sum(axis=1, keepdims=True)
    block_rows = int(np.clip(round(_BLOCK_COLUMNS / scale), _MIN_BLOCK_ROWS, _MAX_BLOCK_ROWS))
    blocks = []
    for start in range(0, length, block_rows):
        rows = slice(start, min(start + block_rows, length))
        first, columns = int(firsts[start]), int(stops[rows.stop - 1] - firsts[start])
        matrix = np.zeros((rows.stop - start, columns + positions.shape[1]), dtype=np.float32)
        np.put_along_axis(matrix, positions[rows] - first, weights[rows], axis=1)
        blocks.append(_Block(start, first, np.ascontiguousarray(matrix[:, :columns])))
    return _AxisWeights(firsts, stops, tuple(blocks))


def source_rows(rows: slice, source_height: int, height: int) -> slice:
    """The rows of a source that some rows of the result are computed from.

    Parameters
    ----------
    rows
        Of the result, one or more.
    source_height, height
        Number of rows of the source and of the result.
    """
    if source_height == height:
        return rows
    axis = _axis_weights(source_height, height)
    return slice(int(axis.firsts[rows.start]), int(axis.stops[rows.stop - 1]))


def resize_rows(
    source: FloatArray, rows: slice, source_shape: tuple[int, int], shape: tuple[int, int]
) -> FloatArray:
    """Some rows of what `resize` gives, from those rows of the source that they need.

    Parameters
    ----------
    source
        Float32 `(..., h, W)`, the rows `source_rows` of the source.
    rows
        Of the result, one or more.
    source_shape, shape
        Height and width of the whole source and of the whole result.

    Returns
    -------
    ndarray
        Float32 `(..., rows, shape[1])`.

    Examples
    --------
    >>> image = np.arange(12, dtype=np.float32).reshape(6, 2)
    >>> needed = source_rows(slice(0, 1), 6, 3)
    >>> resize_rows(image[needed], slice(0, 1), (6, 2), (3, 2))
    array([[1.4285715, 2.4285715]], dtype=float32)
    """
    planes = source.reshape(-1, *source.shape[-2:])
    offset = source_rows(rows, source_shape[0], shape[0]).start
    result = np.empty((len(planes), rows.stop - rows.start, shape[1]), dtype=np.float32)
    step = max(1, _MAX_BLOCK_VALUES // (len(planes) * max(source_shape[1], shape[1])))
    for start in range(rows.start, rows.stop, step):
        part = slice(start, min(start + step, rows.stop))
        needed = source_rows(part, source_shape[0], shape[0])
        blended = planes[:, needed.start - offset : needed.stop - offset]
        if source_shape[0] != shape[0]:
            blended = _blend_rows(blended, part, source_shape[0], shape[0])
        target = result[:, part.start - rows.start : part.stop - rows.start]
        if source_shape[1] == shape[1]:
            target[:] = blended
        else:
            _blend_columns(blended, target)
    return result.reshape(*source.shape[:-2], *result.shape[1:])


def _blend_rows(source: FloatArray, rows: slice, source_height: int, height: int) -> FloatArray:
    """Some rows of `(C, height, W)`, from those rows of the source that they need."""
    offset = source_rows(rows, source_height, height).start
    result = np.empty((len(source), rows.stop - rows.start, source.shape[2]), dtype=np.float32)
    for block in _axis_weights(source_height, height).blocks:
        start, stop = max(block.start, rows.start), min(block.start + len(block.weights), rows.stop)
        if start >= stop:
            continue
        needed = source_rows(slice(start, stop), source_height, height)
        weights = block.weights[
            start - block.start : stop - block.start, needed.start - block.first : needed.stop - block.first
        ]
        part = _for_product(source[:, needed.start - offset : needed.stop - offset])
        target = result[:, start - rows.start : stop - rows.start]
        step = max(1, _MAX_PRODUCT // weights.size)
        for column in range(0, source.shape[2], step):
            columns = slice(column, column + step)
            np.matmul(weights, part[:, :, columns], out=target[:, :, columns])
    return result


def _for_product(planes: FloatArray) -> FloatArray:
    """The same values as BLAS takes them: a flipped or turned plane is copied, a part of rows is not."""
    row_step, step = planes.strides[-2:]
    return planes if step == planes.itemsize and row_step >= planes.shape[-1] * step else planes.copy("C")


def _blend_columns(source: FloatArray, result: FloatArray) -> None:
    """Resize `(C, h, W)` along its rows into `(C, h, W')`."""
    lines = np.ascontiguousarray(source).reshape(-1, source.shape[2])
    resized = np.empty((len(lines), result.shape[2]), dtype=np.float32)
    for block in _axis_weights(source.shape[2], result.shape[2]).blocks:
        weights = block.weights.T
        columns = slice(block.first, block.first + len(weights))
        target_columns = slice(block.start, block.start + weights.shape[1])
        step = max(1, _MAX_PRODUCT // weights.size)
        for line in range(0, len(lines), step):
            part = slice(line, line + step)
            np.matmul(lines[part, columns], weights, out=resized[part, target_columns])
    result[:] = resized.reshape(result.shape)


def resize(image: FloatArray, shape: tuple[int, int]) -> FloatArray:
    """Resize an image: bilinear, with antialiasing where it shrinks.

    Parameters
    ----------
    image
        Float32 `(..., H, W)`.
    shape
        Height and width of the result, in pixels.

    Returns
    -------
    ndarray
        Float32 `(..., *shape)`; `image` itself where it has that shape.

    Examples
    --------
    >>> resize(np.array([[0, 1], [2, 3]], dtype=np.float32), (1, 1))
    array([[1.5]], dtype=float32)
    """
    source_shape = (image.shape[-2], image.shape[-1])
    if source_shape == shape:
        return image
    return resize_rows(image, slice(0, shape[0]), source_shape, shape)


def resize_labels(labels: NDArray[np.uint8], shape: tuple[int, int]) -> NDArray[np.uint8]:
    """Resize labels `(H, W)` to `shape` by nearest neighbour, sampled at pixel centres."""
    if labels.shape == shape:
        return labels
    rows, columns = (_nearest(n, length) for n, length in zip(labels.shape, shape, strict=True))
    resized: NDArray[np.uint8] = labels[rows[:, None], columns]
    return resized


def _nearest(source_length: int, length: int) -> NDArray[np.int64]:
    """Of each value of the result, the value of the source that it is."""
    step = np.float32(source_length) / np.float32(length)
    nearest = ((np.arange(length, dtype=np.float32) + np.float32(0.5)) * step).astype(np.int64)
    return np.minimum(nearest, source_length - 1)
