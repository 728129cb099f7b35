"""Which scans a batch finds in folders, patterns, data sets and lists, and what it calls them."""

from __future__ import annotations

import json
import re
from pathlib import Path

import numpy as np
import pytest
from tests.helpers import dicom

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.batches.find_cases import cases_of_part, find_cases
from napari_latentseg.errors import BadInput


def touch(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"content of " + name.encode())
    return root


def names(source: Path, **options: object) -> list[str]:
    return [case.name for case in find_cases(source, **options).cases]  # type: ignore[arg-type]


def series(folder: Path, uid: str = "1.2.3", first: int = 0, count: int = 3, **changes: object) -> Path:
    array = np.arange(count * 30, dtype=np.int16).reshape(count, 5, 6)
    places = dicom.positions(first + count)[first:]
    return dicom.series(folder, array, places, SeriesInstanceUID=uid, **changes)


def test_files_are_called_after_their_place_and_files_of_one_name_after_their_ending(tmp_path: Path) -> None:
    touch(tmp_path, "b.nii.gz", "a/t1.nii.gz", "c/d/t1.mha", "e.png", "e.tif", "notes.txt", ".hidden.png")
    found = find_cases(tmp_path)
    assert [case.name for case in found.cases] == ["a_t1", "b", "c_d_t1", "e-png", "e-tif"]
    assert found.passed_over == {"file that is not an image": 1, "hidden file": 1}
    assert all(case.path.is_absolute() for case in found.cases)
    assert not any(case.is_code for case in found.cases)


def test_masks_and_results_are_no_cases(tmp_path: Path) -> None:
    touch(
        tmp_path, "images/1.png", "masks/1.png", "masks_2nd/1.png", "x/2.png", "x/2_mask.png", "x/3_seg.png"
    )
    touch(tmp_path, "y/masks/4.png", "out/7/7_mask.png", "out/.batch/1-of-1.tsv", "other/8.png")
    assert names(tmp_path) == ["images_1", "other_8", "x_2", "x_3_seg", "y_masks_4"]
    assert names(tmp_path, out=tmp_path / "other") == ["images_1", "x_2", "x_3_seg", "y_masks_4"]


def test_results_of_segment_are_no_cases(tmp_path: Path, tiny_model_folder: Path) -> None:
    from PIL import Image

    from napari_latentseg import segment_files

    Image.fromarray(np.zeros((24, 32), np.uint8)).save(tmp_path / "a.png")
    list(segment_files(tmp_path / "a.png", tiny_model_folder, tmp_path))
    found = find_cases(tmp_path)
    assert [case.name for case in found.cases] == ["a"]
    assert found.passed_over["result of an earlier run"] == 3  # mask, mean and variance


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [("*/t1.nii.gz", ["p1_t1", "p2_t1"]), ("**/*.png", ["p2_q_a"]), ("p1/t1.nii.gz", ["t1"])],
)
def test_a_pattern(tmp_path: Path, pattern: str, expected: list[str]) -> None:
    touch(tmp_path, "p1/t1.nii.gz", "p2/t1.nii.gz", "p2/q/a.png")
    assert names(tmp_path / pattern) == expected


def test_what_is_no_image_is_no_case_of_a_pattern_and_is_refused_alone(tmp_path: Path) -> None:
    touch(tmp_path, "a.png", "notes.txt", "folder/notes.txt")
    found = find_cases(tmp_path / "*")
    assert [case.name for case in found.cases] == ["a"]
    assert found.passed_over == {"file that is not an image": 1, "folder that is not an image": 1}
    with pytest.raises(BadInput, match=r"notes.txt: is a kind of file that is not known"):
        find_cases(tmp_path / "notes.txt")
    with pytest.raises(BadInput, match="holds no image"):
        find_cases(tmp_path / "*.txt")
    table = tmp_path / "cases.csv"
    table.write_text("case,path\nx,notes.txt\ny,folder\nz,a.png\n", "utf-8")
    assert [case.problem is None for case in find_cases(table).cases] == [False, False, True]


def test_each_series_of_dicom_is_a_case(tmp_path: Path) -> None:
    series(tmp_path / "in" / "anna" / "t1")
    series(tmp_path / "in" / "anna" / "both", "1.2.4")
    for path in sorted(series(tmp_path / "more", "1.2.5").iterdir()):
        path.rename(tmp_path / "in" / "anna" / "both" / f"more-{path.name}")
    cases = find_cases(tmp_path / "in").cases
    assert [case.path.name for case in cases] == ["both", "both", "t1"]
    assert cases[2].name == "anna_t1"
    assert [case.name for case in cases[:2]] == sorted(f"anna_both_{case.series}" for case in cases[:2])
    assert len({case.series for case in cases}) == 3


