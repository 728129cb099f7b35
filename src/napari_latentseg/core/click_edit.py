"""A click that changes a mask in its neighbourhood only, by what a model answers to it."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.pointed_object import PointedObject

__all__ = ["changed_near", "steps_of_click"]

Mask = NDArray[np.bool_]


def steps_of_click(region: Mask, click: tuple[float, float], *, inside: bool) -> PointedObject | None:
    """The prompts for a click: the click, and a point deep inside the object that it is about.

    Parameters
    ----------
    region
        The present mask of a slice, `(H, W)`.
    click
        Row and column.
    inside
        Whether it is part of the object.

    Returns
    -------
    PointedObject or None
        None where a click outside has no object from which something could be taken.
    """
    from scipy import ndimage

    pointed = PointedObject()
    if region.any():
        objects, _ = ndimage.label(region, np.ones((3, 3)))
        nearest = ndimage.distance_transform_edt(~region, return_distances=False, return_indices=True)
        row, column = round(click[0]), round(click[1])
        chosen = objects == objects[tuple(nearest[:, row, column])]
        if not inside:
            chosen[row, column] = False  # the deepest point may be just there
        depth = ndimage.distance_transform_edt(np.pad(chosen, 1))[1:-1, 1:-1]
        if depth.any():
            y, x = np.unravel_index(int(depth.argmax()), depth.shape)
            pointed.add_points([(float(y), float(x))], is_inside=True)
    if not inside and not pointed.steps:
        return None
    pointed.add_points([click], is_inside=inside)
    return pointed


def changed_near(
    region: Mask,
    answer: Mask,
    click: tuple[float, float],
    radius: float,
    spacing: Sequence[float],
    *,
    inside: bool,
) -> Mask:
    """The mask with what an answer adds (a click inside) or leaves out (outside) near the click.

    Parameters
    ----------
    region, answer
        The present mask and the answer, `(H, W)`.
    click
        Row and column.
    radius
        Of the neighbourhood, in the unit of the spacing.
    spacing
        Of rows and columns.
    inside
        Whether the click is part of the object.

    Examples
    --------
    >>> region, answer = np.zeros((2, 1, 9), bool)
    >>> answer[0, 2:8] = True
    >>> changed_near(region, answer, (0, 3), 2.0, (1.0, 1.0), inside=True)[0].nonzero()[0]
    array([2, 3, 4, 5])
    """
    rows, columns = np.ogrid[: region.shape[0], : region.shape[1]]
    distance = np.hypot((rows - click[0]) * spacing[0], (columns - click[1]) * spacing[1])
    near: Mask = distance <= radius
    changed: Mask = region | (near & answer) if inside else region & ~(near & ~answer)
    return changed
