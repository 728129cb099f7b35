"""The dialog that asks what is exported, and says what is in the way before anything is written."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import Qt, QTimer
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.core.agreement import agreement_unavailable_reason
from napari_latentseg.measure import contours_unavailable_reason
from napari_latentseg.widgets._shared.case_codes import read_last_folder
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread
from napari_latentseg.widgets.segment.export import (
    ExportCheck,
    ExportSettings,
    check_export,
    default_name,
    export_result,
)
from napari_latentseg.widgets.segment.mask_choice import MaskChoice

if TYPE_CHECKING:
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["ExportDialog"]

_FORMATS = {
    "same as the image": None,
    "NIfTI": "nifti",
    "DICOM-SEG": "dicom-seg",
    "DICOM-SEG (label map)": "dicom-labelmap",
    "OME-TIFF": "ome-tiff",
    "OME-Zarr": "ome-zarr",
    "NRRD": "nrrd",
    "MetaImage": "metaimage",
    "PNG": "png",
}
_CHECK_DELAY_MS = 150  # after the last key, so that a name is not compared with the folder at every letter
_NO_CASE_TABLE = "Tick the table of cases first"
_CHECKING = "The folder is being checked"


class ExportDialog(QDialog):
    """Asks for name, folder, format and extras of an export; does not block the viewer.

    Formats that cannot hold the result are greyed, with the reason in their tooltip. What is in the folder
    under the same name is said before Save: a result of the same image is replaced, anything else only where
    the user ticks Replace.
    """

    def __init__(self, result: RunResult, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        assert result.segmentation is not None
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Export {result.title}")
        self.setObjectName("export")
        self._result = result
        self._segmentation: Segmentation = result.segmentation
        self._check = ExportCheck(_CHECKING)
        self._check_count = 0
        self._make_fields()
        self._lay_out()
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.setInterval(_CHECK_DELAY_MS)
        self._timer.timeout.connect(self._start_check)
        for field in (self.name, self.folder, self.cases_path):
            field.textChanged.connect(self._on_other_target)
        self.cases.toggled.connect(self._on_other_target)
        for changed in (
            self.format.currentIndexChanged, self.table.toggled, self.report.toggled, self.contours.toggled,
            self.agreement.toggled, self.doubt.toggled, self.band.toggled, self.replace.toggled,
        ):  # fmt: skip
            changed.connect(self._on_change)
        self.deidentify.toggled.connect(self._fill_name)
        self._fill_name()
        self._on_change()
        run_in_thread(partial(_look_around, self._segmentation), self._show_surroundings, owner=self)

    def _make_fields(self) -> None:
        self.name = QLineEdit()
        self.name.setToolTip("A code for this case: files, record, report and table are named after it")
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("choose a folder")
        self.mask_choice = MaskChoice(self._result)
        self.format = QComboBox()
        for title, name in _FORMATS.items():
            self.format.addItem(title, name)
        self.table = QCheckBox("table of areas and volumes (CSV)")
        self.report = QCheckBox("one-page report (HTML) with the most uncertain slices")
        self.agreement = QCheckBox("agreement: how many samples call a voxel the class")
        no_agreement = agreement_unavailable_reason(self._segmentation)
        self.agreement.setEnabled(not no_agreement)
        self.agreement.setToolTip(no_agreement or "One map for each class, from 0 to the number of samples")
        self.doubt = QCheckBox("doubt: min(p, 1 - p) of the mean probability p")
        self.doubt.setToolTip("One map for each class, from 0 to 0.5; see the tooltip of Doubt under Segment")
        self.contours = QCheckBox("contours (GeoJSON)")
        self.band = QCheckBox("90 % contours: the true edge lies between them")
        no_band = contours_unavailable_reason(self._segmentation, self._result.card)
        self.band.setEnabled(not no_band)
        self.band.setToolTip(no_band or "Two masks for each class; in DICOM-SEG two segments")
        for box in (self.table, self.report):
            box.setChecked(True)
        self.cases = QCheckBox("add to a table of cases (CSV)")
        self.cases_path = QLineEdit()
        self.cases_path.setPlaceholderText("cases.csv in the folder")
        self.cases_path.setAccessibleName("Table of cases")
        self.case_objects = QCheckBox("with a row for each object")
        for part in (self.cases_path, self.case_objects):
            part.setEnabled(False)
            self.cases.toggled.connect(part.setEnabled)
        self.cases.toggled.connect(self._explain_case_table)
        self._explain_case_table(False)
        self.deidentify = QCheckBox("de-identify (no patient, study or institution metadata)")
        self.deidentify.setChecked(preferences().deidentify)
        self.replace = QCheckBox("Replace what is there")
        self.replace.setVisible(False)
        self.message = PlainLabel()
        self.message.setWordWrap(True)
        self.message.setTextFormat(Qt.TextFormat.PlainText)

    def _lay_out(self) -> None:
        form = QFormLayout()
        form.addRow("Case", self.name)
        form.addRow("Folder", _with_button(self.folder, "Browse…", self._browse))
        form.addRow("Mask", self.mask_choice)
        form.addRow("Format", self.format)
        form.addRow("Include", self.table)
        form.addRow("", self.report)
        form.addRow("", self.agreement)
        form.addRow("", self.doubt)
        form.addRow("", self.contours)
        form.addRow("", self.band)
        form.addRow("", self.cases)
        form.addRow("", _with_button(self.cases_path, "Choose…", self._browse_cases))
        form.addRow("", self.case_objects)
        form.addRow("", self.deidentify)
        always = PlainLabel("Mask, mean, variance and the run record are always written.")
        always.setWordWrap(True)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.save)
        self.buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(always)
        layout.addWidget(self.message)
        layout.addWidget(self.replace)
        layout.addWidget(self.buttons)
        self.resize(480, self.sizeHint().height())

    def _fill_name(self) -> None:
        """Propose a name, unless the user has typed one."""
        if not self.name.isModified():
            self.name.setText(default_name(self._result, deidentify=self.deidentify.isChecked())[0])

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the result", self.folder.text())
        if folder:
            self.folder.setText(folder)

    def _browse_cases(self) -> None:
        path, _ = QFileDialog.getSaveFileName(
            self, "Table of cases", self.folder.text(), "CSV (*.csv)",
            options=QFileDialog.Option.DontConfirmOverwrite,  # rows are added
        )  # fmt: skip
        if path:
            self.cases.setChecked(True)
            self.cases_path.setText(path)

    def settings(self) -> ExportSettings:
        """What the fields say."""
        folder, name = Path(self.folder.text().strip()), self.name.text().strip()
        proposed, is_code = default_name(self._result, deidentify=self.deidentify.isChecked())
        cases = self.cases_path.text().strip()
        return ExportSettings(
            folder, name, is_code or name != proposed, self.format.currentData(),
            agreement=self.agreement.isChecked(), doubt=self.doubt.isChecked(),
            contours=self.contours.isChecked(), band=self.band.isChecked(),
            table=self.table.isChecked(), report=self.report.isChecked(),
            append_to=(Path(cases) if cases else folder / "cases.csv") if self.cases.isChecked() else None,
            append_objects=self.case_objects.isChecked(), deidentify=self.deidentify.isChecked(),
            overwrite=self.replace.isChecked(),
        )  # fmt: skip

    def _on_other_target(self) -> None:
        """Withdraw the permission to replace files: it holds only for those that the user was told about."""
        self.replace.setChecked(False)
        self._on_change()

    def _on_change(self) -> None:
        self._check_count += 1
        self._check = ExportCheck(_CHECKING)
        self._refresh()
        if self._missing():
            self._timer.stop()
        else:
            self._timer.start()

    def _missing(self) -> str:
        if not self.folder.text().strip():
            return "Choose a folder first"
        return "" if self.name.text().strip() else "Give the case a code first"

    def _explain_case_table(self, is_written: bool) -> None:
        self.cases_path.setToolTip("A CSV file" if is_written else _NO_CASE_TABLE)
        self.case_objects.setToolTip(
            "The rows of whole classes have an empty column 'object'" if is_written else _NO_CASE_TABLE
        )

    def _start_check(self) -> None:
        number = self._check_count

        def show(check: ExportCheck) -> None:
            if number == self._check_count:  # the fields are as they were when it began
                self._check = check
                self._refresh()

        run_in_thread(
            partial(check_export, self._segmentation, self.settings()), show,
            lambda error: show(ExportCheck(str(error))), owner=self,
        )  # fmt: skip

    def _refresh(self) -> None:
        missing, check = self._missing(), self._check
        is_checking = check.problem == _CHECKING
        problem = missing or check.problem
        save = self.buttons.button(QDialogButtonBox.StandardButton.Save)
        if save is not None:
            save.setEnabled(not problem)
            save.setToolTip(problem)
        if missing or not is_checking:  # what was said stays while the next check runs, so that nothing jumps
            self.message.setText(f"{missing}." if missing else check.problem or check.note)
            self.replace.setVisible(not missing and (check.can_replace or self.replace.isChecked()))

    def _show_surroundings(self, found: tuple[str, dict[str | None, str]]) -> None:
        """Fill in the last folder, and grey the formats that cannot hold the result."""
        folder, reasons = found
        if folder and not self.folder.text():
            self.folder.setText(folder)
        model: Any = self.format.model()
        for row in range(self.format.count()):
            reason = reasons.get(self.format.itemData(row))
            item = model.item(row)
            item.setEnabled(reason is None)
            item.setToolTip("" if reason is None else reason)
        if self.format.currentData() in reasons:
            possible = [r for r in range(self.format.count()) if self.format.itemData(r) not in reasons]
            self.format.setCurrentIndex(possible[0] if possible else -1)
        first = next(iter(reasons.values()), "")
        self.format.setToolTip(f"Formats in grey cannot hold this result: {first}" if first else "")

    def save(self) -> ThreadWorker:
        """Write the export, and close the dialog."""
        settings = self.settings()
        worker = export_result(
            self._result, settings.folder, settings=settings, own_mask=self.mask_choice.own_mask
        )
        self.close()
        return worker


def _with_button(field: QLineEdit, text: str, action: Any) -> QWidget:
    row = QWidget()
    layout = QHBoxLayout(row)
    layout.setContentsMargins(0, 0, 0, 0)
    layout.addWidget(field, 1)
    button = QPushButton(text)
    button.clicked.connect(action)
    layout.addWidget(button)
    return row


def _look_around(result: Segmentation) -> tuple[str, dict[str | None, str]]:
    """The last folder, and the impossible formats with the reasons. Reads files."""
    from napari_latentseg.io.result_format import impossible_formats

    return read_last_folder(), impossible_formats(result)