def test_series_of_two_patients_with_one_uid_are_two_cases(tmp_path: Path) -> None:
    series(tmp_path / "in" / "a", PatientID="A")
    series(tmp_path / "in" / "b", PatientID="B", first=3)
    series(tmp_path / "in" / "c" / "1", uid="1.2.9", PatientID="C")
    series(tmp_path / "in" / "c" / "2", uid="1.2.9", PatientID="C", first=3)
    found = find_cases(tmp_path / "in").cases
    assert [case.path.name for case in found] == ["a", "b", "c"]
    assert [case.series for case in found][:2] == [found[0].series] * 2


def test_a_series_in_two_folders_is_one_case(tmp_path: Path) -> None:
    series(tmp_path / "in" / "study" / "disc1", count=2)
    series(tmp_path / "in" / "study" / "disc2", first=2, count=2, SeriesNumber=1)
    (case,) = find_cases(tmp_path / "in").cases
    assert case.path.name == "study"
    from napari_latentseg.batches.case_input import CaseInput

    assert CaseInput(case).read().array.shape == (4, 5, 6)


def test_maps_that_were_written_as_dicom_are_no_cases(tmp_path: Path) -> None:
    """The variance of a result is a parametric map, as may be the scan of somebody else."""
    kind = {"SOPClassUID": "1.2.840.10008.5.1.4.1.1.30"}
    series(tmp_path / "in" / "scan")
    beside = series(tmp_path / "out", "1.2.8", Manufacturer="napari-latentseg", **kind)
    for path in sorted(beside.iterdir()):
        path.rename(tmp_path / "in" / "scan" / f"variance-{path.name}")
    series(tmp_path / "in" / "results", "1.2.9", Manufacturer="napari-latentseg", **kind)
    series(tmp_path / "in" / "map", "1.2.10", Manufacturer="another", **kind)
    found = find_cases(tmp_path / "in")
    assert [case.name for case in found.cases] == ["map", "scan"]
    assert found.passed_over == {"result of an earlier run": 2}
    with pytest.raises(BadInput, match="holds results of earlier runs, and no image"):
        find_cases(tmp_path / "in" / "results")


def test_a_folder_of_reports_is_passed_over_and_a_broken_series_is_named(tmp_path: Path) -> None:
    report = dicom.dataset(np.zeros((2, 2), np.int16), Modality="SR", Rows=None, Columns=None)
    report.SOPClassUID = report.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.88.11"
    del report.PixelData
    (tmp_path / "in" / "reports").mkdir(parents=True)
    dicom.save(report, tmp_path / "in" / "reports" / "a.dcm")
    good = series(tmp_path / "in" / "good")
    broken = series(tmp_path / "in" / "broken", "1.2.9", count=6)
    sorted(broken.iterdir())[2].unlink()
    found = find_cases(tmp_path / "in")
    assert found.passed_over == {"folder of DICOM without images": 1}
    problems = {case.name: case.problem for case in found.cases}
    assert problems["good"] is None
    assert good.name in problems
    assert "lacks 1 of 6 slices" in str(problems["broken"])


def bids(root: Path) -> Path:
    touch(root, "sub-01/ses-1/anat/sub-01_ses-1_T1w.nii.gz", "sub-02/anat/sub-02_T2w.nii.gz")
    touch(root, "sub-02/anat/sub-02_T2w.json", "sub-02/anat/sub-02_defacemask.nii.gz")
    touch(root, "sub-02/func/sub-02_task-rest_bold.nii.gz", "derivatives/x/sub-01/anat/sub-01_dseg.nii.gz")
    (root / "dataset_description.json").write_text(json.dumps({"Name": "x", "BIDSVersion": "1.9.0"}))
    return root


def test_a_bids_data_set_gives_its_raw_images(tmp_path: Path) -> None:
    found = find_cases(bids(tmp_path))
    assert [(case.name, case.folder) for case in found.cases] == [
        ("sub-01_ses-1_T1w", "sub-01/ses-1/anat"),
        ("sub-02_T2w", "sub-02/anat"),
    ]
    assert found.passed_over == {"image in func/, which a pattern can name": 1, "mask": 1}


def test_a_pattern_in_a_bids_data_set_gives_cases_of_bids(tmp_path: Path) -> None:
    (case,) = find_cases(bids(tmp_path) / "sub-*/func/*_bold.nii.gz").cases
    assert (case.name, case.folder) == ("sub-02_task-rest_bold", "sub-02/func")


