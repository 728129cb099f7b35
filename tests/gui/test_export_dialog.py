"""The export dialog, with real keys and clicks: no patient's files are replaced by another's, or mixed."""

from __future__ import annotations

import csv
import json
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import scipy.ndimage
import tifffile
from PIL import Image
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QDialogButtonBox
from tests.helpers.explained import unexplained
from tests.helpers.patients import command

from napari_latentseg import api
from napari_latentseg.errors import BadInput
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.widgets._shared.closing import CloseGuard
from napari_latentseg.widgets.segment.export import export_result
from napari_latentseg.widgets.segment.export_dialog import ExportDialog
from napari_latentseg.widgets.segment.widget import SegmentWidget

SAVE = QDialogButtonBox.StandardButton.Save


@pytest.fixture
def viewer(viewer, monkeypatch, tmp_path):
    """The viewer, with a home of the test's own."""
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))
    return viewer


@pytest.fixture
def widget(viewer, qtbot):
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    return widget


def segmented(viewer, widget, qtbot, name: str, seed: int, values: np.ndarray | None = None):
    """An image of a patient, and its result; noise where no values are given."""
    if values is None:
        values = np.random.default_rng(seed).integers(0, 256, (96, 112), dtype=np.uint8)
    widget.form.image.value = viewer.add_image(values, name=name)
    widget.form.samples.value = 3
    qtbot.waitUntil(widget.run_button.isEnabled, timeout=30_000)
    before = widget.finished_result
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.busy and widget.finished_result not in (None, before), timeout=120_000)
    return widget.finished_result


def opened(widget, qtbot, folder: Path | None) -> ExportDialog:
    qtbot.mouseClick(widget.result_panel.export_button, Qt.MouseButton.LeftButton)
    dialog = [d for d in widget.findChildren(ExportDialog) if d.isVisible()][-1]
    if folder is not None:
        dialog.folder.clear()
        assert dialog.message.text() == "Choose a folder first."
        qtbot.keyClicks(dialog.folder, str(folder))
    return dialog


def tick(box, qtbot) -> None:
    """Click on the square of a checkbox."""
    before = box.isChecked()
    qtbot.mouseClick(box, Qt.MouseButton.LeftButton, pos=QPoint(8, box.height() // 2))
    assert box.isChecked() != before


def is_ready(dialog: ExportDialog) -> bool:
    return dialog.buttons.button(SAVE).isEnabled()


def saved(dialog: ExportDialog, qtbot, folder: Path, name: str) -> None:
    qtbot.waitUntil(lambda: is_ready(dialog), timeout=30_000)
    qtbot.mouseClick(dialog.buttons.button(SAVE), Qt.MouseButton.LeftButton)
    done = folder / f"{name}_run.json"
    qtbot.waitUntil(lambda: done.exists() and not list(folder.glob(".*")), timeout=60_000)


def contents(folder: Path) -> dict[str, str]:
    found = {}
    for path in folder.iterdir():
        with suppress(FileNotFoundError):  # just being replaced
            if not path.name.startswith("."):
                found[path.name] = path_sha256(path)
    return found


def has_text(file: Path, text: str) -> bool:
    with suppress(FileNotFoundError):  # just being replaced
        return text in file.read_text("utf-8")
    return False


def test_two_patients_in_one_folder_stay_apart_by_default(viewer, widget, qtbot, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    first = segmented(viewer, widget, qtbot, "Mustermann_Max", 1)
    dialog = opened(widget, qtbot, out)
    assert dialog.name.text() == "case-1"
    tick(dialog.cases, qtbot)
    saved(dialog, qtbot, out, "case-1")
    qtbot.waitUntil((out / "cases.csv").exists, timeout=30_000)
    before = contents(out)
    assert "<dd>case-1</dd>" in (out / "case-1_report.html").read_text()
    lesion = np.asarray(ultrasound_phantom(shape=(96, 128)).scan.array)
    second = segmented(viewer, widget, qtbot, "Vorname_Nachname", 2, lesion)
    dialog = opened(widget, qtbot, None)
    qtbot.waitUntil(lambda: dialog.folder.text() == str(out), timeout=30_000)  # remembered
    assert dialog.name.text() == "case-2"
    assert not dialog.case_objects.isEnabled()
    tick(dialog.cases, qtbot)
    tick(dialog.case_objects, qtbot)
    saved(dialog, qtbot, out, "case-2")
    qtbot.waitUntil(
        lambda: contents(out).get("cases.csv", before["cases.csv"]) != before["cases.csv"], timeout=30_000
    )
    after = contents(out)
    assert {n: after[n] for n in before if n != "cases.csv"} == {
        n: before[n] for n in before if n != "cases.csv"
    }
    with (out / "cases.csv").open(encoding="utf-8-sig") as file:
        rows = [(row["case"], row["object"]) for row in csv.DictReader(file)]
    _, objects = scipy.ndimage.label(second.segmentation.mask)
    assert objects > 0
    assert rows == [
        ("case-1", ""), ("case-2", ""), *(("case-2", str(n + 1)) for n in range(objects)),
    ]  # fmt: skip
    assert (
        json.loads((out / "case-1_run.json").read_text())["input"]["sha256"] == first.job.scan.content_sha256
    )
    everything = b"".join(p.read_bytes() for p in out.iterdir())
    assert b"Mustermann" not in everything
    assert b"Nachname" not in everything


def test_a_name_that_is_taken_is_said_before_save(viewer, widget, qtbot, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    segmented(viewer, widget, qtbot, "one", 1)
    saved(opened(widget, qtbot, out), qtbot, out, "case-1")
    dialog = opened(widget, qtbot, out)
    qtbot.waitUntil(lambda: "It will be replaced" in dialog.message.text(), timeout=30_000)
    assert is_ready(dialog)
    dialog.close()
    before = contents(out)
    second = segmented(viewer, widget, qtbot, "two", 2)
    dialog = opened(widget, qtbot, out)
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "case-1")
    qtbot.waitUntil(lambda: "is of a result of another image" in dialog.message.text(), timeout=30_000)
    assert "tick Replace" in dialog.message.text()
    assert "--overwrite" not in dialog.message.text()
    assert not is_ready(dialog)
    assert dialog.replace.isVisible()
    tick(dialog.replace, qtbot)
    qtbot.waitUntil(lambda: is_ready(dialog), timeout=30_000)
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "con")
    qtbot.waitUntil(lambda: "Windows reserves" in dialog.message.text(), timeout=30_000)
    assert not dialog.replace.isChecked()  # what was allowed for one name is not for another
    assert not is_ready(dialog)
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "study 7")
    saved(dialog, qtbot, out, "study 7")
    after = contents(out)
    assert {name: after[name] for name in before} == before
    dialog = opened(widget, qtbot, out)
    assert dialog.name.text() == "study 7"  # the code of this image from now on
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "case-1")
    qtbot.waitUntil(lambda: dialog.replace.isVisible(), timeout=30_000)
    tick(dialog.replace, qtbot)
    saved(dialog, qtbot, out, "case-1")
    theirs = second.job.scan.content_sha256
    qtbot.waitUntil(lambda: has_text(out / "case-1_run.json", theirs), timeout=30_000)


