"""The case that is open in the window: its layers, and the mask that its reader approves."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels

from napari_latentseg.caselist.listed_case import ListedCase
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.blind_reading import blind_metadata
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import spatial_arguments
from napari_latentseg.widgets._shared.run_result import RunResult
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.batch.open_result import add_images, show_case
from napari_latentseg.widgets.cases.read_case import ReadCase, row_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Layer

__all__ = ["OpenedCase", "show_read_case"]


@dataclass
class OpenedCase:
    """A case whose layers are in the viewer.

    Attributes
    ----------
    case
        As it was when it was opened.
    read
        Its files.
    image
        The layer of its image.
    layers_before
        The layers of others, which were there before it was opened.
    labels
        The layer of its mask, where there is no result of a run.
    rating, comment
        What the reader says of it.
    is_decided
        Whether its layers are about to be taken away.
    has_unsaved_note
        Whether rating and comment could not be written.
    images_with_other_values
        Its images whose values were replaced by others since they were read, see `ReplacedValues`.
    """

    case: ListedCase
    read: ReadCase
    image: Image
    layers_before: frozenset[Layer]
    labels: Labels | None = None
    rating: int | None = None
    comment: str = ""
    is_decided: bool = False
    has_unsaved_note: bool = False
    images_with_other_values: set[Image] = field(default_factory=set)
    _opened_at: float = field(default_factory=time.monotonic)

    @property
    def name(self) -> str:
        """Of the case."""
        return self.case.name

    @property
    def seconds(self) -> float:
        """How long it has been open."""
        return time.monotonic() - self._opened_at

    def has_layers(self, viewer: ViewerModel) -> bool:
        """Whether its image is in the viewer still, with the values of its file."""
        return self.image in viewer.layers and not self.images_with_other_values

    def check_values(self) -> None:
        """Refuse to decide on an image with other values than its file.

        Raises
        ------
        BadInput
            If they were replaced.
        """
        if self.images_with_other_values:
            raise BadInput(
                self.name,
                "the values of its image were replaced after it was opened",
                "open it again, which reads its file",
            )

    def restart(self, case: ListedCase, viewer: ViewerModel) -> None:
        """Open it again, with the layers that are there still; those of cases opened since are of others."""
        cases = session_of(viewer).cases
        owners = {layer: cases.image_of(layer) for layer in viewer.layers}
        self.layers_before = frozenset(
            layer
            for layer, image in owners.items()
            if image is None or not cases.is_same_case(image, self.image)
        )
        self.case = case
        if not self.has_unsaved_note:
            self.rating, self.comment = case.rating, case.comment
        self.has_unsaved_note = False
        self._opened_at = time.monotonic()

    def result(self, viewer: ViewerModel) -> RunResult | None:
        """The result whose mask counts: that of the image that was chosen last; None without one."""
        session = session_of(viewer)
        current = session.current
        if current is not None and current.image is self.image and current.segmentation is not None:
            return current
        of_image = [result for result in session.results_of(self.image) if result.segmentation is not None]
        return of_image[-1] if of_image else None

    def mask(self, viewer: ViewerModel) -> Scan:
        """The mask that would be approved now, copied: later strokes are not part of it.

        Raises
        ------
        BadInput
            If there is none, or it does not have the shape of the image.
        """
        result = self.result(viewer)
        if result is not None:
            data: Any = result.shown_mask().data
        else:
            layer = self._mask_layer(viewer)
            data = np.array(layer.data) if isinstance(layer.data, np.ndarray) else layer.data
        return Scan(data, self.read.axes, self.read.geometry)

    def _mask_layer(self, viewer: ViewerModel) -> Labels:
        """The layer of its mask; of a case without one, the layer that a person has drawn on its image."""
        if self.labels is not None and self.labels in viewer.layers:
            return self.labels
        shape = self._mask_shape()
        drawn = [
            layer
            for layer in self.layers(viewer)
            if isinstance(layer, Labels) and layer.editable and tuple(layer.data.shape) == shape
        ]
        if not drawn:
            raise BadInput(self.name, "has no mask", "segment it, or draw one in a new Labels layer")
        return drawn[-1]

    def _mask_shape(self) -> tuple[int, ...]:
        data = self.image.data
        shape = tuple(data.shape)
        return shape[:-1] if self.image.rgb else shape

    def layers(self, viewer: ViewerModel) -> list[Layer]:
        """The layers that came with it or since."""
        return [layer for layer in viewer.layers if layer not in self.layers_before]


def show_read_case(
    viewer: ViewerModel,
    case: ListedCase,
    read: ReadCase,
    reader: str,
    on_done: Callable[[OpenedCase], Any],
) -> None:
    """Add the layers of a case that was read.

    Parameters
    ----------
    viewer
        The viewer to add them to.
    case, read
        The case, and its files.
    reader
        Who reads it.
    on_done
        Called once its layers are there.
    """
    before = frozenset(viewer.layers)
    # a second reader's slices are not locked by what the first has approved, blind or not
    metadata = blind_metadata(reader) if case.state == "second reading" else {}
    rating, comment = case.rating, case.comment

    shown: list[OpenedCase] = []

    def finish(image: Image, labels: Labels | None = None) -> None:
        selected = viewer.layers.selection.active
        if read.first_mask is not None:
            first = viewer.add_labels(
                read.first_mask, name=f"{case.name} mask of {read.first_reader}", **spatial_arguments(image)
            )
            first.contour, first.editable = 1, False
            viewer.layers.selection.active = selected
        shown.append(OpenedCase(case, read, image, before, labels, rating, comment))
        on_done(shown[0])

    if read.saved is not None:

        def go_on(result: RunResult) -> None:
            if read.start_mask is not None:
                copy = corrections_of(viewer).edit(result)
                copy.data = read.start_mask.astype(copy.data.dtype)
            finish(result.image)

        show_case(
            viewer, row_of(case), read.saved, go_on, metadata,
            goes_on=lambda: not any(opened.is_decided for opened in shown),
        )  # fmt: skip
        return
    image = add_images(viewer, read.layers, metadata)
    labels = None
    if read.mask is not None:
        labels = viewer.add_labels(
            read.mask, name=f"{case.name} mask",
            **(label_style(read.classes) if read.classes else {}), **spatial_arguments(image),
        )  # fmt: skip
    finish(image, labels)
