"""The fields of the Segment widget: what is chosen, and what is wrong with it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSlider, SpinBox
from napari.layers import Image
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFormLayout, QHBoxLayout, QLabel, QSizePolicy, QToolButton, QVBoxLayout, QWidget
from superqt import QCollapsible

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.request import Request, only_members
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.store import list_cards
from napari_latentseg.segmentation import MINIMUM_FOR_VARIANCE, SOURCES
from napari_latentseg.widgets.card import CardDialog
from napari_latentseg.widgets.layers import role_of

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
    """Image, model, samples, source, cut, device and seed.

    Signals
    -------
    changed
        Any field was changed.
    cut_moved
        The cut was moved, with its new value.
    """

    changed = Signal()
    cut_moved = Signal(float)

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
        self.slices = ComboBox(
            choices=[("all", "all"), ("the one on screen", "shown")],
            value="all",
            tooltip="Which slices of a volume to work on; it begins with the one on screen",
        )
        self.device = ComboBox(
            choices=[("best there is", "auto"), ("CPU", "cpu"), ("NVIDIA GPU", "cuda"), ("Apple GPU", "mps")],
            value="auto",
            tooltip="Where to compute",
        )
        self.seed = SpinBox(
            value=0, min=0, max=2**31 - 1, tooltip="The same seed gives the same samples again"
        )
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
        fields.addRow("Slices", self.slices.native)
        self.fields = fields
        for combo in (self.image, self.model, self.source):
            combo.native.setMinimumWidth(80)
            combo.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
            combo.native.setSizeAdjustPolicy(
                combo.native.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
            )
        more = QWidget()
        inner = QFormLayout(more)
        inner.setContentsMargins(0, 0, 0, 0)
        inner.addRow("Device", self.device.native)
        inner.addRow("Seed", self.seed.native)
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
        self.cut.changed.connect(self.cut_moved.emit)
        self.image.changed.connect(self._on_image)
        for field in (self.image, self.samples, self.slices, self.device, self.seed):
            field.changed.connect(lambda *_: self.changed.emit())

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
        self.changed.emit()

    @property
    def card(self) -> ModelCard | None:
        """The chosen model's card."""
        return self.cards.get(str(self.model.value))

    def show_card(self) -> None:
        """Open the card of the chosen model."""
        if self.card is not None:
            CardDialog(self.card, self).show()

    def _on_image(self, *_: Any) -> None:
        """Only a stack has slices to choose from."""
        image = self.image.value
        self.fields.setRowVisible(self.slices.native, image is not None and image.ndim > 2)

    def _on_model(self, *_: Any) -> None:
        card = self.card
        if card is not None:
            self.about.setText(_one_line(card))
            self.about.setToolTip(card.intended_use)
            self.source.choices = [(SOURCE_LABELS[s], s) for s in card.sources]
            self.source.value = card.sources[0]
            self.samples.max = _MOST
            self.samples.value = card.default_samples
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
        source, shown = self.source.value, self._plane_on_screen()
        image = self.image.value
        only_this = self.slices.value == "shown" and image is not None and image.ndim > 2
        return Request.of(
            card,
            samples=1 if source == "none" else int(self.samples.value),
            source=source,
            seed=int(self.seed.value),
            threshold=float(self.cut.value),
            device=self.device.value,
            slices=(shown, shown) if only_this else None,
            first_plane=shown,
        )

    def _plane_on_screen(self) -> int:
        image = self.image.value
        if image is None or image.ndim < 3 or image not in self.viewer.layers:
            return 0
        shape = (image.data[0] if image.multiscale else image.data).shape[: image.ndim - 2]
        # of a volume that lies askew napari shows the slice at the origin of the plane on screen
        dims = self.viewer.dims
        point = [0.0 if axis in dims.displayed else at for axis, at in enumerate(dims.point)]
        index = image.world_to_data(point[-image.ndim :])[: image.ndim - 2]
        number = 0
        for size, at in zip(shape, index, strict=True):
            number = number * size + int(min(max(round(float(at)), 0), size - 1))
        return number


def _one_line(card: ModelCard) -> str:
    parts = [card.modality]
    if card.typical:
        parts.append(f"DSC {card.typical.values['dsc']:.2f}")
    parts.append(card.licence.split(";")[0])
    return " | ".join(part for part in parts if part)
