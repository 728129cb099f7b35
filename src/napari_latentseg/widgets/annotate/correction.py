"""A mask that a person corrects or approves: of which image, by which model, on which planes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentseg.core.reorient import reorient
from napari_latentseg.errors import BadInput
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.widgets._shared.label_style import label_style
from napari_latentseg.widgets._shared.layers import (
    METADATA_KEY,
    geometry_on_screen,
    lie_together,
    spatial_arguments,
)

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.widgets._shared.session import RunResult
    from napari_latentseg.widgets.annotate.plane_lock import PlaneLock

__all__ = ["Correction", "correction_of_result", "model_family"]

ROLE = "corrected"


def model_family(card: ModelCard) -> str:
    """The name under which approvals are kept: that of the model that all of a family were taught from."""
    return card.lineage[0].name if card.lineage else card.name


class Correction:
    """One image and its mask, as it is to be approved.

    Parameters
    ----------
    image
        The layer that the mask belongs to.
    scan
        What is in it, with its planes as the model saw them. One object for as long as the work goes on, for
        its values are hashed once.
    axis_order
        Axis i of the scan was axis ``order[i]`` of the layers.
    classes
        That can be painted.
    family
        See `family`.
    model
        Name, version and SHA-256 of the model that the mask came from; None where that is not known.
    result
        Whose mask it is; None where work from an earlier day goes on.

    Attributes
    ----------
    layer
        The copy that a person paints in; None while there is none.
    plane_lock
        Of that layer.
    approved
        Planes that are approved, with what they hold.
    is_dirty
        Whether the copy may have changed since it was last kept.
    draft
        What is kept of the copy; None where nothing is.
    """

    def __init__(
        self,
        image: Image,
        scan: Scan,
        order: tuple[int, ...],
        classes: tuple[ClassInfo, ...],
        family: str,
        model: tuple[str, str, str] | None,
        result: RunResult | None = None,
    ) -> None:
        self.image = image
        self.scan = scan
        self.axis_order = order
        self.classes = classes
        self.family = family
        self.model = model
        self._result = weakref.ref(result) if result is not None else None
        self.layer: Labels | None = None
        self.plane_lock: PlaneLock | None = None
        self.approved: dict[int, NDArray[np.uint8]] = {}
        self.is_dirty = False
        self.draft: Any = None
        self._original_mask: NDArray[np.uint8] | None = None
        self._place = geometry_on_screen(image)

    @property
    def result(self) -> RunResult | None:
        """Whose mask it is, while that is there."""
        return self._result() if self._result is not None else None

    @property
    def title(self) -> str:
        """Which one it is, for a list."""
        result = self.result
        if self.layer is not None:
            return self.layer.name
        return result.title if result is not None else self.image.name

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """The leading axes of the planes; empty for a single plane."""
        return tuple(self.scan.spatial_shape[:-2])

    @property
    def plane_count(self) -> int:
        """How many planes there are."""
        return math.prod(self.leading_shape)

    @property
    def is_reoriented(self) -> bool:
        """Whether the planes are others than those that the image was taken in."""
        return self.axis_order != tuple(range(len(self.axis_order)))

    def layer_shape(self) -> tuple[int, ...]:
        """The shape of the mask as a layer."""
        shape = [0] * len(self.axis_order)
        for axis, size in zip(self.axis_order, self.scan.spatial_shape, strict=True):
            shape[axis] = size
        return tuple(shape)

    def plane_number(self, index: tuple[int, ...]) -> int:
        """The number of a plane by its place along the leading axes of the layers.

        Raises
        ------
        BadInput
            Where the model saw planes along another axis, so that this one is part of all of them.
        """
        if self.is_reoriented:
            raise BadInput(
                self.image.name,
                "the model looked at slices along another axis than this one",
                "approve the whole volume, or a slice along that axis in the Annotate widget",
            )
        return int(np.ravel_multi_index(index, self.leading_shape)) if self.leading_shape else 0

    def is_same_target(self, other: Correction) -> bool:
        """Whether both are on the same planes of the same image, for the same family of models."""
        return (self.image, self.family, self.axis_order) == (other.image, other.family, other.axis_order)

    def unapproved_planes(self, numbers: Iterable[int] | None) -> list[int]:
        """Those of some planes that are not approved yet.

        Parameters
        ----------
        numbers
            From 0; None for all.

        Raises
        ------
        BadInput
            Where there is none, or all are asked for and not all were segmented: they would count as empty.
        """
        plane_numbers = sorted(set(range(self.plane_count) if numbers is None else numbers))
        if not plane_numbers or plane_numbers[0] < 0 or plane_numbers[-1] >= self.plane_count:
            raise BadInput("slices", "are not of this image", f"choose between 0 and {self.plane_count - 1}")
        record = (
            self.result.segmentation.record
            if self.result is not None and self.result.segmentation is not None
            else None
        )
        if numbers is None and record is not None and record.planes_done < record.planes:
            why = f"only {record.planes_done} of {record.planes} were segmented"
            raise BadInput("slices", why, "approve those, or segment the others first")
        unapproved = [n for n in plane_numbers if n not in self.approved]
        if not unapproved:
            raise BadInput("slices", "are approved already", "unlock them to change them")
        return unapproved

    def as_planes(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask as a layer has it, with its planes as the model saw them; a view."""
        return mask.transpose(self.axis_order)

    def plane_of(self, mask: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """One plane of such a mask; a view."""
        reoriented_mask = self.as_planes(mask)
        plane_mask: NDArray[np.uint8] = (
            reoriented_mask[np.unravel_index(number, self.leading_shape)]
            if self.leading_shape
            else reoriented_mask
        )
        return plane_mask

    def current_mask(self) -> NDArray[np.uint8]:
        """What is to be approved: the copy, or the result's own mask where there is none.

        Raises
        ------
        BadInput
            Where it is gone, or no longer fits the image.
        """
        mask_data: Any = None
        if self.layer is not None:
            self._check_layer(self.layer)
            mask_data = self.layer.data
        elif (result := self.result) is not None:
            result_mask = result.layers.mask
            if result_mask is not None and result.is_in_viewer:
                self._check_layer(result_mask)
                mask_data = result_mask.data
            elif result.segmentation is not None:
                mask_data = result.segmentation.mask
        if mask_data is None:
            raise BadInput("mask", "is no longer there", "segment the image again")
        return np.asarray(mask_data)

    def _check_layer(self, layer: Labels) -> None:
        if tuple(layer.data.shape) != self.layer_shape():
            raise BadInput(
                layer.name, f"has shape {tuple(layer.data.shape)}, not the image's", "edit the mask again"
            )
        if not lie_together(layer, self._place):
            raise BadInput(layer.name, "was moved away from its image", "put it back, or edit the mask again")

    def create_layer(self, mask: NDArray[np.uint8]) -> Labels:
        """The copy that a person paints in; not yet in the viewer.

        Parameters
        ----------
        mask
            Its own from now on.
        """
        result = self.result
        self._original_mask = (
            result.segmentation.mask if result is not None and result.segmentation is not None else None
        )
        number = f" {result.layers.run_number}" if result is not None and result.layers.run_number > 1 else ""
        layer_metadata = {
            "role": ROLE,
            "image": str(self.image.unique_id),
            "run": result.layers.run_number if result is not None else 0,
            "model": list(self.model) if self.model is not None else None,
            "frame": self.scan.geometry.frame,
        }
        layer = Labels(
            mask,
            name=f"{self.image.name} corrected{number}",
            opacity=0.5,
            metadata={METADATA_KEY: layer_metadata},
            **label_style(self.classes),
            **spatial_arguments(self.image),
        )
        layer.selected_label = self.classes[0].label
        layer.brush_size = max(2, min(40, round(min(self.scan.spatial_shape[-2:]) / 40)))
        self.layer = layer
        return layer

    def has_changes(self, mask: NDArray[np.uint8], numbers: list[int]) -> bool:
        """Whether a person has changed any of some planes; may be called in a worker."""
        original = self._original_mask
        if self.layer is None:
            result = self.result
            return result is not None and result.layers.is_edited
        if original is None:
            return True
        return any(
            not np.array_equal(self.plane_of(mask, n), self.plane_of(np.asarray(original), n))
            for n in numbers
        )


def correction_of_result(result: RunResult) -> Correction:
    """What a result gives to correct and to approve.

    Raises
    ------
    BadInput
        Where the run has not given anything yet.
    """
    if result.segmentation is None:
        raise BadInput("mask", "the run has not given one yet", "wait for it to end")
    scan, order = reorient(result.job.scan, result.job.view.orientation)
    card = result.card
    model = (card.name, card.version, card.files.get(WEIGHTS_FILE, ""))
    return Correction(
        result.layers.image, scan, order, tuple(card.classes), model_family(card), model, result
    )
