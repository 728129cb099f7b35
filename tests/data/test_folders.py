"""Folders of annotated images in the layouts that people have, and what they say of their labels."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from PIL import Image

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.annotations.annotated_folder import cases_for_classes, read_annotated_folder
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.folders import find_annotated
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.label_names import parse_label_names
from napari_latentseg.data.mask_values import COLOR_LABEL
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan

LESION = ClassInfo(label=1, name="lesion", color="#ff0000")
GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)
MASK = (GREY > 20).astype(np.uint8)


def png(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(values).save(path)


def images_and_masks(folder: Path) -> None:
    for name in "ab":
        png(folder / "images" / f"{name}.png", GREY)
        png(folder / "masks" / f"{name}.png", MASK)


def suffixes(folder: Path) -> None:
    for name in ("a", "benign (4)"):
        png(folder / f"{name}.png", GREY)
    png(folder / "a_seg.png", MASK)
    png(folder / "benign (4)_mask.png", MASK)
    png(folder / "benign (4)_mask_1.png", MASK)


def dataset_json(folder: Path, **content: object) -> None:
    labels = {"background": 0, "lesion": 1}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels, "file_ending": ".png"} | content))


def nnunet(folder: Path) -> None:
    for name in "ab":
        png(folder / "imagesTr" / f"{name}_0000.png", GREY)
        png(folder / "labelsTr" / f"{name}.png", MASK)
    dataset_json(folder, channel_names={"0": "US"})


def nnunet_rgb_file(folder: Path) -> None:
    for name in "ab":
        png(folder / "imagesTr" / f"{name}_0000.png", np.dstack([GREY, GREY * 2, GREY * 3]))
        png(folder / "labelsTr" / f"{name}.png", MASK)
    dataset_json(folder, channel_names={"0": "R", "1": "G", "2": "B"})


def nnunet_rgb_files(folder: Path) -> None:
    for name in "ab":
        for channel in range(3):
            png(folder / "imagesTr" / f"{name}_{channel:04d}.png", GREY * (channel + 1))
        png(folder / "labelsTr" / f"{name}.png", MASK)
    dataset_json(folder, channel_names={"0": "R", "1": "G", "2": "B"})


def decathlon(folder: Path) -> None:
    for name in ("liver_001", "liver_002"):
        for part, values in (("imagesTr", GREY), ("labelsTr", MASK)):
            (folder / part).mkdir(parents=True, exist_ok=True)
            nib.save(nib.Nifti1Image(values.T[..., None], np.eye(4)), folder / part / f"{name}.nii.gz")
    dataset_json(folder, labels={"0": "background", "1": "lesion"}, modality={"0": "CT"}, file_ending="")


def store(folder: Path) -> None:
    with AnnotationStore(folder) as annotations:
        for seed in range(2):
            scan = Scan(GREY + np.uint8(seed), "yx", Geometry.from_spacing("yx"))
            annotations.approve(scan, MASK, classes=(LESION,))


LAYOUTS: dict[str, Callable[[Path], None]] = {
    "images and masks": images_and_masks,
    "suffixes": suffixes,
    "nnU-Net": nnunet,
    "nnU-Net, RGB in one file": nnunet_rgb_file,
    "nnU-Net, a file for each colour": nnunet_rgb_files,
    "Medical Decathlon": decathlon,
    "annotation store": store,
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_its_images_with_their_masks(tmp_path: Path, layout: str) -> None:
    LAYOUTS[layout](tmp_path / "d")
    cases = cases_for_classes(read_annotated_folder(tmp_path / "d"), (LESION,))
    assert len(cases) == 2
    for case in cases:
        scan = case.read_scan()
        assert scan.spatial_shape[-2:] == (6, 8)
        assert ("RGB" in layout or "colour" in layout) == (scan.array.shape[-1] == 3)
        label_map = case.label_map or parse_label_names("1=lesion").label_map((LESION,), by_person=True)[0]
        assert np.array_equal(case.read_class_numbers(label_map)[0], MASK)


def test_three_files_are_the_image_of_the_one_that_holds_all_colours(tmp_path: Path) -> None:
    nnunet_rgb_files(tmp_path / "three")
    nnunet_rgb_file(tmp_path / "one")
    first, second = (find_annotated(tmp_path / name).cases[0].read_scan() for name in ("three", "one"))
    assert first.content_sha256 == second.content_sha256


def test_an_umlaut_of_macos_is_that_of_other_systems(tmp_path: Path) -> None:
    png(tmp_path / "images" / (unicodedata.normalize("NFD", "Höhle ß") + ".png"), GREY)
    png(tmp_path / "masks" / (unicodedata.normalize("NFC", "Höhle ß") + ".png"), MASK)
    (case,) = find_annotated(tmp_path).cases
    assert np.array_equal(case.read_class_numbers(LabelMap((LESION,)))[0], MASK)


def test_colours_that_lie_elsewhere_are_refused(tmp_path: Path) -> None:
    for channel in range(3):
        affine = np.diag([1.0, 1, 1, 1])
        affine[0, 3] = 5 * (channel == 2)
        path = tmp_path / "imagesTr" / f"a_{channel:04d}.nii"
        path.parent.mkdir(exist_ok=True)
        nib.save(nib.Nifti1Image(GREY.T[..., None], affine), path)
    (tmp_path / "labelsTr").mkdir()
    nib.save(nib.Nifti1Image(MASK.T[..., None], np.eye(4)), tmp_path / "labelsTr" / "a.nii")
    dataset_json(tmp_path, channel_names={"0": "R", "1": "G", "2": "B"}, file_ending=".nii")
    (case,) = find_annotated(tmp_path).cases
    with pytest.raises(BadInput, match=r"a_0000\.nii: lies elsewhere than the files of its other colours"):
        case.read_scan()


@pytest.mark.parametrize("names", [{"0": "T1", "1": "T2"}, None])
def test_channels_that_are_no_colours_are_refused_by_their_names(tmp_path: Path, names: object) -> None:
    nnunet(tmp_path)
    for name in "ab":
        png(tmp_path / "imagesTr" / f"{name}_0001.png", GREY)
    dataset_json(tmp_path, channel_names=names)
    with pytest.raises(BadInput, match=r"several channels( \(T1, T2\))?; give images of one channel"):
        find_annotated(tmp_path)


def test_stray_files_are_passed_over_with_one_word_each_kind(tmp_path: Path) -> None:
    images_and_masks(tmp_path)
    for name in (
        "Thumbs.db",
        ".DS_Store",
        "._a.png",
        "desktop.ini",
        "a.json",
        "README",
        "README.md",
        "DICOMDIR",
    ):
        (tmp_path / "images" / name).write_bytes(b"stray")
    (tmp_path / "masks" / "b.json").write_text("{}")
    png(tmp_path / "masks" / "z.png", MASK)
    annotated = find_annotated(tmp_path)
    assert [case.name for case in annotated.cases] == ["a", "b"]
    assert annotated.notes == (
        "passed over: .json file (2), .md file, DICOMDIR, Thumbs.db, desktop.ini, file without an ending,"
        " hidden file (2), mask without an image",
    )


def test_a_further_mask_of_an_image_is_said(tmp_path: Path) -> None:
    suffixes(tmp_path)
    png(tmp_path / "other.png", GREY)
    assert find_annotated(tmp_path).notes == ("passed over: further mask of an image, image without a mask",)
    png(tmp_path / "a_mask.png", MASK)
    with pytest.raises(BadInput, match=r"a_seg\.png: is a second mask beside a_mask\.png"):
        find_annotated(tmp_path)


def test_a_folder_of_something_else_is_refused(tmp_path: Path) -> None:
    png(tmp_path / "a.png", GREY)
    with pytest.raises(BadInput, match="holds no annotated images; give a folder with images/ and masks/"):
        find_annotated(tmp_path)


BRAIN = {17: "left hippocampus", 53: "right hippocampus"}


@pytest.mark.parametrize(
    ("name", "text", "expected"),
    [
        ("labels.json", '{"17": "left hippocampus", "53": "right hippocampus"}', BRAIN),
        (
            "dataset.json",
            '{"labels": {"background": 0, "left hippocampus": 17, "right hippocampus": 53}}',
            BRAIN,
        ),
        ("labels.txt", "17 left hippocampus\n\n53 right hippocampus\n", BRAIN),
        ("labels.txt", "17=left hippocampus\n53=right hippocampus", BRAIN),
        (
            "labels.txt",  # of ITK-SNAP
            '# a comment\n    0     0    0    0        0  0  0    "background"\n'
            '   17   220  216   20        1  1  1    "left hippocampus"\n'
            '   53   220  216   20        1  1  1    "right hippocampus"\n',
            BRAIN,
        ),
        ("labels.txt", "17  left-hippocampus   220 216 20 0\n", {17: "left-hippocampus"}),  # of FreeSurfer
        (
            "labelmap.txt",  # of CVAT
            "# label:color_rgb:parts:actions\nbackground:0,0,0::\nliver:128,0,0::\n",
            {COLOR_LABEL + 0x800000: "liver"},
        ),
    ],
)
def test_files_of_labels_beside_the_images_count(
    tmp_path: Path, name: str, text: str, expected: object
) -> None:
    images_and_masks(tmp_path)
    (tmp_path / name).write_text(text)
    found = find_annotated(tmp_path).label_names
    assert found is not None
    assert found.by_label == expected
    assert parse_label_names(tmp_path / name) == found


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("17", "is missing or not readable; write 17=NAME"),
        (" ", "labels: is empty; write 17=NAME"),
        ("17=a,b", "'b' says no label"),
        ("x=a", "'x' is not a label"),
        ("17=", "has no name"),
        ("any=a,1=b", "a class for any label, and for single ones"),
        ("0=a", "names no label"),
        ("#12=a", "'#12' is not a label"),
        ("1=liver,2=liver,1=spleen", "calls label 1 both 'liver' and 'spleen'"),
        ("1=liver,254=ignore,255=ignore", "ignores 254 and 255"),
        ("any=liver,any=spleen", "calls any label both 'liver' and 'spleen'"),
    ],
)
def test_labels_that_cannot_be_meant_are_refused(text: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        parse_label_names(text)


def test_an_option_says_what_the_labels_mean(tmp_path: Path) -> None:
    images_and_masks(tmp_path)
    for name in "ab":
        png(tmp_path / "masks" / f"{name}.png", MASK * 17 + (GREY > 40).astype(np.uint8) * 36)
    annotated = find_annotated(tmp_path)
    cases = cases_for_classes(annotated, (LESION,), parse_label_names("17=lesion,53=lesion"))
    assert all(np.array_equal(c.read_class_numbers(c.label_map)[0], MASK) for c in cases)
    (first, _) = cases_for_classes(annotated, (LESION,), parse_label_names({"any": "lesion"}))
    assert np.array_equal(first.read_class_numbers(first.label_map)[0], MASK)
    (first, _) = cases_for_classes(annotated, (LESION,), parse_label_names("17=lesion,53=ignore"))
    assert (first.read_class_numbers(first.label_map)[0] == 255).sum() == (GREY > 40).sum()
    with pytest.raises(BadInput, match="label 17: no class 'liver'; use one of lesion"):
        cases_for_classes(annotated, (LESION,), parse_label_names("17=liver"))


def test_any_label_is_the_one_class_of_a_model_of_one() -> None:
    wall = LESION.replace(label=2, name="wall")
    with pytest.raises(BadInput, match="the model has no class 'liver'; write any=lesion"):
        parse_label_names("any=liver").label_map((LESION,), by_person=True)
    with pytest.raises(
        BadInput, match="'any' needs a model of one class; say which label is which of lesion, wall"
    ):
        parse_label_names("any=lesion").label_map((LESION, wall), by_person=True)


def test_grey_rgb_and_rgba_images_lie_beside_each_other(tmp_path: Path) -> None:
    alpha = np.full_like(GREY, 255)
    for name, values in (
        ("grey", GREY), ("rgb", np.dstack([GREY + 1] * 3)), ("rgba", np.dstack([GREY + 2] * 3 + [alpha])),
    ):  # fmt: skip
        png(tmp_path / "images" / f"{name}.png", values)
        png(tmp_path / "masks" / f"{name}.png", MASK)
    assert [c.read_scan().array.shape for c in find_annotated(tmp_path).cases] == [
        (6, 8),
        (6, 8, 3),
        (6, 8, 4),
    ]


def test_an_export_of_grey_rgb_and_rgba_is_read_with_what_was_approved(tmp_path: Path) -> None:
    """What the product writes it reads: the channels are files for R, G and B."""
    alpha = np.full_like(GREY, 255)
    images = (GREY, np.dstack([GREY, GREY * 2, GREY * 3]), np.dstack([GREY * 3, GREY, GREY * 2, alpha]))
    with AnnotationStore(tmp_path / "store") as annotations:
        for i, values in enumerate(images):
            png(tmp_path / f"{i}.png", values)
            annotations.approve(read_scan(tmp_path / f"{i}.png"), MASK, classes=(LESION,))
        annotations.export_nnunet(tmp_path / "Dataset001_Lesions")
    cases = cases_for_classes(read_annotated_folder(tmp_path / "Dataset001_Lesions"), (LESION,))
    stored = [np.asarray(case.read_scan().array).reshape(6, 8, 3) for case in cases]
    expected = [np.dstack([GREY] * 3), images[1], images[2][..., :3]]
    assert sorted(a.tobytes() for a in stored) == sorted(a.tobytes() for a in expected)
    assert all(np.array_equal(case.read_class_numbers(case.label_map)[0], MASK) for case in cases)
