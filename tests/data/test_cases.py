"""Folders of images and masks."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.data.cases import Case, rgb_slices
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.io import format_for


def save(path: Path, array: np.ndarray) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".png", ".jpg"):
        Image.fromarray(array).save(path, **({"quality": 60} if path.suffix == ".jpg" else {}))
    else:
        axes = {2: "yx", 3: "zyx"}[array.ndim]
        format_for(path).write(path, array, axes, Geometry.from_spacing(axes, (1.0,) * array.ndim, "mm"), {})
    return path


GREY = np.arange(48, dtype=np.uint8).reshape(6, 8)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("b", "a", "c.2"):
        save(tmp_path / "images" / f"{name}.png", GREY)
        save(tmp_path / "masks" / f"{name}.png", GREY)
    return tmp_path


def test_images_find_their_masks_in_the_order_of_their_names(folder: Path) -> None:
    save(folder / "images" / "d.jpg", GREY)
    save(folder / "masks" / "d.nii.gz", GREY)
    save(folder / "masks" / "z.png", GREY)  # a mask without an image does no harm
    (folder / "images" / ".hidden").write_text("")
    (folder / "images" / "more").mkdir()
    pairs = find_cases(folder)
    assert [p.name for p in pairs] == ["a", "b", "c.2", "d"]
    assert [p.mask_file.name for p in pairs] == ["a.png", "b.png", "c.2.png", "d.nii.gz"]
    assert pairs[0].content_sha256 == hashlib.sha256(b"|u1(6, 8)" + GREY.tobytes()).hexdigest()
    assert pairs[0].content_sha256 == pairs[0].read_scan().content_sha256
    assert pairs[0].file_sha256 == hashlib.sha256(pairs[0].image_file.read_bytes()).hexdigest()


def test_finding_pairs_reads_no_image(folder: Path) -> None:
    (folder / "images" / "a.png").write_bytes(b"no picture")
    first, *_ = find_cases(folder)
    with pytest.raises(BadInput, match=r"a\.png"):
        _ = first.content_sha256


def test_other_masks_may_be_named(folder: Path) -> None:
    for name in ("a", "b", "c.2"):
        save(folder / "second" / f"{name}.png", GREY)
    assert {p.mask_file.parent.name for p in find_cases(folder, masks="second")} == {"second"}


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda f: [p.unlink() for p in (f / "images").iterdir()], "images: is empty"),
        (lambda f: (f / "masks").rename(f / "labels"), "has no folder masks/"),
        (lambda f: (f / "images").rename(f / "pictures"), "has no folder images/"),
        (lambda f: (f / "masks" / "b.png").unlink(), r"b\.png: has no mask of the same name in masks/"),
        (lambda f: save(f / "images" / "a.jpg", GREY), r"a\.png: has the same name as a\.jpg"),
        (lambda f: save(f / "masks" / "a.nii.gz", GREY), r"a\.png: has the same name as a\.nii\.gz"),
    ],
)
def test_a_folder_that_is_not_in_order_is_refused_by_name(folder: Path, spoil, message: str) -> None:
    spoil(folder)
    with pytest.raises(BadInput, match=message):
        find_cases(folder)


@pytest.mark.parametrize(
    ("name", "why"), [("nowhere", "nowhere: no such folder"), ("images/a.png", r"a\.png: is a file")]
)
def test_no_folder_is_no_folder(folder: Path, name: str, why: str) -> None:
    with pytest.raises(BadInput, match=why):
        find_cases(folder / name)


def pair(tmp_path: Path, mask: np.ndarray, name: str = "m.png", image: np.ndarray = GREY) -> Case:
    return Case.from_files(
        "m", save(tmp_path / "images" / "m.png", image), save(tmp_path / "masks" / name, mask)
    )


def test_an_image_is_three_channels_of_bytes(tmp_path: Path) -> None:
    found = rgb_slices(pair(tmp_path, GREY).read_scan())
    assert (found.shape, found.dtype) == ((1, 6, 8, 3), np.uint8)
    assert np.array_equal(found[0], np.repeat(GREY[..., None], 3, axis=2))


def test_a_volume_is_its_planes(tmp_path: Path) -> None:
    volume = np.random.default_rng(0).integers(0, 3, (4, 6, 8), dtype=np.uint8)
    both = Case.from_files(
        "v", save(tmp_path / "images" / "v.nii.gz", volume), save(tmp_path / "masks" / "v.nii.gz", volume)
    )
    assert rgb_slices(both.read_scan()).shape == (4, 6, 8, 3)
    assert np.array_equal(both.read_mask(), volume)


RNG = np.random.default_rng(0)
DISC = (np.hypot(*np.mgrid[-10:10, -12:12]) < 7).astype(np.uint8)
MASKS = {
    "white on black": ("m.png", 255 * DISC, DISC),
    "class numbers": ("m.png", DISC + np.roll(DISC, 3), DISC + np.roll(DISC, 3)),
    "one class alone, which is not the first": ("m.png", 2 * DISC, 2 * DISC),
    "empty": ("m.png", 0 * DISC, 0 * DISC),
    "full": ("m.png", np.full_like(DISC, 255), np.ones_like(DISC)),
    "full of the first class": ("m.png", np.ones_like(DISC), np.ones_like(DISC)),
    "one bit": ("m.png", DISC.astype(bool), DISC),
    "16 bits": ("m.nii.gz", DISC.astype(np.uint16) * 65535, DISC),
    "probabilities": ("m.nii.gz", DISC * np.float32(0.9) + np.float32(0.05), DISC),
    "with gaps": ("m.nii.gz", np.where(DISC, 1.0, np.nan).astype(np.float32), DISC),
    "green": ("m.png", np.stack([0 * DISC, 255 * DISC, 0 * DISC], axis=-1), DISC),
    "white, with alpha": ("m.png", np.stack([255 * DISC] * 3 + [np.full_like(DISC, 255)], axis=-1), DISC),
}


@pytest.mark.parametrize("kind", MASKS)
def test_masks_of_every_kind_are_class_numbers(tmp_path: Path, kind: str) -> None:
    name, stored, expected = MASKS[kind]
    found = pair(tmp_path, stored, name).read_mask()
    assert found.dtype == np.uint8
    assert np.array_equal(found, expected[None])


def test_a_jpeg_mask_is_cut_in_the_middle(tmp_path: Path) -> None:
    found = pair(tmp_path, 255 * DISC, "m.jpg").read_mask()
    assert set(np.unique(found)) == {0, 1}
    assert np.mean(found[0] != DISC) < 0.01


def test_negative_numbers_are_no_classes(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"m\.nii\.gz: holds negative numbers"):
        pair(tmp_path, DISC.astype(np.int16) - 1, "m.nii.gz").read_mask()
