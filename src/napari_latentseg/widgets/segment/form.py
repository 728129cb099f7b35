"""The fields of the Segment widget, and the check of what was entered."""

from __future__ import annotations

import os
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from magicgui.widgets import ComboBox, FloatSlider, SpinBox
from napari.layers import Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QSizePolicy, QVBoxLayout, QWidget

from napari_latentseg import api
from napari_latentseg.core.record import SAMPLING_SOURCES
from napari_latentseg.core.segmentation import MIN_SAMPLES_FOR_VARIANCE
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.settings import InferenceSettings, members_limit_message
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.card_text import dice_text
from napari_latentseg.utils.scratch_arrays import MEMORY_ENV_VAR
from napari_latentseg.widgets._shared.cases import is_case_image
from napari_latentseg.widgets._shared.controls import WrappedLabel, collapsible, form_layout, let_combo_shrink
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.model_entries import distinct_titles
from napari_latentseg.widgets._shared.model_preparation import preparation_of
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.segment.card import CardDialog
from napari_latentseg.widgets.segment.fit_line import FitLine, fitting_model
from napari_latentseg.widgets.segment.postprocess_fields import PostProcessFields
from napari_latentseg.widgets.segment.roi_fields import RegionOfInterest, RoiFields
from napari_latentseg.widgets.segment.spacing import SpacingRow

if TYPE_CHECKING:
    from napari.components import ViewerModel
    from napari.layers import Image

__all__ = ["SOURCE_LABELS", "SegmentForm"]

SOURCE_LABELS = {
    "augment": "test-time augmentation",
    "none": "single pass",
    "members": "ensemble members",
    "members-augment": "ensemble members and test-time augmentation",
    "readings": "what the clicks may mean",
    "noise": "noise",
    "posterior": "encoder posterior",
    "dropout": "dropout",
}
_MAX_PROMPT_SAMPLES = 16  # of the answer to a click, which is to come within half a second
_MAX_SAMPLES = 200  # more than a person waits for; the command line has no limit


