"""What the values of a mask file are: labels, or a picture of one class."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "COLOR_LABEL",
    "MIN_PICTURE_MAXIMUM",
    "WHITE_TOLERANCE",
    "as_labels",
    "as_whole_numbers",
    "color_labels",
    "counted_labels",
    "is_picture",
    "is_scan",
    "is_soft_brush",
    "label_text",
]

COLOR_LABEL = 1 << 24
"""A colour as a label is this number plus its red, green and blue bytes; no mask counts that far."""

MIN_PICTURE_MAXIMUM = 128
"""A mask whose maximum is less holds labels and is no picture: the white of a picture is 255, or near it."""

WHITE_TOLERANCE = 0.06
"""Share of a picture's maximum that JPEG leaves of noise in black and in white."""

# Values between black and white of a picture: 3 or fewer are more likely labels than the rim of a shape.
_MIN_RIM_VALUES = 4
# White pixels for each pixel of the rim: thin vessels have a third, and a mask of many objects a tenth.
_MIN_WHITE_SHARE = 0.2
# The rim between black and white is at most this wide, in pixels: a mask that was enlarged 8 times has 8.
_RIM_WIDTH = 8
# JPEG's noise lies within a block of 16 x 16 pixels (8 x 8, colours at half the size) of an edge.
_NOISE_WIDTH = 16
# Share of the pixels between black and white that may lie in areas of one value, or away from white.
_MAX_STRAY_SHARE = 0.1
# Share of the faint pixels that may lie in areas of one value: JPEG leaves a few, and labels are all areas.
_MAX_PLATEAU_SHARE = 0.5

# An image has more values than this, and a pixel mostly differs from the next. Of 190 images of eleven data
# sets (photographs, ultrasound, CT, MR) 2 to 70 % of the pairs of neighbours were equal, more than half in a
# few dark ones alone; of drawn objects of 8 pixels each that fill the whole mask, 61 %.
_MIN_SCAN_VALUES = 32
_MAX_EQUAL_SHARE = 0.5

_WHOLE_NUMBER_TOLERANCE = (
    1e-3  # a scale factor in a header leaves 1e-7 of rounding, and no label is near .001
)
_MAX_COLOR_SPREAD = 64  # of a channel, between the bright pixels of one colour: what JPEG leaves
_MAX_LISTED = 10  # labels in a message, which must stay one line that can be read


def as_whole_numbers(values: NDArray[Any]) -> NDArray[np.int64] | None:
    """Floating-point values as integers; None where they are no whole numbers."""
    rounded = np.rint(values)
    return rounded.astype(np.int64) if np.abs(values - rounded).max() <= _WHOLE_NUMBER_TOLERANCE else None


def as_labels(values: NDArray[Any]) -> NDArray[Any]:
    """Whole numbers from 0 in the smallest type that holds them all: uint8, or int32."""
    return values.astype(np.uint8 if values.max() <= np.iinfo(np.uint8).max else np.int32)


def is_picture(values: NDArray[Any]) -> bool:
    """Whether a mask is a picture of one class, white on black, with soft edges or the noise of JPEG.

    Of two values it is one in any case, and so it is if all values but black are nearly white (254 and 255).
    Else the values between black and white must be many, and lie in a thin rim around white: a class of its
    own has an area, or lies elsewhere.

    Parameters
    ----------
    values
        `(N, H, W)`, 0 or more, with a maximum of `MIN_PICTURE_MAXIMUM` or more.
    """
    top = values.max()
    distinct = np.unique(values)
    between_count = int(((distinct > 0) & (distinct < top)).sum())
    if between_count < _MIN_RIM_VALUES:
        darkest = distinct[distinct > 0].min(initial=top)
        return between_count == 0 or bool(_is_white(int(top)) and darkest >= (1 - WHITE_TOLERANCE) * top)
    grey = values.astype(np.float32) / np.float32(top)
    is_rim = (grey > WHITE_TOLERANCE) & (grey < 1 - WHITE_TOLERANCE)
    is_faint = (grey > 0) & (grey <= WHITE_TOLERANCE)
    white_count = np.count_nonzero(grey >= 1 - WHITE_TOLERANCE)
    if not _is_white(int(top)) or white_count < _MIN_WHITE_SHARE * np.count_nonzero(is_rim):
        return False
    is_flat = _is_flat(values)
    return (
        _is_small_part(is_rim & (is_flat | ~_near_white(grey, _RIM_WIDTH)), is_rim, _MAX_STRAY_SHARE)
        and _is_small_part(is_faint & is_flat, is_faint, _MAX_PLATEAU_SHARE)
        and _is_small_part(is_faint & ~_near_white(grey, _NOISE_WIDTH), is_faint, _MAX_STRAY_SHARE)
    )


