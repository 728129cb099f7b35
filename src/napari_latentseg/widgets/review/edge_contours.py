"""The inner and outer contour between which the true edge lies, over the image, on the current slice."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentseg.core.contours import CONTOUR_SIDES, Contours
from napari_latentseg.measure import contours, contours_unavailable_reason
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.sample_contours import SampleContours, contour_segments

if TYPE_CHECKING:
    from collections.abc import Callable

    from napari.components import ViewerModel

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["EdgeContours", "edge_contours_of"]


class EdgeContours(SampleContours):
    """A layer of the two contours of every class, which follows the current slice while it is visible.

    The regions inside them are computed once for each result, in a worker: for a volume that takes a distance
    transform.
    """

    role = "edge contours"
    title = "inner and outer contour"
    # inner, outer; of Okabe and Ito 2008 the two that no class of an embedded model has
    colours = ("#cc79a7", "#f0e442")

    _computed: tuple[Segmentation, Contours] | None = None

    def unavailable_reason(self, result: RunResult | None) -> str:
        """Why the contours of a result are not available; empty where they are."""
        segmentation = result.segmentation if result is not None else None
        if result is None or segmentation is None:
            return "There is no result yet"
        reason = contours_unavailable_reason(segmentation, result.card)
        return f"No 90 % contours: {reason}" if reason else ""

    def segments_of(self, result: RunResult, index: tuple[int, ...]) -> Callable[[], Any]:
        """The function that computes the lines of a slice in a worker; number 0 is inner, 1 outer."""
        segmentation, card = result.segmentation, result.card
        assert segmentation is not None
        assert card is not None

        def compute() -> Any:
            computed = self._computed
            if computed is None or computed[0] is not segmentation:
                computed = self._computed = (segmentation, contours(segmentation, card))
            regions = np.zeros((2, len(computed[1].classes), *segmentation.mask.shape[-2:]), np.float32)
            for k, class_contours in enumerate(computed[1].classes):
                for number, side in enumerate(CONTOUR_SIDES):
                    regions[number, k] = class_contours.region(side)[index]
            return contour_segments(regions, 0.5)

        return compute


@per_viewer
def edge_contours_of(viewer: ViewerModel) -> EdgeContours:
    """The inner and outer contour of a viewer."""
    return EdgeContours(viewer)
