"""One comparison of readers: what it is given, and what is shown of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg import api
from napari_latentseg.core.scan import Scan
from napari_latentseg.evaluation.label_maps import placed_on
from napari_latentseg.io._progress import report_progress

if TYPE_CHECKING:
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.evaluation.reader_comparison import ReaderComparison

__all__ = ["Compared", "ReadersRequest", "compare"]

_STEPS = 100


@dataclass(frozen=True, eq=False)
class ReadersRequest:
    """What is compared.

    Attributes
    ----------
    readers, masks
        Names, and a scan, file or store for each.
    image
        Of the masks, or what reads it; None without one.
    result
        Of a model, or its record; None without one.
    classes
        Of the masks; None to take those of the result, or one for each label.
    consensus
        ``"majority"`` or ``"staple"``.
    is_on_layer
        Whether the image is a layer, on which maps can be shown.
    """

    readers: tuple[str, ...]
    masks: tuple[Scan | Path, ...]
    image: Scan | Callable[[], Scan] | None
    result: Segmentation | Path | None
    classes: tuple[ClassInfo, ...] | None
    consensus: str
    is_on_layer: bool


@dataclass(frozen=True, eq=False)
class Compared:
    """A comparison with its maps, index on index with the layer of the image.

    Attributes
    ----------
    comparison
        All figures.
    image
        The image; None where it is not known.
    consensus
        The label map of the consensus; None where the image is no layer.
    disagreement
        Of each class, in [0, 0.25]; empty where the image is no layer.
    """

    comparison: ReaderComparison
    image: Scan | None
    consensus: NDArray[Any] | None = None
    disagreement: tuple[NDArray[Any], ...] = ()


def compare(request: ReadersRequest) -> Compared:
    """Compare, and report the progress as reading does; called in a thread.

    Raises
    ------
    BadInput
        As `napari_latentseg.compare_readers`.
    Cancelled
        When the work was stopped.
    """
    report_progress(0, _STEPS)
    image = request.image() if callable(request.image) else request.image
    comparison = api.compare_readers(
        request.masks, readers=request.readers, classes=request.classes, consensus=request.consensus,
        result=request.result, image=image,
        progress=lambda done: report_progress(round(_STEPS * done), _STEPS),
    )  # fmt: skip
    if image is None or not request.is_on_layer:
        return Compared(comparison, image)
    scan = image

    def on_image(array: NDArray[Any]) -> NDArray[Any]:
        return placed_on(
            "comparison", np.asarray(array), comparison.geometry, scan.geometry, scan.spatial_shape,
            target_name="the image", remedy="give masks of this image",
        )  # fmt: skip

    return Compared(
        comparison,
        image,
        on_image(comparison.consensus.labels),
        tuple(on_image(values) for values in comparison.disagreement),
    )
