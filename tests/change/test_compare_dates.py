"""Two results of one patient: their change, both outlines over one image, and what is refused."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.ndimage import affine_transform
from tests.helpers.dicom import positions, series
from tests.helpers.two_dates import SHAPE, SPACING, ball, geometry, result_of, two_dates

from napari_latentseg import Cancelled, Geometry, Scan, Segmentation, compare_dates, read_scan, write_result
from napari_latentseg.change.registration import register_rigidly
from napari_latentseg.errors import BadInput


def moved(values: NDArray[Any], matrix: NDArray[np.float64], order: int) -> NDArray[Any]:
    """What an image shows after the patient has moved: at p it has what was at `matrix` p, in mm."""
    steps = np.diag([*SPACING, 1.0])
    index = np.linalg.inv(steps) @ matrix @ steps
    return affine_transform(values, index[:3, :3], index[:3, 3], order=order)


def turn(degrees: float, shift: tuple[float, float, float]) -> NDArray[np.float64]:
    """A turn in the plane of the slices about the middle, then a shift."""
    c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    centre = (np.array(SHAPE) - 1) * SPACING / 2
    matrix = np.eye(4)
    matrix[1:3, 1:3] = [[c, -s], [s, c]]
    matrix[:3, 3] = centre - matrix[:3, :3] @ centre + shift
    return matrix


@pytest.fixture
def dates() -> tuple[Scan, Scan]:
    return two_dates()


def dice(a: NDArray[Any], b: NDArray[Any]) -> float:
    return 2 * np.count_nonzero(a & b) / (np.count_nonzero(a) + np.count_nonzero(b))


def test_growth_is_found_and_both_masks_lie_together(dates):
    first, second = (result_of(s, ball(r)) for s, r in zip(dates, (8.0, 11.0), strict=True))
    compared = compare_dates(first, second)
    (change,) = compared.changes
    voxels = [np.count_nonzero(r.mask) * 2.0 for r in (first, second)]
    assert change.difference == pytest.approx(voxels[1] - voxels[0])
    assert change.exceeds_doubt
    assert change.interval_source == "samples"
    assert change.basis_text == "not calibrated: the model is not on this machine"
    assert change.long_axis_difference == pytest.approx(6.0, abs=2.5)
    assert np.array_equal(compared.placed_mask.labels, second.mask)
    assert "by their headers, both images lie in the same place" in compared.placed_mask.basis


def test_a_retest_that_lies_the_other_way_round_is_turned_and_unchanged(dates):
    flipped = np.diag([2.0, 1.0, -1.0, 1.0])
    flipped[2, 3] = SHAPE[2] - 1
    scan = Scan(np.asarray(dates[1].array)[:, :, ::-1].copy(), "zyx", geometry(flipped))
    first = result_of(dates[0], ball(8.0))
    compared = compare_dates(first, result_of(scan, ball(8.0)[:, :, ::-1]))
    assert np.array_equal(compared.placed_mask.labels, first.mask)
    assert compared.changes[0].verdict == "within the measurement uncertainty"


@pytest.mark.parametrize("frame", ["LPS", ""])
def test_images_that_lie_elsewhere_are_registered(dates, frame):
    pytest.importorskip("SimpleITK")
    motion = turn(9.0, (3.0, 4.0, -5.0))
    first = dates[0].replace(geometry=geometry(frame=frame))
    away = np.diag([*SPACING, 1.0])
    away[:3, 3] = (300.0, -200.0, 150.0)  # another frame: the same tissue, at other coordinates
    second = Scan(
        moved(np.asarray(dates[1].array), motion, 1).astype(np.float32), "zyx", geometry(away, frame)
    )
    lesion = ball(9.0, (26.0, 26.0, 18.0))
    later = moved(lesion.astype(np.uint8), motion, 0).astype(bool)
    results = result_of(first, lesion), result_of(second, later)
    apart = compare_dates(*results, first_image=first, second_image=second)
    assert apart.placed_mask.labels is None
    assert "give both images and register them" in apart.placed_mask.basis
    seen: list[float] = []
    compared = compare_dates(
        *results, first_image=first, second_image=second, register=True, progress=seen.append
    )
    assert dice(compared.placed_mask.labels > 0, lesion) > 0.93
    assert compared.placed_mask.registration.correlation > 0.9
    # of the mask as it was made, not of the one that was resampled
    assert compared.changes == apart.changes
    assert seen == sorted(seen)
    assert seen[-1] == 1.0


def test_what_cannot_be_registered_is_refused(dates):
    pytest.importorskip("SimpleITK")
    first, other = dates[0], dates[1].replace(geometry=geometry(np.diag([2.0, 1.0, 1.1, 1.0])))
    noise = np.random.default_rng(1).normal(size=SHAPE).astype(np.float32)
    with pytest.raises(BadInput, match="could not be brought onto each other"):
        register_rigidly(first, other.replace(array=noise))
    pixels = other.replace(geometry=Geometry.from_spacing("zyx"))
    with pytest.raises(BadInput, match="second image: has no physical size"):
        register_rigidly(first, pixels)
    flat = first.replace(array=np.asarray(first.array)[:3])
    with pytest.raises(BadInput, match="too few voxels to register"):
        register_rigidly(flat, flat)
    sheared = np.diag([2.0, 1.0, 1.0, 1.0])
    sheared[1, 0] = 0.6
    with pytest.raises(BadInput, match="gantry tilt"):
        register_rigidly(first.replace(geometry=geometry(sheared)), first)
    with pytest.raises(Cancelled):
        register_rigidly(first, first, should_stop=lambda: True)


def test_registration_without_simpleitk_or_images_is_refused_before_anything_is_read(dates, monkeypatch):
    results = [result_of(scan, ball(8.0)) for scan in dates]
    with pytest.raises(BadInput, match="register: needs the images of both dates"):
        compare_dates(*results, register=True)
    monkeypatch.setitem(__import__("sys").modules, "SimpleITK", None)
    with pytest.raises(BadInput, match="needs SimpleITK, which is not installed"):
        compare_dates("nowhere", "nowhere", first_image="no.nii", second_image="no.nii", register=True)


def test_what_is_not_two_dates_of_one_patient_is_refused(dates):
    first = result_of(dates[0], ball(8.0))
    with pytest.raises(BadInput, match="results: both are of the same image"):
        compare_dates(first, first)
    with pytest.raises(BadInput, match=r"classes that do not match \(lesion; cyst\)"):
        compare_dates(first, result_of(dates[1], ball(8.0), "cyst"))
    with pytest.raises(BadInput, match="is not the image that was segmented"):
        compare_dates(first, result_of(dates[1], ball(8.0)), first_image=dates[1])
    with pytest.raises(BadInput, match="result: is not a result"):
        compare_dates(first, 3)
    pixels = dates[1].replace(geometry=Geometry.from_spacing("zyx"))
    with pytest.raises(BadInput, match="give sizes in mm³ and in pixels"):
        compare_dates(first, result_of(pixels, ball(8.0)))


def test_classes_are_matched_by_name_and_models_that_differ_are_said(dates):
    first = result_of(dates[0], ball(8.0), "core", "edema")
    turned = tuple(info.model_copy(update={"label": 3 - info.label}) for info in first.classes)
    second = result_of(dates[1], ball(8.0), "core", "edema")
    second = replace(
        second,
        mask=(3 * (second.mask == 2) + 2 * (second.mask == 1)).astype(np.uint8),
        classes=turned,
        record=second.record.replace(classes=turned, model=second.record.model.replace(version="2")),
    )
    compared = compare_dates(first, second)
    assert [change.name for change in compared.changes] == ["core", "edema"]
    assert np.array_equal(compared.placed_mask.labels, first.mask)
    assert compared.notes == (
        "Two models were compared, made 1 and made 2: a part of the difference may come from the models.",
    )


def test_sizes_in_pixels_are_compared_with_a_note():
    photo = Geometry.from_spacing("yx")
    scans = [Scan(np.full((40, 40), n, np.uint8), "yx", photo) for n in (1, 2)]
    inside = np.zeros((40, 40), bool)
    inside[10:20, 10:20] = True
    compared = compare_dates(*(result_of(scan, inside) for scan in scans))
    assert compared.changes[0].unit == "pixel"
    assert compared.placed_mask.labels is None  # photographs have no place
    assert any("same magnification" in note for note in compared.notes)


@pytest.fixture
def dicom_dates(tmp_path: Path, dates: tuple[Scan, Scan]) -> Callable[..., Any]:
    def write(**changes: Any) -> tuple[list[Path], list[Segmentation]]:
        folders = []
        for number, (scan, own) in enumerate(zip(dates, ({}, changes), strict=True)):
            volume = np.clip(np.asarray(scan.array) + 1000, 0, 4000).astype(np.int16)
            one = {"SeriesInstanceUID": f"1.2.3.{number}", "StudyDate": "20200202"} | own
            folders.append(series(tmp_path / f"date{number}", volume, positions(SHAPE[0]), **one))
        return folders, [result_of(read_scan(folder), ball(8.0)) for folder in folders]

    return write


def test_dicom_of_another_patient_is_refused_without_a_name(dicom_dates):
    folders, results = dicom_dates(PatientID="0815-other", PatientName="Roe^Richard")
    with pytest.raises(BadInput) as error:
        compare_dates(*results, first_image=folders[0], second_image=folders[1])
    assert "are of two patients" in str(error.value)
    for secret in ("0815", "4711", "Doe", "Roe"):
        assert secret not in str(error.value)


def test_dicom_results_without_their_images_are_checked_where_the_file_is_known(dicom_dates, tmp_path):
    folders, results = dicom_dates(PatientID="0815-other")
    as_made = [
        replace(
            result,
            format=scan.format,
            properties=dict(scan.properties),
            source=scan.source,
            record=result.record.replace(input=result.record.input.replace(format=scan.format)),
        )
        for result, scan in zip(results, map(read_scan, folders), strict=True)
    ]
    with pytest.raises(BadInput, match="are of two patients, by their DICOM headers"):
        compare_dates(*as_made)
    read = []
    for number, result in enumerate(as_made):
        write_result(result, tmp_path / f"result{number}", format="nifti")
        read.append(tmp_path / f"result{number}")
    (note,) = compare_dates(*read).notes  # the file names of images are not recorded
    assert note.startswith("It was not checked whether both results are of one patient")


def test_dicom_says_which_frame_and_which_date(dicom_dates):
    folders, results = dicom_dates(StudyDate="20190101")
    images = {"first_image": folders[0], "second_image": folders[1]}
    compared = compare_dates(*results, **images)
    assert compared.placed_mask.labels is not None
    assert compared.notes == ("The second image was taken before the first: give the earlier result first.",)
    folders, results = dicom_dates(FrameOfReferenceUID="1.2.5", SeriesInstanceUID="1.2.3.9")
    apart = compare_dates(*results, first_image=folders[0], second_image=folders[1])
    assert apart.placed_mask.labels is None  # the same numbers, in another frame
