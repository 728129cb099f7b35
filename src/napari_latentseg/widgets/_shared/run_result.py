"""One run's result in a viewer."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement
from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.closing import WorkInProgress
from napari_latentseg.widgets._shared.result_layers import ResultLayers
from napari_latentseg.widgets._shared.runner import RunJob
from napari_latentseg.widgets._shared.shown_mask import PersonMask, ShownMask, shown_mask_of

if TYPE_CHECKING:
    from pathlib import Path

    from napari.layers import Image

    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["RunResult"]


class RunResult:
    """One run's result in a viewer.

    Attributes
    ----------
    layers
        Its mask, means and variances.
    job
        The request: image, model and settings.
    card
        The card of the model.
    run
        Draws more samples, see `ViewerSession.draw_more`; None for a result that was read from files.
    saved_at
        The record from which it was read; None for a run of this window.
    segmentation
        The segmentation with the current threshold and postprocessing; None until the run has ended.
    sizes
        Areas or volumes of the classes.
    was_cancelled
        Whether the run was stopped.
    seconds
        Duration of the run.
    seen_regions
        The regions of the review queue that were looked at, by `Finding.identity`.
    has_other_data
        Whether the values of the image were replaced since the run.
    is_put_away
        Whether its layers go by themselves, since its case was decided.
    person_mask
        Gives what a person has made of the mask; set by whoever keeps the corrections.
    latest_mask
        The mask that counts as it was at the last `ViewerSession.mask_changed`; None before the first.
    """

    def __init__(self, layers: ResultLayers, job: RunJob, card: ModelCard) -> None:
        self.layers = layers
        self.job = job
        self.card = card
        self.run: Any = None
        self.saved_at: Path | None = None
        self.segmentation: Segmentation | None = None
        self.sizes: tuple[Measurement, ...] = ()
        self.was_cancelled = False
        self.seconds = 0.0
        self.seen_regions: set[Any] = set()
        self.has_other_data = False
        self.is_put_away = False
        self.person_mask: Callable[[], PersonMask] = PersonMask
        self.latest_mask: ShownMask | None = None

    def shown_mask(self, *, copy: bool = True) -> ShownMask:
        """The mask that is measured, reported and exported: see `shown_mask`.

        Parameters
        ----------
        copy
            Copy the labels, so that later strokes are not part of what is returned.

        Raises
        ------
        BadInput
            If the run has no mask yet.
        """
        if self.segmentation is None:
            raise BadInput("mask", "the run has not finished", "wait for it")
        layer, person = self.layers.mask if self.is_in_viewer else None, self.person_mask()
        if person.layer is None and self.layers.is_previewing:  # of a threshold that is not the result's yet
            return ShownMask(self.segmentation, layer, self.segmentation.mask, person, self.job.view.order)
        return shown_mask_of(self.segmentation, layer, person, self.job.view.order, copy=copy)

    @property
    def threshold_locked_reason(self) -> str:
        """Why a threshold or postprocessing no longer changes the mask; empty where it does."""
        if self.layers.is_edited:
            return "The mask was edited by hand and stays as it is"
        if self.person_mask().layer is not None:
            return "The mask is being corrected in a copy, which stays as it is: remove the copy first"
        return ""

    def check_data(self) -> None:
        """Refuse what would mix this result with other data.

        Raises
        ------
        BadInput
            If the values of its image have changed since the run.
        """
        if self.has_other_data:
            raise BadInput(
                self.title, "the values of its image have changed since", "segment the image again"
            )

    @property
    def image(self) -> Image:
        """The layer of its image, which may have been removed."""
        return self.layers.image

    @property
    def title(self) -> str:
        """Its name in a list: image, number of the run, number of samples, and whether it was cancelled."""
        parts = [self.layers.image.name]
        if self.layers.run_number > 1:
            parts.append(f"run {self.layers.run_number}")
        if self.segmentation is not None:
            parts.append(count_text(self.segmentation.record.samples, "sample"))
            if self.segmentation.segmented_region.is_cancelled:
                parts.append("cancelled")
        if self.has_other_data:
            parts.append("of earlier values")
        return ", ".join(parts)

    def work_in_progress(self) -> WorkInProgress:
        """The texts about its run, for the question when napari is closed."""
        what = f"“{self.image.name}” is being segmented."
        return WorkInProgress(what, "Its result is lost; exports and approvals are kept.")

    @property
    def is_in_viewer(self) -> bool:
        """Whether its mask is still in the viewer."""
        return bool(self.layers.layers_of("mask"))
