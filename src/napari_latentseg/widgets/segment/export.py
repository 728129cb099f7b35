"""Export of a result to a folder, in a chosen format, off the GUI thread."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_info
from qtpy.QtCore import Qt
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg.measure import contours_unavailable_reason
from napari_latentseg.widgets._shared.preferences import preferences
from napari_latentseg.widgets._shared.threads import run_in_thread
from napari_latentseg.widgets.segment.mask_choice import MaskChoice

if TYPE_CHECKING:
    from napari_latentseg.widgets._shared.session import RunResult

__all__ = ["ExportDialog", "export_result"]

_FORMATS = {
    "same as the image": None,
    "NIfTI": "nifti",
    "DICOM-SEG": "dicom-seg",
    "OME-TIFF": "ome-tiff",
    "OME-Zarr": "ome-zarr",
    "NRRD": "nrrd",
    "MetaImage": "metaimage",
    "PNG": "png",
}


class ExportDialog(QDialog):
    """Asks for the folder, the format and the extras of an export; does not block the viewer."""

    def __init__(self, result: RunResult, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle(f"Export {result.title}")
        self.setObjectName("export")
        self._result = result
        self.folder = QLineEdit()
        self.folder.setPlaceholderText("choose a folder")
        browse = QPushButton("Browse…")
        browse.clicked.connect(self._browse)
        folder_row = QHBoxLayout()
        folder_row.addWidget(self.folder, 1)
        folder_row.addWidget(browse)
        self.format = QComboBox()
        is_dicom = result.segmentation is not None and result.segmentation.format == "dicom"
        for title, name in _FORMATS.items():
            if name != "dicom-seg" or is_dicom:
                self.format.addItem(title, name)
        self.format.setToolTip(
            "DICOM-SEG is available for images opened from a DICOM series, which it references"
        )
        self.mask_choice = MaskChoice(result)
        self.contours = QCheckBox("contours (GeoJSON)")
        self.band = QCheckBox("90 % contours: the true edge lies between them")
        segmentation = result.segmentation
        no_band = "" if segmentation is None else contours_unavailable_reason(segmentation, result.card)
        self.band.setEnabled(not no_band)
        self.band.setToolTip(no_band or "Two masks for each class; in DICOM-SEG two segments")
        self.table = QCheckBox("table of areas and volumes (CSV)")
        self.report = QCheckBox("one-page report (HTML) with the most uncertain slices")
        self.deidentify = QCheckBox("de-identify (no patient, study or institution metadata)")
        for box in (self.table, self.report):
            box.setChecked(True)
        self.deidentify.setChecked(preferences().deidentify)
        form = QFormLayout()
        form.addRow("Folder", folder_row)
        form.addRow("Format", self.format)
        form.addRow("Mask", self.mask_choice)
        form.addRow("Include", self.table)
        form.addRow("", self.report)
        form.addRow("", self.contours)
        form.addRow("", self.band)
        form.addRow("", self.deidentify)
        always = QLabel("Mask, mean, variance and the run record are always written.")
        always.setWordWrap(True)
        self.buttons = QDialogButtonBox(
            QDialogButtonBox.StandardButton.Save | QDialogButtonBox.StandardButton.Cancel
        )
        self.buttons.accepted.connect(self.save)
        self.buttons.rejected.connect(self.close)
        self.folder.textChanged.connect(self._refresh)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(always)
        layout.addWidget(self.buttons)
        self.resize(460, self.sizeHint().height())
        self._refresh()

    def _browse(self) -> None:
        folder = QFileDialog.getExistingDirectory(self, "Folder for the result")
        if folder:
            self.folder.setText(folder)

    def _refresh(self) -> None:
        save = self.buttons.button(QDialogButtonBox.StandardButton.Save)
        if save is not None:
            save.setEnabled(bool(self.folder.text().strip()))
            save.setToolTip("" if self.folder.text().strip() else "Choose a folder first")

    def save(self) -> Any:
        """Write the export, and close the dialog."""
        worker = export_result(
            self._result,
            Path(self.folder.text().strip()),
            format=self.format.currentData(),
            contours=self.contours.isChecked(),
            band=self.band.isChecked(),
            table=self.table.isChecked(),
            deidentify=self.deidentify.isChecked(),
            report=self.report.isChecked(),
            own_mask=self.mask_choice.own_mask,
        )
        self.close()
        return worker


def export_result(
    result: RunResult,
    folder: Path,
    *,
    format: str | None = None,
    contours: bool = False,
    band: bool = False,
    table: bool = False,
    deidentify: bool = False,
    report: bool = False,
    own_mask: bool = False,
) -> Any:
    """Write a result to a folder, off the GUI thread, with the mask that counts (`RunResult.shown_mask`).

    Parameters
    ----------
    result
        A finished result.
    folder
        Created where it does not exist.
    format
        See `napari_latentseg.io.write_results.write_segmentation`; None for the format of the image.
    contours, band, table
        Write the contours as GeoJSON, the contours between which the true edge lies, and a table of
        measurements as CSV.
    deidentify
        Leave out metadata and file names that could identify the patient.
    report
        Write an HTML report too.
    own_mask
        Write the model's own mask, although a person has corrected it.

    Returns
    -------
    worker
        Returns the paths that were written.
    """
    segmentation, layers = result.segmentation, result.layers
    assert segmentation is not None
    # the layer's name may identify the patient
    stem = "result" if deidentify else _file_name(layers.image.name)
    shown = result.shown_mask()  # now: later strokes are not part of it

    def write() -> list[Path]:
        from napari_latentseg import api

        return api.write_result(
            segmentation if own_mask else shown.segmentation,
            folder,
            stem,
            scan=result.job.scan,
            card=result.card,
            format=format,
            contours=contours,
            band=band,
            table=table,
            report=folder / f"{stem}_report.html" if report else None,
            deidentify=deidentify,
        )

    return run_in_thread(write, lambda paths: show_info(f"{len(paths)} files written to {folder}"))


def _file_name(name: str) -> str:
    safe_name = "".join(c if c.isalnum() or c in "-_" else "-" for c in name).strip("-")
    return safe_name or "image"
