"""A result never replaces, mixes with or is read as that of another image."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.segmentation import names, segmentation

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.earlier_results import read_record
from napari_latentseg.io.file_hashes import path_sha256
from napari_latentseg.io.read_results import read_segmentation, sibling_record
from napari_latentseg.io.result_names import check_case_code
from napari_latentseg.io.write_results import check_target, write_segmentation
from napari_latentseg.models.card import read_card

PIXELS = Geometry.from_spacing("yx")


def of_patient(name: str, *, box: tuple[int, int, int, int] | None = None) -> Segmentation:
    result = segmentation(PIXELS)
    record = result.record
    changed = record.replace(input=record.input.model_copy(update={"sha256": name * 64}), box=box)
    if name == "a":
        return replace(result, record=changed)
    mean = 1 - result.mean
    return replace(result, record=changed, mask=1 - result.mask, mean=mean, variance=mean / 4)


def contents(folder: Path) -> dict[str, str]:
    return {path.name: path_sha256(path) for path in folder.iterdir()}


def test_the_result_of_another_patient_is_refused_and_stays(tmp_path: Path) -> None:
    write_segmentation(of_patient("a"), tmp_path, "T1", format="nrrd", contours=True)
    before = contents(tmp_path)
    for format in ("nrrd", "png", None):
        with pytest.raises(BadInput, match=r"T1_run\.json: is of a result of another image; choose another"):
            write_segmentation(of_patient("b"), tmp_path, "T1", format=format)
    assert contents(tmp_path) == before
    write_segmentation(of_patient("b"), tmp_path, "T1", format="png", overwrite=True)
    assert names(tmp_path) == ["T1_mask.png", "T1_mean.png", "T1_run.json", "T1_variance.png"]
    assert read_segmentation(tmp_path).record.input.sha256 == "b" * 64


def test_another_part_of_an_image_may_be_another_image(tmp_path: Path) -> None:
    write_segmentation(of_patient("a"), tmp_path, "T1")
    with pytest.raises(BadInput, match="another image, or of another part of this one"):
        write_segmentation(of_patient("b", box=(0, 0, 4, 4)), tmp_path, "T1")


@pytest.mark.parametrize("format", ["nrrd", "ome-zarr", "png", "metaimage", "nifti"])
@pytest.mark.parametrize("names_files", [True, False])
def test_a_new_run_of_the_same_image_leaves_nothing_of_the_earlier(
    tmp_path: Path, format: str, names_files: bool
) -> None:
    result = of_patient("a")
    if format in ("nifti", "metaimage"):
        result = replace(result, geometry=Geometry.from_spacing("yx", unit="mm"))
    table = {"measurements.csv": lambda path: path.write_text("1")}
    write_segmentation(result, tmp_path, "T1", format=format, contours=True, extra_files=table)
    if not names_files:  # as version 0.1.0 wrote it
        record = json.loads((tmp_path / "T1_run.json").read_text())
        del record["files"]
        (tmp_path / "T1_run.json").write_text(json.dumps(record))
    (tmp_path / "T1_mask_by_hand.nii.gz").write_text("mine")
    (tmp_path / "T1_notes.csv").write_text("mine")
    write_segmentation(replace(of_patient("a"), variance=None), tmp_path, "T1", format="tiff")
    assert names(tmp_path) == [
        "T1_mask.tif", "T1_mask_by_hand.nii.gz", "T1_mean.tif", "T1_notes.csv", "T1_run.json",
    ]  # fmt: skip


def test_what_a_person_changed_or_put_there_is_not_replaced(tmp_path: Path) -> None:
    write_segmentation(of_patient("a"), tmp_path, "T1")
    mask = tmp_path / "T1_mask.tif"
    mask.write_bytes(mask.read_bytes() + b"\0")
    for format in (None, "nrrd"):
        with pytest.raises(BadInput, match=r"T1_mask\.tif: was changed after the run that wrote it"):
            write_segmentation(of_patient("a"), tmp_path, "T1", format=format)
    (tmp_path / "T2_mask.tif").write_text("mine")
    with pytest.raises(BadInput, match=r"T2_mask\.tif: already exists, and no run record says what it is of"):
        write_segmentation(of_patient("a"), tmp_path, "T2")
    assert (tmp_path / "T2_mask.tif").read_text() == "mine"
    write_segmentation(of_patient("a"), tmp_path, "T1", overwrite=True)
    write_segmentation(of_patient("a"), tmp_path, "T2", overwrite=True)
    assert read_segmentation(tmp_path / "T1_run.json").mask.any()


def test_a_record_that_cannot_be_read_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(BadInput, match=r"run\.json: already exists"):
        write_segmentation(of_patient("a"), tmp_path)


def test_a_record_names_no_file_outside_its_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    write_segmentation(of_patient("a"), out)
    (tmp_path / "mine.txt").write_text("mine")
    record = json.loads((out / "run.json").read_text())
    record["files"]["../mine.txt"] = path_sha256(tmp_path / "mine.txt")
    (out / "run.json").write_text(json.dumps(record))
    write_segmentation(of_patient("a"), out)
    assert (tmp_path / "mine.txt").read_text() == "mine"


@pytest.mark.parametrize(
    ("format", "part"), [("ome-zarr", "mean"), ("nrrd", "mean"), ("nrrd", "variance"), ("png", "mask")]
)
def test_a_file_of_another_run_is_not_read(tmp_path: Path, format: str, part: str) -> None:
    for name in "ab":
        write_segmentation(of_patient(name), tmp_path / name, "T1", format=format)
    (theirs,) = (tmp_path / "b").glob(f"T1_{part}*")
    ours = tmp_path / "a" / theirs.name
    if ours.is_dir():
        ours.rename(tmp_path / "earlier")
    theirs.replace(ours)
    with pytest.raises(BadInput, match=rf"T1_{part}\S*: was changed after the run"):
        read_segmentation(tmp_path / "a")


def test_a_mask_edited_elsewhere_is_read_when_that_is_said(tmp_path: Path) -> None:
    write_segmentation(of_patient("a"), tmp_path, "T1", format="png")
    mask = np.zeros((6, 9), np.uint8)
    mask[2:4] = 1
    from PIL import Image

    Image.fromarray(mask).save(tmp_path / "T1_mask.png")
    with pytest.raises(BadInput, match="if you edited it, add --edited"):
        read_segmentation(tmp_path)
    with pytest.raises(BadInput, match="if you edited it, add --edited"):
        sibling_record(tmp_path / "T1_mask.png")
    edited = read_segmentation(tmp_path, edited=True)
    assert np.array_equal(edited.mask, mask)
    assert (edited.record.mask_edited, edited.record.mask_state) == (True, "corrected")
    Image.fromarray(mask * 7).save(tmp_path / "T1_mask.png")
    with pytest.raises(BadInput, match="labels that are not classes"):
        read_segmentation(tmp_path, edited=True)


def test_a_file_that_the_record_does_not_name_is_not_its_file(tmp_path: Path) -> None:
    write_segmentation(of_patient("a"), tmp_path, "T1", format="png")
    (tmp_path / "T1_mask.tif").write_bytes((tmp_path / "T1_mask.png").read_bytes())
    assert sibling_record(tmp_path / "T1_mask.tif") is None
    with pytest.raises(BadInput, match=r"is none of the files that T1_run\.json names"):
        read_segmentation(tmp_path / "T1_mask.tif")
    assert read_segmentation(tmp_path).mask.any()  # that of the record, though TIFF comes first


def test_a_result_may_be_renamed(tmp_path: Path) -> None:
    for path in write_segmentation(of_patient("a"), tmp_path, "Mustermann", format="png"):
        path.rename(path.with_name(path.name.replace("Mustermann", "p1")))
    assert read_segmentation(tmp_path / "p1_mask.png").record.input.sha256 == "a" * 64
    assert "Mustermann" not in (tmp_path / "p1_run.json").read_text()


@pytest.mark.parametrize("code", ["case-1", "study 7 (left)", "Ü-12", "x" * 64, "con-1", "7.5"])
def test_case_codes(code: str) -> None:
    check_case_code(code)


@pytest.mark.parametrize(
    "code",
    ["", "  ", "con", "Aux", "lpt1.a", "nul ", "a/b", "a\\b", "a:b", "a?", "a\nb", "end.", ".hidden", " a",
     "x" * 65, "a\u200bb"],
)  # fmt: skip
def test_codes_that_no_file_can_have(code: str) -> None:
    with pytest.raises(BadInput, match="case: "):
        check_case_code(code)


def test_a_target_is_refused_before_the_run(tmp_path: Path) -> None:
    result = of_patient("a")
    check_target(result, tmp_path / "new", "T1", result.classes)
    assert names(tmp_path) == []
    with pytest.raises(BadInput, match="no physical size"):
        check_target(result, tmp_path, "T1", result.classes, format="nifti")
    with pytest.raises(BadInput, match="refers to a DICOM series"):
        check_target(result, tmp_path, "T1", result.classes, format="dicom-seg")
    with pytest.raises(BadInput, match="name: is too long"):
        check_target(result, tmp_path, "x" * 250, result.classes)
    with pytest.raises(BadInput, match="name: is too long"):
        check_target(result, tmp_path, "ä" * 125, result.classes)
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="cannot be the output folder: it is a file"):
        check_target(result, tmp_path / "file", "T1", result.classes)
    write_segmentation(result, tmp_path, "T1")
    asked = []

    def of_another() -> str:
        asked.append(1)
        return "b" * 64

    check_target(result, tmp_path, "T2", result.classes, input_sha256=of_another)
    assert not asked
    with pytest.raises(BadInput, match="another image"):
        check_target(result, tmp_path, "T1", result.classes, input_sha256=of_another)
    check_target(result, tmp_path, "T1", result.classes, input_sha256=of_another, overwrite=True)


def test_a_record_without_access_is_not_called_damaged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else a person would segment again what only needs the right to be read."""
    path = tmp_path / "a_run.json"

    def no_access(self: Path, *args: object) -> str:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(Path, "read_text", no_access)
    with pytest.raises(BadInput, match=r"cannot be read or written by this user; ask for access"):
        read_record(path)
    with pytest.raises(BadInput, match=r"cannot be read or written by this user; ask for access"):
        read_card(tmp_path)