def test_a_folder_of_nnunet(tmp_path: Path) -> None:
    folder = touch(tmp_path / "imagesTs", "a_0000.nii.gz", "b_0000.nii.gz", "b_0001.nii.gz", "c.nii.gz")
    found = find_cases(folder)
    assert [(case.name, case.problem is None) for case in found.cases] == [("a", True), ("b", False)]
    assert "the case b has 2 channels" in str(found.cases[1].problem)
    assert found.passed_over == {"image without the number of a channel": 1}
    # elsewhere, numbers at the end are those of slices or frames
    assert names(touch(tmp_path / "other", "a_0000.png", "a_0001.png")) == ["a_0000", "a_0001"]


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
def test_a_list_names_the_cases(tmp_path: Path, delimiter: str) -> None:
    touch(tmp_path, "lists/near.png", "scans/far.png")
    rows = [("Case", "path", "series"), ("p-1", "near.png", ""), ("p-2", "far.png", "3"), ("", "", "")]
    rows += [("p-3", "lost.png", ""), ("p-4", "", ""), ("p-5", "near.png", "x")]
    text = "\n".join(delimiter.join(row) for row in rows)
    table = tmp_path / "lists" / "cases.csv"
    table.write_text("\ufeff" + text, "utf-8")
    cases = find_cases(tmp_path / "scans", case_list=table).cases
    assert [case.name for case in cases] == ["p-1", "p-2", "p-3", "p-4", "p-5"]
    assert [case.path.name for case in cases[:2]] == ["near.png", "far.png"]
    assert cases[1].series == 3
    assert all(case.is_code for case in cases)
    reasons = [str(case.problem) for case in cases[2:]]
    assert "no such file or folder; check row 5 of cases.csv" in reasons[0]
    assert "the case p-4 has no path" in reasons[1]
    assert "the series of p-5 is 'x'" in reasons[2]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "has no column case and no column path"),
        ("name,path\na,b\n", "has no column case;"),
        ("case,path\n", "has no rows"),
        ("case,path\na/b,c\n", "row 2: the case 'a/b' holds '/'"),
        ("case,path\nA,x\na,y\n", "would have the same name"),
        (b"\xff\xfe\x00", "cannot be read as a table"),
        ("case,path,path\na,b,c\n", "has two columns path"),
    ],
)
def test_a_list_that_cannot_be_used_is_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    table = tmp_path / "cases.csv"
    table.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(BadInput, match=re.escape(message)):
        find_cases(table)


def test_a_path_that_no_file_can_have_is_the_problem_of_its_case(tmp_path: Path) -> None:
    table = tmp_path / "cases.csv"
    table.write_text(f"case,path\na,~nobody-of-this-name/x.png\nb,{'x' * 300}.png\nc,x\0.png\n", "utf-8")
    assert ["no such file" in str(case.problem) for case in find_cases(table).cases] == [True] * 3


def test_without_names_of_files_cases_are_called_after_their_content(tmp_path: Path) -> None:
    touch(tmp_path, "anna.png", "berta.png")
    (tmp_path / "copy.png").write_bytes((tmp_path / "anna.png").read_bytes())
    found = names(tmp_path, deidentify=True)
    assert len(set(found)) == 3
    assert all(name.startswith("scan-") for name in found)
    assert sum(name.endswith("-2") for name in found) == 1
    (tmp_path / "anna.png").rename(tmp_path / "zoe.png")
    assert names(tmp_path, deidentify=True) == found
    assert names(bids(tmp_path / "data"), deidentify=True) == ["sub-01_ses-1_T1w", "sub-02_T2w"]


@pytest.mark.parametrize("source", ["lost", "lost/*.png", "empty"])
def test_nothing_to_do_is_refused(tmp_path: Path, source: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadInput, match=r"no such file or folder|holds no image"):
        find_cases(tmp_path / source)


def test_parts_cover_each_case_once() -> None:
    cases = [BatchCase(f"{i:02}", Path(f"{i:02}.png")) for i in range(50)]
    parts = [cases_of_part(cases, part, 7) for part in range(1, 8)]
    assert sorted(case.name for part in parts for case in part) == [case.name for case in cases]
    assert {len(part) for part in parts} == {7, 8}
    for part, count in ((0, 7), (8, 7), (1, 0)):
        with pytest.raises(BadInput, match="part"):
            cases_of_part(cases, part, count)


def test_long_names_stay_different(tmp_path: Path) -> None:
    touch(tmp_path, f"{'x' * 90}/{'y' * 120}1.png", f"{'x' * 90}/{'y' * 120}2.png")
    found = names(tmp_path)
    assert len(set(found)) == 2
    assert max(map(len, found)) <= 100
