"""Corrections of mask files and label maps that need no brush."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import number, shown, whole_number

if TYPE_CHECKING:
    from napari_latentseg.core.mask_edit import MaskEdit
    from napari_latentseg.core.scan import Scan

__all__ = ["KEEP_LARGEST", "edit_mask"]

KEEP_LARGEST = "keep-largest"


def edit_mask(
    mask: ImageLike,
    *,
    label: int | None = None,
    smooth: float = 0.0,
    grow: float = 0.0,
    islands: str | float | None = None,
    fill_holes: bool = False,
    fill_between: bool = False,
    each_slice: bool = False,
    spacing: float | Sequence[float] | None = None,
    axes: str | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Scan:
    """Smooth a mask, grow or shrink it, remove islands, fill holes and the slices between.

    The steps are taken in this order: slices between, holes, islands, grow, smooth. Voxels of other labels
    are never changed.

    Parameters
    ----------
    mask
        A label map: a file, an array, a scan, a layer, or an image of SimpleITK or nibabel.
    label
        The label to edit. Every label by default, the lowest first.
    smooth
        Standard deviation of the Gaussian that smooths the outline, in mm, or in pixels without a spacing.
        The size of the label stays the same.
    grow
        By how much the label grows on all sides, in mm, or in pixels without a spacing; negative to shrink.
    islands
        ``"keep-largest"`` keeps the largest island; a number removes those of a smaller area or volume, in
        mm2 or mm3, or in pixels without a spacing.
    fill_holes
        Fill what the label encloses on all sides.
    fill_between
        Fill the empty slices between two that hold the label, by interpolating distances to its edge.
    each_slice
        Treat each slice by itself rather than the volume in three dimensions.
    spacing
        In mm, of a mask without a physical size; see `segment`.
    axes
        Of an array, see `segment`.
    progress
        Called with the number of finished and of all parts of a step. What it raises stops the work.

    Returns
    -------
    Scan
        The edited label map in the geometry of the mask; one of its notes says where nothing was changed, as
        by a length below the size of a voxel.

    Raises
    ------
    BadInput
        If the mask cannot be read or is not a label map, it does not hold the label, nothing is asked for,
        or an argument is not possible.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import edit_mask
    >>> mask = np.zeros((20, 20), np.uint8)
    >>> mask[5:15, 5:15], mask[8, 8], mask[1, 1] = 1, 0, 1
    >>> edited = edit_mask(mask, islands="keep-largest", fill_holes=True, grow=0.2, spacing=0.1)
    >>> int(edited.array.sum()), edited.geometry.units
    (184, ('mm', 'mm'))
    """
    import numpy as np

    from napari_latentseg.core.mask_edit import edit_spacing
    from napari_latentseg.data.mask_file import read_mask_file
    from napari_latentseg.evaluation.label_maps import check_labels
    from napari_latentseg.io import read_scan_lazy

    edit = _edit_of(smooth, grow, islands, fill_holes, fill_between, each_slice)
    if isinstance(mask, str | os.PathLike):
        path = Path(mask)
        name, header = path.name, read_scan_lazy(path)
        labels = read_mask_file(path).labels
        scan = header.replace(array=labels, axes=header.spatial_axes, levels=())
        scan = open_image(scan, spacing=spacing)
    else:
        scan, name = open_image(mask, spacing=spacing, axes=axes), "mask"
        if scan.axes != scan.spatial_axes:
            raise BadInput(name, "has channels, but a mask has none", "give a mask of labels")
        labels = check_labels(name, np.asarray(scan.array))
    if labels.dtype.kind == "b" or labels.max(initial=0) <= 255:
        labels = labels.astype(np.uint8)
    present = [int(n) for n in np.unique(labels) if n > 0]
    if label is not None and whole_number("label", label) not in present:
        held = ", ".join(map(str, present[:10])) or "none"
        raise BadInput("label", f"{name} does not hold {label}", f"give one that it holds: {held}")
    steps, unit = edit_spacing(scan.geometry)
    sizes = [n for n, axis in zip(scan.spatial_shape, scan.spatial_axes, strict=True) if axis != "t"]
    _check_within(edit, sizes, steps, unit)
    chosen = present if label is None else [int(label)]
    edited = edit.apply(labels, chosen, scan.spatial_axes, steps, progress=progress)
    notes = () if not np.array_equal(edited, labels) else ("no voxel was changed",)
    return scan.replace(array=edited, notes=(*scan.notes, *notes))


def _check_within(edit: MaskEdit, sizes: Sequence[int], steps: Sequence[float], unit: str) -> None:
    """Refuse lengths larger than the mask, such as micrometres given as mm, which would leave nothing."""
    import math

    diagonal = math.hypot(*(n * step for n, step in zip(sizes, steps, strict=True)))
    for name, length in (("smooth", edit.smooth), ("grow", edit.grow)):
        if abs(length) > diagonal:
            why = f"{length:g} {unit} is more than the mask is large ({diagonal:.3g} {unit})"
            raise BadInput(name, why, "give a length within the mask")


def _edit_of(
    smooth: Any, grow: Any, islands: Any, fill_holes: bool, fill_between: bool, each_slice: bool
) -> MaskEdit:
    import math

    from napari_latentseg.core.mask_edit import MaskEdit

    lengths = {"smooth": number("smooth", smooth), "grow": number("grow", grow)}
    keep_largest = islands == KEEP_LARGEST
    if isinstance(islands, str) and not keep_largest:
        raise BadInput(
            "islands", f"{shown(islands)} is not known", f"write {KEEP_LARGEST}, or the smallest size to keep"
        )
    lengths["islands"] = 0.0 if keep_largest or islands is None else number("islands", islands)
    for name, value in lengths.items():
        if not math.isfinite(value) or (value < 0 and name != "grow"):
            remedy = "give a number" if name == "grow" else "give a number that is not negative"
            raise BadInput(name, f"{value:g} is not possible", remedy)
    edit = MaskEdit(
        fill_between=fill_between, fill_holes=fill_holes, keep_largest=keep_largest,
        smallest=lengths["islands"], grow=lengths["grow"], smooth=lengths["smooth"], each_slice=each_slice,
    )  # fmt: skip
    if not edit.is_active:
        raise BadInput(
            "edit",
            "nothing is asked for",
            "smooth or grow it, remove islands, fill holes, or fill between",
        )
    return edit
