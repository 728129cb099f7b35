"""The voxels that were accepted through a volume, so that all of them can be taken back together."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari.layers import Labels

__all__ = ["MAX_UNDO_VOXELS", "AcceptedVolume", "PlacedMask", "label_free_voxels"]

Mask = NDArray[np.bool_]
PlacedMask = tuple[int, int, Mask]
"""Top and left of the first pixel of a mask in its slice, and the mask."""

# napari's undo history of more would hold the window for a noticeable time, as in `result_layers`
MAX_UNDO_VOXELS = 400_000


@dataclass
class AcceptedVolume:
    """The voxels that an object got when it was accepted through a volume.

    Attributes
    ----------
    layer, label
        Where they are labelled.
    note
        What is to be said of it; empty where there is nothing.
    voxels
        Those that were free before, by the number of the slice.
    on_taken_back
        Called after they were freed again.
    """

    layer: Labels
    label: int
    note: str
    voxels: Mapping[int, PlacedMask]
    on_taken_back: Callable[[], None] = field(default=lambda: None)

    def take_back(self) -> None:
        """Free the voxels again that still have the label."""
        data: Any = self.layer.data
        for plane, (top, left, mask) in self.voxels.items():
            height, width = mask.shape
            region = data[plane, top : top + height, left : left + width]
            region[mask & (region == self.label)] = 0
        self.layer.refresh()
        self.on_taken_back()

    def masks(self, shape: tuple[int, ...]) -> dict[int, Mask]:
        """The voxels as whole slices `(H, W)`, by their number."""
        whole = {}
        for plane, (top, left, mask) in self.voxels.items():
            whole[plane] = np.zeros(shape, bool)
            whole[plane][top : top + mask.shape[0], left : left + mask.shape[1]] = mask
        return whole


def label_free_voxels(
    layer: Labels, index: Mapping[int, PlacedMask], label: int
) -> tuple[dict[int, PlacedMask], int]:
    """Label the voxels of masks that have no label yet.

    They are one step of the layer's own undo history where they are not too many.

    Parameters
    ----------
    layer
        Of a volume, `(D, H, W)`.
    index
        Masks by the number of the slice.
    label
        What the voxels get.

    Returns
    -------
    labelled : dict
        The voxels that were free, by the number of the slice; each cut to where it is not empty.
    kept : int
        How many voxels of the masks have another label, which stays.
    """
    data: Any = layer.data
    labelled: dict[int, PlacedMask] = {}
    kept = 0
    for plane, (top, left, mask) in sorted(index.items()):
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        if not len(rows):
            continue
        inner = mask[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        first, second = top + int(rows[0]), left + int(columns[0])
        region = data[plane, first : first + inner.shape[0], second : second + inner.shape[1]]
        free = inner & (region == 0)
        kept += int(np.count_nonzero(inner & (region != 0) & (region != label)))
        if free.any():
            labelled[plane] = first, second, free
    if sum(int(mask.sum()) for _, _, mask in labelled.values()) <= MAX_UNDO_VOXELS:
        places = [
            np.column_stack([np.full(int(mask.sum()), plane), *(np.argwhere(mask) + np.array([top, left])).T])
            for plane, (top, left, mask) in labelled.items()
        ]
        if places:
            layer.data_setitem(tuple(np.concatenate(places).T), label)
    else:
        for plane, (top, left, mask) in labelled.items():
            data[plane, top : top + mask.shape[0], left : left + mask.shape[1]][mask] = label
        layer.refresh()
    return labelled, kept
