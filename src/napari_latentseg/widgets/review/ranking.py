"""By what the regions of a result are sorted, and their ranking in a worker."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from qtpy.QtCore import QObject, Qt, Signal

from napari_latentseg.errors import BadInput
from napari_latentseg.review import MEASURES, available_measures
from napari_latentseg.widgets._shared.controls import elastic_combo
from napari_latentseg.widgets._shared.threads import run_in_thread, show_exception

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.review import Finding

__all__ = ["RankedRegions", "Ranking"]

_UNITS = ("slices", "objects")


@dataclass(frozen=True)
class RankedRegions:
    """What a ranking gave.

    Attributes
    ----------
    segmentation
        The one that was ranked.
    findings
        Its regions, the most uncertain first.
    profile
        Uncertainty of each slice; None for a 2-D image.
    problem
        Why there are no findings; empty where nothing failed.
    """

    segmentation: Segmentation
    findings: Sequence[Finding]
    profile: NDArray[Any] | None
    problem: str = ""


class Ranking(QObject):
    """Ranks the slices or objects of a segmentation by the measure that is chosen.

    Signals
    -------
    asked
        Another measure, or slices in place of objects, were chosen.
    ranked
        `RankedRegions`; only of the segmentation that was asked for last.

    Attributes
    ----------
    measure_box, unit_box
        Choose the uncertainty measure, and whether slices or objects are ranked.
    """

    asked = Signal()
    ranked = Signal(object)

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self.measure_box = elastic_combo("Uncertainty measure to sort by")
        self.unit_box = elastic_combo("List slices or objects")
        for name in _UNITS:
            self.unit_box.addItem(name, name)
        self._request_id = 0
        for box in (self.measure_box, self.unit_box):
            box.activated.connect(lambda _: self.asked.emit())

    def offer(self, segmentation: Segmentation) -> None:
        """Offer the measures that a segmentation allows, and slices unless it is 2D; keep the selection."""
        previous_measure = self.measure_box.currentData()
        self.measure_box.clear()
        for row, key in enumerate(available_measures(segmentation)):
            self.measure_box.addItem(MEASURES[key].title, key)
            self.measure_box.setItemData(row, MEASURES[key].description, Qt.ItemDataRole.ToolTipRole)
        self.measure_box.setCurrentIndex(max(0, self.measure_box.findData(previous_measure)))
        has_slices = segmentation.mask.ndim > 2
        if has_slices != self.unit_box.isEnabled():
            self.unit_box.setCurrentIndex(0 if has_slices else 1)
        self.unit_box.setEnabled(has_slices)
        self.unit_box.setToolTip(
            "List slices or objects" if has_slices else "A 2D image has no slices to list"
        )

    def rank(self, segmentation: Segmentation) -> None:
        """Rank a segmentation in a worker; `ranked` is emitted unless another one is asked for by then."""
        self._request_id += 1
        request_id = self._request_id
        measure = str(self.measure_box.currentData() or "")
        by_objects = self.unit_box.currentData() == "objects"

        def compute() -> RankedRegions:
            from napari_latentseg.review import rank, uncertainty_profile

            has_slices = segmentation.mask.ndim > 2
            profile = np.asarray(uncertainty_profile(segmentation, measure)) if has_slices else None
            findings = rank(segmentation, measure, "objects" if by_objects else "slices")
            return RankedRegions(segmentation, findings, None if profile is None else profile.ravel())

        def show(regions: RankedRegions) -> None:
            if request_id == self._request_id:
                self.ranked.emit(regions)

        def fail(error: BaseException) -> None:
            if request_id != self._request_id:
                return
            if not isinstance(error, BadInput):
                show_exception(error)
            self.ranked.emit(_not_ranked(segmentation, error))

        run_in_thread(compute, show, fail, owner=self)


def _not_ranked(segmentation: Segmentation, error: BaseException) -> RankedRegions:
    """No regions, and the reason."""
    problem = "The regions could not be ranked."
    if isinstance(error, BadInput):
        problem = f"This {error.what} {error.why}; {error.remedy}."
    leading_shape = segmentation.mask.shape[:-2]
    return RankedRegions(
        segmentation, (), np.zeros(leading_shape).ravel() if leading_shape else None, problem
    )
