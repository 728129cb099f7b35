from __future__ import annotations

import gzip
import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from tests.helpers.annotated import CLASSES, DISC, KINDS, VESSEL, contents, make_mask, make_scan

from napari_latentseg.annotations import AnnotationStore, ModelVersion, list_stores, store_folder
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput

MODEL = ("retina-vessels", "2", "ab" * 32)


def label_of(store: AnnotationStore, name: str) -> np.ndarray:
    """A mask as nibabel reads it, in our order of axes."""
    return np.asarray(nib.load(store.folder / "labelsTr" / f"{name}.nii.gz").dataobj).transpose()


# --- what comes back


@pytest.mark.parametrize("kind", KINDS)
def test_what_was_approved_comes_back(store: AnnotationStore, kind: str) -> None:
    scan = make_scan(kind)
    mask = make_mask(scan)
    entry = store.approve(scan, mask, classes=CLASSES, model=MODEL, edited=True)
    again = AnnotationStore(store.folder)
    (case,) = again.annotated_cases()
    assert case.name == entry.case
    stored = case.read_scan()
    assert case.content_sha256 == stored.content_sha256 == scan.content_sha256
    assert stored.axes == scan.axes
    assert stored.array.dtype == scan.array.dtype
    assert np.array_equal(np.asarray(stored.array), np.asarray(scan.array))
    assert stored.geometry == scan.geometry  # to the last digit
    assert stored.modality == scan.modality
    assert np.array_equal(case.read_mask().reshape(mask.shape), mask)
    assert case.annotated_slices == entry.planes == tuple(range(mask.size // 480))
    assert again.classes == CLASSES
    assert again.approvals() == [entry]
    assert entry.model == ModelVersion(*MODEL)
    assert entry.edited
    assert again.approved_planes(scan) == entry.planes
    assert again.count_approved() == (len(entry.planes), 1)
    assert again.verify() == []


@pytest.mark.parametrize("kind", ["volume", "oblique"])
def test_other_programs_find_image_and_mask_in_their_place(store: AnnotationStore, kind: str) -> None:
    scan = make_scan(kind)
    name = store.approve(scan, make_mask(scan), classes=CLASSES).case
    for file in (f"imagesTr/{name}_0000.nii.gz", f"labelsTr/{name}.nii.gz"):
        image = sitk.ReadImage(str(store.folder / file))
        for corner in np.ndindex(2, 2, 2):
            index = np.array(corner) * (5, 19, 23)
            found = image.TransformIndexToPhysicalPoint([int(i) for i in index[::-1]])[::-1]
            assert np.allclose(found, (scan.geometry.matrix @ [*index, 1])[:3], atol=1e-4)


def test_the_piece_that_was_approved_lies_where_it_lies(store: AnnotationStore) -> None:
    scan = make_scan("oblique")
    store.approve(scan, make_mask(scan), classes=CLASSES, planes=[3])
    (path,) = (store.folder / "objects").iterdir()
    image = sitk.ReadImage(str(path))
    assert image.GetSize() == (24, 20, 1)
    assert np.allclose(
        image.TransformIndexToPhysicalPoint((0, 0, 0))[::-1],
        (scan.geometry.matrix @ [3, 0, 0, 1])[:3],
        atol=1e-4,
    )


@pytest.mark.parametrize("kind", ["volume", "series", "planes in time"])
def test_planes_that_are_not_approved_are_passed_over(store: AnnotationStore, kind: str) -> None:
    scan = make_scan(kind)
    mask = make_mask(scan)
    entry = store.approve(scan, mask, classes=CLASSES, planes=[1, 3])
    about = json.loads((store.folder / "dataset.json").read_text())
    (case,) = store.annotated_cases()
    assert case.annotated_slices == (1, 3)
    seen = mask.reshape(-1, 20, 24).copy()
    seen[[n for n in range(len(seen)) if n not in (1, 3)]] = 0
    assert np.array_equal(case.read_mask(), seen)
    if kind == "planes in time":  # a time is a case of nnU-Net's, and those with nothing approved are none
        assert about["labels"] == {"background": 0, "vessel": 1, "disc": 2}
        assert about["numTraining"] == 2
        for time in (1, 3):
            assert np.array_equal(label_of(store, f"{entry.case}-t{time:03d}"), mask[time])
        return
    assert about["labels"] == {"background": 0, "vessel": 1, "disc": 2, "ignore": 3}
    assert about["numTraining"] == 1
    volume = mask if kind == "volume" else mask[0]
    wanted = np.full_like(volume, 3)
    wanted[[1, 3]] = volume[[1, 3]]
    assert np.array_equal(label_of(store, entry.case + ("" if kind == "volume" else "-t000")), wanted)


def test_colours_are_three_channels_of_nnunet(store: AnnotationStore) -> None:
    scan = make_scan("colours")
    name = store.approve(scan, make_mask(scan), classes=CLASSES).case
    about = json.loads((store.folder / "dataset.json").read_text())
    assert about["channel_names"] == {"0": "R", "1": "G", "2": "B"}
    assert about["file_ending"] == ".nii.gz"
    for channel in range(3):
        path = store.folder / "imagesTr" / f"{name}_{channel:04d}.nii.gz"
        assert np.array_equal(np.asarray(nib.load(path).dataobj).T, scan.array[..., channel])


def test_the_hash_of_an_image_is_that_of_a_run(tiny_model, store: AnnotationStore) -> None:
    from napari_latentseg.inference.predictor import Predictor
    from napari_latentseg.inference.settings import InferenceSettings

    scan = make_scan("volume")
    found = Predictor(tiny_model, "cpu").segment(
        scan, InferenceSettings.for_model(tiny_model.card, samples=1, source="none")
    )
    store.approve(scan, make_mask(scan), classes=CLASSES)
    assert store.cases()[0].content_sha256 == found.record.input.sha256


# --- again and again


def test_a_later_approval_goes_before_an_earlier_and_replaces_nothing(
    filled: AnnotationStore, scan: Scan
) -> None:
    before = contents(filled.folder)
    first, second = make_mask(scan), make_mask(scan, 1)
    entry = filled.approve(scan, second, classes=CLASSES, planes=[2])
    now = contents(filled.folder)
    assert now["journal.jsonl"].startswith(before["journal.jsonl"])
    for name, content in before.items():
        if name.startswith(("objects/", "imagesTr/")):
            assert now[name] == content
    wanted = first.copy()
    wanted[2] = second[2]
    annotated = filled.annotated_case(scan)
    assert annotated is not None
    assert np.array_equal(annotated.read_mask().reshape(wanted.shape), wanted)
    assert np.array_equal(label_of(filled, entry.case), wanted)
    filled.revoke(entry)
    again = AnnotationStore(filled.folder).annotated_case(scan)
    assert again is not None
    assert np.array_equal(again.read_mask().reshape(first.shape), first)
    assert np.array_equal(label_of(filled, entry.case), first)
    assert [e.id for e in filled.approvals()] == [entry.id - 1]
    assert [e.revoked for e in filled.approvals(revoked=True)] == [False, True]


def test_with_nothing_approved_nnunet_finds_nothing_and_nothing_is_gone(
    filled: AnnotationStore, scan: Scan
) -> None:
    (entry,) = filled.approvals()
    filled.revoke(entry)
    assert filled.annotated_cases() == []
    assert filled.approved_planes(scan) == ()
    assert filled.annotated_case(scan) is None
    assert not list((filled.folder / "imagesTr").iterdir())
    assert not list((filled.folder / "labelsTr").iterdir())
    assert json.loads((filled.folder / "dataset.json").read_text())["numTraining"] == 0
    assert filled.verify() == []
    again = AnnotationStore(filled.folder)
    again.approve(scan, make_mask(scan), classes=CLASSES, planes=[0])
    assert [c.name for c in again.cases()] == [entry.case]
    assert again.count_approved() == (1, 1)
    assert again.verify() == []
    for wrong in (entry, 99):
        with pytest.raises(BadInput, match=r"taken back before|none with the number 99"):
            filled.revoke(wrong)


def test_an_image_is_stored_once_and_known_by_values_and_place(filled: AnnotationStore, scan: Scan) -> None:
    matrix = scan.geometry.matrix
    matrix[:3, 3] += 1e-7  # as after a way through napari
    place = Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS")
    same = Scan(np.array(scan.array), "zyx", place, source=Path("other name.nii.gz"))
    assert filled.approved_planes(same) == tuple(range(6))
    filled.approve(same, make_mask(scan, 1), classes=CLASSES, planes=[0])
    assert len(filled.cases()) == 1
    matrix[0, 3] += 2.5
    moved = scan.replace(geometry=Geometry.from_matrix(matrix, ("mm",) * 3, ("z", "y", "x"), "LPS"))
    assert filled.approved_planes(moved) == ()
    filled.approve(moved, make_mask(scan), classes=CLASSES)
    assert len(filled.cases()) == 2
    assert len({c.name for c in filled.cases()}) == 2


def test_a_class_can_be_added_and_the_number_to_pass_over_makes_room(
    store: AnnotationStore, scan: Scan
) -> None:
    mask = np.minimum(make_mask(scan), 1)
    entry = store.approve(scan, mask, classes=[VESSEL], planes=[0])
    assert label_of(store, entry.case).max() == 2
    lesion = ClassInfo(label=4, name="lesion", color="#00ff00")
    mask[1, 0, 0] = 4
    store.approve(scan, mask, classes=[VESSEL, lesion], planes=[1])
    assert store.classes == (VESSEL, lesion)
    labels = json.loads((store.folder / "dataset.json").read_text())["labels"]
    assert labels == {"background": 0, "vessel": 1, "unused 2": 2, "unused 3": 3, "lesion": 4, "ignore": 5}
    found = label_of(store, entry.case)
    assert np.array_equal(found[:2], mask[:2])
    assert (found[2:] == 5).all()


def test_the_highest_label_of_all_leaves_room_too(store: AnnotationStore, scan: Scan) -> None:
    last = ClassInfo(label=255, name="last", color="#00ff00")
    entry = store.approve(scan, np.full(scan.spatial_shape, 255, np.uint8), classes=[last], planes=[0])
    found = label_of(store, entry.case)
    assert (found[0] == 255).all()
    assert (found[1:] == 256).all()


# --- what is refused, and leaves everything as it was


def wrong_classes() -> list[tuple[list[ClassInfo], str]]:
    def named(label: int, name: str) -> ClassInfo:
        return ClassInfo(label=label, name=name, color="#000000")

    return [
        (
            [named(3, "vessel"), named(1, "disc")],
            "class 3 'vessel': these annotations have 1 'vessel' already",
        ),
        ([named(1, "artery"), DISC], "class 1 'artery': these annotations have 1 'vessel' already"),
        ([VESSEL, DISC, named(3, "Ignore")], "nnU-Net reserves that name"),
        ([], "classes: there are none"),
    ]


@pytest.mark.parametrize(("classes", "words"), wrong_classes())
def test_classes_at_odds_are_refused(
    filled: AnnotationStore, scan: Scan, classes: list[ClassInfo], words: str
) -> None:
    before = contents(filled.folder)
    with pytest.raises(BadInput, match=words):
        filled.approve(scan, np.zeros(scan.spatial_shape, np.uint8), classes=classes)
    assert contents(filled.folder) == before


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        (
            {"mask": np.zeros((6, 20, 25), np.uint8)},
            r"mask: has shape \(6, 20, 25\), and image has \(6, 20, 24\)",
        ),
        ({"mask": np.zeros((6, 20, 24), np.float32)}, "holds values that are not class numbers"),
        ({"mask": np.full((6, 20, 24), 300)}, "holds values that are not class numbers"),
        ({"mask": np.full((6, 20, 24), 7)}, r"holds label 7, which is not a class here \(1 vessel, 2 disc\)"),
        ({"planes": []}, "no slice is chosen"),
        ({"planes": [0, 6]}, "there is no slice 7; there are 6"),
        ({"planes": [-1]}, "there is no slice 0"),
        (
            {"geometry": Geometry.from_spacing("zyx", (2.5, 0.7, 0.7), "mm")},
            "mask: does not lie where image lies",
        ),
        (
            {"scan": make_scan("colours"), "mask": np.zeros((20, 24), np.uint8)},
            "has 3 channels, and the images",
        ),
    ],
)
def test_what_does_not_fit_is_refused(filled: AnnotationStore, scan: Scan, changes: dict, words: str) -> None:
    before = contents(filled.folder)
    given = {"scan": scan, "mask": make_mask(scan), "classes": CLASSES} | changes
    with pytest.raises(BadInput, match=words):
        filled.approve(**given)
    assert contents(filled.folder) == before


