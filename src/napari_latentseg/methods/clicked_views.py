"""Views of any scale around a click, from which a model learns how good its answers are."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import Tensor

from napari_latentseg.methods.simulated_prompts import (
    ObjectView,
    PromptMaps,
    only_parts,
    point_in,
    sampling_grid,
)

__all__ = ["ClickedView", "clicked_view"]

# Narrowest view as a share of the image's side, about that of the views in which a first click is answered.
_NARROWEST = 1 / 12


@dataclass(frozen=True)
class ClickedView:
    """A view around a click inside an object.

    Attributes
    ----------
    image
        `(1, 3, S, S)` in [0, 1].
    mask
        What the view shows of the object, bool `(S, S)`.
    object_area
        Of the whole object, in pixels of the view.
    point
        The click, row and column in the view.
    prompt
        Its maps; empty where there is no object.
    """

    image: Tensor
    mask: NDArray[np.bool_]
    object_area: float
    point: tuple[int, int]
    prompt: PromptMaps

    def only_pointed_at(self, readings: NDArray[np.float32]) -> NDArray[np.float32]:
        """Readings `(R, S, S)` without the objects that the click is not on, as where the model is used.

        A reading that has nothing at the click stays as it is.
        """
        parts = [ndimage.label(reading > 0.5)[0] for reading in readings]
        return np.stack(
            [
                only_parts(reading, of_reading, {int(of_reading[self.point])})
                for reading, of_reading in zip(readings, parts, strict=True)
            ]
        )

    def dice(self, answer: NDArray[np.bool_]) -> float:
        """Dice of an answer `(S, S)` with the whole object, also where the view shows a part of it."""
        total = float(answer.sum()) + self.object_area
        return 2 * float((answer & self.mask).sum()) / total if total else 1.0


def clicked_view(
    image: Tensor, mask: NDArray[np.bool_], rng: np.random.Generator, detail: int
) -> ClickedView:
    """Click on an object, and look at the click in a view of any scale.

    Parameters
    ----------
    image
        `(1, 3, H, H)` in [0, 1].
    mask
        The object, `(H, H)`; where it is empty, nothing is clicked on, and the view is the whole image.
    rng
        Draws the click, and the side of the view, by its logarithm.
    detail
        Times the size of the view at which the image is kept.
    """
    size = mask.shape[0]
    view, point = ObjectView(0, 0, size), (size // 2, size // 2)
    if mask.any():
        point = point_in(mask, rng)
        side = float(np.exp(rng.uniform(np.log(size * _NARROWEST), np.log(size))))
        # the click in the middle, but no further beyond the image than its edge
        top, left = (float(np.clip(n + 0.5 - side / 2, 0, size - side)) for n in point)
        view = ObjectView(top, left, side)
    grid = sampling_grid(view, size, detail).to(image.device)
    shown_image = F.grid_sample(image, grid, padding_mode="border", align_corners=False)
    shown_mask = F.grid_sample(torch.from_numpy(mask)[None, None].to(image), grid, align_corners=False)
    scale = size / detail / view.side
    row, column = (
        int((n + 0.5 - start) * scale) for n, start in zip(point, (view.top, view.left), strict=True)
    )
    prompt = PromptMaps((size // detail, size // detail))
    if mask.any():
        prompt.add_click((row, column), is_positive=True)
    shown = shown_mask[0, 0].cpu().numpy() > 0.5
    return ClickedView(shown_image, shown, float(mask.sum()) * scale**2, (row, column), prompt)
