"""Show one of two states of an image at a time: the image alone, or with one of its masks."""

from __future__ import annotations

import weakref
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.QtCore import QObject, Signal

from napari_latentseg.widgets._shared.cases import is_case_image
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Layer

    from napari_latentseg.widgets._shared.session import ViewerSession

__all__ = ["Flip", "flip_of"]


class Flip(QObject):
    """Two states of the image that is worked on, in turn; only the visibility of layers changes.

    It ends by itself, with every layer as visible as before, when another image is worked on, or a layer is
    added or removed: what is shown then is for others to say.

    Signals
    -------
    changed
        Another state is shown, or it began or ended.
    choices_changed
        The masks of the image have changed.
    """

    changed = Signal()
    choices_changed = Signal()

    def __init__(self, viewer: ViewerModel, session: ViewerSession) -> None:
        super().__init__(session)
        self._viewer = weakref.ref(viewer)
        self._cases = session.cases
        self._visible_before: list[tuple[Layer, bool]] = []
        self._overlay_before: tuple[str, bool] = ("", False)
        self._states: tuple[Labels | None, Labels | None] = (None, None)
        self.shown: int | None = None
        self._cases.layers_changing.connect(self.stop)
        self._cases.image_changed.connect(self._on_layers)
        for event in (viewer.layers.events.inserted, viewer.layers.events.removed):
            event.connect(self._on_layers)

    @property
    def is_on(self) -> bool:
        """Whether one of the two states is shown."""
        return self.shown is not None

    @property
    def shown_text(self) -> str:
        """The state on screen, in words; empty while it is off."""
        return "" if self.shown is None else f"{'AB'[self.shown]}: {self.text_of(self._states[self.shown])}"

    @staticmethod
    def text_of(layer: Labels | None) -> str:
        """A state in words."""
        return "image alone" if layer is None else layer.name

    def choices(self) -> list[Labels | None]:
        """The states of the image that is worked on: alone, then with each of its masks, lowest first."""
        image = self._cases.image
        masks = [
            layer
            for layer in self._cases.layers
            if isinstance(layer, Labels) and image is not None and self._is_of_case(layer)
        ]
        return [None, *masks]

    def _is_of_case(self, layer: Layer) -> bool:
        image = self._cases.image_of(layer)
        return image is not None and self._cases.is_of_case(image)

    def flip(self, first: Labels | None, second: Labels | None) -> None:
        """Show the first state; if one of these two is on screen, the other.

        Parameters
        ----------
        first, second
            Two of `choices`.
        """
        if self.shown is None:
            self._begin()
            self.shown = 0
        elif self._states == (first, second):
            self.shown = 1 - self.shown
        else:
            self.shown = 0
        self._states = (first, second)
        self._show(self._states[self.shown])
        self.changed.emit()

    def stop(self) -> None:
        """Show again what was shown before."""
        if self.shown is None:
            return
        self.shown = None
        viewer = self._viewer()
        if viewer is not None:
            present = set(viewer.layers)
            with self._cases.unfollowed():
                for _ in range(2):  # showing one of our maps hides another
                    for layer, was_visible in self._visible_before:
                        if layer in present and layer.visible != was_visible:
                            layer.visible = was_visible
            _overlay(viewer).text, _overlay(viewer).visible = self._overlay_before
        self._visible_before = []
        self._states = (None, None)
        self.changed.emit()

    def _begin(self) -> None:
        viewer = self._viewer()
        assert viewer is not None
        self._visible_before = [(layer, bool(layer.visible)) for layer in viewer.layers]
        self._overlay_before = (_overlay(viewer).text, bool(_overlay(viewer).visible))

    def _show(self, mask: Labels | None) -> None:
        viewer = self._viewer()
        assert viewer is not None
        with self._cases.unfollowed():
            if mask is not None and not mask.visible:  # first, so that the image is never seen without either
                mask.visible = True
            for layer in viewer.layers:
                if layer is not mask and layer.visible and not is_case_image(layer):
                    layer.visible = False
        _overlay(viewer).text, _overlay(viewer).visible = self.shown_text, True

    def _on_layers(self, event: Any = None) -> None:
        self.stop()
        self.choices_changed.emit()


@per_viewer
def flip_of(viewer: ViewerModel) -> Flip:
    """The flip of a viewer."""
    return Flip(viewer, session_of(viewer))


def _overlay(viewer: ViewerModel) -> Any:
    """The text over the canvas, which napari keeps in another place since 0.9."""
    canvas = getattr(viewer, "canvas", None)
    return viewer.text_overlay if canvas is None else canvas.overlays.text
