"""Several series in one folder, and several frames at one position."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.dicom_folders import two_series, volume, without_a_slice

from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom import reader

# --- several series -------------------------------------------------------------------------------


def test_a_series_is_chosen_by_its_number_or_its_hash(made, tmp_path):
    two_series(made, tmp_path)
    infos = reader.list_series(tmp_path)
    assert [(i.number, i.modality, i.axes, i.shape, i.count) for i in infos] == [
        (1, "MR", "zyx", (4, 5, 6), 4), (2, "MR", "zyx", (4, 5, 6), 4),
    ]  # fmt: skip
    assert [i.problem for i in infos] == ["", ""]
    assert infos[0].spacing == pytest.approx((2, 1, 1))
    for info in infos:
        for series in (info.number, info.uid):
            found = reader.read(tmp_path, series)
            assert found.properties["dicom_series"] == info.uid
    assert read_scan(tmp_path, series=2).properties["dicom_series"] == infos[1].uid
    with pytest.raises(BadInput, match="no series '3'"):
        reader.read(tmp_path, 3)


def test_a_series_with_a_problem_does_not_hide_the_others(made, tmp_path):
    without_a_slice(made, tmp_path)
    volume(made, tmp_path / "b", SeriesInstanceUID="1.2.9", SeriesNumber=7)
    infos = reader.list_series(tmp_path)
    assert "lacks 1 of 6" in infos[0].problem
    assert reader.read(tmp_path, 2).array.shape == (4, 5, 6)
    with pytest.raises(BadInput, match="lacks 1 of 6"):
        reader.read(tmp_path, 1)


@pytest.mark.parametrize(
    "changes",
    [
        {"FrameOfReferenceUID": "1.2.77"},
        {"PixelSpacing": [1, 1.1]},
        {"ImageOrientationPatient": [0, 1, 0, 0, 0, 1]},
    ],
)
def test_what_does_not_fit_is_not_stacked(made, tmp_path, changes):
    volume(made, tmp_path / "a")
    made.series(tmp_path / "b", made.ramp(2, 5, 6), made.positions(2, first=(0, 0, 8)), **changes)
    assert [i.count for i in reader.list_series(tmp_path)] == [4, 2]


# --- several frames at one position ----------------------------------------------------------------


@pytest.mark.parametrize(
    ("marks", "step"),
    [
        ([{"TemporalPositionIdentifier": k + 1, "TemporalResolution": 500} for k in range(3)], (0.5, "s")),
        ([{"TemporalPositionIdentifier": k + 1} for k in range(3)], (1, "pixel")),
        ([{"TriggerTime": 40.0 * k} for k in range(3)], (0.04, "s")),
        ([{"DiffusionBValue": 500.0 * k} for k in range(3)], (1, "pixel")),
        ([{"AcquisitionNumber": k + 1} for k in range(3)], (1, "pixel")),
        ([{"AcquisitionTime": f"10000{k}"} for k in range(3)], (1, "pixel")),
    ],
)
def test_time_and_diffusion_make_a_first_axis(made, tmp_path, marks, step):
    whole = made.ramp(3, 4, 5, 6)
    for t in (2, 0, 1):
        made.series(tmp_path / str(t), whole[t], made.positions(4), [2, 3, 0, 1], **marks[t])
    scan = reader.read(tmp_path)
    assert scan.axes == "tzyx"
    assert np.array_equal(np.asarray(scan.array), whole)
    assert (scan.geometry.spacing[0], scan.geometry.units[0]) == (pytest.approx(step[0]), step[1])
    assert scan.geometry.spacing[1:] == pytest.approx((2, 1, 1))
    assert "3 steps of" in scan.notes[0]


def test_trigger_times_may_differ_from_slice_to_slice(made, tmp_path):
    whole = made.ramp(3, 2, 5, 6)
    for t in range(3):
        for z, where in enumerate(made.positions(2)):
            ds = made.dataset(whole[t, z], ImagePositionPatient=where, TriggerTime=30.0 * t + z)
            made.save(ds, tmp_path / f"{t}{z}.dcm")
    assert np.array_equal(np.asarray(reader.read(tmp_path).array), whole)


@pytest.mark.parametrize(
    "marks",
    [
        [{"ImageType": ["ORIGINAL", "PRIMARY", kind]} for kind in "MP"],
        [{"EchoTime": 3.0}, {"EchoTime": 6.0}],
    ],
)
def test_phase_and_echo_are_series_of_their_own(made, tmp_path, marks):
    whole = made.ramp(2, 4, 5, 6)
    for k in range(2):
        made.series(tmp_path / str(k), whole[k], made.positions(4), **marks[k])
    assert len(reader.list_series(tmp_path)) == 2
    for k in range(2):
        assert np.array_equal(np.asarray(reader.read(tmp_path, k + 1).array), whole[k])


def test_a_time_that_lacks_a_slice_is_refused(made, tmp_path):
    for t in range(3):
        volume(made, tmp_path / str(t), TemporalPositionIdentifier=t + 1)
    (tmp_path / "1" / "002.dcm").unlink()
    with pytest.raises(BadInput, match="different images"):
        reader.read(tmp_path)


def test_repeated_slices_are_left_out_with_a_note(made, tmp_path):
    folder = volume(made, tmp_path)
    (folder / "copy.dcm").write_bytes((folder / "002.dcm").read_bytes())
    scan = reader.read(folder)
    assert np.array_equal(np.asarray(scan.array), made.ramp(4, 5, 6))
    assert scan.notes == ("1 duplicate slices were left out",)


@pytest.mark.parametrize(
    "owner", [{"PatientID": "", "PatientName": "Roe^Richard"}, {"StudyInstanceUID": "1.2.3"}], ids=str
)
@pytest.mark.parametrize("marks", [{"AcquisitionTime": "111010"}, {"first": (0, 0, 8)}], ids=str)
def test_patients_or_studies_whose_series_have_one_uid_are_never_mixed(made, tmp_path, owner, marks):
    """Some programs give every series one UID when they anonymise: as a time series, or as one volume."""
    where = made.positions(4, first=marks.get("first", (0, 0, 0)))
    made.series(tmp_path / "a", made.ramp(4, 5, 6), made.positions(4), AcquisitionTime="101010")
    other = {"AcquisitionTime": marks.get("AcquisitionTime", "101010")} | owner
    made.series(tmp_path / "b", 1 + made.ramp(4, 5, 6), where, **other)
    with pytest.raises(BadInput, match="holds 2 series"):
        reader.read(tmp_path)
    infos = reader.list_series(tmp_path)
    assert [info.shape for info in infos] == [(4, 5, 6), (4, 5, 6)]
    for folder, info in zip(("a", "b"), infos, strict=True):
        scan = reader.read(tmp_path, info.uid)
        assert scan.content_sha256 == reader.read(tmp_path / folder).content_sha256
        assert scan.properties["dicom_series"] == info.uid
    assert "Roe" not in repr(infos)
    assert infos[1].patient not in repr(infos)


def test_modalities_whose_series_have_one_uid_are_never_mixed(made, tmp_path):
    made.series(tmp_path / "a", made.ramp(4, 5, 6), made.positions(4), Modality="CT")
    made.series(tmp_path / "b", made.ramp(4, 5, 6), made.positions(4, first=(0, 0, 8)), Modality="MR")
    with pytest.raises(BadInput, match="holds 2 series"):
        reader.read(tmp_path)
    assert [reader.read(tmp_path, number).modality for number in (1, 2)] == ["CT", "MR"]


@pytest.mark.parametrize("thickness", [None, 0])
def test_a_slice_of_unknown_thickness_says_so(made, tmp_path, thickness):
    """Its volumes are no measurement; the thickness of slices in a stack is not needed."""
    volume(made, tmp_path / "one", 1, SliceThickness=thickness)
    volume(made, tmp_path / "two", 2, SliceThickness=thickness)
    volume(made, tmp_path / "known", 1, SliceThickness=3)
    one, two, known = (reader.read(tmp_path / name) for name in ("one", "two", "known"))
    assert one.notes == ("the file does not say how thick its slice is; volumes are those of 1 mm",)
    assert (two.notes, known.notes) == ((), ())
    assert [scan.geometry.spacing[0] for scan in (one, two, known)] == [1, 2, 3]
