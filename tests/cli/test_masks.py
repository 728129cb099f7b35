"""Masks and folders as people have them, through every command that takes a folder."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
from nibabel.orientations import apply_orientation, inv_ornt_aff
from PIL import Image

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.io import read_scan
from napari_latentseg.methods.registry import method_class
from napari_latentseg.models.card import read_card
from napari_latentseg.training.named_classes import METHODS_OF_SEVERAL_CLASSES

TARGET = ClassInfo(label=1, name="target", color="#ffb000")
FAST = ("--epochs", 1, "--batch-size", 2, "--quiet")


@pytest.fixture
def folder(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    return write_ellipses(tmp_path / "data", count=3)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    content = {"settings": {"width": 16}, "preprocess": {"mode": "whole", "size": 64}, "warmup_epochs": 0}
    (tmp_path / "config.json").write_text(json.dumps(content))
    return tmp_path / "config.json"


def as_parts(folder: Path, first: int = 1, second: int = 2) -> None:
    """Make the left half of every shape one label, and the right half another."""
    for path in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(path)) > 0
        halves = np.where(np.arange(mask.shape[1]) < mask.shape[1] // 2, first, second)
        Image.fromarray((mask * halves).astype(np.uint8)).save(path)


def as_store(folder: Path, store: Path) -> None:
    with AnnotationStore(store) as annotations:
        for path in sorted((folder / "images").iterdir()):
            mask = (np.asarray(Image.open(folder / "masks" / path.name)) > 0).astype(np.uint8)
            annotations.approve(read_scan(path), mask, classes=(TARGET,))
        annotations.export_nnunet(store.parent / "Dataset001_Shapes")


def test_a_store_and_its_export_score_as_the_folder_that_they_come_from(
    cli, folder: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    as_store(folder, tmp_path / "store")
    command = (
        "evaluate",
        "--model",
        tiny_model_folder,
        "--samples",
        3,
        "--overwrite",
        "--out",
        tmp_path / "r.json",
    )
    means = []
    for data in (folder, tmp_path / "store", tmp_path / "Dataset001_Shapes"):
        assert cli(*command, "--data", data, "--labels", "any=target").code == 0
        means.append(json.loads((tmp_path / "r.json").read_text())["mean"])
    assert means[0] == pytest.approx(means[1])
    assert means[0] == pytest.approx(means[2])


def test_a_mask_turned_in_its_file_scores_the_same_to_the_last_bit(
    cli, tiny_model_folder: Path, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    affine, turned = np.diag([0.4, 0.4, 1, 1]), np.array([[0, -1], [1, -1], [2, 1]])
    values = rng.integers(0, 255, (32, 32, 2)).astype(np.uint8)
    mask = (rng.random((32, 32, 2)) > 0.5).astype(np.uint8)
    there = affine @ inv_ornt_aff(turned, mask.shape)
    reports = []
    for name, stored, place in (("same", mask, affine), ("turned", apply_orientation(mask, turned), there)):
        for part, array, where in (("images", values, affine), ("masks", stored, place)):
            (tmp_path / name / part).mkdir(parents=True)
            nib.save(nib.Nifti1Image(array, where), tmp_path / name / part / "a.nii.gz")
        report = tmp_path / f"{name}.json"
        command = ("evaluate", "--model", tiny_model_folder, "--data", tmp_path / name, "--out", report)
        assert cli(*command, "--sampling", "none").code == 0
        reports.append(json.loads(report.read_text())["images"])
    assert reports[0] == reports[1]
    ended = cli("compare", tmp_path / "same/masks/a.nii.gz", tmp_path / "turned/masks/a.nii.gz")
    assert ended.out.startswith("label 1: Dice 1.000")


def test_train_refuses_to_merge_two_labels_and_learns_them_by_name(
    cli, refused, folder: Path, config: Path, tmp_path: Path
) -> None:
    as_parts(folder)
    command = ("train", "--data", folder, "--config", config, *FAST)
    message = refused(*command, "--out", tmp_path / "none")
    assert message.startswith(f"{folder / 'masks' / 'case_0.png'}: holds the labels 1 (")
    assert "--classes NAME,NAME" in message
    assert cli(*command, "--out", tmp_path / "m", "--classes", "left,right").code == 0
    card = read_card(tmp_path / "m")
    assert [(c.label, c.name) for c in card.classes] == [(1, "left"), (2, "right")]
    assert cli("evaluate", "--model", tmp_path / "m", "--data", folder, "--sampling", "none").code == 0


def test_classes_are_refused_for_a_method_of_one_class(refused, folder: Path, tmp_path: Path) -> None:
    as_parts(folder)
    command = ("train", "--data", folder, "--method", "sdseg", "--out", tmp_path / "m")
    message = refused(*command, "--classes", "left,right")
    assert "classes: left, right: sdseg segments one class; choose the method gms or guided" in message
    for name in ("gms", "wave-gms", "sdseg", "medseglatdiff", "guided"):
        has_classes = "classes" in method_class(name).config_class.model_fields
        assert has_classes == (name in METHODS_OF_SEVERAL_CLASSES)


def test_train_learns_labels_of_any_numbers_and_the_model_knows_them_again(
    cli, folder: Path, config: Path, tmp_path: Path
) -> None:
    as_parts(folder, 17, 53)
    command = ("train", "--data", folder, "--config", config, *FAST)
    assert cli(*command, "--out", tmp_path / "one", "--labels", "17=hippocampus,53=hippocampus").code == 0
    assert [c.name for c in read_card(tmp_path / "one").classes] == ["hippocampus"]
    assert cli("evaluate", "--model", tmp_path / "one", "--data", folder, "--sampling", "none").code == 0
    assert cli(*command, "--out", tmp_path / "any", "--labels", "any=lesion").code == 0
    assert [c.name for c in read_card(tmp_path / "any").classes] == ["lesion"]


def test_train_takes_the_classes_that_a_folder_names(cli, folder: Path, config: Path, tmp_path: Path) -> None:
    as_parts(folder)
    labels = {"background": 0, "left": 1, "right": 2}
    (folder / "dataset.json").write_text(json.dumps({"labels": labels}))
    assert cli("train", "--data", folder, "--config", config, *FAST, "--out", tmp_path / "m").code == 0
    assert [c.name for c in read_card(tmp_path / "m").classes] == ["left", "right"]


def test_one_broken_image_costs_no_other(
    cli, write_ellipses: Callable[..., Path], config: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    folder = write_ellipses(tmp_path / "data", count=4)
    (folder / "images" / "case_1.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    (folder / "images" / "Thumbs.db").write_bytes(b"stray")
    commands = (
        ("evaluate", "--model", tiny_model_folder, "--data", folder, "--sampling", "none"),
        ("train", "--data", folder, "--config", config, "--epochs", 1, "--out", tmp_path / "m"),
        ("finetune", tiny_model_folder, "--data", folder, "--minutes", 0.02, "--out", tmp_path / "f"),
        (
            "calibrate", tiny_model_folder, "--data", folder, "--subset", "all", "-n", 3,
            "--out", tmp_path / "c",
        ),
    )  # fmt: skip
    for command in commands:
        ended = cli(*command)
        assert ended.code == 3, ended
        (line,) = ended.errors
        assert line.startswith("error: left out: "), line
        assert "case_1.png" in line
        assert "passed over: Thumbs.db" in ended.out
    for written in "mfc":
        assert read_card(tmp_path / written).name


def test_two_readers_of_one_image_are_told(
    cli, write_ellipses: Callable[..., Path], config: Path, tmp_path: Path
) -> None:
    folder = write_ellipses(tmp_path / "data", count=3)
    image = (folder / "images" / "case_0.png").read_bytes()
    (folder / "images" / "case_0_reader2.png").write_bytes(image)
    mask = np.asarray(Image.open(folder / "masks" / "case_0.png"))
    Image.fromarray(np.roll(mask, 4, axis=0)).save(folder / "masks" / "case_0_reader2.png")
    ended = cli("train", "--data", folder, "--config", config, "--epochs", 1, "--out", tmp_path / "m")
    assert ended.code == 0
    assert (
        "1 of them has another mask, as of a second reader: the masks of all readers are learned" in ended.out
    )