def test_impossible_formats_are_grey_and_say_why(viewer, widget, qtbot, tmp_path):
    segmented(viewer, widget, qtbot, "one", 1)
    dialog = opened(widget, qtbot, tmp_path)
    model = dialog.format.model()
    qtbot.waitUntil(lambda: not model.item(dialog.format.findData("nifti")).isEnabled(), timeout=30_000)
    possible = {dialog.format.itemData(r) for r in range(dialog.format.count()) if model.item(r).isEnabled()}
    assert possible == {None, "ome-tiff", "ome-zarr", "nrrd", "png"}
    assert "no physical size" in model.item(dialog.format.findData("nifti")).toolTip()
    assert "DICOM series" in model.item(dialog.format.findData("dicom-seg")).toolTip()
    dialog.close()


def test_the_image_gives_the_name_only_where_it_may_be_known(viewer, widget, qtbot, tmp_path):
    segmented(viewer, widget, qtbot, "benign 105", 1)
    dialog = opened(widget, qtbot, tmp_path)
    tick(dialog.deidentify, qtbot)
    assert dialog.name.text() == "benign-105"
    tick(dialog.deidentify, qtbot)
    assert dialog.name.text() == "case-1"
    dialog.name.selectAll()
    qtbot.keyClicks(dialog.name, "mine")
    tick(dialog.deidentify, qtbot)
    assert dialog.name.text() == "mine"
    dialog.name.clear()
    assert not is_ready(dialog)
    assert dialog.buttons.button(SAVE).toolTip() == "Give the case a code first"
    dialog.close()


def test_the_agreement_is_written_on_request_and_greyed_where_there_is_none(viewer, widget, qtbot, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    segmented(viewer, widget, qtbot, "one", 1)
    dialog = opened(widget, qtbot, out)
    tick(dialog.agreement, qtbot)
    saved(dialog, qtbot, out, "case-1")
    assert (out / "case-1_agreement.tif").exists()
    saved(opened(widget, qtbot, out), qtbot, out, "case-1")  # without it
    qtbot.waitUntil(lambda: not (out / "case-1_agreement.tif").exists(), timeout=30_000)
    widget.form.samples.value = 2
    before = widget.finished_result
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.busy and widget.finished_result is not before, timeout=120_000)
    dialog = opened(widget, qtbot, out)
    assert not dialog.agreement.isEnabled()
    assert "3 different samples" in dialog.agreement.toolTip()
    assert unexplained(dialog) == []
    tick(dialog.cases, qtbot)
    assert dialog.cases_path.isEnabled()
    assert "Tick" not in dialog.cases_path.toolTip() + dialog.case_objects.toolTip()
    dialog.close()