def test_values_that_nifti_cannot_hold_are_refused(store: AnnotationStore) -> None:
    scan = Scan(np.full((4, 5), 2**40), "yx", Geometry.from_spacing("yx"))
    with pytest.raises(BadInput, match="image: cannot be kept: it holds integers beyond 32 bits"):
        store.approve(scan, np.zeros((4, 5), np.uint8), classes=CLASSES)
    assert store.approvals() == []
    assert contents(store.folder) == {}


def test_an_empty_mask_is_an_answer_too(store: AnnotationStore, scan: Scan) -> None:
    store.approve(scan, np.zeros(scan.spatial_shape, np.uint8), classes=CLASSES)
    assert store.count_approved() == (6, 1)


# --- whose it is


def test_nothing_names_the_patient(store: AnnotationStore, scan: Scan, tmp_path: Path) -> None:
    named = scan.replace(
        source=tmp_path / "Jane_Doe_1961.nii.gz",
        notes=("Jane_Doe_1961",),
        properties={"descrip": "Jane_Doe_1961"},
    )
    store.save_draft(named, make_mask(scan), classes=CLASSES)
    store.approve(named, make_mask(scan), classes=CLASSES)
    files = contents(store.folder)
    assert len(files) >= 6
    for name, content in files.items():
        whole = gzip.decompress(content) if name.endswith(".gz") else content
        for word in (b"Jane", b"Doe", str(tmp_path).encode()):
            assert word not in content
            assert word not in whole
            assert word not in name.encode()


