"""The buttons that show over the image what the samples of a result say: maps and contours."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtWidgets import QGridLayout, QPushButton, QWidget

from napari_latentseg.widgets._shared.keys import add_key_to_tooltip
from napari_latentseg.widgets._shared.map_style import map_meaning, unavailable_reason
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.sample_contours import sample_contours_of
from napari_latentseg.widgets.review.edge_contours import edge_contours_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["DisplayButtons"]


class DisplayButtons(QWidget):
    """Toggles of variance, doubt, the outlines of the samples, and the contours that enclose the true edge.

    Parameters
    ----------
    viewer
        The viewer in which they are shown.

    Attributes
    ----------
    outlines, edge_contours
        What the last two buttons show; other widgets of the viewer may show it too.
    """

    def __init__(self, viewer: ViewerModel) -> None:
        super().__init__()
        self._result: RunResult | None = None
        self.map_buttons = {role: QPushButton(role.capitalize()) for role in ("variance", "doubt")}
        self.outlines_button = QPushButton("Sample outlines")
        self.edge_button = QPushButton("90 % contours")
        self.outlines = sample_contours_of(viewer)
        self.edge_contours = edge_contours_of(viewer)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        toggles = (*self.map_buttons.values(), self.outlines_button, self.edge_button)
        for position, button in enumerate(toggles):
            button.setCheckable(True)
            grid.addWidget(button, *divmod(position, 2))
        for role, button in self.map_buttons.items():
            button.clicked.connect(partial(self.show_map, role))
        self.outlines_button.clicked.connect(self.show_outlines)
        self.edge_button.clicked.connect(self.show_edge_contours)
        self.outlines.toggled.connect(self.outlines_button.setChecked)
        self.edge_contours.toggled.connect(self.edge_button.setChecked)

    def show_result(self, result: RunResult | None) -> None:
        """Enable the buttons of what a result has; the tooltip of a disabled button gives the reason.

        Parameters
        ----------
        result
            A result with a segmentation; None where there is none to review.
        """
        self._result = result
        if result is None or result.segmentation is None:
            return
        self._update_outlines_button(result)
        self._update_edge_button(result)
        for role in self.map_buttons:
            self._update_map_button(role, result, result.segmentation)
        self._follow_maps()

    def _update_outlines_button(self, result: RunResult) -> None:
        reason = self.outlines.unavailable_reason(result)
        self.outlines_button.setEnabled(not reason)
        self.outlines_button.setChecked(self.outlines.is_on)
        self.outlines_button.setToolTip(reason or "Show the outline of each sample over the image")
        if not reason:
            add_key_to_tooltip("contours", self.outlines_button)

    def _update_edge_button(self, result: RunResult) -> None:
        reason = self.edge_contours.unavailable_reason(result)
        band = result.card.contour_band
        self.edge_button.setEnabled(not reason)
        self.edge_button.setChecked(self.edge_contours.is_on)
        self.edge_button.setToolTip(plain_text(reason or ("" if band is None else band.promise)))

    def _update_map_button(self, role: str, result: RunResult, segmentation: Segmentation) -> None:
        button, layers = self.map_buttons[role], result.layers.layers_of(role)
        for layer in layers:
            layer.events.visible.disconnect(self._follow_maps)  # it is connected at most once
            layer.events.visible.connect(self._follow_maps)
        button.setEnabled(bool(layers))
        if not layers:
            button.setToolTip(unavailable_reason(role, segmentation))
            return
        record = segmentation.record
        button.setToolTip(map_meaning(role, record.samples, is_weighted=record.hints is not None))
        add_key_to_tooltip(role, button)

    def _follow_maps(self, event: Any = None) -> None:
        """Check the buttons of the maps that are shown, which can be shown from elsewhere too."""
        if not isalive(self):  # a layer may outlive the widget
            return
        for role, button in self.map_buttons.items():
            layers = self._result.layers.layers_of(role) if self._result is not None else []
            button.setChecked(any(layer.visible for layer in layers))

    def show_map(self, role: str, on: bool) -> None:
        """Show the variance or the doubt over the image, or hide it; see `MAP_ROLES`."""
        if self._result is not None:
            self._result.layers.show_map(role, on)
            self._follow_maps()

    def show_outlines(self, on: bool) -> None:
        """Show the outline of each sample on the current slice, or hide them."""
        self.outlines.show_contours(self._result, on)

    def show_edge_contours(self, on: bool) -> None:
        """Show the contours between which the true edge lies, or hide them."""
        self.edge_contours.show_contours(self._result, on)
