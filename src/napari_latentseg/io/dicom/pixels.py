"""Pixel values of DICOM frames: decoded, rescaled, grey or RGB, one frame at a time."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.io._errors import read_errors
from napari_latentseg.io.dicom.encoding import PixelEncoding
from napari_latentseg.io.dicom.files import silence_dicom_loggers
from napari_latentseg.io.dicom.header import Frame
from napari_latentseg.io.dicom.lookup_tables import apply_modality_lut, apply_palette
from napari_latentseg.io.dicom.stored_values import decode_stored

__all__ = ["FrameStack", "decode", "is_colour", "value_dtype"]

_PALETTE = "PALETTE COLOR"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
_INTEGER_DTYPES = (np.int16, np.uint16, np.int32, np.uint32)
_KIND = "DICOM whose pixels can be read"  # for messages
_EXACT_IN_FLOAT32 = 24  # bits of its significand


def is_colour(encoding: PixelEncoding) -> bool:
    """Whether a frame becomes RGB."""
    return encoding.samples_per_pixel > 1 or encoding.photometric == _PALETTE


def _stored_range(encoding: PixelEncoding) -> tuple[int, int]:
    upper_limit = 2 ** (encoding.bits_stored - 1) if encoding.signed else 2**encoding.bits_stored
    return (-upper_limit, upper_limit - 1) if encoding.signed else (0, upper_limit - 1)


def value_dtype(frames: Sequence[Frame]) -> np.dtype[Any]:
    """The dtype that holds the values of all frames: integer if slope and intercept are, else floating point.

    Parameters
    ----------
    frames
        Of one series; their rescaling may differ.
    """
    encoding = frames[0].encoding
    if encoding.photometric == _PALETTE:
        return np.dtype(np.uint8)
    if encoding.float_dtype:
        return np.dtype(encoding.float_dtype)
    is_unscaled = all((f.slope, f.intercept) == (1.0, 0.0) for f in frames)
    size = max(1, max(f.encoding.bits_allocated for f in frames) // 8)
    same_encoding = {(f.encoding.signed, f.encoding.has_modality_lut) for f in frames} == {
        (encoding.signed, False)
    }
    if (is_unscaled or is_colour(encoding)) and same_encoding:
        return np.dtype(f"{'i' if encoding.signed else 'u'}{size}")
    if not any(f.encoding.has_modality_lut for f in frames) and all(
        f.slope.is_integer() and f.intercept.is_integer() for f in frames
    ):
        value_limits = [v * f.slope + f.intercept for f in frames for v in _stored_range(f.encoding)]
        for dtype in _INTEGER_DTYPES:
            if np.iinfo(dtype).min <= min(value_limits) and max(value_limits) <= np.iinfo(dtype).max:
                return np.dtype(dtype)
    needs_float64 = max(f.encoding.bits_stored for f in frames) > _EXACT_IN_FLOAT32
    return np.dtype(np.float64 if needs_float64 else np.float32)


def decode(frame: Frame, dtype: DTypeLike, stored: tuple[NDArray[Any], Any] | None = None) -> NDArray[Any]:
    """The values of a frame, `(rows, columns)` or `(rows, columns, 3)`.

    Grey values are rescaled by slope and intercept or by the modality LUT; MONOCHROME1 (white is zero) is
    inverted within the range of its stored bits. Colours and palettes become RGB.

    Parameters
    ----------
    frame
        The frame.
    dtype
        As `value_dtype` gives it.
    stored
        What `decode_stored` gave for another frame of the same mosaic.

    Raises
    ------
    BadInput
        If the pixels are damaged, or compressed in a way that no installed decoder knows.
    """
    encoding = frame.encoding
    readable_kinds = _COLOURS if encoding.samples_per_pixel > 1 else (*_GREY, _PALETTE)
    if encoding.photometric not in readable_kinds or encoding.samples_per_pixel not in (1, 3):
        raise BadInput(frame.item.name, "has a colour model that is not supported", "export it as RGB")
    with silence_dicom_loggers(), read_errors(Path(frame.item.name), _KIND):
        array, header = stored or decode_stored(frame.item, encoding, frame.index)
        if array.shape[:2] != (encoding.rows * encoding.tiles[0], encoding.columns * encoding.tiles[1]):
            raise ValueError("pixels that do not have the shape in the header")
        array = array[encoding.tile_slices(frame.tile)]
        if encoding.photometric == _PALETTE:
            return apply_palette(array, header, is_big_endian=encoding.is_big_endian)
        if is_colour(encoding) or encoding.float_dtype:
            return np.asarray(array, dtype=dtype)
        return _apply_rescale(frame, array, header, np.dtype(dtype))


def _apply_rescale(frame: Frame, array: NDArray[Any], header: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    if frame.encoding.photometric == "MONOCHROME1":
        inverted = sum(_stored_range(frame.encoding)) - array.astype(np.int64)
        array = inverted.astype(array.dtype)
    if frame.encoding.has_modality_lut:
        values = apply_modality_lut(
            array, header, is_signed=frame.encoding.signed, is_big_endian=frame.encoding.is_big_endian
        )
        return values.astype(dtype)
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return array.astype(dtype, copy=False)
    return (array * np.float64(frame.slope) + frame.intercept).astype(dtype)


class FrameStack:
    """An array of frames that are decoded when they are indexed, for `dask.array.from_array`.

    Parameters
    ----------
    frames
        In C order of the leading axes.
    leading
        Lengths of the axes before rows and columns.
    dtype
        As `value_dtype` gives it.
    """

    def __init__(self, frames: Sequence[Frame], leading: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        encoding = frames[0].encoding
        colours = (3,) if is_colour(encoding) else ()
        self._frames = tuple(frames)
        self._leading = leading
        self.dtype = dtype
        self.shape = (*leading, encoding.rows, encoding.columns, *colours)
        self.ndim = len(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """Chunk lengths: one frame a chunk; of mosaics, all slices that are stored as one image."""
        leading = [1] * len(self._leading)
        if self._frames[0].encoding.is_mosaic:
            leading[-1:] = self._leading[-1:]
        return (*leading, *self.shape[len(leading) :])

    def __getitem__(self, index: Any) -> NDArray[Any]:
        index = index if isinstance(index, tuple) else (index,)
        leading_ndim = len(self._leading)
        order = np.arange(math.prod(self._leading)).reshape(self._leading)
        frame_numbers = np.asarray(order[index[:leading_ndim]])
        planes = [
            plane[index[leading_ndim:]]
            for plane in _decode_frames([self._frames[i] for i in frame_numbers.ravel()], self.dtype)
        ]
        return np.stack(planes).reshape(frame_numbers.shape + planes[0].shape)


def _decode_frames(frames: Sequence[Frame], dtype: np.dtype[Any]) -> Iterator[NDArray[Any]]:
    """Decode frames; slices that follow each other in one mosaic are decoded once."""
    previous: Frame | None = None
    stored: tuple[NDArray[Any], Any] | None = None
    for frame in frames:
        if not frame.encoding.is_mosaic:
            stored = None
        elif previous is None or previous.item != frame.item:
            with silence_dicom_loggers(), read_errors(Path(frame.item.name), _KIND):
                stored = decode_stored(frame.item, frame.encoding, frame.index)
        yield decode(frame, dtype, stored)
        previous = frame
