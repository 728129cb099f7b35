"""The window that compares the masks of several readers, and sets a model's samples beside them."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import napari.viewer
from qtpy.compat import isalive
from qtpy.QtCore import QEvent, Qt
from qtpy.QtWidgets import (
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QPushButton,
    QTabWidget,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io.convert import write_scan
from napari_latentseg.io.registry import readable_suffixes
from napari_latentseg.report.readers_text import (
    class_tables,
    model_texts,
    pair_head,
    reader_comparison_texts,
)
from napari_latentseg.widgets._shared.color_bar import ColorBar
from napari_latentseg.widgets._shared.controls import WrappedLabel, elastic_combo
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_info
from napari_latentseg.widgets._shared.run_result import RunResult
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.task_line import TaskLine, enable
from napari_latentseg.widgets._shared.text_table import TextTable
from napari_latentseg.widgets._shared.threads import show_exception
from napari_latentseg.widgets.readers.comparing import Compared, compare
from napari_latentseg.widgets.readers.fields import ComparedImage, ReadersFields
from napari_latentseg.widgets.readers.given_masks import GivenMask, masks_on
from napari_latentseg.widgets.readers.map_layers import CONSENSUS, DISAGREEMENT, ComparisonLayers

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.report.readers_text import Row

__all__ = ["ReadersDialog", "compare_readers"]

_WIDTH, _HEIGHT = 760, 660  # pixels; a laptop of 1366 x 768 shows the viewer beside it
_NOT_YET = "Compare first"
_NO_LAYER = "The image is not open in the viewer"


class ReadersDialog(QDialog):
    """Compares the masks of two to eight readers of one image; does not block the viewer.

    Parameters
    ----------
    viewer
        The viewer whose layers are offered.
    parent
        Its window.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setObjectName("readers")
        self.setWindowTitle("Compare readers")
        self.viewer = viewer
        self.session = session_of(viewer)
        self.compared: Compared | None = None
        self.layers: ComparisonLayers | None = None
        self._result: RunResult | Path | None = None  # that which was compared
        self._follows_layers = True
        self._make()
        self._lay_out()
        self._connect()
        self._refresh()

    def _make(self) -> None:
        self.fields = ReadersFields()
        self.compare_button = QPushButton("Compare")
        self.compare_button.setDefault(True)
        self.task = TaskLine(
            "Tick the masks of two readers or more",
            waiting="Wait until the masks are compared, or press Cancel",
            failed="The masks could not be compared",
        )
        self.class_box = elastic_combo("The class whose figures and map are shown")
        self.readers_table, self.model_table = TextTable("Readers"), TextTable("Model beside the readers")
        self.readers_text, self.model_text = WrappedLabel(), WrappedLabel()
        self.tabs = QTabWidget()
        self.tabs.addTab(_with_text(self.readers_table, self.readers_text), "Readers")
        self.tabs.addTab(_with_text(self.model_table, self.model_text), "Model beside the readers")
        self.scale = ColorBar()
        self.scale.show_map("disagreement", 0)
        self.map_buttons = {
            DISAGREEMENT: QPushButton("Disagreement"),
            "variance": QPushButton("Variance of the model"),
            CONSENSUS: QPushButton("Consensus"),
        }
        for button in self.map_buttons.values():
            button.setCheckable(True)
        self.save_button = QPushButton("Save consensus…")
        self.page_button = QPushButton("Page…")
        self.close_button = QPushButton("Close")

    def _lay_out(self) -> None:
        start = QHBoxLayout()
        start.addWidget(self.task, 1)
        start.addWidget(self.compare_button)
        start.addWidget(self.task.cancel)
        maps = QHBoxLayout()
        maps.addWidget(PlainLabel("Show"))
        for button in self.map_buttons.values():
            maps.addWidget(button)
        maps.addStretch(1)
        maps.addWidget(self.class_box)
        buttons = QHBoxLayout()
        buttons.addStretch(1)
        for button in (self.save_button, self.page_button, self.close_button):
            buttons.addWidget(button)
        layout = QVBoxLayout(self)
        layout.addWidget(self.fields)
        layout.addLayout(start)
        layout.addWidget(self.tabs, 1)
        layout.addLayout(maps)
        layout.addWidget(self.scale)
        layout.addLayout(buttons)
        for button in self.findChildren(QPushButton):
            button.setAutoDefault(button is self.compare_button)
        self.resize(_WIDTH, _HEIGHT)

    def _connect(self) -> None:
        self.fields.changed.connect(self._refresh)
        self.task.changed.connect(self._refresh)
        self.compare_button.clicked.connect(self.compare)
        self.class_box.activated.connect(self._show_class)
        self.map_buttons[DISAGREEMENT].clicked.connect(self._show_disagreement)
        self.map_buttons["variance"].clicked.connect(self._show_variance)
        self.map_buttons[CONSENSUS].clicked.connect(self._show_consensus)
        self.save_button.clicked.connect(self._ask_save)
        self.page_button.clicked.connect(self._ask_page)
        self.close_button.clicked.connect(self.close)
        for event in (self.viewer.layers.events.inserted, self.viewer.layers.events.removed):
            event.connect(self._on_layers)  # napari holds no widget by it

    def event(self, event: QEvent | None) -> bool:
        """List the layers anew when the person comes back from the viewer."""
        if event is not None and event.type() == QEvent.Type.WindowActivate and self._follows_layers:
            self.show_layers()
        return super().event(event)

    def _on_layers(self, event: Any = None) -> None:
        if not isalive(self):  # the window was closed
            return
        if self._follows_layers:
            self.show_layers()
        self._refresh()

    def show_layers(self) -> None:
        """List the masks on the image of the case, and files that were added."""
        self._follows_layers = True
        image = self.session.image
        files = [mask for mask in self.fields.masks if isinstance(mask.source, Path)]
        if image is None:
            self.fields.show_results([])
            self.fields.show_masks(ComparedImage(), files)
            return
        results = [r for r in self.session.results_of(image) if r.segmentation is not None]
        self.fields.show_results([*results])
        layers = [layer for layer in self.viewer.layers if self.session.cases.may_be_of_case(layer)]
        masks = masks_on(image, layers, self.fields.masks)
        self.fields.show_masks(ComparedImage(image.name, image), [*masks, *files])

    def show_readings(
        self, image: ComparedImage, readings: dict[str, Path], results: list[RunResult | Path]
    ) -> None:
        """List the readings of a case, and compare them.

        Parameters
        ----------
        image
            Of the case.
        readings
            The file of each reader.
        results
            Of the case, from the oldest to the newest.
        """
        self._follows_layers = False
        self.fields.result_box.clear()
        self.fields.show_results(results)
        self.fields.show_masks(
            image, [GivenMask(reader, path, "reading of the list") for reader, path in readings.items()]
        )
        self.compare()

    def compare(self) -> None:
        """Compare the masks that are ticked."""
        if self.task.busy_reason or self.fields.problem:
            return
        try:
            request = self.fields.request()
        except BadInput as error:
            show_exception(error)
            return
        layer, result = self.fields.image.layer, self.fields.result

        def done(compared: Compared) -> None:
            if self.layers is not None:
                self.layers.take_away()
            self.compared, self._result = compared, result
            is_open = layer is not None and layer in self.viewer.layers
            self.layers = ComparisonLayers(self.viewer, layer, compared) if is_open and layer else None
            self.class_box.clear()
            self.class_box.addItems([group.title for group in class_tables(compared.comparison)])
            self._show_class()
            self.task.finish(f"{len(compared.comparison.readers)} readers compared")

        self.task.start("Comparing", lambda: compare(request), done, noun="", when_cancelled="Cancelled")

    def _show_class(self, _: int = 0) -> None:
        """Show the figures of a class, and its map where one is on screen."""
        if self.compared is None:
            return
        comparison = self.compared.comparison
        group = class_tables(comparison)[max(0, self.class_box.currentIndex())]
        rows = [_texts(row) for row in group.pairs]
        if group.performance:
            rows += [
                [f"STAPLE of {reader}", f"sensitivity {sensitivity}", f"specificity {specificity}"]
                for reader, sensitivity, specificity in map(_texts, group.performance)
            ]
        self.readers_table.show_texts(pair_head(comparison), rows, [row[0] for row in rows])
        notes = [f"{comparison.readers[note.reader]} {note.text}." for note in comparison.notes]
        self.readers_text.setText(" ".join([*notes, *reader_comparison_texts(comparison)]))
        model_rows = [_texts(row) for row in group.model]
        self.model_table.show_texts(["", "Value"], model_rows, [row[0] for row in model_rows])
        self.model_text.setText(
            " ".join(model_texts(comparison)) or "No result of a model was compared with the readers."
        )
        if self.layers is not None and self.layers.is_shown(DISAGREEMENT):
            self.layers.show_disagreement(self._class_position)
        if isinstance(self._result, RunResult) and self._result.is_in_viewer:
            self._result.layers.maps.show_class(self._class_position)
        self._refresh()

    @property
    def _class_position(self) -> int:
        """The position of the class that is shown; of several time points, each class comes in each."""
        assert self.compared is not None
        comparison = self.compared.comparison
        return max(0, self.class_box.currentIndex()) % len(comparison.classes)

    def _show_disagreement(self, is_on: bool) -> None:
        if self.layers is None:
            return
        if is_on:
            self.layers.show_disagreement(self._class_position)
            self._show_variance(False)
        else:
            self.layers.hide(DISAGREEMENT)
        self._refresh()

    def _show_variance(self, is_on: bool) -> None:
        if isinstance(self._result, RunResult):
            self._result.layers.show_map("variance", is_on)
            if is_on and self.layers is not None:
                self.layers.hide(DISAGREEMENT)
        self._refresh()

    def _show_consensus(self, is_on: bool) -> None:
        if self.layers is not None:
            if is_on:
                self.layers.show_consensus()
            else:
                self.layers.hide(CONSENSUS)
        self._refresh()

    def _refresh(self) -> None:
        """Enable what can be used, and say of the rest why it cannot."""
        busy, compared = self.task.busy_reason, self.compared
        enable(self.compare_button, busy or self.fields.problem)
        can_draw = self.layers is not None and self.layers.is_image_open
        no_layer = _NOT_YET if compared is None else "" if can_draw else _NO_LAYER
        has_variance = isinstance(self._result, RunResult) and bool(self._result.layers.layers_of("variance"))
        no_variance = no_layer or ("" if has_variance else "No open result with a variance was compared")
        for kind, problem in ((DISAGREEMENT, no_layer), ("variance", no_variance), (CONSENSUS, no_layer)):
            enable(self.map_buttons[kind], problem)
            self.map_buttons[kind].setChecked(not problem and self._is_shown(kind))
        for button in (self.save_button, self.page_button):
            enable(button, busy or ("" if compared is not None else _NOT_YET))
        self.class_box.setVisible(self.class_box.count() > 1)

    def _is_shown(self, kind: str) -> bool:
        if kind == "variance":
            assert isinstance(self._result, RunResult)
            return any(layer.visible for layer in self._result.layers.layers_of("variance"))
        return self.layers is not None and self.layers.is_shown(kind)

    def _ask_page(self) -> None:
        name, _ = QFileDialog.getSaveFileName(self, "Page", "readers.html", "HTML (*.html)")
        if name:
            self.write_page(Path(name if name.endswith((".html", ".htm")) else f"{name}.html"))

    def write_page(self, path: Path) -> None:
        """Write the page of the comparison."""
        compared = self.compared
        assert compared is not None  # the button is disabled until then
        self.task.start(
            "Writing the page",
            partial(api.report_readers, compared.comparison, path, compared.image),
            lambda written: self._written(Path(written)),
        )

    def _ask_save(self) -> None:
        assert self.compared is not None  # the button is disabled until then
        patterns = " ".join(f"*{suffix}" for suffix in readable_suffixes())
        in_pixels = "pixel" in self.compared.comparison.consensus.geometry.units
        proposed = "consensus.ome.tif" if in_pixels else "consensus.nii.gz"  # NIfTI needs a physical size
        name, _ = QFileDialog.getSaveFileName(self, "Consensus", proposed, f"Masks ({patterns})")
        if name:
            self.save_consensus(Path(name))

    def save_consensus(self, path: Path) -> None:
        """Write the consensus as a mask, in the geometry of the masks; the suffix says the format."""
        compared = self.compared
        assert compared is not None  # the button is disabled until then
        consensus = compared.comparison.consensus
        scan = Scan(consensus.labels, "".join(consensus.geometry.axis_labels), consensus.geometry)

        def done(notes: Any) -> None:
            self._written(path, notes)

        self.task.start("Writing the consensus", lambda: write_scan(scan, path), done)

    def _written(self, path: Path, notes: tuple[str, ...] = ()) -> None:
        self.task.finish(f"{path.name} is written")
        for note in notes:
            show_info(note)


def _with_text(table: TextTable, text: WrappedLabel) -> QWidget:
    page = QWidget()
    layout = QVBoxLayout(page)
    layout.setContentsMargins(4, 4, 4, 4)
    layout.addWidget(table, 1)
    layout.addWidget(text)
    return page


def _texts(row: Row) -> list[str]:
    return [cell if isinstance(cell, str) else cell.text for cell in row]


def compare_readers(viewer: napari.viewer.Viewer) -> None:
    """Show the window that compares readers; napari calls this from its menu."""
    show_dialog(viewer, ReadersDialog, ReadersDialog).show_layers()
