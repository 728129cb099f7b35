"""Lookup tables of DICOM pixels: palettes, and modality LUTs from stored to real values."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["apply_modality_lut", "apply_palette", "has_modality_lut", "note_on_modality_lut"]

_MOST_ENTRIES = 2**16  # which a descriptor of 16 bits writes as 0
_FLUOROSCOPY_MODALITIES = ("XA", "RF")
_NON_LINEAR_RELATIONSHIPS = ("LOG", "DISP")


def has_modality_lut(ds: Dataset) -> bool:
    """Whether a modality LUT, which is complete and meant for display, gives the values."""
    return _has_table(ds) and not _leads_back_to_intensity(ds)


def note_on_modality_lut(ds: Dataset) -> str:
    """For people: that a modality LUT is not applied; empty if there is none, or it is applied."""
    if _has_table(ds) and _leads_back_to_intensity(ds):
        return "the lookup table from stored values to X-ray intensity is not applied"
    return ""


def _has_table(ds: Dataset) -> bool:
    items = ds.get("ModalityLUTSequence")
    # some files have one item, and that is empty
    return bool(items) and all(items[0].get(keyword) for keyword in ("LUTDescriptor", "LUTData"))


def _leads_back_to_intensity(ds: Dataset) -> bool:
    """Whether the LUT is that of an angiogram, which is not for display (PS3.3, C.8.7.1.1.2)."""
    is_non_linear = str(ds.get("PixelIntensityRelationship") or "") in _NON_LINEAR_RELATIONSHIPS
    return is_non_linear and str(ds.get("Modality") or "") in _FLUOROSCOPY_MODALITIES


def apply_modality_lut(
    stored: NDArray[Any], header: Any, *, is_signed: bool, is_big_endian: bool
) -> NDArray[Any]:
    """The values that the modality LUT gives for stored ones (PS3.3, C.11.1.1).

    Parameters
    ----------
    stored
        Integers, of any shape.
    header
        With the Modality LUT Sequence.
    is_signed, is_big_endian
        How the file stores integers.

    Raises
    ------
    ValueError
        If the table has fewer entries than it says.
    """
    item = header.ModalityLUTSequence[0]
    descriptor = [int(v) for v in item.LUTDescriptor]
    count, first = descriptor[0] or _MOST_ENTRIES, descriptor[1]
    if is_signed and first >= _MOST_ENTRIES // 2:  # a signed number, read as an unsigned one
        first -= _MOST_ENTRIES
    entries = _lut_entries(item.LUTData, count, is_big_endian)
    if len(entries) < count:
        raise ValueError("a lookup table that is too short")
    return np.asarray(entries[np.clip(stored.astype(np.int64) - first, 0, count - 1)])


def _lut_entries(data: Any, count: int, is_big_endian: bool) -> NDArray[np.uint16]:
    """Entries of 8 to 16 bits each, which come as words, or as numbers that pydicom has read."""
    if not isinstance(data, bytes):
        return np.atleast_1d(np.asarray(data, dtype=np.int64) % _MOST_ENTRIES).astype(np.uint16)
    words = np.frombuffer(data[: len(data) // 2 * 2], ">u2" if is_big_endian else "<u2")
    if len(words) >= count:
        return words[:count].astype(np.uint16)
    return np.frombuffer(words.astype("<u2").tobytes(), np.uint8)[:count].astype(np.uint16)


def apply_palette(indices: NDArray[Any], header: Any, *, is_big_endian: bool) -> NDArray[np.uint8]:
    """The colours of a palette image, `(rows, columns, 3)`.

    Parameters
    ----------
    indices
        Stored values.
    header
        With the lookup tables of red, green and blue.
    is_big_endian
        How the file stores words.
    """
    from pydicom.pixels.processing import apply_color_lut

    if is_big_endian:
        header = _with_swapped_palette(header)
    colours = np.asarray(apply_color_lut(indices, header))[..., :3]
    return (colours >> 8 if colours.dtype.itemsize > 1 else colours).astype(np.uint8)


def _with_swapped_palette(header: Any) -> Any:
    """With the bytes of a palette's words swapped: pydicom takes them as little endian in any file."""
    swapped = copy.deepcopy(header)
    for colour in ("Red", "Green", "Blue"):
        keyword = f"{colour}PaletteColorLookupTableData"
        if keyword in swapped:
            words = np.frombuffer(swapped[keyword].value, ">u2")
            swapped[keyword].value = words.astype("<u2").tobytes()
    return swapped
