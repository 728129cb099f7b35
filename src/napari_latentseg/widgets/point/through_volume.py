"""Following a structure from the slices on which it was pointed at through the others of a volume."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from itertools import pairwise
from typing import TYPE_CHECKING, Protocol

from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.object_names import object_name
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.closing import WorkInProgress, watch_closing
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.plain_text import show_info, show_warning
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.text import format_slices
from napari_latentseg.widgets.point.target import LARGEST_SIDE
from napari_latentseg.widgets.point.volume_engine import VolumeEngine, VolumeJob, VolumeOutcome
from napari_latentseg.widgets.point.volume_proposal import ProposalLayer, VolumeProposal

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.widgets.point.accepted_volume import AcceptedVolume
    from napari_latentseg.widgets.point.objects import AcceptedObjects
    from napari_latentseg.widgets.point.pending import PendingObject
    from napari_latentseg.widgets.point.prompt_layers import PromptLayers
    from napari_latentseg.widgets.point.volume_proposal import Mask

__all__ = ["ThroughVolume"]


class PointedAt(Protocol):
    """The part of `Pointing` that `ThroughVolume` uses."""

    image: Image | None
    card: ModelCard | None
    name: tuple[str, int]
    samples: int
    objects: AcceptedObjects

    @property
    def layers(self) -> PromptLayers | None:
        """The layers of clicks."""
        ...

    @property
    def all_pending(self) -> dict[tuple[int, ...], PendingObject]:
        """The objects on the slices of the image that are not accepted."""
        ...


class ThroughVolume(QObject):
    """The proposals for objects through the volumes of one viewer.

    Parameters
    ----------
    viewer
        The viewer.
    pointing
        What is pointed at in it.
    load_model
        The model of a name; called in a thread.
    parent
        Qt parent.

    Signals
    -------
    changed
        A slice was proposed, or what can be done has changed.

    Attributes
    ----------
    fraction
        Of the slices that are done, in [0, 1], while an object is followed.
    """

    changed = Signal()

    def __init__(
        self, viewer: ViewerModel, pointing: PointedAt, load_model: Callable[[str], Model], parent: QObject
    ) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._pointing = pointing
        self.engine = VolumeEngine(load_model, self)
        self.engine.sliced.connect(self._on_sliced)
        self.engine.finished.connect(self._on_finished)
        self.engine.failed.connect(self._on_failed)
        self._proposals: weakref.WeakKeyDictionary[Image, VolumeProposal] = weakref.WeakKeyDictionary()
        self._layers: weakref.WeakKeyDictionary[Image, ProposalLayer] = weakref.WeakKeyDictionary()
        self._last: tuple[Image, VolumeProposal, AcceptedVolume] | None = None
        self._job: VolumeJob | None = None
        self.fraction = 0.0
        watch_closing(viewer, self.work_in_progress, self.engine.cancel)

    def work_in_progress(self) -> WorkInProgress | None:
        """The texts for the question when napari is closed while an object is followed."""
        if not self.is_busy:
            return None
        kept = "The slices that were found are not accepted yet, and are lost; accepted objects are kept."
        return WorkInProgress("A structure is being followed through a volume.", kept)

    @property
    def proposal(self) -> VolumeProposal | None:
        """That of the image that is pointed at; None where there is none."""
        image = self._pointing.image
        return None if image is None else self._proposals.get(image)

    @property
    def is_busy(self) -> bool:
        """Whether an object is being followed."""
        return self.engine.is_busy

    def mask_on(self, index: tuple[int, ...] | None) -> Mask | None:
        """What is proposed on a slice."""
        proposal = self.proposal
        return proposal.masks.get(index[0]) if proposal is not None and index else None

    def problem(self, *, beyond: bool) -> str:
        """Why the object cannot be followed now, or filled between its slices; empty where it can.

        Parameters
        ----------
        beyond
            Whether it is to be followed beyond the outermost slices.
        """
        pointing = self._pointing
        image, card = pointing.image, pointing.card
        if image is None or card is None:
            return "Open a volume first"
        shape = image_shape(image)
        if len(shape) < 3:
            return "This is a single image, and no volume"
        if max(shape[-2:]) > LARGEST_SIDE:
            return f"The slices have more than {LARGEST_SIDE} pixels a side"
        if self.engine.is_busy:
            return "An object is being followed"
        if self.engine.is_ending:
            return "What was cancelled is being stopped"
        if any(not p.answered for p in pointing.all_pending.values()):
            return "An answer is being computed"
        if not pointing.objects.is_looked_up(image):
            return "Earlier objects are being looked up"
        name = self._name()
        planes = self._decided_planes(name)
        if planes is not None and not planes:
            return "Point at the object on a slice first"
        ordered = sorted(planes or ())
        is_apart = any(b - a > 1 for a, b in pairwise(ordered))
        if not beyond and planes is not None and not is_apart:
            return "The object must be answered or accepted on two slices that are not neighbours"
        return ""

    def _name(self) -> tuple[str, int] | None:
        """The object that is followed: of the proposal, of the answers, or else the one accepted last."""
        pointing = self._pointing
        image, card = pointing.image, pointing.card
        if image is None or card is None:
            return None
        if self.proposal is not None and self.proposal.name is not None:
            return self.proposal.name
        is_known = pointing.objects.label_of(image, card, pointing.name) is not None
        if pointing.all_pending or is_known:
            return pointing.name
        return pointing.objects.latest(image, card)

    def _decided_planes(self, name: tuple[str, int] | None) -> set[int] | None:
        """The slices on which it is answered or accepted; None where that has to be looked up."""
        pointing = self._pointing
        answered = {
            index[0] for index, p in pointing.all_pending.items() if p.answered and p.answered.answer.mask
        }
        if name is None or pointing.image is None or pointing.card is None:
            return answered
        accepted = pointing.objects.planes_of(pointing.image, pointing.card, name)
        return None if accepted is None else answered | accepted

    def start(self, *, beyond: bool = True, between: bool = True) -> None:
        """Follow the object; see `problem`."""
        reason = self.problem(beyond=beyond)
        if reason:
            show_info(f"{reason}.")
            return
        pointing = self._pointing
        image, card = pointing.image, pointing.card
        assert image is not None
        assert card is not None
        name = self._name()
        pending = pointing.all_pending
        accepted = pointing.objects.labels_of(image, card, name) if name is not None else None
        proposal = self.proposal or VolumeProposal(name if accepted is not None else None)
        self._proposals[image] = proposal
        if beyond:  # what is filled between leaves the rest of a proposal as it is
            proposal.masks.clear()
        proposal.text = ""
        try:
            scan = scan_from_layer(image)
        except BadInput as error:
            show_warning(str(error))
            return
        self.fraction = 0.0
        self._job = VolumeJob(
            scan, card.name, pointing.samples, beyond, between, accepted,
            {index[0]: p.answered.answer.mask for index, p in pending.items()
             if p.answered and p.answered.answer.mask},
            frozenset(proposal.cleared),
            {index[0]: p.pointed.places("outside") for index, p in pending.items()},
        )  # fmt: skip
        self.draw()
        self.engine.start(self._job)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop; what is proposed so far stays until it is accepted or dropped."""
        if not self.engine.is_busy:
            return
        self.engine.cancel()
        self._job = None
        proposal, image = self.proposal, self._pointing.image
        if proposal is not None and image is not None:
            if proposal.masks or proposal.cleared:
                proposal.text = "Cancelled. What was computed before is shown."
            else:
                del self._proposals[image]
                self._hide(image)
        self.changed.emit()

    def drop(self) -> None:
        """Remove the proposal of the image that is pointed at."""
        image = self._pointing.image
        self.cancel()
        if image is not None and self._proposals.pop(image, None) is not None:
            self._hide(image)
        self.changed.emit()

    def _hide(self, image: Image) -> None:
        if image in self._layers:
            self._layers[image].hide()

    def forget(self, image: Image) -> None:
        """Remove what is proposed for an image that has gone, or has other values."""
        if image is self._pointing.image:
            self.drop()
        self._proposals.pop(image, None)
        if self._last is not None and self._last[0] is image:
            self._last = None

    def remove(self, image: Image) -> None:
        """Remove what belongs to an image that has gone, with its layer."""
        layer = self._layers.pop(image, None)
        if layer is not None:
            layer.remove()
        self.forget(image)

    def clear_plane(self, index: tuple[int, ...]) -> None:
        """Say that the object is not on a slice."""
        proposal = self.proposal
        if proposal is not None and proposal.masks.pop(index[0], None) is not None:
            proposal.cleared.add(index[0])
            self.draw_plane(index)
            self.changed.emit()

    def draw(self) -> None:
        """Show the proposal of the image that is pointed at; nothing where there is none."""
        pointing = self._pointing
        image, card, proposal = pointing.image, pointing.card, self.proposal
        viewer, below = self._viewer(), pointing.layers.boxes if pointing.layers is not None else None
        if image is None or card is None or viewer is None or proposal is None or below is None:
            return
        if image not in self._layers or self._layers[image].layer is None:
            self._layers[image] = ProposalLayer(viewer, image)
        color = pointing.objects.color_of(image, card, proposal.name)
        self._layers[image].show(proposal, color, below, lambda plane: self._is_answered((plane,)))

    def draw_plane(self, index: tuple[int, ...]) -> None:
        """Show what is proposed on one slice, unless an answer on it is shown."""
        image = self._pointing.image
        if image is not None and index and image in self._layers and self.proposal is not None:
            mask = None if self._is_answered(index) else self.mask_on(index)
            self._layers[image].show_plane(index[0], mask)

    def _is_answered(self, index: tuple[int, ...]) -> bool:
        """Whether the slice shows an answer in place of the proposal."""
        pending = self._pointing.all_pending.get(index)
        return pending is not None and pending.was_answered

    def hide(self) -> None:
        """Hide the proposals of all images; what is computed is cancelled."""
        self.cancel()
        for layer in self._layers.values():
            layer.hide()

    def _on_sliced(self, job: VolumeJob, plane: int, mask: Mask, fraction: float) -> None:
        proposal = self.proposal
        if job is not self._job or proposal is None:
            return
        self.fraction = fraction
        proposal.masks[plane] = mask
        self.draw_plane((plane,))
        self.changed.emit()

    def _on_finished(self, job: VolumeJob, outcome: VolumeOutcome) -> None:
        proposal = self.proposal
        if job is self._job and proposal is not None:
            self._job = None
            proposal.text = _outcome_text(proposal, outcome)
        self.changed.emit()

    def _on_failed(self, job: VolumeJob, error: BaseException) -> None:
        if job is self._job:
            self._job = None
            if self.proposal is not None and not self.proposal.masks:
                self.drop()
            show_warning(str(error) or type(error).__name__)
        self.changed.emit()

    @property
    def accept_problem(self) -> str:
        """Why the proposal cannot be accepted; empty where it can."""
        if self.engine.is_busy:
            return "The object is being followed: cancel that first"
        if any(not p.answered for p in self._pointing.all_pending.values()):
            return "The answer is being computed"
        has_any = self.proposal is not None and (self.proposal.masks or self._pointing.all_pending)
        return "" if has_any else "Nothing is proposed"

    def accept(self) -> str:
        """Accept the proposal, with the answers that correct it, as an object; returns a note for the user.

        Raises
        ------
        BadInput
            If nothing of it is free.
        """
        pointing, proposal = self._pointing, self.proposal
        image, card = pointing.image, pointing.card
        assert image is not None
        assert card is not None
        assert proposal is not None
        name = proposal.name or pointing.name
        masks = {plane: (0, 0, mask) for plane, mask in proposal.masks.items()}
        for index, pending in pointing.all_pending.items():
            mask = pending.answered.answer.mask if pending.answered is not None else None
            masks.pop(index[0], None)
            if mask is not None:
                masks[index[0]] = (mask.top, mask.left, mask.values)
        accepted = pointing.objects.accept_volume(image, card, masks, name)
        pointing.all_pending.clear()
        del self._proposals[image]
        self._layers[image].hide()
        proposal.name = name
        self._last = image, proposal, accepted
        return f"{object_name(*name)}: {accepted.note}." if accepted.note else ""

    @property
    def can_take_back(self) -> bool:
        """Whether the last object that was accepted through the volume can be taken back."""
        return self._last is not None and self._last[0] is self._pointing.image and self.proposal is None

    def take_back(self) -> None:
        """Take the last object back that was accepted through the volume; it is a proposal again."""
        if not self.can_take_back or self._last is None:
            return
        image, proposal, accepted = self._last
        self._last = None
        accepted.take_back()
        for plane, mask in accepted.masks(image_shape(image)[-2:]).items():
            proposal.masks[plane] = mask
        self._proposals[image] = proposal
        self.draw()
        self.changed.emit()

    def forget_last(self) -> None:
        """Note that another object was accepted: the one before cannot be taken back any more."""
        self._last = None


def _outcome_text(proposal: VolumeProposal, outcome: VolumeOutcome) -> str:
    if outcome.is_cancelled:
        return "Cancelled. What was computed before is shown."
    planes = f"{count_text(outcome.planes, 'slice')} proposed"
    where = f": {format_slices(sorted(proposal.masks))}" if proposal.masks else ""
    stops = "".join(f" {stop.describe()}." for stop in outcome.stops)
    return f"{planes}{where}.{stops}"
