"""The fields of a comparison of readers: whose masks, which result of a model, which consensus."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.scan import Scan
from napari_latentseg.io.registry import readable_suffixes
from napari_latentseg.widgets._shared.controls import elastic_combo, form_layout
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.run_result import RunResult
from napari_latentseg.widgets._shared.text_table import show_as_list
from napari_latentseg.widgets.readers.comparing import ReadersRequest
from napari_latentseg.widgets.readers.given_masks import GivenMask
from napari_latentseg.widgets.readers.method_box import consensus_box

if TYPE_CHECKING:
    from napari.layers import Image

    from napari_latentseg.core.segmentation import Segmentation

__all__ = ["ComparedImage", "ReadersFields"]

_VISIBLE_ROWS = 5  # of masks; more are reached by scrolling, since the figures need the space
_NO_RESULT = "none"
_FEWEST = 2  # masks that can be compared


@dataclass(frozen=True, eq=False)
class ComparedImage:
    """The image whose masks are compared.

    Attributes
    ----------
    name
        Of the image or case; empty where there is none.
    layer
        Its layer; None where it is not open.
    read
        Reads it where it is not open, in a thread; None where nobody knows its file.
    """

    name: str = ""
    layer: Image | None = None
    read: Callable[[], Scan] | None = None


class ReadersFields(QWidget):
    """What is compared.

    Signals
    -------
    changed
        Something else would be compared.
    """

    changed = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = ComparedImage()
        self.masks: list[GivenMask] = []
        self._results: list[RunResult | Path] = []
        self._is_filling = False
        self.image_label = PlainLabel()
        self.table = QTableWidget(0, 2)
        self.table.setHorizontalHeaderLabels(["Reader", "Mask"])
        show_as_list(self.table, "Masks of readers")
        self.table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        self.table.setToolTip("Tick two to eight masks. Double-click a name to change it: it is on the page")
        self.files_button = QPushButton("Add files…")
        self.store_button = QPushButton("Add annotations…")
        self.store_button.setToolTip("A folder of approved masks; the mask of this image is taken from it")
        self.remove_button = QPushButton("Take out")
        self.result_box = elastic_combo("A model's result to compare with the readers")
        self.consensus_box = consensus_box()
        self._lay_out()
        self.table.itemChanged.connect(self._on_item)
        self.table.itemSelectionChanged.connect(self._refresh)
        self.files_button.clicked.connect(self._browse_files)
        self.store_button.clicked.connect(self._browse_store)
        self.remove_button.clicked.connect(self._remove)
        for box in (self.result_box, self.consensus_box):
            box.activated.connect(lambda _: self.changed.emit())
        self._refresh()

    def _lay_out(self) -> None:
        rows = self.fontMetrics().height() + 8
        self.table.setFixedHeight((_VISIBLE_ROWS + 1) * rows)
        buttons = QVBoxLayout()
        for button in (self.files_button, self.store_button, self.remove_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        masks = QHBoxLayout()
        masks.addWidget(self.table, 1)
        masks.addLayout(buttons)
        form = form_layout(self)
        form.addRow("Image", self.image_label)
        form.addRow("Masks", masks)
        choices = QHBoxLayout()
        choices.addWidget(self.result_box, 2)
        choices.addWidget(PlainLabel("Consensus"))
        choices.addWidget(self.consensus_box, 1)
        form.addRow("Model", choices)

    def show_masks(self, image: ComparedImage, masks: list[GivenMask]) -> None:
        """List other masks."""
        self.image, self.masks = image, masks
        self.image_label.setText(image.name or "no image is open: the masks are compared without pictures")
        self._is_filling = True
        self.table.setRowCount(len(masks))
        for row, mask in enumerate(masks):
            self._fill_row(row, mask)
        self.table.resizeColumnToContents(0)
        self._is_filling = False
        self._refresh()
        self.changed.emit()

    def _fill_row(self, row: int, mask: GivenMask) -> None:
        name, origin = QTableWidgetItem(mask.reader), QTableWidgetItem(mask.problem or mask.origin)
        flags = Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsUserCheckable | Qt.ItemFlag.ItemIsEditable
        name.setFlags(flags if mask.problem else flags | Qt.ItemFlag.ItemIsEnabled)
        is_chosen = mask.is_chosen and not mask.problem
        name.setCheckState(Qt.CheckState.Checked if is_chosen else Qt.CheckState.Unchecked)
        origin.setFlags(Qt.ItemFlag.ItemIsSelectable | Qt.ItemFlag.ItemIsEnabled)
        for item in (name, origin):
            item.setToolTip(plain_text(mask.problem or mask.origin))
        self.table.setItem(row, 0, name)
        self.table.setItem(row, 1, origin)

    def show_results(self, results: list[RunResult | Path]) -> None:
        """Offer other results of the image; the one that was chosen stays so, else the last one is."""
        chosen = self.result
        is_first = not self.result_box.count()
        self._results = results
        self.result_box.clear()
        self.result_box.addItem(_NO_RESULT)
        for result in results:
            self.result_box.addItem(result.title if isinstance(result, RunResult) else "its saved result")
        position = results.index(chosen) + 1 if chosen in results else len(results) if is_first else 0
        self.result_box.setCurrentIndex(position)

    @property
    def result(self) -> RunResult | Path | None:
        """The result that is compared with the readers."""
        position = self.result_box.currentIndex() - 1
        return self._results[position] if 0 <= position < len(self._results) else None

    @property
    def chosen(self) -> list[GivenMask]:
        """The masks that are compared."""
        return [mask for mask in self.masks if mask.is_chosen and not mask.problem]

    @property
    def problem(self) -> str:
        """Why nothing can be compared; empty if it can."""
        count = len(self.chosen)
        return "" if count >= _FEWEST else f"Tick two masks or more: {count} chosen"

    def request(self) -> ReadersRequest:
        """What is compared now.

        Raises
        ------
        BadInput
            If the values of the image of the result were replaced.
        """
        result, layer = self.result, self.image.layer
        segmentation: Segmentation | Path | None = result if isinstance(result, Path) else None
        if isinstance(result, RunResult):
            result.check_data()
            segmentation = result.segmentation
        return ReadersRequest(
            readers=tuple(mask.reader for mask in self.chosen),
            masks=tuple(mask.as_given(layer) for mask in self.chosen),
            image=self.image.read if layer is None else scan_from_layer(layer),
            result=segmentation,
            classes=None,
            consensus=str(self.consensus_box.currentData()),
            is_on_layer=layer is not None,
        )

    def add_files(self, paths: list[Path]) -> None:
        """List masks of files."""
        self._add(paths, "file")

    def _add(self, paths: list[Path], kind: str) -> None:
        known = {mask.source for mask in self.masks if isinstance(mask.source, Path)}
        names = {mask.reader for mask in self.masks}
        for path in paths:
            if path in known:
                continue
            number = next(n for n in range(1, 1000) if f"reader {n}" not in names)
            names.add(f"reader {number}")  # the name of a file may be that of a patient
            self.masks.append(GivenMask(f"reader {number}", path, f"{kind}: {path.name}"))
        self.show_masks(self.image, self.masks)

    def _browse_files(self) -> None:
        patterns = " ".join(f"*{suffix}" for suffix in readable_suffixes())
        names, _ = QFileDialog.getOpenFileNames(self, "Masks of readers", "", f"Masks ({patterns});;All (*)")
        if names:
            self.add_files([Path(name) for name in names])

    def _browse_store(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Annotations of a reader")
        if name:
            self._add([Path(name)], "annotations")

    def _remove(self) -> None:
        row = self.table.currentRow()
        if 0 <= row < len(self.masks):
            del self.masks[row]
            self.show_masks(self.image, self.masks)

    def _on_item(self, item: QTableWidgetItem) -> None:
        if self._is_filling or item.column() != 0:
            return
        mask = self.masks[item.row()]
        mask.is_chosen = item.checkState() == Qt.CheckState.Checked
        mask.reader = item.text().strip() or mask.reader
        self.changed.emit()

    def _refresh(self) -> None:
        row = self.table.currentRow()
        is_file = 0 <= row < len(self.masks) and isinstance(self.masks[row].source, Path)
        self.remove_button.setEnabled(is_file)
        self.remove_button.setToolTip(
            "Take the file out of the list" if is_file else "Choose a file first; a layer can be unticked"
        )
