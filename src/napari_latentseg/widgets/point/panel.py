"""Point at it: the controls of a model that takes prompts."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from qtpy.QtWidgets import (
    QButtonGroup,
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.object_names import MAX_OBJECTS
from napari_latentseg.widgets._shared.controls import WrappedLabel, separator
from napari_latentseg.widgets._shared.destroyed import call_when_destroyed
from napari_latentseg.widgets._shared.keys import key_text
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.text import format_slices
from napari_latentseg.widgets.point.answer_layers import MAPS
from napari_latentseg.widgets.point.pointing import Pointing, pointing_of
from napari_latentseg.widgets.point.prompt_layers import MODES
from napari_latentseg.widgets.point.size_controls import SizeControls
from napari_latentseg.widgets.point.volume_controls import VolumeControls

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

    from napari_latentseg.models.card import ModelCard

__all__ = ["PointPanel"]

_MODE_TEXTS = {"inside": "+ Inside", "outside": "\u2212 Outside", "box": "Box", "scribble": "Scribble"}
_MODE_TOOLTIPS = {
    "inside": "Click inside the structure. Hold Shift for a click outside",
    "outside": "Click where the answer is too large. Hold Shift for a click inside",
    "box": "Draw a box around the structure: press at one corner, and release at the opposite one",
    "scribble": "Draw a line inside the structure. Hold Shift for one outside",
}
_MAP_TOOLTIPS = {
    "mean": "Mean probability over the samples",
    "variance": "How much the samples differ; needs three or more",
    "outlines": "The outline of each sample",
}


class PointPanel(QWidget):
    """The controls with which a person points at structures, takes back, and accepts.

    Parameters
    ----------
    viewer
        The viewer.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.pointing: Pointing = pointing_of(viewer)
        self.mode_buttons = {mode: QPushButton(_MODE_TEXTS[mode]) for mode in MODES}
        self.hint = WrappedLabel()
        self.class_name = QLineEdit(self.pointing.name[0])
        self.number = QSpinBox()
        self.accept_button = QPushButton("Accept")
        self.take_back_button = QPushButton("Take back")
        self.clear_button = QPushButton("Clear")
        self.map_boxes = {role: QCheckBox(role.capitalize()) for role in MAPS}
        self.structure_size = SizeControls(self.pointing)
        self.volume = VolumeControls(self.pointing)
        self.accepted = WrappedLabel()
        self.resume_button = QPushButton("Resume the objects of an earlier session")
        self._lay_out()
        self._connect()
        call_when_destroyed(self, self.pointing.stop_soon)
        self.refresh()

    def _lay_out(self) -> None:
        modes = QGridLayout()
        group = QButtonGroup(self)
        for position, (mode, button) in enumerate(self.mode_buttons.items()):
            button.setCheckable(True)
            button.setToolTip(_MODE_TOOLTIPS[mode])
            group.addButton(button)
            modes.addWidget(button, position // 2, position % 2)
        self.mode_buttons["inside"].setChecked(True)
        self.class_name.setMaxLength(60)
        self.class_name.setToolTip("Name of the structure, such as lesion or left kidney")
        self.class_name.setAccessibleName("Class")
        self.number.setRange(1, MAX_OBJECTS)
        self.number.setToolTip(
            "If an object with this number exists it is continued, for example on the next slice"
        )
        self.number.setAccessibleName("Number of the object")
        name_row = QHBoxLayout()
        name_row.addWidget(PlainLabel("Object"))
        name_row.addWidget(self.class_name, 1)
        name_row.addWidget(self.number)
        buttons = QHBoxLayout()
        for button in (self.accept_button, self.take_back_button, self.clear_button):
            buttons.addWidget(button, 1)
        maps = QHBoxLayout()
        maps.addWidget(PlainLabel("Show"))
        for role, box in self.map_boxes.items():
            box.setToolTip(_MAP_TOOLTIPS[role])
            maps.addWidget(box)
        maps.addStretch(1)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(separator())
        layout.addWidget(PlainLabel("Point at it"))
        layout.addLayout(modes)
        layout.addWidget(self.hint)
        layout.addWidget(self.structure_size)
        layout.addLayout(name_row)
        layout.addLayout(buttons)
        layout.addLayout(maps)
        layout.addWidget(self.volume)
        layout.addWidget(self.accepted)
        layout.addWidget(self.resume_button)

    def _connect(self) -> None:
        for mode, button in self.mode_buttons.items():
            button.clicked.connect(partial(self.pointing.set_mode, mode))
        for role, box in self.map_boxes.items():
            box.toggled.connect(partial(self.pointing.drawing.show_map, role))
        self.accept_button.clicked.connect(self.pointing.accept)
        self.take_back_button.clicked.connect(self.pointing.take_back)
        self.clear_button.clicked.connect(self.pointing.clear)
        self.resume_button.clicked.connect(self.pointing.resume)
        self.class_name.textChanged.connect(self._on_class)
        self.number.valueChanged.connect(self._on_number)
        self.pointing.changed.connect(self.refresh)

    def show_for(self, image: Image | None, card: ModelCard | None, samples: int) -> None:
        """Point at an image, or at nothing.

        Parameters
        ----------
        image
            The image of the case.
        card
            Of a model that takes prompts; None for others, and the panel is hidden.
        samples
            How many samples an answer has.
        """
        self.setVisible(card is not None)
        if image is None or card is None:
            if self.pointing.image is not None:
                self.pointing.stop()
            return
        self.pointing.set_samples(samples)
        self.pointing.start(image, card)

    def _on_class(self, text: str) -> None:
        name = " ".join(text.split())
        pointing = self.pointing
        number = 1
        if pointing.image is not None and pointing.card is not None:
            number = pointing.objects.next_number(pointing.image, pointing.card, name)
        pointing.name = (name, number)
        self.refresh()

    def _on_number(self, number: int) -> None:
        self.pointing.name = (self.pointing.name[0], number)
        self.refresh()

    def refresh(self) -> None:
        """Show what can be done now, and why not where it cannot."""
        pointing = self.pointing
        pending = pointing.pending
        mode = pointing.layers.mode if pointing.layers is not None else "inside"
        self.mode_buttons[mode].setChecked(True)
        self.hint.setText(self._hint())
        reason = pointing.accept_problem or ("" if pointing.name[0] else "Enter a class first")
        self._set(self.accept_button, reason, f"Keep the answer as an object ({key_text('accept_object')})")
        through = pointing.through
        nothing = "" if pending is not None else "Nothing was clicked on this slice"
        can_take_back = nothing and through.can_take_back
        what = "the object that was accepted through the volume" if can_take_back else "the last click"
        self._set(
            self.take_back_button, "" if can_take_back else nothing,
            f"Take {what} back ({key_text('take_back')})",
        )  # fmt: skip
        is_proposed = nothing and through.mask_on(pointing.index) is not None
        clear = (
            "Say that the object is not on this slice" if is_proposed else "Remove all clicks on this slice"
        )
        self._set(self.clear_button, "" if is_proposed else nothing, clear)
        self.number.blockSignals(True)
        self.number.setValue(pointing.name[1])
        self.number.blockSignals(False)
        self.structure_size.refresh()
        self.volume.refresh()
        self._show_accepted()
        self.resume_button.setVisible(pointing.draft is not None)

    @staticmethod
    def _set(button: QPushButton, reason: str, tooltip: str) -> None:
        button.setEnabled(not reason)
        button.setToolTip(plain_text(reason or tooltip))

    def _hint(self) -> str:
        """What to do next, in a sentence."""
        pointing = self.pointing
        if pointing.problem:
            return pointing.problem
        if pointing.layers is None or not pointing.layers.is_in_viewer:
            return "Choose what the mouse does, to point at a structure."
        if not pointing.layers.is_selected:
            return f"Choose Inside, or select the layer “{pointing.layers.points.name}”, to go on pointing."
        pending = pointing.pending
        if pending is None and pointing.through.proposal is not None and not pointing.through.is_busy:
            return "Look at the slices: click where one is wrong, then accept the object."
        if pending is None:
            if not pointing.is_ready:
                return "The model is being loaded; you can click already."
            others = sorted(index[0] for index in pointing.all_pending if index)
            waiting = f" Not accepted yet: slice {format_slices(others)}." if others else ""
            return f"Click inside a structure, or draw a box around it.{waiting}"
        reason = pointing.accept_problem
        if reason:
            return f"{reason}."
        return "Click where the answer is wrong, or accept it."

    def _show_accepted(self) -> None:
        pointing = self.pointing
        names = []
        if pointing.image is not None and pointing.card is not None:
            names = [info.name for info in pointing.objects.classes(pointing.image, pointing.card)]
        self.accepted.setText(
            f"Accepted: {', '.join(names)}. Annotate corrects and approves them." if names else ""
        )
        self.accepted.setVisible(bool(names))