# --- where it lies


def test_there_is_a_store_for_each_model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scan: Scan) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    assert store_folder("retina-vessels") == tmp_path / "annotations" / "retina-vessels"
    assert list_stores() == {}
    AnnotationStore.for_model("retina-vessels").approve(scan, make_mask(scan), classes=CLASSES)
    assert list_stores() == {"retina-vessels": tmp_path / "annotations" / "retina-vessels"}
    polyp = AnnotationStore.for_model("polyp")
    draft = polyp.save_draft(scan, make_mask(scan), classes=CLASSES)
    assert list(list_stores()) == ["polyp", "retina-vessels"]  # work that was left is to be found too
    polyp.discard_draft(draft)
    assert list(list_stores()) == ["retina-vessels"]
    for wrong in ("../elsewhere", "", "Jane Doe"):
        with pytest.raises(BadInput, match="is not a valid model name"):
            store_folder(wrong)


def test_opening_and_reading_makes_nothing(store: AnnotationStore, scan: Scan) -> None:
    assert store.approvals() == []
    assert store.cases() == []
    assert store.drafts() == []
    assert store.classes == ()
    assert store.approved_planes(scan) == ()
    assert store.verify() == []
    assert store.annotated_cases() == []
    store.close()
    assert not store.folder.exists()


