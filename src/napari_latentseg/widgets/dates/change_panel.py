"""Compare with an earlier result in Review: the change of each class, and its outline over the image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.layers import Labels
from qtpy.compat import isalive
from qtpy.QtCore import Qt, QTimer
from qtpy.QtGui import QResizeEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCheckBox,
    QFileDialog,
    QGridLayout,
    QHBoxLayout,
    QHeaderView,
    QProgressBar,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QWidget,
)

from napari_latentseg.api.change import compare_with_earlier
from napari_latentseg.core.percent import percent
from napari_latentseg.errors import Cancelled
from napari_latentseg.measure import INTERVAL_LEVEL
from napari_latentseg.report.change_text import change_texts
from napari_latentseg.widgets._shared.background_task import BackgroundTask
from napari_latentseg.widgets._shared.controls import WrappedLabel, elastic_combo
from napari_latentseg.widgets._shared.double_click import connect_start_and_cancel
from napari_latentseg.widgets._shared.label_style import label_style, reference_classes
from napari_latentseg.widgets._shared.layers import (
    METADATA_KEY,
    placement_metadata,
    role_of,
    spatial_arguments,
)
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.text import keep_units
from napari_latentseg.widgets._shared.threads import show_exception

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.change.date_change import DateChange
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["ROLE", "ChangePanel"]

ROLE = "earlier"
"""Of the layer with the earlier mask."""

# of the width; an interval such as "+84.6 mm²)" is not broken, and was cut in a quarter of a laptop's widget
_COLUMN_SHARES = (0.22, 0.22, 0.33, 0.23)
_RESULT_FILES = "Result (*run.json);;All files (*)"


class ChangePanel(QWidget):
    """Which earlier result is compared, the progress of that, and a table of the changes.

    Parameters
    ----------
    viewer
        The viewer.
    parent
        The widget that it is part of.
    """

    def __init__(self, viewer: ViewerModel, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.viewer = viewer
        self._session = session_of(viewer)
        self._result: RunResult | None = None
        self._task: BackgroundTask | None = None
        self._saved: Path | None = None
        self._saved_image: Path | None = None
        self._compared: RunResult | Path | None = None  # the earlier result that the table is of
        self._chosen_row = 0
        self.earlier = elastic_combo("The earlier result: one that is open, or one that was saved")
        self.image_button = QPushButton("Its image…")
        self.image_button.setToolTip("The image of the saved result; only needed to register the two images")
        self.register = QCheckBox("Register the images")
        self.compare_button = QPushButton("Compare")
        self.cancel_button = QPushButton("Cancel")
        self.progress = QProgressBar()
        self.progress.hide()
        self.table = _table()
        self.text = WrappedLabel()
        self.text.setTextInteractionFlags(Qt.TextInteractionFlag.TextSelectableByMouse)
        self.text.hide()
        self._lay_out()
        self.earlier.activated.connect(self._on_earlier)
        self.image_button.clicked.connect(self._ask_image)
        connect_start_and_cancel(self.compare_button, self.cancel_button, self.compare, self.cancel)
        self._session.results_changed.connect(self.list_results)
        self.list_results()

    def _lay_out(self) -> None:
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(PlainLabel("Earlier"), 0, 0)
        grid.addWidget(self.earlier, 0, 1)
        grid.addWidget(self.image_button, 0, 2)
        grid.addWidget(self.register, 1, 0, 1, 3)
        buttons = QHBoxLayout()
        buttons.addWidget(self.compare_button, 1)
        buttons.addWidget(self.cancel_button, 1)
        grid.addLayout(buttons, 2, 0, 1, 3)
        for row, widget in enumerate((self.progress, self.table, self.text), start=3):
            grid.addWidget(widget, row, 0, 1, 3)
        grid.setColumnStretch(1, 1)

    @property
    def is_busy(self) -> bool:
        """Whether two results are being compared."""
        return self._task is not None

    def list_results(self) -> None:
        """List the open results of other images with the same classes, and a saved one."""
        current = self._session.current
        is_other = current is not self._result
        if is_other:  # what is shown is of another result
            self.cancel()
            self._result, self._compared = current, None
        chosen = self.earlier.currentData()
        self.earlier.clear()
        for other in self._session.results:
            if current is not None and _can_be_earlier(other, current):
                self.earlier.addItem(other.title, other)
        if self._saved is not None:
            self.earlier.addItem(f"Saved: {self._saved.name}", self._saved)
        self.earlier.addItem("Choose a saved result…", None)
        data = [self.earlier.itemData(i) for i in range(self.earlier.count())]
        row = data.index(chosen) if chosen is not None and chosen in data else 0
        self.earlier.setCurrentIndex(row)
        self._refresh()
        if is_other:
            self._follow_figures()

    def choose_saved(self, path: Path) -> None:
        """Take a saved result as the earlier one.

        Parameters
        ----------
        path
            Its folder or record.
        """
        self._saved, self._saved_image = path, None
        self.list_results()
        self.earlier.setCurrentIndex(self.earlier.count() - 2)
        self._refresh()
        self._follow_figures()

    def choose_image(self, path: Path) -> None:
        """The image of the saved result."""
        self._saved_image = path
        self._refresh()

    def compare(self) -> None:
        """Compare in a thread, and show the change."""
        current, earlier = self._session.current, self.earlier.currentData()
        if current is None or current.segmentation is None or earlier is None or self.is_busy:
            return
        shown = current.shown_mask()  # now: later strokes are not part of it
        current_image = current.job.scan
        is_saved = isinstance(earlier, Path)
        earlier_mask = None if is_saved else earlier.shown_mask()
        earlier_image = self._saved_image if is_saved else earlier.job.scan
        register = self.register.isChecked() and earlier_image is not None

        def work(task: BackgroundTask) -> DateChange:
            done = 0.0

            def note_progress(fraction: float) -> None:
                nonlocal done
                done = fraction

            def should_stop() -> bool:
                try:
                    task.report_progress(round(100 * done), 100)
                except Cancelled:
                    return True
                return False

            return compare_with_earlier(
                shown.segmentation,
                earlier if earlier_mask is None else earlier_mask.segmentation,
                current_image=current_image, earlier_image=earlier_image, register=register,
                progress=note_progress, should_stop=should_stop,
            )  # fmt: skip

        def show(change: DateChange) -> None:
            if self._session.current is current:
                self._compared = earlier
                self._show(current, change)
            self._end()

        self._task = BackgroundTask(self, work, show, self._fail, self._show_progress)
        self.progress.setRange(0, 0)
        self._task.start()
        self._refresh()

    def cancel(self) -> None:
        """Cancel the comparison."""
        if self._task is not None:
            self._task.stop()
            self._end()

    def _end(self) -> None:
        self._task = None
        self._refresh()
        if not self._is_compared:  # another one was chosen meanwhile
            self._follow_figures()

    def _fail(self, error: BaseException) -> None:
        self._end()
        show_exception(error)

    def _show_progress(self, done: int, total: int) -> None:
        self.progress.setRange(0, total)
        self.progress.setValue(done)

    def _show(self, result: RunResult, change: DateChange) -> None:
        self.table.setRowCount(len(change.changes))
        for i, row in enumerate(change.changes):
            sizes = f"{row.format_size(row.first.value)} to {row.format_size(row.second.value)}"
            amount = ", ".join(filter(None, (row.difference_text, row.percent_text)))
            if row.interval_text:
                amount += f" ({percent(INTERVAL_LEVEL)}: {row.interval_text})"
            for j, text in enumerate((row.name, sizes, amount, row.verdict)):
                item = QTableWidgetItem(keep_units(text))
                item.setToolTip(plain_text(row.describe()))
                self.table.setItem(i, j, item)
        basis = change.placed_mask.basis
        outlines = basis if basis.endswith(".") else f"The earlier outline is over the image: {basis}."
        self.text.setText(keep_units("\n".join([*change_texts(change), outlines])))
        QTimer.singleShot(0, self._fit_table)  # once the columns have their widths
        self._show_outline(result, change)

    def _fit_table(self) -> None:
        """Make the table as high as its rows, which break their lines."""
        if not isalive(self):
            return
        self.table.resizeRowsToContents()
        height = sum(self.table.rowHeight(i) for i in range(self.table.rowCount()))
        header = self.table.horizontalHeader()
        self.table.setFixedHeight(height + (header.height() if header is not None else 0) + 6)

    def _show_outline(self, result: RunResult, change: DateChange) -> None:
        """The earlier mask over the image; it is not part of what is measured, stored or exported."""
        layer = self._outline_of(result)
        labels = change.placed_mask.labels
        if labels is None:
            if layer is not None:  # of another earlier result
                layer.visible = False
            return
        if layer is not None:
            layer.data = labels
            layer.visible = True
            return
        active = self.viewer.layers.selection.active
        layer = Labels(
            labels,
            name=f"{result.image.name} earlier mask",
            metadata={METADATA_KEY: _metadata(result)},
            **label_style(reference_classes(change.classes)),
            **spatial_arguments(result.image),
        )
        layer.contour, layer.opacity, layer.editable = 1, 1.0, False
        self.viewer.add_layer(layer)
        self.viewer.layers.selection.active = active

    def _outline_of(self, result: RunResult) -> Labels | None:
        layers = (layer for layer in self.viewer.layers if _is_earlier_of(layer, result))
        return next((layer for layer in layers if isinstance(layer, Labels)), None)

    def _follow_figures(self) -> None:
        """Show the outline with the figures of its earlier result, and hide it with them."""
        layer = None if self._result is None else self._outline_of(self._result)
        if layer is not None:
            layer.visible = self._is_compared

    @property
    def _is_compared(self) -> bool:
        """Whether the table is of the earlier result that is chosen."""
        return self._compared is not None and self._compared == self.earlier.currentData()

    def _on_earlier(self, row: int) -> None:
        if self.earlier.itemData(row) is None:
            path, _ = QFileDialog.getOpenFileName(self, "Earlier result", "", _RESULT_FILES)
            if path:
                self.choose_saved(Path(path))
            else:  # what was chosen before stays chosen
                self.earlier.setCurrentIndex(min(self._chosen_row, self.earlier.count() - 1))
        self._refresh()
        self._follow_figures()

    def _ask_image(self) -> None:
        path, _ = QFileDialog.getOpenFileName(self, "Image of the earlier result", "")
        if path:
            self.choose_image(Path(path))

    def _refresh(self) -> None:
        earlier, current = self.earlier.currentData(), self._session.current
        is_saved = isinstance(earlier, Path)
        self.image_button.setVisible(is_saved)
        self.image_button.setText("Its image…" if self._saved_image is None else "Image given")
        can_register = not is_saved or self._saved_image is not None
        self.register.setEnabled(can_register)
        self.register.setToolTip(
            "Align the earlier image with this one (rotation and translation), where they do not match"
            if can_register
            else "Give the image of the saved result first"
        )
        is_possible = earlier is not None and current is not None and not self.is_busy
        self.compare_button.setEnabled(is_possible)
        self.compare_button.setToolTip(
            "Show how much each class has changed"
            if is_possible
            else "A comparison is in progress; wait or cancel"
            if self.is_busy
            else "Choose an earlier result first"
        )
        self.cancel_button.setVisible(self.is_busy)
        self.progress.setVisible(self.is_busy)
        self.table.setVisible(self._is_compared)  # never the figures of another earlier result
        self.text.setVisible(self._is_compared)
        self._chosen_row = self.earlier.currentIndex()


class _ChangeTable(QTableWidget):
    """Four columns of a fixed share of the width: the interval of a change needs the most."""

    def resizeEvent(self, event: QResizeEvent | None) -> None:
        """Share the width anew."""
        super().resizeEvent(event)
        viewport, header = self.viewport(), self.horizontalHeader()
        if viewport is not None and header is not None:
            for column, share in enumerate(_COLUMN_SHARES):
                header.resizeSection(column, int(share * viewport.width()))


def _table() -> QTableWidget:
    table = _ChangeTable(0, 4)
    table.setAccessibleName("Changes")
    table.setHorizontalHeaderLabels(["Class", "Size", "Change", "Verdict"])
    table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
    table.setSelectionMode(QAbstractItemView.SelectionMode.NoSelection)
    table.setTabKeyNavigation(False)
    table.setWordWrap(True)
    table.setMinimumWidth(120)  # it breaks its lines rather than widen the widget
    vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
    if vertical is not None and horizontal is not None:
        vertical.hide()
        horizontal.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        horizontal.setStretchLastSection(True)
    table.hide()
    return table


def _can_be_earlier(other: RunResult, current: RunResult) -> bool:
    """Whether a result is of another image, with the same classes."""
    if other.image is current.image or other.segmentation is None:
        return False
    return {info.name for info in other.layers.classes} == {info.name for info in current.layers.classes}


def _metadata(result: RunResult) -> dict[str, Any]:
    image = result.image
    return {
        "role": ROLE,
        "image": str(image.unique_id),
        "run": result.layers.run_number,
        **placement_metadata(image),
    }


def _is_earlier_of(layer: Any, result: RunResult) -> bool:
    if role_of(layer) != ROLE:
        return False
    entry = layer.metadata[METADATA_KEY]
    return bool(entry["image"] == str(result.image.unique_id) and entry["run"] == result.layers.run_number)
