"""Results as DICOM-SEG: in place for other libraries, valid, and with no name where none is wanted."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace
from itertools import product
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from napari_latentseg.core.classes import ClassInfo, Code
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.core.person_mask import compare_masks, with_person_mask
from napari_latentseg.core.record import InputRecord, ModelRecord, RunRecord
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.dicom import reader
from napari_latentseg.io.write_results import write_segmentation

TARGET = ClassInfo(label=1, name="target", color="#ffb000")
TUMOUR = ClassInfo(label=4, name="tumour", color="#1080ff")
LIVER = ClassInfo(
    label=9,
    name="liver",
    color="#00ff00",
    code=Code(scheme="SCT", value="10200004", meaning="Liver"),
    category=Code(scheme="SCT", value="123037004", meaning="Anatomical Structure"),
)


def segmentation(scan: Scan, *classes: ClassInfo, **changes: Any) -> Segmentation:
    """Random probabilities for a scan."""
    classes = classes or (TARGET,)
    mean = np.random.default_rng(0).random((len(classes), *scan.spatial_shape)).astype(np.float32)
    record = RunRecord(
        plugin_version="1.2",
        time="2026-01-01T00:00:00+00:00",
        input=InputRecord(sha256="", format="dicom", axes=scan.axes, shape=scan.array.shape, dtype="int16",
                          spacing=scan.geometry.spacing, units=scan.geometry.units),
        model=ModelRecord(name="knee-model", version="7", method="gms", variant="", codec="c",
                          sha256={"weights": "ab" * 32}),
        classes=classes, samples_asked=3, samples=3, planes_done=4, planes=4, source="augment",
        source_settings={}, seed=0, threshold=0.5, device="cpu", precision="float32", tile=None, overlap=0,
        working_size=(64, 64), seconds=1.0, complete=True, volumes={}, volume_unit="mm3", versions={},
    )  # fmt: skip
    fields: dict[str, Any] = {
        "mask": labels_from_probabilities(mean, 0.5, classes), "mean": mean, "variance": mean / 4,
        "volumes": np.ones((3, len(classes))), "axes": scan.axes, "geometry": scan.geometry,
        "format": scan.format, "properties": dict(scan.properties), "classes": classes, "record": record,
        "source": scan.source,
    }  # fmt: skip
    return Segmentation(**(fields | changes))


OBLIQUE = {"ImageOrientationPatient": [0.8, 0.6, 0, -0.48, 0.64, 0.6], "PixelSpacing": [0.7, 0.4]}
NORMAL = np.array([0.36, -0.48, 0.8])


def source(made, folder: Path, kind: str) -> Path:
    volume, step = made.ramp(4, 12, 10), 2.5 * NORMAL
    if kind == "frames":
        return made.save(
            made.frames(volume, made.positions(4, -step, (5, 6, 7)), **OBLIQUE), folder / "a.dcm"
        )
    if kind == "against the normal":
        return made.series(folder, volume, made.positions(4, -step, (5, 6, 7)), **OBLIQUE)
    if kind == "one slice":
        return made.series(folder, volume[:1], made.positions(1), **OBLIQUE)
    if kind == "tilted":
        return made.series(
            folder, volume, made.positions(4, step + np.array([0, 0.5, 0]), (5, 6, 7)), **OBLIQUE
        )
    return made.series(folder, volume, made.positions(4, step, (5, 6, 7)), [2, 0, 3, 1], **OBLIQUE)


KINDS = ["along the normal", "against the normal", "frames", "one slice", "tilted"]


def placed(scan: Scan, array: np.ndarray) -> sitk.Image:
    """An array in a scan's place, as SimpleITK holds it."""
    image = sitk.GetImageFromArray(array)
    matrix = scan.geometry.matrix[:3][::-1]
    linear = matrix[:, 2::-1]
    spacing = np.linalg.norm(linear, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((linear / spacing).ravel().tolist())
    image.SetOrigin(matrix[:, 3].tolist())
    return image


def same_place(found: highdicom.Volume, scan: Scan) -> np.ndarray:
    """The volume with its slices in our order, once it is sure that they lie where ours do."""
    array = found.array
    matrix = scan.geometry.matrix[:3][::-1][:, [0, 1, 2, 3]]
    ends = [found.affine @ [k, 0, 0, 1] for k in (0, len(array) - 1)]
    first = matrix[:, 3]
    if np.linalg.norm(ends[0][:3] - first) > np.linalg.norm(ends[1][:3] - first):
        array, ends = array[::-1], ends[::-1]
    last = matrix @ [len(array) - 1, 0, 0, 1]
    assert np.allclose(ends[0][:3], first, rtol=0, atol=1e-4)
    assert np.allclose(ends[1][:3], last, rtol=0, atol=1e-4)
    assert np.allclose(found.affine[:3, 1:3], matrix[:, 1:3], rtol=0, atol=1e-6)
    return array


def positions_of(ds: pydicom.Dataset) -> np.ndarray:
    groups = ds.PerFrameFunctionalGroupsSequence
    return np.array([g.PlanePositionSequence[0].ImagePositionPatient for g in groups], dtype=float)


@pytest.mark.parametrize("kind", KINDS)
def test_it_reads_back_in_place(made, tmp_path, kind):
    scan = reader.read(source(made, tmp_path / "in", kind))
    found = segmentation(scan)
    mask, mean, variance, record = write_segmentation(found, tmp_path / "out", "knee", format="dicom-seg")
    assert [p.name for p in (mask, mean, variance)] == ["knee_mask.dcm", "knee_mean.dcm", "knee_variance.dcm"]
    read = RunRecord.model_validate(json.loads(record.read_text("utf-8")))
    assert (read.replace(files={}), sorted(read.files)) == (
        found.record,
        ["mask.dcm", "mean.dcm", "variance.dcm"],
    )
    # slice by slice, from the file alone, which holds for a tilted gantry too
    for file, values, factor in ((mask, found.mask, 1), (mean, found.mean[0], 255)):
        ds = pydicom.dcmread(file)
        stored = ds.pixel_array.reshape(found.mask.shape)
        where = positions_of(ds)
        for k in range(len(values)):
            here = scan.geometry.matrix @ [k, 0, 0, 1]
            frame = int(np.argmin(np.linalg.norm(where - here[2::-1], axis=1)))
            assert np.allclose(where[frame], here[2::-1], rtol=0, atol=1e-4)
            assert np.abs(stored[frame] / factor - values[k]).max() <= 0.5 / factor + 1e-6
    if kind == "tilted":
        return
    volume = highdicom.seg.segread(mask).get_volume(combine_segments=True)
    assert np.array_equal(same_place(volume, scan), found.mask)
    held = placed(scan, found.mask)
    for file, expected in ((mask, found.mask > 0), (mean, found.mean[0])):
        image = sitk.ReadImage(str(file))
        moved = sitk.Resample(image, held, sitk.Transform(), sitk.sitkNearestNeighbor, -1, sitk.sitkFloat32)
        values = sitk.GetArrayFromImage(moved)
        values = values > 0 if file == mask else values / 255
        assert np.abs(values - expected.astype(np.float32)).max() <= 0.5 / 255 + 1e-6
    for index in ((0, 0, 0), (9, 11, len(found.mask) - 1)):
        place = held.TransformIndexToPhysicalPoint(index)
        there = sitk.ReadImage(str(mask)).TransformPhysicalPointToContinuousIndex(place)
        assert np.allclose(there, np.round(there), atol=1e-4)


def test_the_variance_is_kept_to_the_digit(made, tmp_path):
    scan = reader.read(source(made, tmp_path / "in", "along the normal"))
    found = segmentation(scan, TARGET, TUMOUR)
    written = write_segmentation(found, tmp_path / "out", format="dicom-seg")
    assert [p.name for p in written] == [
        "mask.dcm", "mean.dcm", "variance-target.dcm", "variance-tumour.dcm", "run.json",
    ]  # fmt: skip
    for k, name in enumerate(("target", "tumour")):
        ds = pydicom.dcmread(tmp_path / "out" / f"variance-{name}.dcm")
        order = np.argsort(positions_of(ds) @ NORMAL)
        assert np.array_equal(ds.pixel_array[order], found.variance[k])


def test_classes_are_segments_with_coded_meanings(made, tmp_path):
    scan = reader.read(source(made, tmp_path / "in", "along the normal"))
    found = segmentation(scan, TARGET, TUMOUR, LIVER)
    mask, mean, *_ = write_segmentation(found, tmp_path / "out", format="dicom-seg")
    seg = highdicom.seg.segread(mask)
    assert seg.number_of_segments == 3
    told = [
        (s.segment_label, s.segmented_property_category.meaning, s.segmented_property_type.value)
        for s in map(seg.get_segment_description, (1, 2, 3))
    ]
    assert told == [
        ("target", "Tissue", "85756007"),
        ("tumour", "Morphologically Abnormal Structure", "52988006"),
        ("liver", "Anatomical Structure", "10200004"),
    ]
    algorithm = seg.get_segment_description(1).algorithm_identification
    assert (algorithm.name, algorithm.version) == ("knee-model", "7")
    whole = same_place(seg.get_volume(combine_segments=True), scan)
    assert np.array_equal(whole, np.searchsorted([0, 1, 4, 9], found.mask))
    assert seg.get_segment_description(1).algorithm_type.value == "AUTOMATIC"
    means = same_place(highdicom.seg.segread(mean).get_volume(), scan)
    assert np.abs(np.moveaxis(means, -1, 0) - found.mean).max() <= 0.5 / 255 + 1e-6


@pytest.mark.parametrize(
    ("change", "algorithm", "words"),
    [
        ({}, "AUTOMATIC", "the model's"),
        ({"mask_edited": True, "mask_state": "corrected"}, "SEMIAUTOMATIC", "corrected by a person"),
        (
            {"mask_edited": True, "mask_state": "approved"},
            "SEMIAUTOMATIC",
            "corrected and approved by a person",
        ),
        ({"mask_state": "approved"}, "AUTOMATIC", "the model's, approved unchanged"),
    ],
)
def test_each_segment_says_whose_it_is(made, tmp_path, change, algorithm, words):
    scan = reader.read(source(made, tmp_path / "in", "along the normal"))
    found = segmentation(scan)
    edited = segmentation(scan, record=found.record.model_copy(update=change))
    mask, mean, *_ = write_segmentation(edited, tmp_path / "out", format="dicom-seg")
    segment = highdicom.seg.segread(mask).get_segment_description(1)
    assert segment.algorithm_type.value == algorithm
    assert segment.SegmentDescription == words
    # the mean is the model's whatever became of the mask
    assert highdicom.seg.segread(mean).get_segment_description(1).algorithm_type.value == "AUTOMATIC"


def test_a_class_that_a_person_added_is_a_manual_segment(made, tmp_path):
    scan = reader.read(source(made, tmp_path / "in", "along the normal"))
    found = segmentation(scan)
    mask = found.mask.copy()
    mask[0, :2, :2] = 100
    vessel = ClassInfo(label=100, name="vessel", color="#00ff00")
    comparison = compare_masks(mask, found.mask, {})
    written, *_ = write_segmentation(
        with_person_mask(found, mask, comparison, [vessel]), tmp_path / "out", format="dicom-seg"
    )
    seg = highdicom.seg.segread(written)
    last = seg.get_segment_description(seg.number_of_segments)
    assert (last.segment_label, last.algorithm_type.value) == ("vessel", "MANUAL")
    assert seg.get_segment_description(1).algorithm_type.value == "SEMIAUTOMATIC"
    voxels = seg.get_volume(segment_numbers=[seg.number_of_segments], combine_segments=True)
    assert np.count_nonzero(voxels.array) == 4


def test_an_empty_mask_and_no_variance(made, tmp_path):
    scan = reader.read(source(made, tmp_path / "in", "along the normal"))
    empty = np.zeros(scan.spatial_shape, np.uint8)
    written = write_segmentation(
        segmentation(scan, mask=empty, variance=None), tmp_path / "out", format="dicom-seg"
    )
    assert [p.name for p in written] == ["mask.dcm", "mean.dcm", "run.json"]
    assert not highdicom.seg.segread(written[0]).pixel_array.any()


@pytest.mark.parametrize("kind", ["along the normal", "frames", "against the normal"])
def test_slices_that_were_not_segmented_have_no_frame(made, tmp_path, kind):
    """A frame of zeros would say that somebody looked there and found nothing."""
    scan = reader.read(source(made, tmp_path / "in", kind))
    whole = segmentation(scan)
    part = {"planes_done": 2, "segmented_slices": ((1, 2),), "complete": False}
    mask = whole.mask.copy()
    mask[[0, 3]] = 0
    found = replace(whole, mask=mask, record=whole.record.replace(**part))
    written = write_segmentation(found, tmp_path / "out", format="dicom-seg")[:3]
    places = [scan.geometry.matrix @ [k, 0, 0, 1] for k in (1, 2)]
    for file in written:
        ds = pydicom.dcmread(file)
        assert ds.ContentDescription.endswith("; 2 of 4 slices segmented; cancelled")
        where = positions_of(ds)
        assert len(where) == ds.NumberOfFrames == 2
        for place in places:
            assert np.linalg.norm(where - place[2::-1], axis=1).min() < 1e-4
    stored = pydicom.dcmread(written[0]).pixel_array
    assert stored.sum() == np.count_nonzero(mask)
    mask = mask.copy()
    mask[3, 0, 0] = TARGET.label  # painted by a person
    painted = replace(found, mask=mask, record=found.record.replace(mask_edited=True, mask_state="corrected"))
    (file, *_) = write_segmentation(painted, tmp_path / "painted", format="dicom-seg")
    assert pydicom.dcmread(file).NumberOfFrames == 3


def test_an_earlier_record_of_a_cancelled_run_has_all_frames_and_says_so(made, tmp_path):
    scan = reader.read(source(made, tmp_path / "in", "along the normal"))
    whole = segmentation(scan)
    found = replace(whole, record=whole.record.replace(planes_done=2, complete=False))
    (file, *_) = write_segmentation(found, tmp_path / "out", format="dicom-seg")
    ds = pydicom.dcmread(file)
    assert (ds.NumberOfFrames, ds.ContentDescription) == (4, "mask; 2 of 4 slices segmented; cancelled")


def references(ds: pydicom.Dataset) -> set[str]:
    return {
        str(item.ReferencedSOPInstanceUID)
        for series in ds.ReferencedSeriesSequence
        for item in series.ReferencedInstanceSequence
    }


@pytest.mark.parametrize("kind", ["along the normal", "frames"])
@pytest.mark.parametrize("deidentify", [False, True])
def test_names_and_references(made, tmp_path, kind, deidentify):
    path = source(made, tmp_path / "in", kind)
    files = [path] if path.is_file() else sorted(path.iterdir())
    originals = {str(pydicom.dcmread(f).SOPInstanceUID) for f in files}
    found = segmentation(reader.read(path))
    written = write_segmentation(found, tmp_path / "out", format="dicom-seg", deidentify=deidentify)
    studies = set()
    for file in written[:-1]:
        ds = pydicom.dcmread(file)
        studies.add((ds.StudyInstanceUID, ds.FrameOfReferenceUID))
        raw = file.read_bytes()
        if deidentify:
            assert not references(ds) & originals
            assert ds.PatientIdentityRemoved == "YES"
            for secret in (*made.secrets, "1.2.3\0", "1.2.4\0", "20200202", *originals):
                assert secret.encode() not in raw
        else:
            assert references(ds) == originals
            assert (ds.PatientName, ds.FrameOfReferenceUID) == ("Doe^Jane", "1.2.4")
            assert b"knee of" not in raw
    assert len(studies) == 1  # the parts belong together
    for secret in made.secrets:
        assert secret not in written[-1].read_text("utf-8")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="dciodvfy (dicom3tools) is not installed")
