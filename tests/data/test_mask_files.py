"""Mask files as people have them: every kind is read as what it is, or refused in one line."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from nibabel.orientations import apply_orientation, inv_ornt_aff
from PIL import Image, ImageFilter

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import Case
from napari_latentseg.data.label_map import LabelMap
from napari_latentseg.data.mask_file import read_mask_file
from napari_latentseg.data.mask_values import COLOR_LABEL
from napari_latentseg.errors import BadInput

ONE = LabelMap((ClassInfo(label=1, name="lesion", color="#ff0000"),))
TWO = LabelMap.for_model(
    (ClassInfo(label=1, name="wall", color="#ff0000"), ClassInfo(label=2, name="lumen", color="#00ff00"))
)
PARTS = np.zeros((40, 48), np.uint8)  # class 1 on the left, class 2 on the right
PARTS[8:20, 4:20], PARTS[8:30, 26:40] = 1, 2
SHAPE = (PARTS > 0).astype(np.uint8)
VOC_PALETTE = [0, 0, 0, 128, 0, 0, 0, 128, 0, 224, 224, 192]


def case_of(tmp_path: Path, mask_file: Path) -> Case:
    image = tmp_path / "image.png"
    Image.fromarray(PARTS * 100).save(image)
    return Case.from_files("m", image, mask_file)


def png(tmp_path: Path, values: np.ndarray, name: str = "m.png", **options: object) -> Path:
    Image.fromarray(values).save(tmp_path / name, **options)
    return tmp_path / name


def palette_png(tmp_path: Path, indices: np.ndarray, palette: list[int], name: str = "m.png") -> Path:
    image = Image.fromarray(indices, "P")
    image.putpalette(palette)
    image.save(tmp_path / name)
    return tmp_path / name


def tiff(tmp_path: Path, values: np.ndarray, **options: object) -> Path:
    tifffile.imwrite(tmp_path / "m.tif", values, **options)
    return tmp_path / "m.tif"


def palette_tiff(tmp_path: Path, scale: int = 257) -> Path:
    table = np.zeros((3, 256), np.uint16)
    table[:, 1:3] = np.array([[128, 0, 0], [0, 128, 0]]).T * scale
    return tiff(tmp_path, PARTS, photometric="palette", colormap=table)


def blurred(tmp_path: Path) -> Path:
    soft = Image.fromarray(255 * SHAPE).filter(ImageFilter.GaussianBlur(1))
    soft.save(tmp_path / "m.png")
    return tmp_path / "m.png"


def rgb(*colors: tuple[int, int, int]) -> np.ndarray:
    return np.array([(0, 0, 0), *colors], np.uint8)[PARTS]


INSTANCES = np.zeros((40, 48), np.uint16)
INSTANCES.reshape(-1, 2)[:300, 0] = np.arange(1, 301)

OF_ONE_CLASS: dict[str, Callable[[Path], Path]] = {
    "0 and 1": lambda f: png(f, SHAPE),
    "0 and 255": lambda f: png(f, 255 * SHAPE),
    "0 and 17": lambda f: png(f, 17 * SHAPE),
    "0, 254 and 255": lambda f: png(f, np.array([0, 254, 255], np.uint8)[PARTS]),
    "0 and 65535": lambda f: tiff(f, SHAPE.astype(np.uint16) * 65535),
    "JPEG": lambda f: png(f, 255 * SHAPE, "m.jpg", quality=95),
    "JPEG saved as PNG": lambda f: png(
        f, np.asarray(Image.open(png(f, 255 * SHAPE, "m.jpg", quality=95))), "m.png"
    ),
    "one colour": lambda f: png(f, rgb((255, 0, 0), (255, 0, 0))),
    "one dark colour": lambda f: png(f, rgb((64, 0, 0), (64, 0, 0))),
    "one colour with alpha": lambda f: png(f, np.dstack([rgb((255, 0, 0), (255, 0, 0)), SHAPE * 0 + 255])),
    "palette of greys, packed in another order": lambda f: palette_png(f, 1 - SHAPE, [255] * 3 + [0] * 3),
    "palette": lambda f: palette_png(f, SHAPE, VOC_PALETTE),
}


@pytest.mark.parametrize("kind", OF_ONE_CLASS)
def test_a_mask_of_one_class_is_read_as_that_class(tmp_path: Path, kind: str) -> None:
    found = case_of(tmp_path, OF_ONE_CLASS[kind](tmp_path)).read_class_numbers(ONE)
    assert np.array_equal(found[0], SHAPE)


def test_soft_edges_are_cut_at_half_of_white(tmp_path: Path) -> None:
    path = blurred(tmp_path)
    found = case_of(tmp_path, path).read_class_numbers(ONE)
    assert np.array_equal(found[0], np.asarray(Image.open(path)) >= 128)


OF_TWO_CLASSES: dict[str, Callable[[Path], Path]] = {
    "1 and 2": lambda f: png(f, PARTS),
    "palette PNG": lambda f: palette_png(f, PARTS, VOC_PALETTE),
    "palette BMP": lambda f: palette_png(f, PARTS, VOC_PALETTE, "m.bmp"),
    "palette TIFF": palette_tiff,
    "palette TIFF of 8 bits": lambda f: palette_tiff(f, scale=1),
    "floating point": lambda f: tiff(f, PARTS.astype(np.float32) + np.float32(1e-6)),
}


@pytest.mark.parametrize("kind", OF_TWO_CLASSES)
def test_class_numbers_are_read_whatever_holds_them(tmp_path: Path, kind: str) -> None:
    found = case_of(tmp_path, OF_TWO_CLASSES[kind](tmp_path)).read_class_numbers(TWO)
    assert np.array_equal(found[0], PARTS)


def label_codes(*colors: int) -> dict[int, str]:
    return dict(zip([COLOR_LABEL + c for c in colors], ("wall", "lumen"), strict=True))


@pytest.mark.parametrize(
    ("values", "labels"),
    [
        (np.array([0, 127, 255], np.uint8)[PARTS], {127: "wall", 255: "lumen"}),
        (np.array([0, 85, 170], np.uint8)[PARTS], {85: "wall", 170: "lumen"}),
        (np.array([0, 17, 1000], np.uint16)[PARTS], {17: "wall", 1000: "lumen"}),
        (rgb((128, 0, 0), (0, 128, 0)), label_codes(0x800000, 0x008000)),
    ],
)
def test_labels_of_any_numbers_and_colours_mean_what_is_said(
    tmp_path: Path, values: np.ndarray, labels: dict[int, str]
) -> None:
    path = tiff(tmp_path, values) if values.dtype == np.uint16 else png(tmp_path, values)
    label_map = LabelMap(TWO.classes, labels, others_are_background=True)
    assert np.array_equal(case_of(tmp_path, path).read_class_numbers(label_map)[0], PARTS)


REFUSED = {
    "0, 127, 255 for one class": (
        lambda f: png(f, np.array([0, 127, 255], np.uint8)[PARTS]),
        ONE,
        r"m\.png: holds the labels 127 \(192 pixels\), 255 \(308\); the model has one class, 'lesion'",
    ),
    "0, 127, 255 for two classes": (
        lambda f: png(f, np.array([0, 127, 255], np.uint8)[PARTS]),
        TWO,
        r"holds the labels 127 \(192 pixels\), 255 \(308\); the model knows .*--labels 127=NAME",
    ),
    "0, 17, 1000": (
        lambda f: tiff(f, np.array([0, 17, 1000], np.uint16)[PARTS]),
        TWO,
        r"holds the labels 17 \(192 pixels\), 1000 \(308\)",
    ),
    "white on black for two classes": (
        lambda f: png(f, 255 * SHAPE),
        TWO,
        r"holds the labels 255 \(500 pixels\); the model knows 1 wall",
    ),
    "a JPEG of two classes": (
        lambda f: png(f, np.array([0, 127, 255], np.uint8)[PARTS], "m.jpg", quality=95),
        ONE,
        r"m\.jpg: holds the labels 1 \(",
    ),
    "two colours": (
        lambda f: png(f, rgb((128, 0, 0), (0, 128, 0))),
        ONE,
        r"holds 2 colours: #008000 \(308 pixels\), #800000 \(192\); say what they mean with --labels",
    ),
    "a packed palette of colours": (
        lambda f: palette_png(f, (2 - PARTS).astype(np.uint8), [0, 128, 0, 128, 0, 0, 0, 0, 0]),
        TWO,
        r"holds 2 colours",
    ),
    "300 objects": (
        lambda f: tiff(f, INSTANCES),
        ONE,
        r"m\.tif: holds 300 labels, perhaps of single objects: 1 \(1 pixel\), 2 \(1\).*--labels any=lesion",
    ),
    "fractions": (
        lambda f: tiff(f, PARTS * np.float32(1.3)),
        ONE,
        "holds fractions, which are not labels",
    ),
    "shapes in the alpha channel": (
        lambda f: png(f, np.dstack([PARTS * 0] * 3 + [PARTS * 100])),
        ONE,
        "has its shapes in the alpha channel",
    ),
    "white shapes in the alpha channel": (
        lambda f: png(f, np.dstack([PARTS * 0 + 255] * 3 + [SHAPE * 255])),
        ONE,
        "is of one colour, and has its shapes in the alpha channel",
    ),
    "red shapes in the alpha channel": (
        lambda f: png(f, np.dstack([PARTS * 0 + 255, PARTS * 0, PARTS * 0, SHAPE * 255])),
        ONE,
        "is of one colour, and has its shapes in the alpha channel",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_can_mean_several_things_is_refused_with_its_values(tmp_path: Path, kind: str) -> None:
    write, label_map, message = REFUSED[kind]
    with pytest.raises(BadInput, match=message):
        case_of(tmp_path, write(tmp_path)).read_class_numbers(label_map)


def test_an_image_given_as_a_mask_is_called_one(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).normal(90, 20, (64, 64)).clip(0, 255).astype(np.uint8)
    for image in (noise, np.stack([noise] * 3, axis=-1)):
        with pytest.raises(BadInput, match="looks like an image"):
            read_mask_file(png(tmp_path, image))


@pytest.mark.parametrize("count", [1, 127, 128, 225, 300])
def test_every_object_counts_however_many_there_are(tmp_path: Path, count: int) -> None:
    objects = np.where(count >= INSTANCES, INSTANCES, 0).astype(np.uint16)
    label_map = LabelMap(ONE.classes, several_are_one_class=True)
    found = case_of(tmp_path, tiff(tmp_path, objects)).read_class_numbers(label_map)
    assert int(found.sum()) == count


def test_masks_of_one_class_have_one_label_over_the_whole_folder(tmp_path: Path) -> None:
    first, second = (case_of(tmp_path, png(tmp_path, n * SHAPE, f"{n}.png")) for n in (1, 2))
    first.folder_labels.update(second.folder_labels)
    first.read_class_numbers(ONE)
    second.folder_labels.update(first.folder_labels)
    with pytest.raises(BadInput, match=r"2\.png: holds label 2, and other masks of the folder 1"):
        second.read_class_numbers(ONE)


VOLUME = np.random.default_rng(1).integers(0, 3, (6, 5, 4)).astype(np.uint8)
AFFINE = np.diag([0.4, 0.4, 1.5, 1])


def nifti(path: Path, values: np.ndarray, affine: np.ndarray) -> Path:
    image = nib.Nifti1Image(values, affine)
    image.header.set_xyzt_units("mm")
    nib.save(image, path)
    return path


def test_a_mask_in_another_orientation_gives_the_same_class_numbers_to_the_bit(tmp_path: Path) -> None:
    image = nifti(tmp_path / "i.nii", VOLUME.astype(np.int16) * 100, AFFINE)
    turned = np.array([[1, -1], [2, 1], [0, -1]])
    there = AFFINE @ inv_ornt_aff(turned, VOLUME.shape)
    straight = nifti(tmp_path / "a.nii", VOLUME, AFFINE)
    other = nifti(tmp_path / "b.nii.gz", apply_orientation(VOLUME, turned), there)
    numbers = [Case.from_files("m", image, mask).read_class_numbers(TWO) for mask in (straight, other)]
    assert np.array_equal(numbers[0], VOLUME.T)
    assert numbers[0].tobytes() == numbers[1].tobytes()
    there[0, 3] += 12
    with pytest.raises(BadInput, match=r"c\.nii: lies elsewhere .*: 12 mm off along x, towards the right"):
        Case.from_files(
            "m", image, nifti(tmp_path / "c.nii", apply_orientation(VOLUME, turned), there)
        ).read_class_numbers(TWO)
