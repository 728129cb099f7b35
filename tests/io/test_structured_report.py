"""Volumes with intervals as a structured report, and masks as label maps, read back by two libraries."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
from pydicom.sr.codedict import codes
from tests.helpers.dicom import NAME, SECRET, positions, series
from tests.helpers.made import classes_of, made

from napari_latentseg.api import write_result
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom.structured_report import ReportedVolume, write_structured_report
from napari_latentseg.measure import class_sizes

CLASSES = classes_of("tumour", "liver")


@pytest.fixture
def result(tmp_path: Path) -> Any:
    values = np.random.default_rng(1).integers(0, 4000, (4, 12, 10), dtype=np.uint16)
    folder = series(
        tmp_path / "in", values, positions(4, (0, 0, 2.5)), PixelSpacing=[0.7, 0.4],
        SeriesInstanceUID="1.2.826.0.1.31", FrameOfReferenceUID="1.2.826.0.1.4",
    )  # fmt: skip
    scan = read_scan(folder)
    samples = np.random.default_rng(2).random((5, 2, *scan.spatial_shape))
    result = made(samples, scan.geometry, classes=CLASSES)
    return replace(result, format=scan.format, properties=scan.properties, source=scan.source)


def content(path: Path) -> highdicom.sr.MeasurementReport:
    return highdicom.sr.srread(path).content


@pytest.mark.parametrize("format", ["dicom-seg", "dicom-labelmap"])
def test_the_report_holds_what_the_table_holds(result: Any, tmp_path: Path, format: str) -> None:
    written = {path.name: path for path in write_result(result, tmp_path, "knee", format=format, table=True)}
    report = content(written["knee_sizes.dcm"])
    mask = pydicom.dcmread(written["knee_mask.dcm"])
    groups = report.get_volumetric_roi_measurement_groups()
    rows = class_sizes(result)
    assert [group.tracking_identifier for group in groups] == [row.name for row in rows]
    for group, row in zip(groups, rows, strict=True):
        (volume,) = group.get_measurements(name=codes.SCT.Volume)
        assert volume.value == pytest.approx(row.value / 1000, abs=1e-6)
        assert (volume.unit.value, volume.unit.scheme_designator) == ("mL", "UCUM")
        ends = [m for m in group.get_measurements() if m.name.scheme_designator == "99LATENTSEG"]
        assert [end.value for end in ends] == pytest.approx([row.low / 1000, row.high / 1000], abs=1e-6)
        segment = group.referenced_segment
        assert segment is not None
        assert segment[0].referenced_sop_instance_uid == mask.SOPInstanceUID
    assert f"interval, of {rows[0].samples} samples" in str(pydicom.dcmread(written["knee_sizes.dcm"]))


def test_the_report_belongs_to_patient_and_study_of_the_scan(result: Any, tmp_path: Path) -> None:
    write_result(result, tmp_path, "a", format="dicom-seg", table=True)
    report = pydicom.dcmread(tmp_path / "a_sizes.dcm")
    mask = pydicom.dcmread(tmp_path / "a_mask.dcm")
    assert report.Modality == "SR"
    assert (report.PatientID, report.StudyInstanceUID) == (SECRET, mask.StudyInstanceUID)
    assert report.SeriesInstanceUID != mask.SeriesInstanceUID
    (study,) = report.CurrentRequestedProcedureEvidenceSequence
    named = {
        item.ReferencedSOPInstanceUID
        for each in study.ReferencedSeriesSequence
        for item in each.ReferencedSOPSequence
    }
    assert {mask.SOPInstanceUID} < named


@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize(
    ("names", "kept"),
    [
        (("Läsion", "肝臓"), ("Läsion", "肝臓")),  # was L?sion and ??, which the report did not find again
        (("t" * 80, "cyst\\pouch"), ("t" * 64, "cyst/pouch")),
    ],
)
def test_names_of_classes_are_kept_whatever_the_character_set_of_the_scan(
    result: Any, tmp_path: Path, names: Any, kept: Any, deidentify: bool
) -> None:
    source = sorted(result.source.iterdir())
    for path in source:
        header = pydicom.dcmread(path)
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 100", "Müller^Jörg"
        header.save_as(path)
    classes = tuple(info.model_copy(update={"name": name}) for info, name in zip(CLASSES, names, strict=True))
    volumes = dict(zip(names, result.record.volumes.values(), strict=True))
    renamed = replace(result, classes=classes, record=result.record.replace(classes=classes, volumes=volumes))
    write_result(renamed, tmp_path / "out", "a", format="dicom-seg", table=True, deidentify=deidentify)
    mask = pydicom.dcmread(tmp_path / "out" / "a_mask.dcm")
    assert tuple(item.SegmentLabel for item in mask.SegmentSequence) == kept
    assert str(mask.PatientName) == ("" if deidentify else "Müller^Jörg")
    groups = content(tmp_path / "out" / "a_sizes.dcm").get_volumetric_roi_measurement_groups()
    assert [group.tracking_identifier for group in groups] == list(names)


def test_a_deidentified_report_names_nobody(result: Any, tmp_path: Path) -> None:
    write_result(result, tmp_path, "a", format="dicom-seg", table=True, deidentify=True)
    text = (tmp_path / "a_sizes.dcm").read_bytes()
    for secret in (SECRET, NAME, "1.2.826.0.1.31", "1.2.826.0.1.4"):
        assert secret.encode() not in text
    assert pydicom.dcmread(tmp_path / "a_sizes.dcm").PatientIdentityRemoved == "YES"


def test_without_a_table_or_in_other_formats_there_is_none(result: Any, tmp_path: Path) -> None:
    write_result(result, tmp_path, "a", format="dicom-seg")
    write_result(result, tmp_path, "b", format="nifti", table=True)
    assert not list(tmp_path.glob("*_sizes.dcm"))


def test_a_class_that_the_mask_lacks_is_refused(result: Any, tmp_path: Path) -> None:
    write_result(result, tmp_path, "a", format="dicom-seg")
    with pytest.raises(BadInput, match="lacks a class that was measured"):
        write_structured_report(tmp_path / "r.dcm", tmp_path / "a_mask.dcm", [ReportedVolume("spleen", 1.0)])


def test_a_mask_outside_the_interval_of_the_model_has_its_ends_alone(result: Any, tmp_path: Path) -> None:
    write_result(result, tmp_path, "a", format="dicom-seg")
    volumes = [ReportedVolume(info.name, 9.0, 1.0, 2.0, "90 % interval") for info in CLASSES]
    write_structured_report(tmp_path / "r.dcm", tmp_path / "a_mask.dcm", volumes)
    for group in content(tmp_path / "r.dcm").get_volumetric_roi_measurement_groups():
        assert [measurement.value for measurement in group.get_measurements()] == [9.0, 1.0, 2.0]


def test_a_label_map_says_what_the_binary_segments_say(result: Any, tmp_path: Path) -> None:
    write_result(result, tmp_path, "binary", format="dicom-seg")
    names = [path.name for path in write_result(result, tmp_path, "labelmap", format="dicom-labelmap")]
    assert "labelmap_mean.dcm" in names
    assert "labelmap_variance-liver.dcm" in names
    first = highdicom.seg.segread(tmp_path / "binary_mask.dcm")
    second = highdicom.seg.segread(tmp_path / "labelmap_mask.dcm")
    assert second.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.7"
    assert second.SegmentationType == "LABELMAP"
    assert [item.SegmentLabel for item in second.SegmentSequence][-2:] == ["tumour", "liver"]
    ends = [seg.get_volume(combine_segments=True, segment_numbers=[1, 2]) for seg in (first, second)]
    np.testing.assert_array_equal(ends[0].array, ends[1].array)
    np.testing.assert_array_equal(ends[0].affine, ends[1].affine)
    assert set(np.unique(ends[0].array)) == {0, 1, 2}
