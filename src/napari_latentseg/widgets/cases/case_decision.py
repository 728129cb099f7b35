"""What a reader decides on the open case, and how it is written: into the list, and the annotations."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_latentseg.caselist.case_list import CaseList
from napari_latentseg.caselist.decisions import Action
from napari_latentseg.core.scan import Scan
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.cases.opened_case import OpenedCase

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.widgets.annotate.approvals import Approvals

__all__ = ["CaseDecision", "approve_slices"]


@dataclass(frozen=True)
class CaseDecision:
    """A decision as it was when the reader made it; what is drawn or typed later is not part of it.

    Attributes
    ----------
    name
        Of the case.
    action, mask, blind, image_sha256, rating, comment, seconds
        As `CaseList.decide` takes them.
    """

    name: str
    action: Action
    mask: Scan | None
    blind: bool
    image_sha256: str
    rating: int
    comment: str
    seconds: float

    @classmethod
    def of(cls, opened: OpenedCase, action: Action, mask: Scan | None, *, blind: bool) -> CaseDecision:
        """The decision on an open case, with the rating and comment that it has now."""
        return cls(
            opened.name,
            action,
            mask,
            blind,
            opened.read.sha256,
            opened.rating or 0,
            opened.comment,
            opened.seconds,
        )

    def write(self, cases: CaseList, reader: str) -> None:
        """Write it into the list, and let other readers have the case. Called in a worker.

        Raises
        ------
        BadInput
            If it cannot be written.
        """
        try:
            cases.decide(
                self.name,
                reader,
                self.action,
                mask=self.mask,
                blind=self.blind,
                image_sha256=self.image_sha256,
                rating=self.rating,
                comment=self.comment,
                seconds=self.seconds,
            )
        finally:
            cases.release(self.name, reader)


def approve_slices(viewer: ViewerModel, opened: OpenedCase) -> Approvals | None:
    """Approve the slices in the annotations of the model, too, from which it learns.

    Returns
    -------
    Approvals or None
        What writes them; None where there is no result.

    Raises
    ------
    BadInput
        If slices were not segmented, or the mask is not on screen.
    """
    result = opened.result(viewer)
    if result is None:
        return None
    corrections = corrections_of(viewer)
    correction = corrections.correction_of(result)
    if len(correction.approved) < correction.plane_count:
        corrections.approve_planes(correction, None)
    return corrections.approvals
