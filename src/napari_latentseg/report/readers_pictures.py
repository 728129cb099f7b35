"""Pictures of the slices in which readers differ most: every reader's outline, and the model's variance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import MAX_VARIANCE
from napari_latentseg.evaluation.label_maps import own_mask_of
from napari_latentseg.evaluation.reader_comparison import ReaderComparison
from napari_latentseg.report.pictures import (
    Panels,
    background_of,
    side_by_side,
    with_heatmap,
    with_outlines,
)
from napari_latentseg.report.slice_parts import part_to_show, slice_part, slice_title

__all__ = [
    "CONSENSUS_COLOR",
    "READER_COLORS",
    "SlicePicture",
    "draw_slices",
]

READER_COLORS = (
    "#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7", "#bbbbbb",
)  # fmt: skip
"""Of the readers in their order: the colours of Okabe and Ito, which colour-blind people can tell apart."""

CONSENSUS_COLOR = "#ffffff"

_MAX_PICTURES = 3  # slices; more make the page long, and the map can be written whole


@dataclass(frozen=True)
class SlicePicture:
    """Pictures of one slice side by side.

    Attributes
    ----------
    title
        Which slice, counted from 1, such as ``"Slice 3 of 12"``.
    panels
        The pictures.
    disagreement, variance
        Sums over the slice, in voxels, of the disagreement and of the model's variance; None without one.
    is_cropped
        Whether a part of the slice is shown.
    """

    title: str
    panels: Panels
    disagreement: float
    variance: float | None
    is_cropped: bool


def draw_slices(comparison: ReaderComparison, image: Scan | None) -> list[SlicePicture]:
    """Draw the slices of largest disagreement: image, outlines, disagreement, and the model's variance.

    Parameters
    ----------
    comparison
        Of the readers. Of several classes, outlines are those of all, and maps the largest value of any.
    image
        Index on index with the masks; None shows the share of the readers that marked a voxel.

    Returns
    -------
    list of SlicePicture
        Up to three, the largest disagreement first; where all agree, the slice with the most voxels marked.
    """
    disagreement = comparison.largest_disagreement
    sums = disagreement.sum(axis=(-2, -1), dtype=np.float64)
    if not sums.any():
        sums = np.sum([labels != 0 for labels in comparison.label_maps], axis=(0, -2, -1)) / 1e9
    order = np.argsort(-sums, axis=None, kind="stable")[:_MAX_PICTURES]
    indices = [tuple(int(i) for i in np.unravel_index(n, sums.shape)) for n in order if sums.flat[n] > 0]
    return [_draw(comparison, image, index, disagreement) for index in indices]


def _draw(
    comparison: ReaderComparison,
    image: Scan | None,
    index: tuple[int, ...],
    disagreement: NDArray[np.float32],
) -> SlicePicture:
    maps = None if comparison.model is None else comparison.model.maps
    variance = None if maps is None or maps.variance is None else maps.variance.max(axis=0)
    is_marked = np.any([labels[index] != 0 for labels in comparison.label_maps], axis=0)
    if maps is not None:
        is_marked |= maps.mask[index] != 0
    part = slice_part(index, *part_to_show(is_marked), comparison.geometry)
    plane = part.plane
    share = np.mean([labels[plane] != 0 for labels in comparison.label_maps], axis=0)
    background = background_of(image, plane, share).resize(part.size, Image.Resampling.BICUBIC)
    panels = [background, _outlined(background, comparison, plane)]
    panels.append(with_heatmap(background, disagreement[plane].astype(np.float64) / MAX_VARIANCE))
    if variance is not None:
        panels.append(with_heatmap(background, variance[plane].astype(np.float64) / MAX_VARIANCE))
    shape = comparison.label_maps[0].shape
    return SlicePicture(
        slice_title(comparison.geometry, index, shape),
        side_by_side(panels),
        float(disagreement[index].sum(dtype=np.float64)),
        None if variance is None else float(variance[index].sum(dtype=np.float64)),
        part.shape != is_marked.shape,
    )


def _outlined(background: Any, comparison: ReaderComparison, plane: tuple[Any, ...]) -> Any:
    """The outlines of every reader in their colour, over that of the consensus, which holds parts of each."""
    outlined = background
    colors = (CONSENSUS_COLOR, *READER_COLORS[: len(comparison.readers)])
    for labels, color in zip((comparison.consensus.labels, *comparison.label_maps), colors, strict=True):
        part = labels[plane]
        numbers = np.zeros(part.shape, np.uint8)
        for info in comparison.classes:
            numbers[own_mask_of(part, info, comparison.classes)] = info.label
        outlined = with_outlines(outlined, numbers, [(info.label, color) for info in comparison.classes])
    return outlined
