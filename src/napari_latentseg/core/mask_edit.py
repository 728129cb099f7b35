"""Corrections of a label that need no brush: smooth, grow, islands, holes, slices between."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.units import conversion

if TYPE_CHECKING:
    from napari_latentseg.core.geometry import Geometry

__all__ = ["MaskEdit", "edit_spacing"]

Mask = NDArray[np.bool_]
Progress = Callable[[int, int], None]

_SLAB_VOXELS = 2**22  # of one distance transform, which takes 36 bytes a voxel in a volume: 150 MB
_ROUNDING = 1 + 1e-6  # a voxel at just the distance that is asked for is reached, despite rounding
_GAUSSIAN_EXTENT = 4.0  # standard deviations after which scipy cuts a Gaussian
# Of the smoothed mask, at which the size stays the same. Outside of this range the label is thinner than the
# smoothing is wide, and a mask of the same size would be drawn where there is nothing.
_LEVELS = (0.25, 0.75)


class MaskEdit(FrozenModel):
    """What is done to one label of a mask; nothing where all fields are at their default.

    Order: slices between, holes, islands, grow, smooth. Voxels of other labels are never changed.

    Attributes
    ----------
    fill_between
        Fill the empty slices between two that hold the label, by interpolating the signed distances to its
        edge. Slices are those along the first axis that is not time.
    fill_holes
        Fill background that the label encloses on all sides.
    keep_largest
        Keep only the largest island. An island is a connected component whose voxels share a face, an edge or
        a corner.
    smallest
        Islands of a smaller area or volume are removed: in the square or cube of the spacing's unit. 0: none.
    grow
        By how much the label grows on all sides, in the unit of the spacing; negative to shrink it. A voxel
        is reached where its centre is at most this far from the centre of a voxel of the label.
    smooth
        Standard deviation of the Gaussian that smooths the outline, in the unit of the spacing. The size of
        the label stays the same where it is not thinner than that.
    each_slice
        Treat each slice by itself rather than the volume in three dimensions.

    Examples
    --------
    >>> mask = np.zeros((7, 9), np.uint8)
    >>> mask[3, 4] = 1
    >>> MaskEdit(grow=1.0).apply(mask, 1, "yx", (0.5, 1.0))[1:6, 3:6].tolist()
    [[0, 1, 0], [0, 1, 0], [1, 1, 1], [0, 1, 0], [0, 1, 0]]
    """

    fill_between: bool = False
    fill_holes: bool = False
    keep_largest: bool = False
    smallest: float = Field(0.0, ge=0, allow_inf_nan=False)
    grow: float = Field(0.0, allow_inf_nan=False)
    smooth: float = Field(0.0, ge=0, allow_inf_nan=False)
    each_slice: bool = False

    @property
    def is_active(self) -> bool:
        """Whether anything is done."""
        return self.replace(each_slice=False) != MaskEdit()

    def apply(
        self,
        mask: NDArray[np.integer],
        label: int | Sequence[int],
        axes: str,
        spacing: Sequence[float],
        locked: Mask | None = None,
        progress: Progress | None = None,
    ) -> NDArray[np.integer]:
        """The edited mask; the given one is not changed.

        Parameters
        ----------
        mask
            Labels, `(*spatial)`, in memory.
        label
            The label to edit, 1 or higher; of several, each is edited after the one before.
        axes
            One letter for each axis of the mask, ``t`` for time. Each time point is edited by itself.
        spacing
            Distance of neighbouring voxels along each axis but time, see `edit_spacing`.
        locked
            Voxels that stay as they are, `(*spatial)`; none by default. An empty slice that is locked holds
            nothing, so that the slices around it are not filled.
        progress
            Called with the number of finished and of all parts. What it raises stops the work.

        Returns
        -------
        ndarray
            Of the shape and type of `mask`.
        """
        edited = mask.copy()
        time = axes.find("t")
        times = [edited] if time < 0 else list(np.moveaxis(edited, time, 0))
        locks = [None] * len(times) if locked is None else [locked]
        if locked is not None and time >= 0:
            locks = list(np.moveaxis(locked, time, 0))
        labels = [label] if isinstance(label, int | np.integer) else list(label)
        for volume, lock in zip(times, locks, strict=True):
            empty = None
            if lock is not None and self.fill_between and volume.ndim == 3:
                empty = np.asarray(lock.all(axis=(1, 2)))
            # an edit changes no voxel of another label, so that the boxes of these stay as they are
            for number, (value, box) in enumerate(_boxes(volume, labels, self._margin(spacing))):
                if progress is not None and len(labels) > 1:
                    progress(number, len(labels))
                self._edit_box(
                    volume[box], value, spacing, None if lock is None else lock[box],
                    None if empty is None else empty[box[0]], progress if len(labels) == 1 else None,
                )  # fmt: skip
        return edited

    def _edit_box(
        self,
        volume: NDArray[np.integer],
        label: int,
        spacing: Sequence[float],
        lock: Mask | None,
        empty: Mask | None,
        progress: Progress | None,
    ) -> None:
        """Edit a label in place, in the part of a mask that it can reach; `empty`: slices known as empty."""
        before = volume == label
        region = before.copy()
        if self.fill_between and region.ndim == 3:
            _fill_between(region, spacing, empty, progress)
        self._edit_parts(region, spacing, progress)
        changeable = np.ones(volume.shape, bool) if lock is None else ~lock
        volume[before & ~region & changeable] = 0
        volume[region & (volume == 0) & changeable] = label

    def _edit_parts(self, region: Mask, spacing: Sequence[float], progress: Progress | None) -> None:
        """Apply all steps but the slices between to a region in place, in 3D or slice by slice."""
        if not self.each_slice:
            # a volume of one slice is edited in 2D: in 3D, nothing would be enclosed
            kept = [i for i, n in enumerate(region.shape) if n > 1 or i >= region.ndim - 2]
            flat = tuple(slice(None) if i in kept else 0 for i in range(region.ndim))
            self._edit_part(region[flat], [spacing[i] for i in kept], progress)
            return
        for index in np.ndindex(region.shape[:-2]):
            if progress is not None:
                progress(int(np.ravel_multi_index(index, region.shape[:-2])) if index else 0, len(region))
            self._edit_part(region[index], spacing[-2:], None)

    def _edit_part(self, region: Mask, spacing: Sequence[float], progress: Progress | None) -> None:
        if region.any():
            box = _box(region, self._margin(spacing))
            region[box] = self._changed(region[box], spacing, progress)

    def _margin(self, spacing: Sequence[float]) -> list[int]:
        reach = max(self.grow, 0) + _GAUSSIAN_EXTENT * self.smooth
        return [math.ceil(reach / step) + 1 for step in spacing]

    def _changed(
        self,
        region: Mask,
        spacing: Sequence[float],
        progress: Progress | None,
    ) -> Mask:
        """A region after all steps but the slices between, which can move into others."""
        tidy = PostProcess(smallest=self.smallest, fill_holes=self.fill_holes, keep_largest=self.keep_largest)
        labels = tidy.apply(region.astype(np.uint8), [1], "zyx"[-region.ndim :], math.prod(spacing))
        region = labels.astype(bool)
        if self.grow > 0:
            region = _near(region, self.grow, spacing, progress)
        elif self.grow < 0:
            region = ~_near(~region, -self.grow, spacing, progress)
        return _smoothed(region, self.smooth, spacing) if self.smooth > 0 and region.any() else region


def edit_spacing(geometry: Geometry) -> tuple[tuple[float, ...], str]:
    """The spacing that lengths of an edit refer to, and its unit.

    Parameters
    ----------
    geometry
        Of the mask.

    Returns
    -------
    spacing : tuple of float
        Along each axis but time: in mm where the units of all of them are lengths; else 1, so that lengths
        are in pixels.
    unit : str
        ``"mm"`` or ``"pixel"``.

    Examples
    --------
    >>> from napari_latentseg.core.geometry import Geometry
    >>> edit_spacing(Geometry.from_spacing("tzyx", (3.0, 2000.0, 500.0, 500.0), "um"))
    ((2.0, 0.5, 0.5), 'mm')
    """
    axes = [i for i, name in enumerate(geometry.axis_labels) if name != "t"]
    factors = [conversion(geometry.units[i], "mm") for i in axes]
    known = [factor for factor in factors if factor is not None]
    if len(known) < len(axes) or any(geometry.units[i] == "pixel" for i in axes):
        return (1.0,) * len(axes), "pixel"
    return tuple(geometry.spacing[i] * factor for i, factor in zip(axes, known, strict=True)), "mm"


def _boxes(
    volume: NDArray[np.integer], labels: Sequence[int], margin: Sequence[int]
) -> Iterator[tuple[int, tuple[slice, ...]]]:
    """The labels that a volume holds, each with its bounding box with a margin, within the volume."""
    from scipy import ndimage

    if len(labels) == 1:
        numbered = (volume == labels[0]).astype(np.int32)
        values = np.array(labels)
    else:  # numbered without gaps: there is a box for each number up to the largest
        values, inverse = np.unique(volume, return_inverse=True)
        wanted = np.isin(values, labels)
        numbered = np.where(wanted, np.cumsum(wanted), 0).astype(np.int32)[inverse.reshape(volume.shape)]
        values = values[wanted]
    boxes = dict(zip(values.tolist(), ndimage.find_objects(numbered), strict=False))
    for label in labels:
        if (box := boxes.get(label)) is not None:
            yield (
                label,
                tuple(
                    slice(max(0, s.start - extra), min(n, s.stop + extra))
                    for s, extra, n in zip(box, margin, volume.shape, strict=True)
                ),
            )


def _box(region: Mask, margin: Sequence[int]) -> tuple[slice, ...]:
    """The bounding box of a region with a margin, within the array."""
    box = []
    for axis, extra in enumerate(margin):
        inside = np.flatnonzero(region.any(axis=tuple(i for i in range(region.ndim) if i != axis)))
        box.append(
            slice(max(0, int(inside[0]) - extra), min(region.shape[axis], int(inside[-1]) + extra + 1))
        )
    return tuple(box)


def _near(
    region: Mask,
    distance: float,
    spacing: Sequence[float],
    progress: Progress | None,
) -> Mask:
    """The voxels at most a distance from a region.

    In slabs along the first axis, each read with what is within the distance of it, so that the result is
    that of one distance transform of the whole, which takes 36 bytes for each voxel of a volume.
    """
    from scipy import ndimage

    halo = math.ceil(distance / spacing[0]) + 1
    thickness = max(1, _SLAB_VOXELS // max(1, region[0].size))
    starts = range(0, len(region), thickness)
    near = np.zeros_like(region)
    for number, start in enumerate(starts):
        if progress is not None:
            progress(number, len(starts))
        stop, first = min(start + thickness, len(region)), max(0, start - halo)
        slab = region[first : stop + halo]
        if slab.any():
            distances = ndimage.distance_transform_edt(~slab, sampling=spacing)
            near[start:stop] = distances[start - first : stop - first] <= distance * _ROUNDING
    return near


def _smoothed(region: Mask, sigma: float, spacing: Sequence[float]) -> Mask:
    """A region with a smooth outline, as large as before."""
    from scipy import ndimage

    # "nearest": a structure that reaches the border of the image goes on beyond it
    blurred = ndimage.gaussian_filter(
        region.astype(np.float32),
        [sigma / step for step in spacing],
        mode="nearest",
        truncate=_GAUSSIAN_EXTENT,
    )
    count = int(np.count_nonzero(region))
    level = np.partition(blurred.ravel(), -count)[-count]
    smooth: Mask = blurred >= np.clip(level, *_LEVELS)
    return smooth


def _fill_between(
    region: Mask,
    spacing: Sequence[float],
    known: Mask | None,
    progress: Progress | None,
) -> None:
    """Fill the empty slices between those of a region in place, but not across one that is known as empty."""
    from napari_latentseg.core.slice_interpolation import interpolate_between

    filled = np.flatnonzero(region.any(axis=(1, 2)))
    gaps = [(a, b) for a, b in pairwise(filled) if b - a > 1]
    for number, (a, b) in enumerate(gaps):
        if progress is not None:
            progress(number, len(gaps))
        if known is not None and known[a + 1 : b].any():
            continue
        rows, columns = _box(region[a] | region[b], [1, 1])
        fractions = [(n - a) / (b - a) for n in range(a + 1, b)]
        region[a + 1 : b, rows, columns] = interpolate_between(
            region[a, rows, columns], region[b, rows, columns], fractions, spacing[-2:]
        )
