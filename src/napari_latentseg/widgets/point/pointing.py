"""Pointing at structures in one viewer: the clicks on each slice, and the answers of the model."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer, Signal

from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.errors import BadInput
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.plain_text import show_warning
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.view import camera_of
from napari_latentseg.widgets.point.accepting import Accepting
from napari_latentseg.widgets.point.drawing import Drawing
from napari_latentseg.widgets.point.engine import Answered, AnswerEngine, ImageKey, Question
from napari_latentseg.widgets.point.objects import AcceptedObjects
from napari_latentseg.widgets.point.pending import PendingObject, PendingObjects
from napari_latentseg.widgets.point.structure_size import StructureSize
from napari_latentseg.widgets.point.target import check_places, plane_index, shown_part
from napari_latentseg.widgets.point.through_volume import ThroughVolume

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.annotations import Draft
    from napari_latentseg.inference.slice_part import SlicePart
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.widgets.point.prompt_layers import PromptLayers

__all__ = ["Pointing", "pointing_of"]

_CAMERA_DELAY_MS = 300  # of a large image no part is read that is only passed


class Pointing(QObject):
    """What a person points at in one viewer.

    Each slice has its own object until it is accepted: looking at another slice loses nothing.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        Qt parent.

    Signals
    -------
    changed
        Steps, answer, objects or what can be done have changed.

    Attributes
    ----------
    problem
        Why nobody can point now, or what was wrong with the last click; empty where nothing is.
    draft
        Objects of an earlier session that can be resumed.
    samples
        How many samples an answer has.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QObject) -> None:
        super().__init__(parent)
        self._viewer = weakref.ref(viewer)
        self._session = session_of(viewer)
        self.engine = AnswerEngine(self._session.runner.load_model, self)
        self.objects = AcceptedObjects(viewer)
        self.objects.resumed.connect(self._rename)
        self.objects.replaced.connect(self._on_objects_replaced)
        self.image: Image | None = None
        self.card: ModelCard | None = None
        self.drawing = Drawing(viewer, self)
        self.size = StructureSize(self)
        self.problem = ""
        self.is_ready = False
        self.draft: Draft | None = None
        self.samples = 1
        self.name: tuple[str, int] = ("object", 1)
        self._all_pending = PendingObjects()
        self.through = ThroughVolume(viewer, self, self._session.runner.load_model, self)
        self.through.changed.connect(self.changed)
        self.accepting = Accepting(self)
        self._prepared: SlicePart | None = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CAMERA_DELAY_MS)
        self._timer.timeout.connect(self._follow_view)
        self.engine.answered.connect(self._on_answered)
        self.engine.failed.connect(self._on_failed)
        self._session.cases.data_replaced.connect(self._on_data_replaced)
        self._session.cases.image_removed.connect(self._on_image_removed)
        dims = viewer.dims.events
        for event in (dims.current_step, dims.order, dims.ndisplay):
            event.connect(self._follow_slice)
        camera = camera_of(viewer).events
        for event in (camera.zoom, camera.center):
            event.connect(self._on_camera)
        viewer.layers.selection.events.active.connect(self._on_active)
        viewer.layers.events.removed.connect(self._on_active)

    @property
    def layers(self) -> PromptLayers | None:
        """The layers of the clicks on the image that is pointed at."""
        return self.drawing.prompts

    @property
    def all_pending(self) -> dict[tuple[int, ...], PendingObject]:
        return self._all_pending.of(self.image)

    @property
    def index(self) -> tuple[int, ...] | None:
        """Index of the slice on screen; None where the image is seen from another side."""
        viewer, image = self._viewer(), self.image
        if viewer is None or image is None or viewer.dims.ndisplay != 2:
            return None
        return plane_index(viewer, image)

    @property
    def pending(self) -> PendingObject | None:
        """The object on the slice on screen; None before its first click."""
        index = self.index
        return None if index is None else self.all_pending.get(index)

    def start(self, image: Image, card: ModelCard) -> None:
        """Point at an image with a model that takes prompts.

        Clicks on that image stay; those of another model are answered anew.
        """
        if self.image is image and self.card == card:
            return
        viewer = self._viewer()
        if viewer is None:
            return
        if self.image is not image:
            self.stop()
        self.image, self.card, self.draft = image, card, None
        self._prepared, self.is_ready = None, False
        self._all_pending.forget_answers(image)
        # later: napari may be adding the image just now, which is selected after that
        self.drawing.turns.call("open", self._open)
        self.objects.find_unfinished(image, card, self._show_draft)
        self.changed.emit()

    def _open(self) -> None:
        """Show the layers of clicks, and encode what is on screen."""
        self._follow_view()
        if not self.problem:
            self._add_layers()
        self._ask()
        self.changed.emit()

    def _add_layers(self) -> None:
        if self.image is None or self.drawing.is_shown:
            return
        new = self.drawing.open(self.image, self._on_layers)
        if new is not None:
            new.pointed.connect(self._on_pointed)
            new.boxed.connect(self._on_boxed)
            new.key_pressed.connect(self._on_key)

    def _on_layers(self) -> None:
        self.through.draw()
        self._draw()
        self._prepare_answer()
        self.changed.emit()

    def _prepare_answer(self) -> None:
        """Add the layer of answers, once there are both the encoded part and the layers of clicks."""
        if self.is_ready and self._prepared is not None and self.index is not None:
            self.drawing.prepare_answer(self._prepared, self.next_color())

    def next_color(self) -> str:
        """The colour of the object that is pointed at."""
        if self.image is None or self.card is None:
            return ""
        return self.objects.color_of(self.image, self.card, self.name)

    def stop(self) -> None:
        """Stop pointing: hide the layers of clicks and answer; accepted objects stay."""
        self.engine.forget()
        self._timer.stop()
        self.through.hide()
        self.drawing.close()
        self.image = self.card = None
        self.problem, self.is_ready, self._prepared = "", False, None
        self.changed.emit()

    def stop_soon(self) -> None:
        """`stop`, once what is being closed is closed."""
        if isalive(self):
            self.drawing.turns.forget()
            QTimer.singleShot(0, self.stop)

    def set_mode(self, mode: str, checked: bool = True) -> None:
        """Choose what the mouse does, and let clicks count; see `MODES`."""
        if not self.drawing.is_shown:
            self._follow_view()
            if self.problem:
                self.changed.emit()
                return
            self._add_layers()
        if self.layers is not None:
            self.layers.set_mode(mode)
            self.layers.select()
        self.changed.emit()

    def set_samples(self, samples: int) -> None:
        """Choose how many samples an answer has."""
        if samples != self.samples:
            self.samples = samples
            self._ask()

    def choose_size(self, size: float | None) -> None:
        """Set the size of the structure that the clicks on this slice mean, in voxels; None for any size."""
        self._add_step("size", [], lambda pointed: pointed.choose_size(size))

    def _on_key(self, name: str) -> None:
        if name in ("smaller", "larger"):
            self.size.step(larger=name == "larger")
        else:
            {"accept_object": self.accept, "take_back": self.take_back}[name]()

    def _on_pointed(self, places: Any, is_inside: bool) -> None:
        self._add_step("click", places, lambda pointed: pointed.add_points(places, is_inside=is_inside))

    def _on_boxed(self, first: Any, second: Any) -> None:
        self._add_step("box", [first, second], lambda pointed: pointed.add_box(first, second))

    def _add_step(self, what: str, places: Any, add: Callable[[PointedObject], None]) -> None:
        """Add a step on the slice on screen, or show why it cannot be used."""
        viewer, image, index = self._viewer(), self.image, self.index
        if viewer is None or image is None or index is None:
            return
        try:
            pending = self.pending or PendingObject(
                shown_part(viewer, image), carried=self.through.mask_on(index)
            )
            check_places(what, places, image_shape(image)[-2:], pending.part, is_first=self.pending is None)
            add(pending.pointed)
        except BadInput as error:
            self.problem = str(error)
            self.drawing.draw_steps(self.pending, self.index)
            self.changed.emit()
            return
        self.all_pending[index] = pending
        self.problem = ""
        self.drawing.draw_steps(self.pending, self.index)
        self._ask()
        self.changed.emit()

    def take_back(self) -> None:
        """Take the last step on this slice back."""
        pending, index = self.pending, self.index
        if pending is None and self.through.can_take_back:
            self.through.take_back()
            self._rename()
        if pending is None or index is None:
            return
        pending.pointed.take_back()
        self._after_removal(index, pending)

    def clear(self) -> None:
        """Remove all steps on this slice; where there are none, what is proposed on it."""
        pending, index = self.pending, self.index
        if pending is None and index:
            self.through.clear_plane(index)
        if pending is not None and index is not None:
            pending.pointed.clear()
            self._after_removal(index, pending)

    def _after_removal(self, index: tuple[int, ...], pending: PendingObject) -> None:
        self.problem = ""
        pending.forget_answer()
        if not pending.pointed.steps:
            del self.all_pending[index]
        self.through.draw_plane(index)
        self._draw()
        self._ask()
        self.changed.emit()

    def accept(self) -> None:
        """Make the answer on this slice an object; what was accepted before stays."""
        self.accepting.accept()

    def _rename(self, *_: Any) -> None:
        """Give the next object of the class the next number, also after those of an earlier session."""
        if self.image is not None and self.card is not None:
            number = self.objects.next_number(self.image, self.card, self.name[0])
            self.name = (self.name[0], number)
        self.changed.emit()

    @property
    def accept_problem(self) -> str:
        """Why there is nothing to accept; empty where there is."""
        return self.accepting.problem

    def after_accepting(self) -> None:
        """Show what was accepted, and go on to the next object."""
        self.draft, self.problem = None, ""
        self._draw()
        self._rename()

    def resume(self) -> None:
        """Resume the objects of an earlier session."""
        draft, self.draft = self.draft, None
        if draft is not None and self.card is not None:
            self.objects.resume(self.card, draft)
        self.changed.emit()

    def _show_draft(self, draft: Draft | None) -> None:
        if self.image is not None and self.card is not None:
            has_layer = bool(self.objects.classes(self.image, self.card))
            self.draft = None if has_layer else draft
            self.changed.emit()

    def _ask(self) -> None:
        """Ask for the answer to all steps on this slice."""
        pending = self.pending
        if pending is None:
            return
        pending.answered = None
        self._send(pending.part, pending)

    def _send(self, part: SlicePart, pending: PendingObject | None = None) -> None:
        """Ask for the answer to what is pending, or have the part encoded."""
        image, card = self.image, self.card
        if image is None or card is None:
            return
        try:
            question = Question(self._key(image, card), scan_from_layer(image), part, samples=self.samples)
        except BadInput as error:
            self.problem = str(error)
            return
        self.engine.ask(question if pending is None else pending.asked(question))

    def _key(self, image: Image, card: ModelCard) -> ImageKey:
        return str(image.unique_id), card.name, self._all_pending.version(image)

    def _on_answered(self, question: Question, answered: Answered | None) -> None:
        image, card = self.image, self.card
        if image is None or card is None:
            return
        if question.key != self._key(image, card):
            return
        self.is_ready = True
        self._prepare_answer()
        for index, pending in self.all_pending.items():
            if answered is not None and pending.part == question.part and pending.take(question, answered):
                self.through.draw_plane(index)
                if pending is self.pending:
                    self._draw_answer()
        self.changed.emit()

    def _on_failed(self, question: Question, error: BaseException) -> None:
        image, card = self.image, self.card
        if image is None or card is None or question.key != self._key(image, card):
            return
        self.problem, self._prepared = str(error) or type(error).__name__, None
        self.changed.emit()

    def _draw(self) -> None:
        self.drawing.draw_steps(self.pending, self.index)
        self._draw_answer()

    def _draw_answer(self) -> None:
        if self.image is not None:
            self.drawing.draw_answer(self.pending, self.index, self.next_color())

    def _on_camera(self, event: Any = None) -> None:
        if self.image is not None:
            self._timer.start()

    def _follow_slice(self, event: Any = None) -> None:
        """Show the steps and the answer of the slice that is on screen now, and encode it."""
        if self.image is None or not self.drawing.fits(self.image):  # its values are being replaced
            return
        self.problem = ""
        self._follow_view()
        self._draw()
        if self.pending and not self.pending.answered:
            self._ask()
        self.changed.emit()

    def _follow_view(self) -> None:
        """Encode the part of the slice that is on screen, before anybody clicks."""
        viewer, image = self._viewer(), self.image
        if viewer is None or image is None:
            return
        try:
            part = shown_part(viewer, image)
        except BadInput as error:
            self.problem = str(error)
            self.changed.emit()
            return
        if self.pending is None and part != self._prepared:
            self._prepared, self.problem = part, ""
            self._send(part)

    def _on_active(self, event: Any = None) -> None:
        if self.image is not None:
            self.changed.emit()

    def _on_data_replaced(self, image: Image) -> None:
        if self._all_pending.forget(image):
            show_warning(f"{image.name} has changed: the clicks on it were removed.")
        self.through.forget(image)
        if image is not self.image:
            return
        self._prepared, self.is_ready, self.problem = None, False, ""
        if self.layers is not None and self.drawing.fits(image):
            self._draw()
            self._follow_view()
        else:
            self.drawing.close()
            self.drawing.turns.call("open", self._open)
        self.changed.emit()

    def _on_objects_replaced(self, image: Image) -> None:
        """Look for what was accepted on the new values."""
        if image is self.image and self.card is not None:
            self.draft = None
            self.objects.find_unfinished(image, self.card, self._show_draft)
            self._rename()

    def _on_image_removed(self, image: Image) -> None:
        self.through.remove(image)
        self.drawing.remove(image)
        if image is self.image:
            self.all_pending.clear()
            QTimer.singleShot(0, self.stop)


@per_viewer
def pointing_of(viewer: ViewerModel) -> Pointing:
    """What is pointed at in a viewer; it lives as long as its session."""
    return Pointing(viewer, session_of(viewer))