def is_scan(values: NDArray[Any]) -> bool:
    """Whether values are those of an image rather than labels: many, and neighbours mostly differ.

    Parameters
    ----------
    values
        `(..., W)`, integers of 0 or more.
    """
    left, right = values[..., :-1], values[..., 1:]
    is_pair = (left > 0) & (right > 0)
    equal_count = np.count_nonzero(is_pair & (left == right))
    if equal_count >= _MAX_EQUAL_SHARE * np.count_nonzero(is_pair):
        return False
    return len(np.unique(values)) > _MIN_SCAN_VALUES


def _is_white(value: int) -> bool:
    """Whether a maximum is the white of 8 or 16 bits, or what JPEG and resizing leave of it."""
    return any((1 - WHITE_TOLERANCE) * white <= value <= white for white in (255, 65535))


def _is_small_part(part: NDArray[np.bool_], whole: NDArray[np.bool_], max_share: float) -> bool:
    return bool(np.count_nonzero(part) <= max_share * np.count_nonzero(whole))


def _near_white(grey: NDArray[np.float32], distance: int) -> NDArray[np.bool_]:
    """Pixels with white in reach, in their slice."""
    from scipy import ndimage  # here, since a card names labels and loads without scipy

    reach = 2 * distance + 1
    brightest: NDArray[np.float32] = ndimage.maximum_filter(grey, size=(1, reach, reach))
    return brightest >= 1 - WHITE_TOLERANCE


def _is_flat(values: NDArray[Any]) -> NDArray[np.bool_]:
    """Pixels whose eight neighbours in the slice have the same value."""
    from scipy import ndimage

    size = (1, 3, 3)
    highest: NDArray[Any] = ndimage.maximum_filter(values, size=size)
    return np.asarray(highest == ndimage.minimum_filter(values, size=size))


def color_labels(rgb: NDArray[Any]) -> NDArray[np.int32]:
    """A label for each colour, `(...)` of `(..., 3)`: 0 is black, see `COLOR_LABEL`."""
    channels = (rgb >> 8 if rgb.dtype.itemsize > 1 else rgb).astype(np.int32)
    codes = channels[..., 0] << 16 | channels[..., 1] << 8 | channels[..., 2]
    return np.where(codes > 0, codes + COLOR_LABEL, 0).astype(np.int32)


def is_soft_brush(rgb: NDArray[Any]) -> bool:
    """Whether the bright pixels of an RGB picture have one colour, so that the others are its edge.

    Parameters
    ----------
    rgb
        `(..., 3)`.
    """
    brightness = rgb.max(axis=-1)
    bright = rgb[brightness >= (1 - WHITE_TOLERANCE) * brightness.max()].astype(np.int64)
    middle = np.median(bright, axis=0)
    spread = np.percentile(np.abs(bright - middle), 95, axis=0).max()
    return bool(spread <= _MAX_COLOR_SPREAD * np.iinfo(rgb.dtype).max / np.iinfo(np.uint8).max)


def label_text(label: int) -> str:
    """A label as people write it.

    Examples
    --------
    >>> label_text(17), label_text(COLOR_LABEL + 0x800000)
    ('17', '#800000')
    """
    return f"#{label - COLOR_LABEL:06x}" if label >= COLOR_LABEL else str(label)


def counted_labels(labels: NDArray[Any], only: Sequence[int] | None = None) -> str:
    """The first ten labels of a mask with their numbers of pixels.

    Parameters
    ----------
    labels
        Of any shape.
    only
        The labels to list; None for all but 0.

    Examples
    --------
    >>> counted_labels(np.array([0, 17, 17, 53]))
    '17 (2 pixels), 53 (1)'
    """
    values, counts = np.unique(labels, return_counts=True)
    rows = [
        (int(value), int(count))
        for value, count in zip(values, counts, strict=True)
        if (value != 0 if only is None else value in only)
    ]
    texts = [f"{label_text(value)} ({count})" for value, count in rows[:_MAX_LISTED]]
    if texts:
        plural = "pixel" if rows[0][1] == 1 else "pixels"
        texts[0] = f"{label_text(rows[0][0])} ({rows[0][1]} {plural})"
    more = ["..."] if len(rows) > _MAX_LISTED else []
    return ", ".join([*texts, *more])