class SegmentForm(QWidget):
    """Image, model, samples, source, threshold and region; postprocessing, device and seed under Advanced.

    Signals
    -------
    changed
        Any field was changed.
    postprocess_changed
        The postprocessing was changed, which a finished mask can follow.
    """

    changed = Signal()
    postprocess_changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self.session = session_of(viewer)
        self._is_listing_images = False
        self._is_offering_model = False
        self._is_model_chosen = False  # by the person: then it stays, whatever image is opened
        self._is_setting_samples = False
        self._chosen_samples: int | None = None  # by hand; None for the model's default
        self.cards: dict[str, ModelCard] = api.list_models()
        self.image = ComboBox(
            choices=self._image_choices, nullable=True, tooltip="The image layer to segment"
        )
        self.model = ComboBox(
            choices=self._model_choices(),
            tooltip="The trained model; (i) shows its card",
        )
        self.samples = SpinBox(value=5, min=1, max=_MAX_SAMPLES)
        self.source = ComboBox(choices=[], tooltip="")
        self.threshold = FloatSlider(
            value=0.5, min=0.05, max=0.95, step=0.01,
            tooltip="Threshold of the next run: a voxel belongs to the mask where its mean probability is"
            " above it. A finished result has its own threshold",
        )  # fmt: skip
        self.spacing_row = SpacingRow(viewer, self)
        self.roi_fields = RoiFields(viewer, self)
        self.postprocess_fields = PostProcessFields(self)
        self.model_summary = WrappedLabel()
        self.fit_line = FitLine(lambda: self.session.busy, self.session.runner.load_model, self)
        self.card_button = QPushButton("i")
        self.card_button.setAccessibleName("Model card")
        self.card_button.setFixedWidth(28)
        self.card_button.setToolTip("Model card: intended use, training data and validation results")
        self.card_button.clicked.connect(self.show_card)
        self._lay_out()
        self._connect()
        self._on_model()
        self.reset_choices()
        self._on_image()

    def _lay_out(self) -> None:
        def row(*widgets: QWidget, stretch: int = 0) -> QHBoxLayout:
            line = QHBoxLayout()
            line.setContentsMargins(0, 0, 0, 0)
            for i, widget in enumerate(widgets):
                line.addWidget(widget, 1 if i == stretch else 0)
            return line

        self.fields = fields = form_layout()
        fields.addRow("Image", self.image.native)
        fields.addRow("Spacing", self.spacing_row)
        fields.addRow("Model", row(self.model.native, self.card_button))
        fields.addRow(self.model_summary)
        fields.addRow(self.fit_line)
        fields.addRow("Samples", self.samples.native)
        fields.addRow("Source", self.source.native)
        for combo in (
            self.image,
            self.model,
            self.source,
            self.roi_fields.area,
            self.postprocess_fields.tolerance,
            self.postprocess_fields.device,
        ):
            let_combo_shrink(combo.native)
        for spin in (self.samples, self.postprocess_fields.min_size, self.postprocess_fields.seed):
            spin.native.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        advanced_body = QWidget()
        advanced_form = form_layout(advanced_body)
        self.roi_fields.add_rows(fields, advanced_form)
        advanced_form.addRow("Threshold", self.threshold.native)
        self.postprocess_fields.add_rows(advanced_form)
        self.advanced = collapsible("Advanced", advanced_body)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(fields)
        layout.addWidget(self.advanced)
        self.model_summary.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)

    def _connect(self) -> None:
        self.model.changed.connect(self._on_model_changed)
        self.changed.connect(self._check_fit)
        self.fit_line.fit_changed.connect(self.changed)
        self.source.changed.connect(self._on_source)
        self.threshold.changed.connect(lambda *_: self.changed.emit())
        self.postprocess_fields.postprocess_changed.connect(self.postprocess_changed)
        self.image.changed.connect(self._on_image_chosen)
        self.session.image_changed.connect(self.show_case)
        self.spacing_row.spacing_given.connect(self._on_image)
        self.samples.changed.connect(self._on_samples)
        self.roi_fields.changed.connect(self.changed)
        self.postprocess_fields.changed.connect(self.changed)

    def _image_choices(self, *_: Any) -> list[tuple[str, Image]]:
        images = [layer for layer in self.viewer.layers if is_case_image(layer)]
        return [(layer.name, layer) for layer in reversed(images)]

    def reset_choices(self, event: Any = None) -> None:
        """List the viewer's image layers again; the case is selected."""
        self._list_images()
        self.roi_fields.reset_choices()
        self.changed.emit()

    def _list_images(self) -> None:
        case = self.session.image
        self._is_listing_images = True  # magicgui selects an entry by itself
        self.image.reset_choices()
        self.image.value = case if self.session.cases.is_open(case) else None
        self._is_listing_images = False

    def show_case(self, image: Image | None) -> None:
        """Select the image of the case, and list the images under their present names."""
        self._list_images()
        self._on_image()
        self.changed.emit()

    def _on_image_chosen(self, image: Image | None) -> None:
        if self._is_listing_images:
            return
        if image is None:  # the empty entry: there is always a case while there are images
            self._list_images()
        self.session.set_image(self.image.value)

    def _model_choices(self) -> list[tuple[str, str]]:
        """Each model by its title, with its name where others have that title too."""
        titles = distinct_titles(self.cards.values())
        # the first is selected at first, and a model that is run is to be
        cards = sorted(self.cards.items(), key=lambda entry: entry[1].takes_prompts)
        return [(titles[name], name) for name, _ in cards]

    def reload_models(self) -> None:
        """List the installed models again; the selected one stays selected while it exists."""
        previous = self.model.value
        self.cards = api.list_models()
        self._is_offering_model = True  # magicgui selects an entry by itself
        self.model.choices = self._model_choices()
        if previous in self.cards:
            self.model.value = previous
        self._is_offering_model = False
        self._on_model()

    def values(self) -> dict[str, Any]:
        """The values of the fields, for `restore`; layers are left out."""
        values = {name: field.value for name, field in self._stored_fields().items()}
        return values | {"model_chosen": self._is_model_chosen}

    def restore(self, values: dict[str, Any]) -> None:
        """Set the fields to earlier values; what no longer exists is skipped."""
        for name, field in self._stored_fields().items():
            if name in values:
                with suppress(ValueError):  # a model that has been removed since
                    field.value = values[name]
        self._is_model_chosen = bool(values.get("model_chosen", self._is_model_chosen))

    def _stored_fields(self) -> dict[str, Any]:
        postprocess = self.postprocess_fields
        return {
            "model": self.model,
            "source": self.source,
            "samples": self.samples,
            "threshold": self.threshold,
            "plane": self.roi_fields.plane,
            "tolerance": postprocess.tolerance,
            "smallest": postprocess.min_size,
            "fill_holes": postprocess.fill_holes,
            "keep_largest": postprocess.keep_largest,
            "device": postprocess.device,
            "seed": postprocess.seed,
        }

    @property
    def card(self) -> ModelCard | None:
        """The card of the selected model."""
        return self.cards.get(str(self.model.value))

    @property
    def takes_prompts(self) -> bool:
        """Whether the selected model answers clicks, and segments nothing without."""
        return self.card is not None and self.card.takes_prompts

    def _show_fields_of_model(self) -> None:
        """Hide what means nothing for a model that answers clicks."""
        is_shown = not self.takes_prompts
        self.fields.setRowVisible(self.source.native, is_shown)
        self.roi_fields.set_shown(is_shown)
        self.fit_line.setVisible(is_shown)
        self.advanced.setVisible(is_shown)

    def show_card(self) -> None:
        """Show the card of the selected model in a window."""
        if self.card is not None:
            CardDialog(self.card, self).show()

    def _on_image(self, *_: Any) -> None:
        image = self.image.value
        self.spacing_row.show_for_image(image)
        self.roi_fields.show_for_image(image)
        if image is not None and 2 <= image.ndim <= 4:
            self._offer_model(image)
            self.postprocess_fields.show_unit(scan_from_layer(image).geometry.voxel_volume[1])

    def _offer_model(self, image: Image) -> None:
        """Select a model that fits the image, unless the person has chosen one."""
        if not self._is_model_chosen:
            self._is_offering_model = True
            # one that answers clicks is for no kind of image, and is chosen by hand alone
            offered = {name: card for name, card in self.cards.items() if not card.takes_prompts}
            self.model.value = fitting_model(image, offered, str(self.model.value)) or self.model.value
            self._is_offering_model = False

    def _check_fit(self) -> None:
        orientation = "acquired"
        if self.takes_prompts:
            self.fit_line.check(None, None, orientation)
            return
        with suppress(BadInput):  # a region that is not in the image, which `problems` says
            orientation = self.roi_fields.region().plane_view.orientation
        self.fit_line.check(self.image.value, self.card, orientation)

    def _on_model_changed(self, *_: Any) -> None:
        self._is_model_chosen = self._is_model_chosen or not self._is_offering_model
        self._on_model()

    def _on_model(self, *_: Any) -> None:
        card = self.card
        if card is not None:
            self.model.native.setToolTip(plain_text(f"{card.title}; (i) shows its card"))
            self.model_summary.setText(_card_summary(card))
            self.model_summary.setToolTip(plain_text(card.intended_use))
            self.source.choices = [(SOURCE_LABELS[s], s) for s in card.sources]
            self.source.value = card.sources[0]
            self._show_samples(self._chosen_samples or _default_samples(card), _MAX_SAMPLES)
            self.threshold.value = min(max(card.threshold, self.threshold.min), self.threshold.max)
        self._show_fields_of_model()
        self._on_source()

    def _on_samples(self, value: int) -> None:
        """Remember a number that was chosen by hand, which another model does not change."""
        if not self._is_setting_samples and self.card is not None:
            self._chosen_samples = int(value) if value != _default_samples(self.card) else None
        self.changed.emit()

    def _show_samples(self, value: int, most: int) -> None:
        self._is_setting_samples = True
        self.samples.max = most
        self.samples.value = min(value, most)
        self._is_setting_samples = False

    def _on_source(self, *_: Any) -> None:
        source, card = self.source.value, self.card
        is_deterministic = source == "none"
        self.samples.enabled = not is_deterministic
        tooltip = f"How many samples to draw; a variance needs {MIN_SAMPLES_FOR_VARIANCE} or more"
        wanted = self._chosen_samples or int(self.samples.value)
        most = _MAX_SAMPLES
        if source == "members" and card is not None:
            most = min(card.members, _MAX_SAMPLES)
        if self.takes_prompts:
            is_deterministic, most = False, _MAX_PROMPT_SAMPLES
            self.samples.enabled = True
        self._show_samples(wanted, most)
        if is_deterministic:
            tooltip = "This model is deterministic: one sample is enough"
        elif source == "members" and card is not None:
            tooltip = f"{members_limit_message(card)}; {tooltip[0].lower()}{tooltip[1:]}"
        self.samples.tooltip = tooltip
        self.source.tooltip = f"What makes the samples differ: {SAMPLING_SOURCES.get(str(source), '')}"
        if self.takes_prompts:  # prepared for the slice on screen, when an image is pointed at
            self.changed.emit()
            return
        with suppress(BadInput):  # settings that are not valid, which `problems` says
            preparation_of(self.viewer).prepare(str(self.model.value), self.settings())
        self.changed.emit()

    def problems(self) -> list[str]:
        """What prevents a run, one sentence each; an empty list where it can start."""
        messages = []
        if not self.cards:
            messages.append("No model is installed.")
        if self.takes_prompts:
            messages.append("This model answers clicks: point at a structure in the image.")
        if self.image.value is None:
            messages.append(self._missing_image())
        elif not 2 <= self.image.value.ndim <= 4:
            image = self.image.value
            messages.append(f"“{image.name}” has {image.ndim} dimensions; choose one with 2 to 4.")
        try:
            self.settings()
        except BadInput as error:
            messages.append(str(error))
        return messages

    def _missing_image(self) -> str:
        labels = [layer.name for layer in self.viewer.layers if isinstance(layer, Labels)]
        if not labels:
            return "Open an image first, or a sample."
        return (
            f"“{labels[-1]}” is a layer of labels. Open the image, or if it is one, convert it:"
            " right-click on it in the layer list."
        )

    def settings(self) -> InferenceSettings:
        """The settings of a run.

        Raises
        ------
        BadInput
            If they are not valid for the model.
        """
        card = self.card
        if card is None:
            raise BadInput("model", "none is selected", "select one")
        source, region = self.source.value, self.roi_fields.region()
        return InferenceSettings.for_model(
            card,
            samples=1 if source == "none" else int(self.samples.value),
            source=source,
            threshold=float(self.threshold.value),
            slices=region.slices,
            box=region.crop_box,
            first_plane=region.first_plane,
            memory_limit=None if MEMORY_ENV_VAR in os.environ else round(preferences().memory_gb * 2**30),
            **self.postprocess_fields.settings(),
        )

    def region(self) -> RegionOfInterest:
        """The slices and the crop box to segment; see `RoiFields.region`."""
        return self.roi_fields.region()


def _default_samples(card: ModelCard) -> int:
    return preferences().samples or card.default_samples


def _card_summary(card: ModelCard) -> str:
    parts = ["any kind of image" if card.modality == "any" else card.modality]
    if dice := dice_text(card):
        parts.append(dice)
    parts.append(card.licence.split(";")[0].split(" (")[0])
    return " | ".join(part for part in parts if part)
