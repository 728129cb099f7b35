"""The training data of a fine-tuning: approved slices, layers of the viewer, or a folder."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image, Labels
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QButtonGroup,
    QFileDialog,
    QHBoxLayout,
    QLineEdit,
    QListWidget,
    QListWidgetItem,
    QPushButton,
    QRadioButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.scratch import make_scratch_folder, remove_scratch_folder
from napari_latentseg.widgets._shared.layers import (
    METADATA_KEY,
    layer_geometry,
    matches_geometry,
    role_of,
    scan_from_layer,
)
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.region import image_shape
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets.annotate.correction import ROLE as CORRECTED_ROLE

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.core.scan import Scan
    from napari_latentseg.models.card import ModelCard

__all__ = ["DataSourceFields", "layer_pairs", "write_layer_pairs"]

DataSource = Literal["approved", "layers", "folder"]


class DataSourceFields(QWidget):
    """Radio buttons for the three sources of training data, and the fields of the chosen one.

    Signals
    -------
    changed
        Another source was chosen, or its fields were edited.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self._make_options()
        self._make_pair_list()
        self._make_folder_row()
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for widget in (
            self.approved_option,
            self.layers_option,
            self.pair_list,
            self.folder_option,
            self._folder_row,
        ):
            layout.addWidget(widget)
        self.list_layers()
        self._on_choice()

    def _make_options(self) -> None:
        self.approved_option = QRadioButton("Approved")
        self.layers_option = QRadioButton("Layers in this viewer")
        self.folder_option = QRadioButton("Folder")
        # a long summary is cut off at the right, and does not push the other fields out of sight
        self.approved_option.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.layers_option.setToolTip("Labels layers that match an image layer; empty slices are skipped")
        self.folder_option.setToolTip(
            "A folder with images/ and masks/, an nnU-Net raw data set, images beside their _mask files, or"
            " an annotation store"
        )
        self.group = QButtonGroup(self)
        for button in (self.approved_option, self.layers_option, self.folder_option):
            self.group.addButton(button)
        self.approved_option.setChecked(True)
        self.group.buttonClicked.connect(self._on_choice)

    def _make_pair_list(self) -> None:
        self.pair_list = QListWidget()
        self.pair_list.setFixedHeight(112)  # pixels: three masks with their images
        self.pair_list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        # each name has a line of its own and loses its middle, so that the ends tell names apart
        self.pair_list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.pair_list.setToolTip("Each mask with its image")
        self.pair_list.itemChanged.connect(lambda _: self.changed.emit())

    def _make_folder_row(self) -> None:
        self.folder_path = QLineEdit()
        self.folder_path.setPlaceholderText("choose a folder")
        self.folder_path.textChanged.connect(lambda _: self.changed.emit())
        self.browse_button = QPushButton("Browse…")
        self.browse_button.clicked.connect(self._browse)
        path_row = QHBoxLayout()
        path_row.setContentsMargins(0, 0, 0, 0)
        path_row.addWidget(self.folder_path, 1)
        path_row.addWidget(self.browse_button)
        self.folder_labels = QLineEdit()
        self.folder_labels.setPlaceholderText("what the labels mean (optional): 1=lesion")
        self.folder_labels.setToolTip(
            "If the labels of the masks differ from those of the model: 17=NAME,53=NAME; any=NAME where all"
            " are one class; #800000=NAME for a colour; or a file of labels"
        )
        rows = QVBoxLayout()
        rows.setContentsMargins(0, 0, 0, 0)
        rows.setSpacing(3)
        rows.addLayout(path_row)
        rows.addWidget(self.folder_labels)
        self._folder_row = QWidget()
        self._folder_row.setLayout(rows)

    @property
    def source(self) -> DataSource:
        """The chosen source."""
        if self.layers_option.isChecked():
            return "layers"
        return "folder" if self.folder_option.isChecked() else "approved"

    def select_source(self, source: DataSource) -> None:
        """Choose a source."""
        options = {
            "approved": self.approved_option,
            "layers": self.layers_option,
            "folder": self.folder_option,
        }
        options[source].setChecked(True)
        self._on_choice()

    def show_approved_count(self, summary: str) -> None:
        """Show what is approved for the base model, in words; empty for nothing."""
        self.approved_option.setText(f"Approved: {summary or 'none yet'}")
        note = "Images and slices approved for this model in Annotate or Review"
        self.approved_option.setToolTip(plain_text(f"{note}: {summary}" if summary else note))

    def _on_choice(self, *_: Any) -> None:
        self.pair_list.setVisible(self.source == "layers")
        self._folder_row.setVisible(self.source == "folder")
        self.changed.emit()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Training data folder")
        if folder:
            self.folder_path.setText(folder)

    def list_layers(self, event: Any = None) -> None:
        """List the pairs of layers again; checked pairs stay checked."""
        checked_masks = {id(pair[1]) for pair in self.chosen_pairs()}
        self.pair_list.blockSignals(True)
        self.pair_list.clear()
        for image, mask in layer_pairs(self._viewer):
            item = QListWidgetItem(f"{mask.name}\n  on {image.name}")
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(
                Qt.CheckState.Checked if id(mask) in checked_masks else Qt.CheckState.Unchecked
            )
            item.setToolTip(plain_text(f"{mask.name} on {image.name}"))
            item.setData(Qt.ItemDataRole.UserRole, (image, mask))
            self.pair_list.addItem(item)
        self.pair_list.blockSignals(False)
        if self.source == "layers":
            self.changed.emit()

    def chosen_pairs(self) -> list[tuple[Image, Labels]]:
        """The checked pairs of image and mask layers."""
        items = [self.pair_list.item(row) for row in range(self.pair_list.count())]
        return [
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and item.checkState() == Qt.CheckState.Checked
        ]

    def problem(self, planes: int) -> str:
        """Why there is no training data; empty where there is.

        Parameters
        ----------
        planes
            Number of slices that are approved for the base model.
        """
        if self.source == "approved" and not planes:
            return "Nothing is approved for this model yet: approve a mask in Annotate first."
        if self.source == "layers" and not self.pair_list.count():
            return "No Labels layer matches an image: open both with the same shape and geometry."
        if self.source == "layers" and not self.chosen_pairs():
            return "Check the masks to train on."
        if self.source == "layers" and (image := _image_with_two_masks(self.chosen_pairs())) is not None:
            return f"“{image.name}” has two checked masks: choose one of them."
        if self.source == "folder" and not self.folder_path.text().strip():
            return "Choose a folder with images/ and masks/, or an nnU-Net data set."
        # one question to the file system, when the text or the source changes
        if self.source == "folder" and not Path(self.folder_path.text().strip()).is_dir():
            return "There is no such folder."
        return ""


