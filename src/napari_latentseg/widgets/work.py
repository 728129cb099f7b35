"""A mask that a person corrects or approves: of which image, by which model, on which planes."""

from __future__ import annotations

import math
import weakref
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.models.layout import WEIGHTS
from napari_latentseg.views import seen_along
from napari_latentseg.widgets.class_look import class_look
from napari_latentseg.widgets.layers import KEY, geometry_on_screen, lie_together, spatial_arguments

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.classes import ClassInfo
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.scan import Scan
    from napari_latentseg.widgets.plane_lock import PlaneLock
    from napari_latentseg.widgets.session import Result

__all__ = ["Work", "family", "work_on"]

ROLE = "corrected"


def family(card: ModelCard) -> str:
    """The name under which approvals are kept: that of the model that all of a family were taught from."""
    return card.lineage[0].name if card.lineage else card.name


class Work:
    """One image and its mask, as it is to be approved.

    Parameters
    ----------
    image
        The layer that the mask belongs to.
    scan
        What is in it, with its planes as the model saw them. One object for as long as the work goes on, for
        its values are hashed once.
    order
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
    lock
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
        result: Result | None = None,
    ) -> None:
        self.image = image
        self.scan = scan
        self.order = order
        self.classes = classes
        self.family = family
        self.model = model
        self._result = weakref.ref(result) if result is not None else None
        self.layer: Labels | None = None
        self.lock: PlaneLock | None = None
        self.approved: dict[int, NDArray[np.uint8]] = {}
        self.is_dirty = False
        self.draft: Any = None
        self._began: NDArray[np.uint8] | None = None
        self._place = geometry_on_screen(image)

    @property
    def result(self) -> Result | None:
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
    def lead(self) -> tuple[int, ...]:
        """The leading axes of the planes; empty for a single plane."""
        return tuple(self.scan.spatial_shape[:-2])

    @property
    def count(self) -> int:
        """How many planes there are."""
        return math.prod(self.lead)

    @property
    def is_turned(self) -> bool:
        """Whether the planes are others than those that the image was taken in."""
        return self.order != tuple(range(len(self.order)))

    def shape_of_layers(self) -> tuple[int, ...]:
        """The shape of the mask as a layer."""
        shape = [0] * len(self.order)
        for axis, size in zip(self.order, self.scan.spatial_shape, strict=True):
            shape[axis] = size
        return tuple(shape)

    def number(self, index: tuple[int, ...]) -> int:
        """The number of a plane by its place along the leading axes of the layers.

        Raises
        ------
        BadInput
            Where the model saw planes along another axis, so that this one is part of all of them.
        """
        if self.is_turned:
            raise BadInput(
                self.image.name,
                "the model looked at slices along another axis than this one",
                "approve the whole volume, or a slice along that axis in the Annotate widget",
            )
        return int(np.ravel_multi_index(index, self.lead)) if self.lead else 0

    def is_like(self, other: Work) -> bool:
        """Whether both are on the same planes of the same image, for the same family of models."""
        return (self.image, self.family, self.order) == (other.image, other.family, other.order)

    def to_approve(self, numbers: Iterable[int] | None) -> list[int]:
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
        wanted = sorted(set(range(self.count) if numbers is None else numbers))
        if not wanted or wanted[0] < 0 or wanted[-1] >= self.count:
            raise BadInput("slices", "are not of this image", f"choose between 0 and {self.count - 1}")
        record = (
            self.result.found.record if self.result is not None and self.result.found is not None else None
        )
        if numbers is None and record is not None and record.planes_done < record.planes:
            why = f"only {record.planes_done} of {record.planes} were segmented"
            raise BadInput("slices", why, "approve those, or segment the others first")
        found = [n for n in wanted if n not in self.approved]
        if not found:
            raise BadInput("slices", "are approved already", "unlock them to change them")
        return found

    def planes_of(self, mask: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A mask as a layer has it, with its planes as the model saw them; a view."""
        return mask.transpose(self.order)

    def plane_of(self, mask: NDArray[np.uint8], number: int) -> NDArray[np.uint8]:
        """One plane of such a mask; a view."""
        turned = self.planes_of(mask)
        found: NDArray[np.uint8] = turned[np.unravel_index(number, self.lead)] if self.lead else turned
        return found

    def mask(self) -> NDArray[np.uint8]:
        """What is to be approved: the copy, or the result's own mask where there is none.

        Raises
        ------
        BadInput
            Where it is gone, or no longer fits the image.
        """
        found: Any = None
        if self.layer is not None:
            self._check(self.layer)
            found = self.layer.data
        elif (result := self.result) is not None:
            shown = result.layers.mask
            if shown is not None and result.is_there:
                self._check(shown)
                found = shown.data
            elif result.found is not None:
                found = result.found.mask
        if found is None:
            raise BadInput("mask", "is no longer there", "segment the image again")
        return np.asarray(found)

    def _check(self, layer: Labels) -> None:
        if tuple(layer.data.shape) != self.shape_of_layers():
            raise BadInput(
                layer.name, f"has shape {tuple(layer.data.shape)}, not the image's", "edit the mask again"
            )
        if not lie_together(layer, self._place):
            raise BadInput(layer.name, "was moved away from its image", "put it back, or edit the mask again")

    def make_layer(self, mask: NDArray[np.uint8]) -> Labels:
        """The copy that a person paints in; not yet in the viewer.

        Parameters
        ----------
        mask
            Its own from now on.
        """
        result = self.result
        self._began = result.found.mask if result is not None and result.found is not None else None
        number = f" {result.layers.number}" if result is not None and result.layers.number > 1 else ""
        about = {
            "role": ROLE,
            "image": str(self.image.unique_id),
            "run": result.layers.number if result is not None else 0,
            "model": list(self.model) if self.model is not None else None,
            "frame": self.scan.geometry.frame,
        }
        layer = Labels(
            mask,
            name=f"{self.image.name} corrected{number}",
            opacity=0.5,
            metadata={KEY: about},
            **class_look(self.classes),
            **spatial_arguments(self.image),
        )
        layer.selected_label = self.classes[0].label
        layer.brush_size = max(2, min(40, round(min(self.scan.spatial_shape[-2:]) / 40)))
        self.layer = layer
        return layer

    def differs(self, mask: NDArray[np.uint8], numbers: list[int]) -> bool:
        """Whether a person has changed any of some planes; may be called in a worker."""
        began = self._began
        if self.layer is None:
            result = self.result
            return result is not None and result.layers.edited
        if began is None:
            return True
        return any(
            not np.array_equal(self.plane_of(mask, n), self.plane_of(np.asarray(began), n)) for n in numbers
        )


def work_on(result: Result) -> Work:
    """What a result gives to correct and to approve.

    Raises
    ------
    BadInput
        Where the run has not given anything yet.
    """
    if result.found is None:
        raise BadInput("mask", "the run has not given one yet", "wait for it to end")
    scan, order = seen_along(result.job.scan, result.job.view.plane)
    card = result.card
    model = (card.name, card.version, card.files.get(WEIGHTS, ""))
    return Work(result.layers.image, scan, order, tuple(card.classes), family(card), model, result)
