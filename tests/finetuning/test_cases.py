"""Annotated scans, whichever way they lie in a folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import Case
from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.finetuning.copies import copy_notes
from napari_latentseg.io import read_scan
from napari_latentseg.models.card import ModelCard, read_card

TWO = (
    ClassInfo(label=1, name="anterior", color="#ff0000"),
    ClassInfo(label=2, name="posterior", color="#00ff00"),
)


@pytest.fixture
def card(tiny_model_folder: Path) -> ModelCard:
    return read_card(tiny_model_folder)


@pytest.fixture
def two(card: ModelCard) -> ModelCard:
    return card.model_copy(update={"classes": TWO})


def volume(seed: int = 0) -> NDArray[np.int16]:
    return np.random.default_rng(seed).integers(0, 900, (9, 8, 5)).astype(np.int16)


def nnunet(folder: Path, labels: dict[str, int], mask: NDArray[np.uint8], affine: object = None) -> Path:
    """A data set of one case of 9 x 8 x 5 voxels."""
    for part in ("imagesTr", "labelsTr"):
        (folder / part).mkdir(parents=True)
    where = np.diag([1.0, 1.0, 2.0, 1.0])
    nib.save(nib.Nifti1Image(volume(), where), folder / "imagesTr" / "case_0000.nii.gz")
    nib.save(nib.Nifti1Image(mask, where if affine is None else affine), folder / "labelsTr" / "case.nii.gz")
    about = {"channel_names": {"0": "MR"}, "labels": {"background": 0} | labels, "file_ending": ".nii.gz"}
    (folder / "dataset.json").write_text(json.dumps(about))
    return folder


def marked(value: int = 1) -> NDArray[np.uint8]:
    mask = np.zeros((9, 8, 5), np.uint8)
    mask[2:5, 2:6, 1:3] = value
    return mask


def annotation(case: Case) -> tuple[NDArray[np.uint8], tuple[int, ...]]:
    return case.read_annotation(case.read_scan())


def test_images_with_masks_are_cases(
    write_ellipses: Callable[..., Path], card: ModelCard, tmp_path: Path
) -> None:
    cases = collect_cases([write_ellipses(tmp_path / "d", 3)], card)
    assert len(cases) == 3
    _, annotated_slices = annotation(cases[0])
    assert annotated_slices == (0,)
    (example,) = read_slices(cases[0], card, 7)
    assert (example.case, example.content_sha256) == (7, cases[0].content_sha256)
    assert example.image.shape == (3, 64, 64)
    assert example.mask.any()


def test_a_copy_under_another_name_is_the_same_case(
    write_ellipses: Callable[..., Path], card: ModelCard, tmp_path: Path
) -> None:
    folders = [write_ellipses(tmp_path / name, 3) for name in "ab"]
    assert len(collect_cases(folders, card)) == 3


def test_the_mask_of_a_reader_is_chosen_by_the_name_of_its_file(
    write_ellipses: Callable[..., Path], card: ModelCard, tmp_path: Path
) -> None:
    folder = write_ellipses(tmp_path / "d", 3)
    masks = {"case_1": np.asarray(Image.open(folder / "masks" / "case_1.png"))}
    for reader, shift in (("Lee", 5), ("Smith", 9)):
        name = f"case_1_{reader}"
        shutil.copy(folder / "images" / "case_1.png", folder / "images" / f"{name}.png")
        masks[name] = np.roll(masks["case_1"], shift, 0)
        Image.fromarray(masks[name]).save(folder / "masks" / f"{name}.png")
    for reader, expected in ((None, "case_1"), ("lee", "case_1_Lee"), ("smith", "case_1_Smith")):
        cases = collect_cases([folder], card, reader=reader)
        assert len(cases) == 3
        (case,) = [case for case in cases if case.copies]
        assert case.name == expected
        assert np.array_equal(annotation(case)[0][0] > 0, masks[expected] > 0)
        assert set(case.copy_names) == {(f"{name}.png", True) for name in masks if name != expected}
        assert copy_notes(cases, has_reader=reader is not None)[1].endswith(
            "the first mask counts" if reader is None else "the chosen reader's, where there is one, counts"
        )
    with pytest.raises(BadInput, match="reader: no file name contains 'jones'"):
        collect_cases([folder], card, reader="jones")


def test_labels_of_nnunet_go_by_their_names(two: ModelCard, tmp_path: Path) -> None:
    """Their numbers may be others than the model's."""
    folder = nnunet(tmp_path / "d", {"posterior": 1, "anterior": 2}, marked(1))
    (case,) = collect_cases([folder], two)
    class_numbers, annotated_slices = annotation(case)
    assert set(np.unique(class_numbers)) == {0, 2}
    assert len(annotated_slices) == 5


