"""What a model is to learn from: what is approved, layers of the viewer, or a folder."""

from __future__ import annotations

import shutil
import tempfile
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
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.errors import BadInput
from napari_latentseg.widgets.layers import KEY, geometry_on_screen, lie_together, role_of, scan_from_layer
from napari_latentseg.widgets.region import shape_of

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.scan import Scan

__all__ = ["TeachFrom", "pairs_of", "write_pairs"]

Source = Literal["approved", "layers", "folder"]


class TeachFrom(QWidget):
    """Three ways to say what is learnt from; one of them is chosen.

    Signals
    -------
    changed
        Another one was chosen, or what it says was changed.
    """

    changed = Signal()

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._viewer = viewer
        self.approved = QRadioButton("what is approved")
        self.layers = QRadioButton("layers of this window")
        self.folder = QRadioButton("a folder")
        self.layers.setToolTip("Masks that lie on an image here; empty slices of a volume are left out")
        self.folder.setToolTip("Holds images/ and masks/, or is an nnU-Net raw data set")
        self.group = QButtonGroup(self)
        for button in (self.approved, self.layers, self.folder):
            self.group.addButton(button)
        self.approved.setChecked(True)
        self.list = QListWidget()
        self.list.setMaximumHeight(84)
        self.list.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self.list.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        self.list.setToolTip("Each mask with the image that it lies on")
        self.path = QLineEdit()
        self.path.setPlaceholderText("choose a folder")
        self.browse = QPushButton("Browse…")
        row = QHBoxLayout()
        row.setContentsMargins(0, 0, 0, 0)
        row.addWidget(self.path, 1)
        row.addWidget(self.browse)
        self._row = QWidget()
        self._row.setLayout(row)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(3)
        for widget in (self.approved, self.layers, self.list, self.folder, self._row):
            layout.addWidget(widget)
        self.group.buttonClicked.connect(self._on_choice)
        self.list.itemChanged.connect(lambda _: self.changed.emit())
        self.path.textChanged.connect(lambda _: self.changed.emit())
        self.browse.clicked.connect(self._browse)
        events = viewer.layers.events
        for event in (events.inserted, events.removed, events.reordered):
            event.connect(self.list_layers)
        self.list_layers()
        self._on_choice()

    @property
    def source(self) -> Source:
        """Which of the three."""
        if self.layers.isChecked():
            return "layers"
        return "folder" if self.folder.isChecked() else "approved"

    def choose(self, source: Source) -> None:
        """Choose one of the three."""
        {"approved": self.approved, "layers": self.layers, "folder": self.folder}[source].setChecked(True)
        self._on_choice()

    def tell_approved(self, planes: int, scans: int) -> None:
        """Say how much is approved."""
        slices = "1 slice" if planes == 1 else f"{planes} slices"
        text = f"approved: {slices}, {scans} scan{'' if scans == 1 else 's'}"
        self.approved.setText(text if planes else "what is approved: nothing yet")

    def _on_choice(self, *_: Any) -> None:
        self.list.setVisible(self.source == "layers")
        self._row.setVisible(self.source == "folder")
        self.changed.emit()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder to learn from")
        if folder:
            self.path.setText(folder)

    def list_layers(self, event: Any = None) -> None:
        """Look at the viewer's layers again; what was chosen stays chosen."""
        before = {id(pair[1]) for pair in self.chosen_pairs()}
        self.list.blockSignals(True)
        self.list.clear()
        for image, mask in pairs_of(self._viewer):
            item = QListWidgetItem(f"{mask.name}  on  {image.name}")
            item.setFlags(Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsUserCheckable)
            item.setCheckState(Qt.CheckState.Checked if id(mask) in before else Qt.CheckState.Unchecked)
            item.setToolTip(item.text())
            item.setData(Qt.ItemDataRole.UserRole, (image, mask))
            self.list.addItem(item)
        self.list.blockSignals(False)
        if self.source == "layers":
            self.changed.emit()

    def chosen_pairs(self) -> list[tuple[Image, Labels]]:
        """The image and mask layers that are chosen."""
        items = [self.list.item(row) for row in range(self.list.count())]
        return [
            item.data(Qt.ItemDataRole.UserRole)
            for item in items
            if item is not None and item.checkState() == Qt.CheckState.Checked
        ]

    def problem(self, planes: int) -> str:
        """What is missing, in words; empty where nothing is.

        Parameters
        ----------
        planes
            How many are approved.
        """
        if self.source == "approved" and not planes:
            return "Nothing is approved for this model yet: correct and approve a mask in Annotate first."
        if self.source == "layers" and not self.list.count():
            return "No mask lies on an image here: open both, of one size and in one place."
        if self.source == "layers" and not self.chosen_pairs():
            return "Choose the masks to learn from."
        if self.source == "folder" and not self.path.text().strip():
            return "Choose a folder with images/ and masks/, or an nnU-Net data set."
        return ""


def pairs_of(viewer: ViewerModel) -> list[tuple[Image, Labels]]:
    """Each Labels layer with the image of its shape and in its place, the topmost where there are several."""
    found = []
    images = [
        layer
        for layer in reversed(viewer.layers)
        if isinstance(layer, Image) and role_of(layer) in ("", "scan") and 2 <= layer.ndim <= 4
    ]
    for mask in reversed(viewer.layers):
        if not isinstance(mask, Labels) or mask.multiscale or role_of(mask) == "objects":
            continue
        of_image = (mask.metadata.get(KEY) or {}).get("image") if role_of(mask) else None
        for image in images:
            fits = shape_of(image) == tuple(mask.data.shape)
            if of_image is not None:
                fits = fits and str(image.unique_id) == of_image
            if fits and lie_together(mask, geometry_on_screen(image)):
                found.append((image, mask))
                break
    return found


def scans_of(pairs: Sequence[tuple[Image, Labels]]) -> list[tuple[Scan, Any, str]]:
    """Scan, mask and name of each pair, for `write_pairs`; nothing is copied."""
    return [(scan_from_layer(image), mask.data, mask.name) for image, mask in pairs]


def write_pairs(pairs: Sequence[tuple[Scan, Any, str]], card: ModelCard) -> Path:
    """Write scans and masks to a folder that can be learnt from; in a worker.

    Parameters
    ----------
    pairs
        See `scans_of`.
    card
        Whose classes the labels are.

    Returns
    -------
    Path
        A temporary folder, which the caller removes.

    Raises
    ------
    BadInput
        Where a mask is empty, or holds a label that the model does not know.
    """
    from napari_latentseg.annotations import AnnotationStore

    folder = Path(tempfile.mkdtemp(prefix="latentseg-lesson-"))
    try:
        with AnnotationStore(folder) as store:
            for scan, data, name in pairs:
                mask = np.asarray(data)
                if mask.dtype != np.uint8:
                    if mask.min() < 0 or mask.max() > 255:
                        raise BadInput(name, "holds labels above 255", "use those of the model")
                    mask = mask.astype(np.uint8)
                marked = mask.reshape(-1, *mask.shape[-2:]).any(axis=(1, 2))
                planes = [int(n) for n in np.flatnonzero(marked)]
                if not planes:
                    raise BadInput(name, "is empty", "mark something, or leave it out")
                store.approve(scan, mask, classes=card.classes, planes=planes, edited=True)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder
