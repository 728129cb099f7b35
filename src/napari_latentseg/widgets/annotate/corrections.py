"""The corrections of a viewer: editable copies of masks, and the approved planes of each."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.errors import BadInput
from napari_latentseg.models.layout import WEIGHTS_FILE
from napari_latentseg.widgets._shared.controls import confirm
from napari_latentseg.widgets._shared.layers import METADATA_KEY, scan_from_layer
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.plain_text import show_info, show_warning
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.shown_mask import PersonMask
from napari_latentseg.widgets._shared.text import format_numbers, slice_text
from napari_latentseg.widgets._shared.threads import ThreadWorker, show_exception
from napari_latentseg.widgets._shared.unwrapped_viewer import main_window
from napari_latentseg.widgets.annotate.approvals import Approvals
from napari_latentseg.widgets.annotate.approved_frame import ApprovedFrame
from napari_latentseg.widgets.annotate.autosave import Autosaver
from napari_latentseg.widgets.annotate.correction import Correction, correction_of_result, model_family
from napari_latentseg.widgets.annotate.open_stores import OpenStores
from napari_latentseg.widgets.annotate.plane_lock import PlaneLock
from napari_latentseg.widgets.annotate.replaced_images import ReplacedImages

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image, Labels

    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["Corrections", "corrections_of"]


class Corrections(QObject):
    """The corrections of one viewer.

    Signals
    -------
    changed
        A copy was added or removed, planes were approved or unlocked, a class was added, or another copy is
        active.

    Attributes
    ----------
    corrections
        One for each result that was edited or approved, and for each resumed draft.
    approvals
        Approves and unlocks planes, and counts what is approved.
    autosaver
        Saves the copies as drafts, and resumes drafts.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self.corrections: list[Correction] = []
        self.open_stores = OpenStores()
        self.autosaver = Autosaver(viewer, self.open_stores, self.corrections, self)
        self.autosaver.resumed.connect(self._on_resumed)
        self.replaced_images = ReplacedImages(viewer, self.corrections, self)
        self.approvals = Approvals(self.corrections, self.open_stores, self.autosaver, self)
        self.approvals.changed.connect(self.changed)
        self.approvals.changed.connect(self._touch_results)
        session_of(viewer).results_changed.connect(self._register_results)
        self._register_results()
        self._frame = ApprovedFrame(viewer, self.person_mask, self)
        viewer.layers.events.removed.connect(self._on_removed)
        viewer.layers.selection.events.active.connect(self._on_active_layer)
        weakref.finalize(viewer, self.open_stores.close)

    def correction_of(self, result: RunResult) -> Correction:
        """The correction of a result; created when it is first asked for.

        Raises
        ------
        BadInput
            If the run has no mask yet.
        """
        for correction in self.corrections:
            if correction.result is result:
                return correction
        new_correction = correction_of_result(result)
        for known in self.corrections:
            if known.result is None and known.layer is not None and known.is_same_target(new_correction):
                self._adopt(known, result)
                return known
        # those without a copy whose result is gone are of no further use
        self.corrections[:] = [
            known for known in self.corrections if known.layer is not None or known.result is not None
        ]
        self.corrections.append(new_correction)
        self.approvals.load(new_correction)
        return new_correction

    def _adopt(self, correction: Correction, result: RunResult) -> None:
        """Make a copy without a result, as of a resumed draft, that of a result of the same image."""
        layer, viewer = correction.layer, self._viewer()
        correction.adopt(result)
        if layer is None or viewer is None:
            return
        result.layers.look.add(layer)
        entry = {**layer.metadata[METADATA_KEY], "run": result.layers.run_number}
        layer.metadata = {**layer.metadata, METADATA_KEY: entry}
        session_of(viewer).mask_tracker.watch(result, layer)
        session_of(viewer).mask_tracker.touch(result)

    def person_mask(self, result: RunResult) -> PersonMask:
        """What a person has made of the mask of a result: its copy, and what is approved of its image."""
        order = result.job.view.order or tuple(range(result.layers.image.ndim))
        target = (result.layers.image, model_family(result.card), order)
        related = [c for c in self.corrections if (c.image, c.family, c.axis_order) == target]
        own = next((c for c in related if c.result is result), None)
        model_labels = {info.label for info in result.card.classes}
        added_classes = {
            info.label: info for c in related for info in c.classes if info.label not in model_labels
        }
        return PersonMask(
            layer=own.layer if own is not None else None,
            approved={n: labels for c in related for n, labels in c.approved.items()},
            added_classes=tuple(added_classes.values()),
        )

    def _register_results(self) -> None:
        viewer = self._viewer()
        for result in session_of(viewer).results if viewer is not None else ():
            result.person_mask = _person_mask_getter(self, result)
            if result.segmentation is not None and any(c.result is None for c in self.corrections):
                self.correction_of(result)  # a resumed draft may be of this image

    def _touch_results(self) -> None:
        viewer = self._viewer()
        if viewer is not None:
            session = session_of(viewer)
            for result in session.results:
                session.mask_tracker.touch(result)

    @property
    def active(self) -> Correction | None:
        """The one whose copy is selected; else that of the current result; else the newest with a copy."""
        viewer = self._viewer()
        if viewer is None:
            return None
        selected = viewer.layers.selection.active
        for correction in self.corrections:
            if correction.layer is not None and correction.layer is selected:
                return correction
        result = session_of(viewer).current
        if result is not None and result.segmentation is not None and result.is_in_viewer:
            with suppress(BadInput):
                return self.correction_of(result)
        return next(
            (correction for correction in reversed(self.corrections) if correction.layer is not None), None
        )

    def edit(self, result: RunResult) -> Labels:
        """Add an editable copy of a result's mask on top, with the brush selected; a second call selects it.

        Raises
        ------
        BadInput
            If the run has no mask yet, or the mask is gone.
        """
        viewer = self._viewer()
        assert viewer is not None
        result.check_data()
        correction = self.correction_of(result)
        other_copy = self._other_copy(correction)
        if other_copy is not None:  # one image has one draft, so it can have one copy
            correction = other_copy
            assert correction.layer is not None
            show_info(
                f"“{correction.layer.name}” is already being corrected. Remove it to start from another run."
            )
            if correction.result is not None:  # what is edited is what is measured and exported
                session_of(viewer).select_result(correction.result)
        elif correction.layer is None:
            layer = correction.create_layer(np.array(correction.current_mask()))
            self._add_copy(correction)
            result_mask = result.layers.mask
            if result_mask is not None:
                result_mask.contour = 1  # filled, it would cover erased voxels of the copy
        layer = correction.layer
        assert layer is not None
        if not layer.visible:  # only then: setting it disables the brush, whatever the value was
            layer.visible = True
        viewer.layers.selection.active = layer
        self.changed.emit()
        return layer

    def open_objects(self, image: Image, card: ModelCard, first: ClassInfo) -> Correction:
        """The copy in which objects that were pointed at on an image are kept; added where there is none yet.

        It is saved, resumed and approved as that of a run is.

        Parameters
        ----------
        image
            The image layer.
        card
            Of the model that answers.
        first
            The first object.

        Raises
        ------
        BadInput
            If the image has no scan.
        """
        existing = self.objects_of(image, card)
        if existing is not None:
            return existing
        model = (card.name, card.version, card.files.get(WEIGHTS_FILE, ""))
        correction = Correction(
            image, scan_from_layer(image), tuple(range(image.ndim)), (first,), model_family(card), model
        )
        layer = correction.create_layer(np.zeros(correction.layer_shape(), np.uint8))
        layer.name = f"{image.name} objects"
        self.corrections.append(correction)
        self._add_copy(correction, keeps_selection=True)
        self.approvals.load(correction)
        self.changed.emit()
        return correction

    def objects_of(self, image: Image, card: ModelCard) -> Correction | None:
        """The copy of `open_objects`, or a resumed one; None where there is none."""
        target = (image, model_family(card), tuple(range(image.ndim)))
        return next(
            (
                c
                for c in self.corrections
                if c.layer is not None and (c.image, c.family, c.axis_order) == target
            ),
            None,
        )

    def _other_copy(self, correction: Correction) -> Correction | None:
        """The copy of another run, or of a resumed draft, of the same image and model family."""
        return next(
            (
                other
                for other in self.corrections
                if other is not correction and other.layer is not None and other.is_same_target(correction)
            ),
            None,
        )

    def _add_copy(self, correction: Correction, *, keeps_selection: bool = False) -> None:
        """Add the copy of a correction to the viewer, with the brush selected and approved planes locked."""
        viewer, layer = self._viewer(), correction.layer
        assert viewer is not None
        assert layer is not None
        active = viewer.layers.selection.active
        viewer.add_layer(layer)
        if keeps_selection:  # first: napari takes 25 ms to make the cursor of a brush that is selected
            viewer.layers.selection.active = active
        layer.mode = "paint"
        lock = PlaneLock(viewer, layer, correction.axis_order, self)
        lock.edit_refused.connect(lambda plane: self._warn_locked(correction, plane))
        correction.plane_lock = lock
        lock.lock(correction.approved)
        result = correction.result
        if result is not None:
            session_of(viewer).mask_tracker.watch(result, layer)
            session_of(viewer).mask_tracker.touch(result)

        def mark_dirty(event: Any = None) -> None:
            correction.is_dirty = True

        for event in (layer.events.paint, layer.events.set_data, layer.events.data):
            event.connect(mark_dirty)

    def _on_resumed(self, correction: Correction) -> None:
        viewer = self._viewer()
        assert viewer is not None
        result = session_of(viewer).current
        if result is not None and result.segmentation is not None:
            own = self.correction_of(result)
            if own.layer is None and own.is_same_target(correction):  # the draft is of the run on screen
                self._adopt(correction, result)
                self.corrections.remove(own)
        self.corrections.append(correction)
        self._add_copy(correction)
        viewer.layers.selection.active = correction.layer
        self.approvals.load(correction)
        self.changed.emit()

    def _warn_locked(self, correction: Correction, plane: int) -> None:
        is_volume = bool(correction.leading_shape)
        subject = slice_text(plane, correction.plane_count) if is_volume else "This image"
        show_warning(f"{subject} is approved and locked. Unlock it in Annotate to edit it.")

    def add_class(self, correction: Correction, name: str, color: str) -> ClassInfo:
        """Add a class to a correction, and select it for painting.

        Parameters
        ----------
        correction
            The correction that gets the class.
        name, color
            The class; the colour as ``#rrggbb``.

        Raises
        ------
        BadInput
            If the name is empty or taken, or all 255 labels are used.
        """
        name = " ".join(name.split())
        if not name:
            raise BadInput("class", "has no name", "enter one")
        if name.lower() in {c.name.lower() for c in correction.classes}:
            raise BadInput("class", f"there is already one named {name}", "choose another name")
        used_labels = {c.label for c in correction.classes}
        label = next((n for n in range(1, 256) if n not in used_labels), None)
        if label is None:
            raise BadInput("class", "there are 255 already", "use one of them")
        new_class = ClassInfo(label=label, name=name, color=color)
        correction.extend_classes([new_class])
        if correction.layer is not None:
            correction.layer.selected_label = label
        self.changed.emit()
        return new_class

    def approve(self, result: RunResult, index: tuple[int, ...] | Literal["all"]) -> ThreadWorker | None:
        """Approve a plane of a result, or all planes: of its copy, or of its own mask where there is none.

        Parameters
        ----------
        result
            The result of a run.
        index
            Index of the plane along the leading axes of the image, empty for a 2-D image; or ``"all"``.

        Returns
        -------
        ThreadWorker
            Writes the approval; None where the plane is approved already, or where an error was shown.
        """
        try:
            correction = self.correction_of(result)
            numbers = None if index == "all" else [correction.plane_number(tuple(index))]
            if numbers is not None and numbers[0] in correction.approved:
                return None
            return self.approve_planes(correction, numbers)
        except BadInput as error:
            show_exception(error)
            return None

    def approve_planes(self, correction: Correction, numbers: Iterable[int] | None) -> ThreadWorker:
        """Approve planes of a correction, see `Approvals.approve`.

        Raises
        ------
        BadInput
            Also if the mask is not on screen, because another case or run is; if another run of the image is
            being corrected on one of these planes, whose strokes would be replaced; and if only a box of them
            was segmented, unless the person says that nothing is outside.
        """
        self._check_on_screen(correction)
        correction.check_data()
        numbers = None if numbers is None else list(numbers)
        other_copy = self._other_copy(correction)
        if other_copy is not None and other_copy.layer is not None:
            plane_numbers = list(range(correction.plane_count)) if numbers is None else numbers
            if other_copy.has_changes(other_copy.current_mask(), plane_numbers):
                raise BadInput(
                    "approve", f"“{other_copy.layer.name}” holds corrections there",
                    "select that layer to approve them, or remove it to approve this run's mask",
                )  # fmt: skip
        self._ask_about_box(correction, numbers)
        return self.approvals.approve(correction, numbers)

    def _check_on_screen(self, correction: Correction) -> None:
        viewer = self._viewer()
        if viewer is None:
            return
        session = session_of(viewer)
        is_other_run = correction.result is not None and correction.result is not session.shown_result
        if is_other_run or not session.cases.is_of_case(correction.image):
            raise BadInput("approve", f"“{correction.title}” is not on screen", "select its layer first")

    def _ask_about_box(self, correction: Correction, numbers: list[int] | None) -> None:
        """Ask before the part outside of a segmented box is approved as empty: nobody has looked at it."""
        mask = correction.current_mask()
        unknown = correction.unknown_outside_box(correction.unapproved_planes(numbers, mask), mask)
        if not unknown:
            return
        if correction.leading_shape:
            subject = f"slice{'' if len(unknown) == 1 else 's'} {format_numbers(n + 1 for n in unknown)}"
        else:
            subject = "this image"
        window = main_window(self._viewer())
        question = f"Only a box of {subject} was segmented. Is there none of the structure outside it?"
        if not confirm(window, "Approve", question):
            raise BadInput(subject, "only a box was segmented", "paint what is outside, or segment all of it")

    def _on_active_layer(self, event: Any = None) -> None:
        self.changed.emit()

    def _on_removed(self, event: Any = None) -> None:
        """Save the copies that were removed from the viewer as drafts, which can be resumed."""
        viewer = self._viewer()
        viewer_layers = viewer.layers if viewer is not None else ()
        removed = [
            correction
            for correction in self.corrections
            if correction.layer is not None and correction.layer not in viewer_layers
        ]
        if not removed:
            return
        self.corrections[:] = [correction for correction in self.corrections if correction not in removed]
        for correction in removed:
            if correction.plane_lock is not None:
                correction.plane_lock.disconnect_all()
                correction.plane_lock.deleteLater()
            result = correction.result
            if result is not None and result.layers.mask is not None:
                result.layers.mask.contour = 0
            self.autosaver.save(correction, is_last=True)
        self._touch_results()
        self.changed.emit()


def _person_mask_getter(corrections: Corrections, result: RunResult) -> Callable[[], PersonMask]:
    """What `RunResult.person_mask` calls; it keeps neither of the two alive."""
    corrections_ref, result_ref = weakref.ref(corrections), weakref.ref(result)

    def get() -> PersonMask:
        owner, asked = corrections_ref(), result_ref()
        return PersonMask() if owner is None or asked is None else owner.person_mask(asked)

    return get


@per_viewer
def corrections_of(viewer: ViewerModel) -> Corrections:
    """The corrections of a viewer; they live as long as it does."""
    return Corrections(viewer, session_of(viewer))
