"""The fields of the Segment widget: what is chosen, and what is wrong with it."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSlider, SpinBox
from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.request import Request, only_members
from napari_latentseg.inference.room import VARIABLE
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.store import list_cards
from napari_latentseg.record import SOURCES
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE
from napari_latentseg.widgets.card import CardDialog
from napari_latentseg.widgets.layers import role_of, scan_from_layer
from napari_latentseg.widgets.mending import MendingFields
from napari_latentseg.widgets.preferences import preferences
from napari_latentseg.widgets.where import Where, WhereFields

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["SOURCE_LABELS", "SegmentForm"]

SOURCE_LABELS = {
    "augment": "flips, turns, shifts",
    "none": "one answer only",
    "members": "several models",
    "noise": "random starts",
    "posterior": "the encoder's posterior",
    "dropout": "dropout",
}
_MOST = 200  # samples; the command line draws more


class SegmentForm(QWidget):
    """Image, model, samples, source, cut, region, and what most people leave alone.

    Signals
    -------
    changed
        Any field was changed.
    cut_moved
        The cut was moved, or what is mended of the mask was changed.
    """

    changed = Signal()
    cut_moved = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.cards: dict[str, ModelCard] = list_cards()
        self.image = ComboBox(choices=self._images, nullable=True, tooltip="The image layer to segment")
        self.model = ComboBox(
            choices=[(card.title, name) for name, card in self.cards.items()],
            tooltip="The trained model; the (i) tells what it is for and how good it was",
        )
        self.samples = SpinBox(value=5, min=1, max=_MOST)
        self.source = ComboBox(choices=[], tooltip="")
        self.cut = FloatSlider(
            value=0.5, min=0.05, max=0.95, step=0.01,
            tooltip="A place belongs to the mask where its mean probability is above the cut",
        )  # fmt: skip
        self.where = WhereFields(viewer, self)
        self.mending = MendingFields(self)
        self.about = QLabel()
        self.about.setWordWrap(True)
        self.about.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.info = QToolButton()
        self.info.setText("i")
        self.info.setToolTip("The model's card: what it is for, what it learned from, how good it was")
        self.info.clicked.connect(self.show_card)
        self._lay_out()
        self._connect()
        self._on_model()
        self.reset_choices()
        self._on_image()

    def _lay_out(self) -> None:
        def row(*parts: QWidget, stretch: int = 0) -> QHBoxLayout:
            line = QHBoxLayout()
            line.setContentsMargins(0, 0, 0, 0)
            for i, part in enumerate(parts):
                line.addWidget(part, 1 if i == stretch else 0)
            return line

        fields = QFormLayout()
        fields.setContentsMargins(0, 0, 0, 0)
        fields.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        fields.addRow("Image", self.image.native)
        fields.addRow("Model", row(self.model.native, self.info))
        fields.addRow("", self.about)
        fields.addRow("Samples", self.samples.native)
        fields.addRow("from", self.source.native)
        fields.addRow("Cut", self.cut.native)
        for combo in (self.image, self.model, self.source, self.where.area, self.mending.tolerance):
            combo.native.setMinimumWidth(80)
            combo.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            combo.native.setSizeAdjustPolicy(
                combo.native.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        more = QWidget()
        inner = QFormLayout(more)
        inner.setContentsMargins(0, 0, 0, 0)
        self.where.add_to(fields, inner)
        self.mending.add_to(inner)
        self.more = QCollapsible("More")
        if (margins := self.more.layout()) is not None:
            margins.setContentsMargins(0, 0, 0, 0)
        self.more.addWidget(more)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(fields)
        layout.addWidget(self.more)
        self.about.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _connect(self) -> None:
        events = self.viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self.reset_choices)
        self.model.changed.connect(self._on_model)
        self.source.changed.connect(self._on_source)
        self.cut.changed.connect(lambda *_: self.cut_moved.emit())
        self.mending.mended.connect(self.cut_moved)
        self.image.changed.connect(self._on_image)
        for field in (self.image, self.samples):
            field.changed.connect(lambda *_: self.changed.emit())
        self.where.changed.connect(self.changed)
        self.mending.changed.connect(self.changed)

    def _images(self, *_: Any) -> list[tuple[str, Image]]:
        found = [
            layer
            for layer in self.viewer.layers
            if isinstance(layer, Image) and role_of(layer) not in ("mean", "variance")
        ]
        return [(layer.name, layer) for layer in reversed(found)]

    def reset_choices(self, event: Any = None) -> None:
        """Look at the viewer's layers again; the chosen one stays chosen while it is there."""
        before = self.image.value
        self.image.reset_choices()
        choices = [value for _, value in self._images()]
        if before in choices:
            self.image.value = before
        elif choices:
            self.image.value = choices[0]
        self.where.reset_choices()
        self.changed.emit()

    def reload_models(self) -> None:
        """Look at the models at hand again; the chosen one stays chosen while it is there."""
        before = self.model.value
        self.cards = list_cards()
        self.model.choices = [(card.title, name) for name, card in self.cards.items()]
        if before in self.cards:
            self.model.value = before
        self._on_model()

    def values(self) -> dict[str, Any]:
        """What is chosen, to be put back by `restore`; layers are left out."""
        return {name: field.value for name, field in self._kept().items()}

    def restore(self, values: dict[str, Any]) -> None:
        """Choose again what was chosen before, as far as it is still there."""
        for name, field in self._kept().items():
            if name in values:
                with suppress(ValueError):  # a model that has been removed since
                    field.value = values[name]

    def _kept(self) -> dict[str, Any]:
        mending = self.mending
        return {
            "model": self.model,
            "source": self.source,
            "samples": self.samples,
            "cut": self.cut,
            "plane": self.where.plane,
            "tolerance": mending.tolerance,
            "smallest": mending.smallest,
            "fill_holes": mending.fill_holes,
            "keep_largest": mending.keep_largest,
            "device": mending.device,
            "seed": mending.seed,
        }

    @property
    def card(self) -> ModelCard | None:
        """The chosen model's card."""
        return self.cards.get(str(self.model.value))

    def show_card(self) -> None:
        """Open the card of the chosen model."""
        if self.card is not None:
            CardDialog(self.card, self).show()

    def _on_image(self, *_: Any) -> None:
        image = self.image.value
        self.where.show_for(image)
        if image is not None and 2 <= image.ndim <= 4:
            self.mending.show_unit(scan_from_layer(image).geometry.element_size[1])

    def _on_model(self, *_: Any) -> None:
        card = self.card
        if card is not None:
            self.about.setText(_one_line(card))
            self.about.setToolTip(card.intended_use)
            self.source.choices = [(SOURCE_LABELS[s], s) for s in card.sources]
            self.source.value = card.sources[0]
            self.samples.max = _MOST
            self.samples.value = preferences().samples or card.default_samples
            self.cut.value = card.threshold
        self._on_source()

    def _on_source(self, *_: Any) -> None:
        source, card = self.source.value, self.card
        repeatable = source == "none"
        self.samples.enabled = not repeatable
        tooltip = f"How many samples to draw; a variance needs {MINIMUM_FOR_VARIANCE} or more"
        self.samples.max = _MOST
        if repeatable:
            tooltip = "This model gives the same answer every time, so there is nothing to repeat"
        elif source == "members" and card is not None:
            self.samples.value = min(int(self.samples.value), card.members)
            self.samples.max = card.members
            tooltip = f"{only_members(card)}; {tooltip[0].lower()}{tooltip[1:]}"
        self.samples.tooltip = tooltip
        self.source.tooltip = f"Where the samples differ: {SOURCES.get(str(source), '')}"
        self.changed.emit()

    def problems(self) -> list[str]:
        """What keeps a run from starting, in words; empty where nothing does."""
        found = []
        if not self.cards:
            found.append("No model is installed.")
        if self.image.value is None:
            found.append("Open an image first, or one of the samples.")
        elif not 2 <= self.image.value.ndim <= 4:
            image = self.image.value
            found.append(f"“{image.name}” has {image.ndim} dimensions; choose one with 2 to 4.")
        try:
            self.request()
        except BadInput as error:
            found.append(str(error))
        return found

    def request(self) -> Request:
        """The settings of a run.

        Raises
        ------
        BadInput
            Where they make no sense for the model.
        """
        card = self.card
        if card is None:
            raise BadInput("model", "none is chosen", "choose one")
        source, where = self.source.value, self.where.chosen()
        return Request.of(
            card,
            samples=1 if source == "none" else int(self.samples.value),
            source=source,
            threshold=float(self.cut.value),
            slices=where.slices,
            box=where.box,
            first_plane=where.first_plane,
            memory_limit=None if VARIABLE in os.environ else round(preferences().memory_gb * 2**30),
            **self.mending.request(),
        )

    def where_to(self) -> Where:
        """What of the image is worked on; see `WhereFields.chosen`."""
        return self.where.chosen()


def _one_line(card: ModelCard) -> str:
    parts = [card.modality]
    if card.typical:
        parts.append(f"DSC {card.typical.values['dsc']:.2f}")
    parts.append(card.licence.split(";")[0])
    return " | ".join(part for part in parts if part)
