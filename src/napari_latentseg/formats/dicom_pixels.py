"""DICOM's stored values as an image's: decoded, scaled, in grey or RGB, a frame at a time."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.formats._common import reading
from napari_latentseg.formats.dicom_files import quiet_dicom
from napari_latentseg.formats.dicom_header import Frame
from napari_latentseg.formats.dicom_stored import Stored

__all__ = ["FrameStack", "decode", "is_colour", "value_dtype"]

_PALETTE = "PALETTE COLOR"
_GREY = ("MONOCHROME1", "MONOCHROME2")
_COLOURS = ("RGB", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422")
_WHOLE = (np.int16, np.uint16, np.int32, np.uint32)
_EXACT_IN_FLOAT32 = 24


def is_colour(stored: Stored) -> bool:
    """Whether a frame becomes RGB."""
    return stored.samples > 1 or stored.kind == _PALETTE


def _limits(stored: Stored) -> tuple[int, int]:
    top = 2 ** (stored.stored - 1) if stored.signed else 2**stored.stored
    return (-top, top - 1) if stored.signed else (0, top - 1)


def value_dtype(frames: Sequence[Frame]) -> np.dtype[Any]:
    """One dtype that holds the values of all frames: whole where slope and intercept are, else real.

    Parameters
    ----------
    frames
        Of one series; their scales may differ.
    """
    stored = frames[0].stored
    if stored.kind == _PALETTE:
        return np.dtype(np.uint8)
    if stored.real:
        return np.dtype(stored.real)
    plain = all((f.slope, f.intercept) == (1.0, 0.0) for f in frames)
    size = max(1, max(f.stored.allocated for f in frames) // 8)
    same = {(f.stored.signed, f.stored.table) for f in frames} == {(stored.signed, False)}
    if (plain or is_colour(stored)) and same:
        return np.dtype(f"{'i' if stored.signed else 'u'}{size}")
    if not any(f.stored.table for f in frames) and all(
        f.slope.is_integer() and f.intercept.is_integer() for f in frames
    ):
        ends = [v * f.slope + f.intercept for f in frames for v in _limits(f.stored)]
        for dtype in _WHOLE:
            if np.iinfo(dtype).min <= min(ends) and max(ends) <= np.iinfo(dtype).max:
                return np.dtype(dtype)
    fine = max(f.stored.stored for f in frames) > _EXACT_IN_FLOAT32
    return np.dtype(np.float64 if fine else np.float32)


def decode(frame: Frame, dtype: DTypeLike) -> NDArray[Any]:
    """A frame's values, `(rows, columns)` or `(rows, columns, 3)`.

    Grey values go through slope and intercept, or the modality's table; where white is zero they are turned
    round within what their bits can hold. Colours become RGB, also from a palette.

    Parameters
    ----------
    frame
        From a header.
    dtype
        As `value_dtype` says.

    Raises
    ------
    BadInput
        Where the pixels are damaged, or compressed in a way that no decoder here knows.
    """
    stored = frame.stored
    known = _COLOURS if stored.samples > 1 else (*_GREY, _PALETTE)
    if stored.kind not in known or stored.samples not in (1, 3):
        raise BadInput(frame.item.name, "stores its colours in a way that is not read", "export it as RGB")
    with quiet_dicom(), reading(Path(frame.item.name), "DICOM whose pixels can be read"):
        array, header = _raw(frame)
        if array.shape[:2] != (stored.rows, stored.columns):
            raise ValueError("not the shape that the header says")
        if stored.kind == _PALETTE:
            return _through_palette(array, header)
        if is_colour(stored) or stored.real:
            return np.asarray(array, dtype=dtype)
        return _meant(frame, array, header, np.dtype(dtype))


def _raw(frame: Frame) -> tuple[NDArray[Any], Any]:
    import pydicom
    from pydicom.pixels.decoders.base import get_decoder
    from pydicom.pixels.utils import pixel_array
    from pydicom.uid import UID

    syntax = UID(frame.stored.syntax)
    header: Any = pydicom.Dataset()
    try:
        if syntax.is_transfer_syntax and syntax.is_compressed and not get_decoder(syntax).is_available:
            raise BadInput(
                frame.item.name,
                f"is compressed in a way that needs another package ({syntax.name})",
                'pip install "napari-latentseg[jpeg]", or export it uncompressed',
            )
        with frame.item.loaded() as file:
            if frame.stored.odd:
                header = pydicom.dcmread(file, force=True)
                return np.asarray(pixel_array(header, index=frame.index)), header
            array = pixel_array(file, ds_out=header, index=frame.index, transfer_syntax_uid=syntax)
            return np.asarray(array), header
    except NotImplementedError as error:
        name = "an unknown one" if syntax.is_private or syntax.name == syntax else syntax.name
        raise BadInput(
            frame.item.name, f"has a transfer syntax that is not read ({name})", "export it uncompressed"
        ) from error


def _through_palette(array: NDArray[Any], header: Any) -> NDArray[np.uint8]:
    from pydicom.pixels.processing import apply_color_lut

    colours = np.asarray(apply_color_lut(array, header))[..., :3]
    return (colours >> 8 if colours.dtype.itemsize > 1 else colours).astype(np.uint8)


def _meant(frame: Frame, array: NDArray[Any], header: Any, dtype: np.dtype[Any]) -> NDArray[Any]:
    from pydicom.pixels.processing import apply_modality_lut

    if frame.stored.kind == "MONOCHROME1":
        turned = sum(_limits(frame.stored)) - array.astype(np.int64)
        array = turned.astype(array.dtype)
    if frame.stored.table:
        return np.asarray(apply_modality_lut(array, header)).astype(dtype)
    if (frame.slope, frame.intercept) == (1.0, 0.0):
        return array.astype(dtype, copy=False)
    return (array * np.float64(frame.slope) + frame.intercept).astype(dtype)


class FrameStack:
    """Frames as one array that is decoded where it is looked at, for `dask.array.from_array`.

    Parameters
    ----------
    frames
        In the order of the leading axes.
    leading
        The shape before rows and columns.
    dtype
        Of the values.
    """

    def __init__(self, frames: Sequence[Frame], leading: tuple[int, ...], dtype: np.dtype[Any]) -> None:
        stored = frames[0].stored
        colours = (3,) if is_colour(stored) else ()
        self._frames = tuple(frames)
        self._leading = leading
        self.dtype = dtype
        self.shape = (*leading, stored.rows, stored.columns, *colours)
        self.ndim = len(self.shape)

    @property
    def chunks(self) -> tuple[int, ...]:
        """One frame."""
        return (*[1] * len(self._leading), *self.shape[len(self._leading) :])

    def __getitem__(self, index: Any) -> NDArray[Any]:
        index = index if isinstance(index, tuple) else (index,)
        lead = len(self._leading)
        order = np.arange(math.prod(self._leading)).reshape(self._leading)
        wanted = np.asarray(order[index[:lead]])
        planes = [decode(self._frames[i], self.dtype)[index[lead:]] for i in wanted.ravel()]
        return np.stack(planes).reshape(wanted.shape + planes[0].shape)