def test_the_doubt_is_written_on_request_also_of_a_single_pass(viewer, widget, qtbot, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    segmented(viewer, widget, qtbot, "one", 1)
    widget.form.source.value = "none"
    before = widget.finished_result
    widget.run_button.click()
    qtbot.waitUntil(lambda: not widget.busy and widget.finished_result is not before, timeout=120_000)
    dialog = opened(widget, qtbot, out)
    tick(dialog.doubt, qtbot)
    saved(dialog, qtbot, out, "case-1")
    mean, doubt = (tifffile.imread(out / f"case-1_{name}.tif") for name in ("mean", "doubt"))
    np.testing.assert_array_equal(doubt, np.minimum(mean, 1 - mean))
    assert not (out / "case-1_variance.tif").exists()


def test_two_patients_in_turn_from_window_and_command_line(viewer, widget, qtbot, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    values = np.asarray(ultrasound_phantom(shape=(96, 128)).scan.array)
    first = segmented(viewer, widget, qtbot, "T1", 1, values)
    Image.fromarray(np.roll(values, 20, axis=1)).save(tmp_path / "T1.png")
    second = ("segment", tmp_path / "T1.png", "--model", "breast-ultrasound", "-n", 3, "--out", out)

    def export_first(name: str, format: str, *, replace: bool = False) -> None:
        dialog = opened(widget, qtbot, out)
        dialog.name.selectAll()
        qtbot.keyClicks(dialog.name, name)
        dialog.format.setCurrentIndex(dialog.format.findData(format))
        if replace:
            qtbot.waitUntil(dialog.replace.isVisible, timeout=30_000)
            assert not is_ready(dialog)
            tick(dialog.replace, qtbot)
        before = contents(out)
        saved(dialog, qtbot, out, name)
        qtbot.waitUntil(lambda: contents(out) != before and not list(out.glob(".*")), timeout=30_000)

    def volume(name: str) -> float:
        (row,) = json.loads(command("measure", out / f"{name}_run.json", "--no-objects", "--json"))
        return row["value"]

    export_first("T1", "nrrd")
    before = contents(out)
    with pytest.raises(BadInput, match="another image"):
        command(*second)
    assert contents(out) == before
    command(*second, "--case", "case-2", "--table")
    of_second = {name: sha256 for name, sha256 in contents(out).items() if name.startswith("case-2")}
    assert {name: sha256 for name, sha256 in contents(out).items() if name not in of_second} == before
    seconds_volume = volume("case-2")
    threshold = first.segmentation.record.threshold
    widget.result_threshold.shift(5)
    qtbot.waitUntil(lambda: first.segmentation.record.threshold != threshold, timeout=30_000)
    export_first("T1", "png")
    assert not (out / "T1_mask.nrrd").exists()
    assert {name: contents(out)[name] for name in of_second} == of_second
    firsts_volume = volume("T1")
    assert firsts_volume == np.count_nonzero(first.segmentation.mask)
    assert 0 < firsts_volume != seconds_volume > 0
    (out / "case-2_mask.tif").unlink()
    with pytest.raises(BadInput, match="holds no case-2_mask"):
        volume("case-2")
    export_first("case-2", "ome-tiff", replace=True)
    assert volume("case-2") == firsts_volume
    assert not set(contents(out).values()) & set(of_second.values())
    with pytest.raises(BadInput, match="another image"):
        command(*second, "--case", "case-2")
    before = {name: sha256 for name, sha256 in contents(out).items() if name.startswith("T1")}
    command(*second, "--case", "case-2", "--overwrite")
    assert (volume("case-2"), volume("T1")) == (seconds_volume, firsts_volume)
    assert {name: contents(out)[name] for name in before} == before


def test_napari_asks_before_it_closes_during_an_export(viewer, widget, qtbot, tmp_path, monkeypatch):
    segmented(viewer, widget, qtbot, "Anna", 0)
    guard = viewer.window._qt_window.findChild(CloseGuard)
    assert guard.work_in_progress() == []
    go_on = threading.Event()
    monkeypatch.setattr(api, "write_result", lambda *_, **__: go_on.wait(60) and [])
    worker = export_result(widget.finished_result, tmp_path)
    (work,) = guard.work_in_progress()
    assert work.what == "“Anna” is being exported."
    with qtbot.waitSignal(worker.finished, timeout=60_000):
        go_on.set()
    qtbot.waitUntil(lambda: guard.work_in_progress() == [], timeout=60_000)