@pytest.mark.parametrize("deidentify", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_dciodvfy_finds_no_error(made, tmp_path, kind, deidentify):
    found = segmentation(reader.read(source(made, tmp_path / "in", kind)), TARGET, TUMOUR)
    written = write_segmentation(found, tmp_path / "out", format="dicom-seg", deidentify=deidentify)
    for file in written[:-1]:
        done = subprocess.run(["dciodvfy", str(file)], capture_output=True, text=True, check=False)
        errors = [line for line in (done.stdout + done.stderr).splitlines() if line.startswith("Error")]
        assert errors == []
        assert "Segmentation" in done.stderr + done.stdout or "ParametricMap" in done.stderr + done.stdout


@pytest.mark.parametrize("deidentify", [False, True])
def test_a_source_with_the_barest_header(made, tmp_path, deidentify):
    bare = dict.fromkeys(
        ("PatientName", "PatientID", "PatientBirthDate", "StudyDate", "StudyTime", "StudyID", "SeriesNumber",
         "AccessionNumber", "ReferringPhysicianName", "InstitutionName", "SliceThickness", "ImageType",
         "InstanceNumber", "Manufacturer", "SeriesDescription")
    )  # fmt: skip
    for k, where in enumerate(made.positions(3)):
        one = made.dataset(made.ramp(12, 10), ImagePositionPatient=where, **bare, PatientSex="X")
        one.PositionReferenceIndicator = made.secrets[0]
        made.save(one, tmp_path / "in" / f"{k}.dcm")
    found = segmentation(reader.read(tmp_path / "in"))
    mask, *_ = write_segmentation(found, tmp_path / "out", format="dicom-seg", deidentify=deidentify)
    assert (made.secrets[0].encode() in mask.read_bytes()) is not deidentify
    volume = highdicom.seg.segread(mask).get_volume(combine_segments=True)
    assert np.array_equal(same_place(volume, reader.read(tmp_path / "in")), found.mask)


def changed(made, folder: Path) -> None:
    for k, file in enumerate(sorted(folder.iterdir())):
        ds = pydicom.dcmread(file)
        ds.PixelSpacing = [0.7, 0.5]
        made.save(ds, folder / f"{k:03d}.dcm")


@pytest.mark.parametrize("spoil", ["gone", "moved", "other"])
def test_a_source_that_is_no_longer_as_it_was(made, tmp_path, spoil):
    folder = source(made, tmp_path / "in", "along the normal")
    found = segmentation(reader.read(folder))
    if spoil == "gone":
        shutil.rmtree(folder)
    elif spoil == "moved":
        changed(made, folder)
    else:
        shutil.rmtree(folder)
        made.series(folder, made.ramp(4, 12, 10), made.positions(4), SeriesInstanceUID="1.2.8")
    with pytest.raises(BadInput) as caught:
        write_segmentation(found, tmp_path / "out", format="dicom-seg")
    assert not (tmp_path / "out").exists()
    assert "\n" not in str(caught.value)


def test_what_is_not_dicom_or_not_in_the_patient_is_refused(made, tmp_path):
    import tifffile

    tifffile.imwrite(tmp_path / "a.tif", made.ramp(4, 12, 10), photometric="minisblack")
    with pytest.raises(BadInput, match=r"the source is none; write NIfTI or TIFF"):
        write_segmentation(segmentation(read_scan(tmp_path / "a.tif")), tmp_path / "out", format="dicom-seg")
    flat = made.dataset(made.ramp(12, 10), ImagePositionPatient=None)
    scan = reader.read(made.save(flat, tmp_path / "a.dcm"))
    with pytest.raises(BadInput, match="not a volume with a position"):
        write_segmentation(segmentation(scan), tmp_path / "out", format="dicom-seg")
    wrong = reader.read(source(made, tmp_path / "in", "along the normal"))
    painted = np.full(wrong.spatial_shape, 3, np.uint8)
    with pytest.raises(BadInput, match="labels that are not classes"):
        write_segmentation(segmentation(wrong, mask=painted), tmp_path / "out", format="dicom-seg")


@pytest.mark.parametrize(("spacing", "suffix"), [([1, 1], ".nii.gz"), (None, ".tif")])
def test_the_family_of_dicom_is_nifti_and_without_a_size_tiff(made, tmp_path, spacing, suffix):
    flat = made.dataset(made.ramp(12, 10), ImagePositionPatient=None, PixelSpacing=spacing)
    scan = reader.read(made.save(flat, tmp_path / "a.dcm"))
    written = write_segmentation(segmentation(scan), tmp_path / "out")
    assert [p.name for p in written[:3]] == [f"{n}{suffix}" for n in ("mask", "mean", "variance")]


def test_frames_of_two_stacks_in_one_file(made, tmp_path):
    ds = made.frames(made.ramp(6, 12, 10), made.positions(3) * 2)
    for k, group in enumerate(ds.PerFrameFunctionalGroupsSequence):
        content = pydicom.Dataset()
        content.StackID = str(k // 3)
        group.FrameContentSequence = [content]
    path = made.save(ds, tmp_path / "a.dcm")
    assert [i.count for i in reader.list_series(path)] == [3, 3]
    found = segmentation(reader.read(path, 2))
    with pytest.raises(BadInput, match="other frames"):
        write_segmentation(found, tmp_path / "out", format="dicom-seg")
    assert np.array_equal(np.asarray(reader.read(path, 2).array), made.ramp(6, 12, 10)[3:])


def test_the_real_series_is_in_place(data_dir, tmp_path):
    for folder, deidentify in product(sorted(data_dir.glob("dicom_brain_mr/*/*")), (False, True)):
        scan = reader.read(folder)
        found = segmentation(scan)
        mask, *_ = write_segmentation(found, tmp_path, format="dicom-seg", deidentify=deidentify)
        volume = highdicom.seg.segread(mask).get_volume(combine_segments=True)
        assert np.array_equal(same_place(volume, scan), found.mask)


@pytest.mark.parametrize(
    ("character_set", "name"),
    [
        (["", "ISO 2022 IR 87"], "Yamada^Tarou=山田^太郎=やまだ^たろう"),
        (["", "ISO 2022 IR 149"], "Hong^Gildong=洪^吉洞=홍^길동"),
        (["", "ISO 2022 IR 58"], "Wang^XiaoDong=王^小东"),
        ("ISO 2022 IR 100", "Müller^Jörg"),
        ("ISO_IR 100", "Müller^Jörg"),
        ("GB18030", "Wang^XiaoDong=王^小东"),
        ("", "Doe^Jane"),
        ("ISO_IR 6", "Doe^Jane"),
    ],
)
def test_the_name_is_kept_in_the_character_sets_of_any_hospital(made, tmp_path, character_set, name):
    written_name: Any = name
    if "ISO 2022 IR 58" in character_set:  # pydicom leaves out the escape sequences when it writes Chinese
        raw = b"Wang^XiaoDong=\x1b$)A\xcd\xf5^\x1b$)A\xd0\xa1\xb6\xab"
        written_name = pydicom.valuerep.PersonName(raw, ["iso8859", "iso_ir_58"])
    made.series(
        tmp_path / "in", made.ramp(2, 6, 5), made.positions(2),
        SpecificCharacterSet=character_set, PatientName=written_name,
    )  # fmt: skip
    scan = reader.read(tmp_path / "in")
    mask, *_ = write_segmentation(segmentation(scan), tmp_path / "out", format="dicom-seg")
    ds = pydicom.dcmread(mask)
    assert str(ds.PatientName) == name
    kept = isinstance(character_set, str) and character_set in ("ISO_IR 100", "GB18030")
    assert ds.SpecificCharacterSet == (character_set if kept else "ISO_IR 192")