def test_a_file_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(BadInput, match="is not a folder"):
        AnnotationStore(tmp_path / "file")


# --- for nnU-Net alone


def test_an_export_is_a_plain_data_set(filled: AnnotationStore, tmp_path: Path) -> None:
    other = make_scan("volume", 1)
    filled.approve(other, make_mask(other, 1), classes=CLASSES, planes=[4])
    filled.save_draft(make_scan("volume", 2), make_mask(other), classes=CLASSES)
    folder = filled.export_nnunet(tmp_path / "Dataset001_Vessels")
    files = sorted(contents(folder))
    names = sorted(c.name for c in filled.cases())
    assert files == sorted(
        [
            "dataset.json",
            *(f"imagesTr/{n}_0000.nii.gz" for n in names),
            *(f"labelsTr/{n}.nii.gz" for n in names),
        ]
    )
    about = json.loads((folder / "dataset.json").read_text())
    assert about == {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, "vessel": 1, "disc": 2, "ignore": 3},
        "numTraining": 2,
        "file_ending": ".nii.gz",
    }
    for name in names:
        image, mask = (
            sitk.ReadImage(str(folder / part / file))
            for part, file in (("imagesTr", f"{name}_0000.nii.gz"), ("labelsTr", f"{name}.nii.gz"))
        )
        assert image.GetSize() == mask.GetSize()
        assert np.allclose(image.GetOrigin(), mask.GetOrigin())
        assert np.allclose(image.GetDirection(), mask.GetDirection())
        assert np.array_equal(sitk.GetArrayFromImage(mask), label_of(filled, name))


def test_an_export_is_whole_or_not_there(store: AnnotationStore, scan: Scan, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="nothing is approved yet"):
        store.export_nnunet(tmp_path / "out")
    store.approve(scan, make_mask(scan), classes=CLASSES)
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").write_text("mine")
    with pytest.raises(BadInput, match="already exists"):
        store.export_nnunet(tmp_path / "taken")
    (path,) = (store.folder / "imagesTr").iterdir()
    path.unlink()
    with pytest.raises(BadInput, match="is missing in the annotations"):
        store.export_nnunet(tmp_path / "out")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["annotations", "taken"]
