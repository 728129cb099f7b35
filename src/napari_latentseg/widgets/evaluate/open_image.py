"""Open one of the worst images of an evaluation with its prediction and its reference mask."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_latentseg.batches.case_rows import CaseRow
from napari_latentseg.evaluation.worst_images import WorstImage
from napari_latentseg.io.registry import read_scan
from napari_latentseg.widgets._shared.label_style import label_style, reference_classes
from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread
from napari_latentseg.widgets.batch.open_result import open_case

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets._shared.run_result import RunResult

__all__ = ["open_worst_image"]

_REFERENCE_KEY = "latentseg reference"  # in the metadata of a reference mask
_OUTLINE_WIDTH = 2  # pixels on the grid of the mask: the outline is seen over the filled prediction


def open_worst_image(
    viewer: ViewerModel,
    image: WorstImage,
    folder: Path,
    on_done: Callable[[RunResult], Any],
    on_error: Callable[[BaseException], None],
) -> ThreadWorker:
    """Add an image with the layers of its result, and the outline of its reference mask.

    Parameters
    ----------
    viewer
        The viewer to add them to.
    image
        Of the list in `folder`.
    folder
        Of the worst images.
    on_done, on_error
        Called with the result once all layers are there, or with the error.

    Returns
    -------
    ThreadWorker
        Reads the reference mask, then the others.
    """
    row = CaseRow(
        image.name, path=image.image, result=str(folder / image.result), doubtful_slice=image.worst_slice
    )

    def add_reference(mask: Any, result: RunResult) -> None:
        layer, key, segmentation = result.layers.image, row.result, result.segmentation
        if segmentation is not None and not any(
            other.metadata.get(_REFERENCE_KEY) == key for other in viewer.layers
        ):
            reference = viewer.add_labels(
                mask.reshape(segmentation.mask.shape),
                name=f"{image.name} reference",
                metadata={_REFERENCE_KEY: key},
                **label_style(reference_classes(result.card.classes)),
                **spatial_arguments(layer),
            )
            reference.contour = _OUTLINE_WIDTH
            viewer.layers.selection.active = layer
        on_done(result)

    return run_in_thread(
        lambda: np.asarray(read_scan(folder / image.reference).array),
        lambda mask: open_case(viewer, row, None, lambda result: add_reference(mask, result), on_error),
        on_error,
    )