def test_planes_with_the_ignore_label_do_not_count(two: ModelCard, tmp_path: Path) -> None:
    mask = marked(1)
    mask[..., 2:] = 3
    folder = nnunet(tmp_path / "d", {"anterior": 1, "posterior": 2, "ignore": 3}, mask)
    class_numbers, annotated_slices = annotation(collect_cases([folder], two)[0])
    assert annotated_slices == (0, 1)
    assert 3 not in np.unique(class_numbers)


MOVED = np.array([[1.0, 0, 0, 7], [0, 1, 0, 0], [0, 0, 2, 0], [0, 0, 0, 1]])


@pytest.mark.parametrize(
    ("labels", "mask", "affine", "why"),
    [
        ({"tumour": 1}, marked(), None, "label 1 is 'tumour'; the model knows anterior, posterior"),
        ({}, marked(), None, "names no label"),
        (
            {"anterior": 1},
            marked(2),
            None,
            r"case\.nii\.gz: holds the labels 2 \(24 pixels\); the model knows",
        ),
        ({"anterior": 1}, marked()[:5], None, r"has shape \(5, 8, 5\), its image \(5, 8, 9\)"),
        ({"anterior": 1}, marked(), MOVED, "lies elsewhere in the patient than its image"),
    ],
)
def test_what_does_not_fit_the_model_is_said(
    two: ModelCard, tmp_path: Path, labels: dict[str, int], mask: NDArray[np.uint8], affine: object, why: str
) -> None:
    folder = nnunet(tmp_path / "d", labels, mask, affine)
    with pytest.raises(BadInput, match=why):
        _ = [annotation(case) for case in collect_cases([folder], two)]


@pytest.mark.parametrize("text", [None, "{", "[]", '{"labels": {"anterior": [1, 2]}}'])
def test_a_broken_dataset_json_is_said(two: ModelCard, tmp_path: Path, text: str | None) -> None:
    folder = nnunet(tmp_path / "d", {"anterior": 1}, marked())
    path = folder / "dataset.json"
    path.unlink() if text is None else path.write_text(text)
    with pytest.raises(BadInput, match=r"dataset.json: "):
        collect_cases([folder], two)


def test_a_folder_of_something_else_is_said(card: ModelCard, tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="holds no annotated images; give a folder with images/ and masks/"):
        collect_cases([tmp_path], card)


def scan_of(seed: int) -> Scan:
    return Scan(volume(seed), "zyx", Geometry.from_spacing("zyx", (2.0, 1.0, 0.5), "mm"))


def test_of_a_store_only_the_approved_slices_count(two: ModelCard, tmp_path: Path) -> None:
    store = AnnotationStore(tmp_path / "store")
    mask = np.zeros((9, 8, 5), np.uint8)
    mask[3:6, 2:4, 1:3] = 2
    scan = scan_of(1)
    store.approve(scan, mask, classes=TWO, planes=[3, 5])
    store.approve(scan_of(2), mask, classes=TWO)
    first, second = collect_cases([tmp_path / "store"], two)
    class_numbers, annotated_slices = annotation(first)
    assert annotated_slices == first.annotated_slices == (3, 5)
    assert set(np.unique(class_numbers[3])) == {0, 2}
    assert len(read_slices(first, two)) == 2
    assert annotation(second)[1] == tuple(range(9))
    assert first.file_sha256 is None
    assert first.split_key == first.content_sha256 == scan.content_sha256


def test_a_store_without_approvals_or_with_other_classes_is_said(two: ModelCard, tmp_path: Path) -> None:
    store = AnnotationStore(tmp_path / "store")
    mask = np.zeros((9, 8, 5), np.uint8)
    mask[3] = 1
    other = (ClassInfo(label=1, name="tumour", color="#ff0000"),)
    entry = store.approve(scan_of(1), mask, classes=other)
    with pytest.raises(BadInput, match="label 1 is 'tumour'; the model knows anterior, posterior"):
        collect_cases([tmp_path / "store"], two)
    store.revoke(entry)
    with pytest.raises(BadInput, match="no slice is approved"):
        collect_cases([tmp_path / "store"], two)


def test_the_planes_are_those_of_the_image(two: ModelCard, tmp_path: Path) -> None:
    folder = nnunet(tmp_path / "d", {"anterior": 1}, marked())
    (case,) = collect_cases([folder], two)
    image = np.asarray(read_scan(folder / "imagesTr" / "case_0000.nii.gz").array)
    assert len(read_slices(case, two)) == image.shape[0] == 5
