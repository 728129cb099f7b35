"""One mask under correction: its image, its model, its editable copy and its approved planes."""

from __future__ import annotations

import math
import secrets
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
    layer_geometry,
    matches_geometry,
    placement_metadata,
    spatial_arguments,
)
from napari_latentseg.widgets._shared.text import format_numbers

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.core.segmented_region import SegmentedRegion
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.widgets._shared.session import RunResult
    from napari_latentseg.widgets.annotate.plane_lock import PlaneLock

__all__ = ["Correction", "correction_of_result", "model_family"]

ROLE = "corrected"


def model_family(card: ModelCard) -> str:
    """The name under which approvals are stored: the first model from which a family was fine-tuned."""
    return card.lineage[0].name if card.lineage else card.name


class Correction:
    """One image and its mask, to be edited and approved.

    Parameters
    ----------
    image
        The image layer.
    scan
        The image, reoriented so that its planes are those that were segmented. Always the same object: its
        hash is computed once and cached.
    order
        Axis i of the scan is axis ``order[i]`` of the layers.
    classes
        Classes that can be painted.
    family
        Model family, see `model_family`.
    model
        Name, version and SHA-256 of the model that produced the mask; None where unknown.
    result
        The run that produced the mask; None for a resumed draft.
    known_classes
        Names of the classes that the model knows; None if all of `classes`.
    segmented_region
        The part with a prediction, of a resumed draft; None where that is not known.

    Attributes
    ----------
    layer
        The editable copy of the mask; None while there is none.
    plane_lock
        Locks approved planes of that layer.
    approved
        Labels of the approved planes, `(rows, columns)`, by plane number.
    is_dirty
        Whether the copy may have changed since it was last saved.
    has_other_data
        Whether the values of the image were replaced since, or that is being found out.
    draft
        The saved draft of the copy; None where there is none.
    draft_tag
        Keeps it apart from drafts of other copies of the same image, which were removed from the viewer.
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
        *,
        known_classes: Iterable[str] | None = None,
        segmented_region: SegmentedRegion | None = None,
    ) -> None:
        self.image = image
        self.scan = scan
        self.axis_order = order
        self.classes = classes
        self.known_classes = (
            frozenset(c.name for c in classes) if known_classes is None else frozenset(known_classes)
        )
        self.family = family
        self.model = model
        self._result = weakref.ref(result) if result is not None else None
        self.layer: Labels | None = None
        self.plane_lock: PlaneLock | None = None
        self.approved: dict[int, NDArray[np.uint8]] = {}
        self.is_dirty = False
        self.has_other_data = False
        self.draft: Any = None
        self.draft_tag = secrets.token_hex(4)
        self._original_mask: NDArray[np.uint8] | None = None
        self._geometry = layer_geometry(image)
        self._segmented_region = segmented_region

    @property
    def result(self) -> RunResult | None:
        """The run that produced the mask, while it exists."""
        return self._result() if self._result is not None else None

    def adopt(self, result: RunResult) -> None:
        """Make a resumed draft that of a run of the same image and model family."""
        self._result = weakref.ref(result)
        self._original_mask = result.segmentation.mask if result.segmentation is not None else None
        if self._segmented_region is None and result.segmentation is not None:
            self._segmented_region = result.segmentation.segmented_region

    @property
    def title(self) -> str:
        """A name for lists."""
        result = self.result
        if self.layer is not None:
            return self.layer.name
        return result.title if result is not None else self.image.name

    @property
    def leading_shape(self) -> tuple[int, ...]:
        """Shape of the axes in front of rows and columns; empty for a 2-D image."""
        return tuple(self.scan.spatial_shape[:-2])

    @property
    def plane_count(self) -> int:
        """Number of planes."""
        return math.prod(self.leading_shape)

    @property
    def is_reoriented(self) -> bool:
        """Whether the segmented planes are not those in which the image was acquired."""
        return self.axis_order != tuple(range(len(self.axis_order)))

    def layer_shape(self) -> tuple[int, ...]:
        """Shape of the mask in the axis order of the layers."""
        shape = [0] * len(self.axis_order)
        for axis, size in zip(self.axis_order, self.scan.spatial_shape, strict=True):
            shape[axis] = size
        return tuple(shape)

    def plane_number(self, index: tuple[int, ...]) -> int:
        """The number of a plane from its index along the leading axes of the layers.

        Raises
        ------
        BadInput
            If the image was segmented along another axis, so that this plane crosses all segmented ones.
        """
        if self.is_reoriented:
            raise BadInput(
                self.image.name,
                "the slices were segmented along another axis",
                "approve all slices, or a slice along that axis in Annotate",
            )
        return int(np.ravel_multi_index(index, self.leading_shape)) if self.leading_shape else 0

    def check_data(self) -> None:
        """Refuse what would mix the mask with other data.

        Raises
        ------
        BadInput
            If the values of its image have changed since.
        """
        if (result := self.result) is not None:
            result.check_data()
        if self.has_other_data:
            raise BadInput(
                self.title, "the values of its image have changed since", "resume its draft in Annotate"
            )

    def is_same_target(self, other: Correction) -> bool:
        """Whether both are of the same image, planes and model family."""
        return (self.image, self.family, self.axis_order) == (other.image, other.family, other.axis_order)

    @property
    def segmented_region(self) -> SegmentedRegion | None:
        """The part of the mask with a prediction; None where that is not known, as of an old draft.

        Of a copy it is the part that had one when the copy was made: more samples may go on where a run was
        cancelled, but the copy does not get them.
        """
        result = self.result.segmentation if self.result is not None else None
        if result is not None and self.layer is None:
            return result.segmented_region
        return self._segmented_region

    def unapproved_planes(self, numbers: Iterable[int] | None, mask: NDArray[np.uint8]) -> list[int]:
        """Which of some planes are not approved yet.

        Parameters
        ----------
        numbers
            Plane numbers, from 0; None for all planes.
        mask
            The labels to approve, in layer axis order.

        Raises
        ------
        BadInput
            If none is left or a number is out of range; also if a plane has no prediction and nothing is
            painted in it, for it would be approved, and taught, as empty.
        """
        plane_numbers = sorted(set(range(self.plane_count) if numbers is None else numbers))
        if not plane_numbers or plane_numbers[0] < 0 or plane_numbers[-1] >= self.plane_count:
            raise BadInput("slices", "are outside this image", f"choose between 1 and {self.plane_count}")
        unapproved = [n for n in plane_numbers if n not in self.approved]
        if not unapproved:
            raise BadInput("slices", "are already approved", "unlock them to edit them")
        region = self.segmented_region
        without_prediction = region.missing(unapproved) if region is not None else []
        unknown = [n for n in without_prediction if not self.plane_of(mask, n).any()]
        if unknown:
            is_one = len(unknown) == 1
            them = "it" if is_one else "them"
            raise BadInput(
                f"slice{'' if is_one else 's'} {format_numbers(n + 1 for n in unknown)}",
                f"{'was' if is_one else 'were'} not segmented, and nothing is painted in {them}",
                f"segment {them} first, or paint what is there",
            )
        return unapproved

    def has_labels_in(self, number: int) -> bool:
        """Whether anything is labelled in a plane; False where the mask is gone."""
        try:
            return bool(self.plane_of(self.current_mask(), number).any())
        except BadInput:  # approving says why
            return False

    def empty_unsegmented_planes(self) -> list[int]:
        """The planes without a prediction in which nobody has painted or approved anything.

        Of a run this asks for the last comparison of its mask with the model's, which may be a moment old,
        but does not read the whole mask, as `unapproved_planes` does.
        """
        region, result = self.segmented_region, self.result
        if region is None or region.has_all_slices:
            return []
        planes = [n for n in region.missing(range(self.plane_count)) if n not in self.approved]
        if result is None:
            return [n for n in planes if not self.has_labels_in(n)]
        comparison = result.latest_mask.comparison if result.latest_mask is not None else None
        return [n for n in planes if comparison is None or n not in comparison.edited_slices]

    def unknown_outside_box(self, numbers: Iterable[int], mask: NDArray[np.uint8]) -> list[int]:
        """Those of some planes of which only a box was segmented, and that no person has changed.

        Parameters
        ----------
        numbers, mask
            As for `unapproved_planes`.
        """
        region = self.segmented_region
        if region is None or region.box is None:
            return []
        top, left, bottom, right = region.box
        unknown = []
        for n in numbers:
            plane = self.plane_of(mask, n)
            labels_in_box = np.count_nonzero(plane[top:bottom, left:right])
            if np.count_nonzero(plane) == labels_in_box and not self._is_changed(mask, n):
                unknown.append(n)
        return unknown

    def _is_changed(self, mask: NDArray[np.uint8], number: int) -> bool:
        """Whether a plane is known to differ from the model's mask."""
        is_known = self._original_mask is not None or self.layer is None
        return is_known and self.has_changes(mask, [number])

    def as_planes(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask in layer axis order, reoriented to the segmented planes; a view."""
        return mask.transpose(self.axis_order)

    def plane_of(self, mask: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """One plane of a mask in layer axis order, `(rows, columns)`; a view."""
        reoriented_mask = self.as_planes(mask)
        plane_mask: NDArray[np.uint8] = (
            reoriented_mask[np.unravel_index(number, self.leading_shape)]
            if self.leading_shape
            else reoriented_mask
        )
        return plane_mask

    def current_mask(self) -> NDArray[np.uint8]:
        """The labels to approve, in layer axis order: of the copy, or of the result where there is none.

        Raises
        ------
        BadInput
            If the mask is gone, or its shape or geometry no longer match the image.
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
            raise BadInput("mask", "was removed", "segment the image again")
        return np.asarray(mask_data)

    def _check_layer(self, layer: Labels) -> None:
        if tuple(layer.data.shape) != self.layer_shape():
            raise BadInput(
                layer.name,
                f"has shape {tuple(layer.data.shape)}, not that of the image",
                "edit the mask again",
            )
        if not matches_geometry(layer, self._geometry):
            raise BadInput(
                layer.name, "has another geometry than its image", "undo the move, or edit the mask again"
            )

    def create_layer(self, mask: NDArray[np.uint8]) -> Labels:
        """Create the editable copy; the caller adds it to the viewer.

        Parameters
        ----------
        mask
            Labels in layer axis order, uint8; the layer takes the array over.
        """
        result = self.result
        segmentation = result.segmentation if result is not None else None
        self._original_mask = segmentation.mask if segmentation is not None else None
        if segmentation is not None:
            self._segmented_region = segmentation.segmented_region
        number = f" {result.layers.run_number}" if result is not None and result.layers.run_number > 1 else ""
        layer_metadata = {
            "role": ROLE,
            "image": str(self.image.unique_id),
            "run": result.layers.run_number if result is not None else 0,
            "model": list(self.model) if self.model is not None else None,
            **placement_metadata(self.image),
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
        if result is not None:
            result.layers.look.add(layer)  # as the mask that it is a copy of
        layer.selected_label = self.classes[0].label
        # pixels: 2.5 % of the shorter side, within what is easy to handle
        layer.brush_size = max(2, min(40, round(min(self.scan.spatial_shape[-2:]) / 40)))
        self.layer = layer
        return layer

    def extend_classes(self, classes: Iterable[ClassInfo]) -> None:
        """Add classes, also to the colours and names of the copy."""
        added = tuple(classes)
        if not added:
            return
        self.classes = (*self.classes, *added)
        if self.layer is not None:
            style = label_style(self.classes)
            self.layer.colormap = style["colormap"]
            self.layer.features = style["features"]
            if self.result is not None:
                self.result.layers.look.apply(self.layer)

    @property
    def added_labels(self) -> frozenset[int]:
        """The labels of classes that a person has added, and that the model does not know."""
        return frozenset(c.label for c in self.classes if c.name not in self.known_classes)

    def remove_class(self, label: int) -> None:
        """Remove a class, also from the colours and names of the copy; nothing may be painted with it."""
        self.classes = tuple(c for c in self.classes if c.label != label)
        if self.layer is not None:
            if int(self.layer.selected_label) == label:
                self.layer.selected_label = self.classes[0].label
            style = label_style(self.classes)
            self.layer.colormap = style["colormap"]
            self.layer.features = style["features"]

    def has_changes(self, mask: NDArray[np.uint8], numbers: list[int]) -> bool:
        """Whether any of some planes differs from the model's mask; safe to call in a worker."""
        original, result = self._original_mask, self.result
        if self.layer is None:  # the mask of the run itself, in which one can paint too
            original = result.segmentation.mask if result is not None and result.segmentation else None
        if original is None:
            return True
        return any(
            not np.array_equal(self.plane_of(mask, n), self.plane_of(np.asarray(original), n))
            for n in numbers
        )


def correction_of_result(result: RunResult) -> Correction:
    """A new correction for the mask of a run.

    Raises
    ------
    BadInput
        If the run has no mask yet.
    """
    if result.segmentation is None:
        raise BadInput("mask", "the run has not finished", "wait for it")
    scan, order = reorient(result.job.scan, result.job.view.orientation)
    card = result.card
    model = (card.name, card.version, card.files.get(WEIGHTS_FILE, ""))
    return Correction(
        result.layers.image, scan, order, tuple(card.classes), model_family(card), model, result
    )
