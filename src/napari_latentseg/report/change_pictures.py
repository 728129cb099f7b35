"""Pictures of a change: the outlines of both dates over the slices in which they differ most."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_latentseg.change.date_change import DateChange
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.report.pictures import (
    Panels,
    background_of,
    render_overview,
    side_by_side,
    with_outlines,
)
from napari_latentseg.report.slice_parts import part_to_show, slice_part, slice_title

__all__ = ["FIRST_COLOR", "SECOND_COLOR", "ChangePicture", "draw_change", "draw_dates"]

FIRST_COLOR, SECOND_COLOR = "#56b4e9", "#e69f00"
"""Of the first and the second date: blue and orange of Okabe and Ito, which all people can tell apart."""

_MAX_PICTURES = 3


@dataclass(frozen=True)
class ChangePicture:
    """One picture of the page.

    Attributes
    ----------
    title, text
        Which slice, and what is shown of it.
    panels
        The picture.
    """

    title: str
    text: str
    panels: Panels

    @property
    def values(self) -> dict[str, Any]:
        """What the template needs of it."""
        return {"title": self.title, "text": self.text, **self.panels.values}


def draw_change(change: DateChange, first: Segmentation, image: Scan | None) -> list[ChangePicture]:
    """Draw up to three slices in which the outlines differ most; none where they do not lie together.

    Parameters
    ----------
    change
        Of two dates.
    first, image
        The result of the first date, and its image; the mean probability is shown without one.
    """
    later = change.placed_mask.labels
    if later is None:
        return []
    earlier = np.asarray(first.mask)
    differing = (earlier != later).sum(axis=(-2, -1))
    marked = ((earlier != 0) | (later != 0)).sum(axis=(-2, -1))
    order = np.argsort(-(differing + marked / 1e9), axis=None, kind="stable")[:_MAX_PICTURES]
    indices = [tuple(int(i) for i in np.unravel_index(n, marked.shape)) for n in order if marked.flat[n] > 0]
    return [_draw(change, first, image, later, index) for index in indices]


def draw_dates(
    first: Segmentation, second: Segmentation, images: tuple[Scan | None, Scan | None]
) -> list[ChangePicture]:
    """Draw each date by itself, where the two images do not lie together: its slice with the largest mask."""
    pictures = []
    for title, result, image in zip(("First date", "Second date"), (first, second), images, strict=True):
        overview = render_overview(result, image)
        where = slice_title(result.geometry, overview.index, np.asarray(result.mask).shape)
        text = f"{where}, without and with its outline; the images are not shown together"
        pictures.append(ChangePicture(title, text, overview.panels))
    return pictures


def _draw(
    change: DateChange,
    first: Segmentation,
    image: Scan | None,
    later: NDArray[Any],
    index: tuple[int, ...],
) -> ChangePicture:
    earlier = np.asarray(first.mask)
    is_marked = (earlier[index] != 0) | (later[index] != 0)
    part = slice_part(index, *part_to_show(is_marked), first.geometry)
    plane = part.plane
    mean = np.asarray(first.mean[(slice(None), *plane)], dtype=np.float64).max(axis=0)
    background = background_of(image, plane, mean).resize(part.size, Image.Resampling.BICUBIC)
    labels = [info.label for info in change.classes]
    only_first = with_outlines(background, earlier[plane], [(label, FIRST_COLOR) for label in labels])
    both = with_outlines(only_first, later[plane], [(label, SECOND_COLOR) for label in labels])
    panels = side_by_side([background, only_first, both])
    text = f"{int(np.count_nonzero(earlier[index] != later[index]))} voxels differ"
    if part.shape != is_marked.shape:
        text += "; a part of the slice"
    return ChangePicture(slice_title(first.geometry, index, earlier.shape), text, panels)