def layer_pairs(viewer: ViewerModel) -> list[tuple[Image, Labels]]:
    """Each mask of a person with its image, which has the same shape and geometry.

    Of several such images it is the one whose case the mask belongs to, else the nearest below it in the list
    of layers, else the nearest above.
    A mask that a model made counts once it was painted in: of its own answers a model learns nothing.
    """
    pairs, cases = [], session_of(viewer).cases
    positions = {layer: position for position, layer in enumerate(viewer.layers)}
    images = [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image) and role_of(layer) in ("", "scan") and 2 <= layer.ndim <= 4
    ]
    for mask in reversed(viewer.layers):
        if not isinstance(mask, Labels) or mask.multiscale or not _is_of_a_person(viewer, mask):
            continue
        own, place = cases.image_of(mask), positions[mask]
        image_id = (mask.metadata.get(METADATA_KEY) or {}).get("image") if role_of(mask) else None
        by_distance = sorted(images, key=lambda image: abs(positions[image] - place))
        for image in sorted(by_distance, key=lambda image: (image is not own, positions[image] > place)):
            is_match = image_shape(image) == tuple(mask.data.shape)
            if image_id is not None:
                is_match = is_match and str(image.unique_id) == image_id
            if is_match and matches_geometry(mask, layer_geometry(image)):
                pairs.append((image, mask))
                break
    return pairs


def _is_of_a_person(viewer: ViewerModel, mask: Labels) -> bool:
    role = role_of(mask)
    if role in ("", CORRECTED_ROLE):
        return True
    if role != "mask":
        return False
    results = session_of(viewer).results
    return any(result.layers.mask is mask and result.layers.is_edited for result in results)


def _image_with_two_masks(pairs: Sequence[tuple[Image, Labels]]) -> Image | None:
    """An image that more than one of the masks belongs to; None where each has one."""
    images = [image for image, _ in pairs]
    return next((image for i, image in enumerate(images) if image in images[:i]), None)


def scan_pairs(pairs: Sequence[tuple[Image, Labels]]) -> list[tuple[Scan, Any, str]]:
    """Scan, mask and layer name of each pair, for `write_layer_pairs`; no array is copied."""
    return [(scan_from_layer(image), mask.data, mask.name) for image, mask in pairs]


def write_layer_pairs(pairs: Sequence[tuple[Scan, Any, str]], card: ModelCard) -> Path:
    """Write scans and masks to an annotation store in a temporary folder; call it in a worker.

    Parameters
    ----------
    pairs
        See `scan_pairs`; masks hold labels in [0, 255].
    card
        Card of the base model, whose classes the labels are.

    Returns
    -------
    Path
        The folder; the caller deletes it with `remove_scratch_folder`.

    Raises
    ------
    BadInput
        If a mask is empty, or holds a label that is not a class of the model.
    """
    from napari_latentseg.annotations import AnnotationStore

    folder = make_scratch_folder("training-data-")
    try:
        with AnnotationStore(folder) as store:
            for scan, data, name in pairs:
                mask = np.asarray(data)
                if mask.dtype != np.uint8:
                    if mask.min() < 0 or mask.max() > 255:
                        raise BadInput(name, "holds labels outside 0 to 255", "use those of the model")
                    mask = mask.astype(np.uint8)
                has_foreground = mask.reshape(-1, *mask.shape[-2:]).any(axis=(1, 2))
                planes = [int(n) for n in np.flatnonzero(has_foreground)]
                if not planes:
                    raise BadInput(name, "is empty", "paint something, or uncheck it")
                if store.approved_planes(scan):  # opened twice: the second mask would replace the first
                    raise BadInput(name, "belongs to an image that is checked twice", "uncheck one of them")
                store.approve(scan, mask, classes=card.classes, planes=planes, edited=True)
    except BaseException:
        remove_scratch_folder(folder)
        raise
    return folder
