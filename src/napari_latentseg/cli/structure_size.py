"""The size of a structure on the command line: in pixels, or as a length where the image has a spacing."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from pathlib import Path

from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.errors import BadInput

__all__ = ["size_in_pixels"]

_OPTION = "structure-size"
_EQUAL_SPACING = 0.01  # relative: rows and columns that are as far apart as each other
_REMEDY = "write it in pixels: 40"


def size_in_pixels(
    text: str | None,
    scans: Sequence[Path],
    *,
    series: int | None = None,
    spacing: Sequence[float] | None = None,
) -> float | None:
    """The size that was given, in pixels of the slices; None where none was.

    Parameters
    ----------
    text
        ``"40"`` in pixels, or ``"12mm"`` with a unit of length.
    scans, series, spacing
        As for `segment`. The header of the image is read for a length alone.

    Raises
    ------
    BadInput
        If it is not a size, or a length whose pixels are not known.
    """
    if text is None:
        return None
    match = re.fullmatch(r"([-+0-9.eE]+)\s*(px|pixels?|[a-zµμ]{1,2})?", text.strip())
    try:
        value = math.nan if match is None else float(match[1])
    except ValueError:
        value = math.nan
    unit = "px" if match is None else (match[2] or "px").replace("µ", "u").replace("μ", "u")
    is_in_pixels = unit in ("px", "pixel", "pixels")
    if not math.isfinite(value) or not (is_in_pixels or unit in MM_PER_UNIT):
        raise BadInput(_OPTION, f"{text!r} is not a size", "write it in pixels: 40, or with a unit: 12mm")
    if is_in_pixels:
        return value
    return value * MM_PER_UNIT[unit] / _mm_per_pixel(scans, series, spacing)


def _mm_per_pixel(scans: Sequence[Path], series: int | None, spacing: Sequence[float] | None) -> float:
    """How many millimetres a pixel of the acquired slices is, in which prompts lie, in both directions."""
    from napari_latentseg.core.given_spacing import give_spacing
    from napari_latentseg.io import read_scan_lazy

    if len(scans) != 1:
        raise BadInput(_OPTION, "is a length, and several images are given", _REMEDY)
    scan = read_scan_lazy(scans[0], series=series)
    if spacing is not None:
        scan = give_spacing(scan, spacing)
    units = scan.geometry.units[-2:]
    if not set(units) <= set(MM_PER_UNIT):
        remedy = f"{_REMEDY}, or give the spacing in mm: --spacing 0.2"
        raise BadInput(_OPTION, "is a length, and the image has no spacing", remedy)
    rows, columns = (
        step * MM_PER_UNIT[unit] for step, unit in zip(scan.geometry.spacing[-2:], units, strict=True)
    )
    if not math.isclose(rows, columns, rel_tol=_EQUAL_SPACING):
        raise BadInput(_OPTION, "is a length, and the pixels are not square", _REMEDY)
    return float(rows)
