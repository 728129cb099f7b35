"""The rows of a batch's table, what they are sorted by, and the command line of a batch."""

from __future__ import annotations

from pathlib import Path

import pytest
from qtpy.QtCore import Qt

from napari_latentseg.batches.batch_folder import BatchFolder
from napari_latentseg.batches.case_rows import CaseRow, read_case_rows
from napari_latentseg.batches.table import COLUMNS
from napari_latentseg.errors import BadInput
from napari_latentseg.measure import Measurement
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import find_model
from napari_latentseg.widgets.batch.case_table import CaseTable
from napari_latentseg.widgets.batch.open_result import _doubtful_index
from napari_latentseg.widgets.batch.request import BatchRequest, RunSettings
from napari_latentseg.widgets.segment.form import SOURCE_LABELS

CHOICES = {
    "model": "breast-ultrasound", "source": "augment", "samples": 8, "threshold": 0.4, "plane": "axial",
    "tolerance": 0.01, "smallest": 12.5, "fill_holes": True, "keep_largest": True, "device": "cpu", "seed": 3,
}  # fmt: skip


def size(name: str, value: float, low: float | None = None, high: float | None = None) -> Measurement:
    return Measurement(name, 0, 0, None, value, "mm3", "", low=low, high=high)


def column(table: CaseTable, number: int) -> list[str]:
    model = table.model()
    return [model.index(row, number).data() for row in range(model.rowCount())]


@pytest.fixture
def table(qtbot):
    table = CaseTable()
    qtbot.addWidget(table)
    return table


def test_the_reason_is_not_hidden_by_a_long_path(table):
    reason = "/data/patients/2026/breast/patient_08.png: is cut short; copy it again"
    table.cases.set_rows([CaseRow("patient_08", state="failed", reason=reason)])
    last = table.model().columnCount() - 1
    assert column(table, last) == ["is cut short; copy it again"]
    assert "patient_08.png" in table.model().index(0, last).data(Qt.ItemDataRole.ToolTipRole)


def test_sizes_and_seconds_are_sorted_as_numbers(table):
    rows = [
        CaseRow("b", state="done", seconds=10.0, sizes=(size("lesion", 2e4, 1.9e4, 2.1e4),)),
        CaseRow("a", state="failed", seconds=9.0, reason="is broken"),
        CaseRow("c", state="done", seconds=100.0, sizes=(size("lesion", 3e3),), doubtful_slice="12"),
        CaseRow("d"),
    ]
    table.cases.set_rows(rows)
    assert column(table, 0) == ["b", "a", "c", "d"]  # as they come
    assert column(table, 1) == ["done", "failed", "done", "waiting"]
    assert column(table, 2) == ["20.0 ml (19.0 to 21.0)", "", "3.00 ml", ""]
    for number, expected in ((0, "abcd"), (2, "adcb"), (4, "dabc")):
        table.sortByColumn(number, Qt.SortOrder.AscendingOrder)
        assert "".join(column(table, 0)) == expected
    table.filter.show_state("failed")
    assert column(table, 0) == ["a"]


def test_columns_grow_with_the_texts_of_later_rows(table):
    table.show()
    table.cases.set_rows([CaseRow("a", state="done", sizes=(size("lesion", 3.0),)), CaseRow("b")])
    narrow = table.columnWidth(2)
    table.cases.update_rows([CaseRow("c", state="done", sizes=(size("lesion", 2e4, 1.9e4, 2.1e4),))])
    assert table.columnWidth(2) >= table.sizeHintForColumn(2) > narrow
    table.cases.update_rows([CaseRow("b", state="failed: the image could not be read")])
    assert table.columnWidth(1) >= table.sizeHintForColumn(1)


def test_rows_are_updated_in_place_and_a_new_class_gets_its_column(table):
    table.cases.set_rows([CaseRow("a"), CaseRow("b")])
    table.setCurrentIndex(table.model().index(1, 0))
    table.cases.update_rows([CaseRow("b", state="done"), CaseRow("c", state="done")])
    assert column(table, 1) == ["waiting", "done", "done"]
    assert table.selected_case == CaseRow("b", state="done")
    assert table.model().columnCount() == 5
    table.cases.update_rows(
        [CaseRow("a", state="done", sizes=(size("anterior", 1.0), size("posterior", 2.0)))]
    )
    assert [table.cases.headings[i] for i in (2, 3)] == ["anterior", "posterior"]
    assert column(table, 1) == ["done", "done", "done"]


def test_the_table_file_is_read_as_rows(tmp_path):
    folder = BatchFolder(tmp_path)
    assert read_case_rows(tmp_path) == []
    columns = (*COLUMNS, "lesion_size", "lesion_low", "lesion_high")
    values = {
        "case": "a", "path": "/scans/a.nii.gz", "series": "2", "state": "skipped", "seconds": "1.50",
        "result": "a/run.json", "doubtful_slice": "12", "unit": "mm3", "lesion_size": "20",
        "lesion_low": "19",
    }  # fmt: skip
    lines = ["\t".join(columns), "\t".join(values.get(name, "") for name in columns)]
    folder.table.write_text("\n".join(lines) + "\n", "utf-8")
    (row,) = read_case_rows(tmp_path)
    assert row == CaseRow(
        "a", "/scans/a.nii.gz", "2", "done", "", 1.5, str(tmp_path / "a/run.json"), "12",
        (size("lesion", 20.0, 19.0),),
    )  # fmt: skip
    assert row.sizes[0].range_text == ""
    folder.table.write_text("name\tvalue\n", "utf-8")
    with pytest.raises(BadInput, match="is not a table of cases"):
        read_case_rows(tmp_path)


@pytest.mark.parametrize(
    ("text", "ndim", "index"),
    [("12", 3, (11,)), ("3/17", 4, (2, 16)), ("", 2, ()), ("", 3, ()), ("12", 4, ()), ("x", 3, ())],
)
def test_the_most_doubtful_slice_as_an_index(text, ndim, index):
    assert _doubtful_index(text, ndim) == index


def test_the_settings_of_segment_become_options():
    settings = RunSettings.from_choices(CHOICES, "breast-ultrasound")
    assert BatchRequest(
        Path("/scans"), Path("/out"), "breast-ultrasound", settings, "bids", deidentify=True, resume=True
    ).command_line() == [
        "batch", "/scans", "--model", "breast-ultrasound", "--out", "/out", "--layout", "bids",
        "--device", "cpu", "--seed", "3", "--plane", "axial", "--samples", "8", "--sampling", "augment",
        "--threshold", "0.4", "--tolerance", "0.01", "--min-size", "12.5", "--fill-holes", "--keep-largest",
        "--events", "--deidentify", "--resume",
    ]  # fmt: skip
    card = read_card(find_model("breast-ultrasound"))
    assert settings.describe(card, SOURCE_LABELS) == (
        "8 samples from test-time augmentation, threshold 0.40, axial slices, early stopping,"
        " objects of 12.5 or more, holes filled, the largest object alone"
    )


def test_samples_and_threshold_of_another_model_are_left_to_the_model():
    settings = RunSettings.from_choices(CHOICES, "retina-vessels")
    assert (settings.samples, settings.source, settings.threshold) == (None, None, None)
    assert (settings.device, settings.seed, settings.min_size) == ("cpu", 3, 12.5)
    single = RunSettings.from_choices(CHOICES | {"source": "none"}, "breast-ultrasound")
    assert single.samples == 1
    assert RunSettings.from_choices({}, "retina-vessels").options() == [
        "--device", "auto", "--seed", "0", "--plane", "acquired",
    ]  # fmt: skip
