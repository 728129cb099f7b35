"""Folders of images and masks: `images/NAME.*` with `masks/NAME.*`."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, stem_of
from napari_latentseg.utils.weights import file_sha256

__all__ = ["Pair", "find_pairs", "load_image", "load_mask", "plane_spacing"]


@dataclass(frozen=True)
class Pair:
    """One annotated image: where the image and its mask lie.

    Splits are recorded by `content_sha256` rather than by the file's name, which may be a patient's.
    """

    name: str
    image: Path
    mask: Path

    def read(self) -> Scan:
        """The image, decoded; `content_sha256` is known afterwards.

        Raises
        ------
        BadInput
            Where it cannot be read.
        """
        scan = read_scan(self.image)
        self.__dict__["content_sha256"] = scan.content_sha256  # fills the property below: one decoding for both
        return scan

    @cached_property
    def content_sha256(self) -> str:
        """`Scan.content_sha256` of the image, which is decoded for it unless it was read before.

        Raises
        ------
        BadInput
            Where the image cannot be read.
        """
        return self.read().content_sha256

    @cached_property
    def file_sha256(self) -> str:
        """SHA-256 of the image's file, by which splits of format 1 know it, and by which draws are made.

        Raises
        ------
        BadInput
            Where the file cannot be read.
        """
        return file_sha256(self.image)


def find_pairs(folder: Path, *, masks: str = "masks") -> list[Pair]:
    """Pair `folder/images` with `folder/masks` by file name, in the order of the names.

    Parameters
    ----------
    folder
        Holds `images/` and the folder named by `masks`.
    masks
        The name of the folder of masks.

    Raises
    ------
    BadInput
        Where a folder is missing or empty, an image has no mask, or two files have one name.
    """
    folder = Path(folder)
    if not folder.is_dir():
        raise BadInput(folder, "no such folder", "give a folder that holds images/ and masks/")
    for subfolder in ("images", masks):
        if not (folder / subfolder).is_dir():
            raise BadInput(
                folder, f"has no folder {subfolder}/", f"give a folder that holds images/ and {masks}/"
            )
    image_files, mask_files = _files_by_stem(folder / "images"), _files_by_stem(folder / masks)
    for name, path in image_files.items():
        if name not in mask_files:
            raise BadInput(path, f"has no mask of the same name in {masks}/", "add or remove it")
    if not image_files:
        raise BadInput(folder / "images", "is empty", "put at least one image there")
    return [Pair(name, path, mask_files[name]) for name, path in image_files.items()]


def _files_by_stem(folder: Path) -> dict[str, Path]:
    """The files of a folder by their stem, in the order of their names; hidden ones are left out."""
    files: dict[str, Path] = {}
    try:
        paths = sorted(folder.iterdir())
    except OSError as error:
        raise BadInput(folder, "cannot be read", "ask for the right to read it") from error
    for path in paths:
        if path.name.startswith(".") or not path.is_file():
            continue
        name = stem_of(path)
        if name in files:  # which of the two belongs to the other folder's file, nobody can say
            raise BadInput(path, f"has the same name as {files[name].name}", "rename or remove one of them")
        files[name] = path
    return files


def load_image(pair: Pair, scan: Scan | None = None) -> NDArray[np.uint8]:
    """The image as uint8 RGB, `(N, H, W, 3)`; N is 1 for a single plane.

    Parameters
    ----------
    pair
        Whose image is read.
    scan
        That image, where it was read already.
    """
    planes = Planes.from_scan(read_scan(pair.image) if scan is None else scan)
    return np.stack([np.round(planes[i] * 255).astype(np.uint8) for i in range(len(planes))])


def plane_spacing(scan: Scan) -> tuple[float, float] | None:
    """Millimetres between the rows and between the columns of the image; None where it does not tell."""
    return Planes(scan, 0.0, 1.0).spacing


def load_mask(pair: Pair) -> NDArray[np.uint8]:
    """The mask as class numbers, `(N, H, W)`.

    A mask that reaches above 127 (white on black, a JPEG's, a resized one's) is a picture of one class
    and is cut in the middle; any other holds the class numbers themselves. Of colours the brightest channel
    counts, alpha is dropped, and what is not a number is no class.

    Raises
    ------
    BadInput
        Where the file cannot be read, or holds negative numbers.
    """
    scan = read_scan(pair.mask)
    values = np.asarray(scan.array)
    if scan.axes.endswith("c"):
        values = values[..., :3].max(axis=-1)
    values = values.reshape(-1, *values.shape[-2:])
    if values.dtype == np.bool_:
        return values.astype(np.uint8)
    if values.dtype.kind == "f":
        values = np.nan_to_num(values, nan=0.0, posinf=0.0, neginf=0.0)
    if values.min() < 0:
        raise BadInput(pair.mask, "holds negative numbers, which no class has", "number the classes from 1")
    maximum = values.max()
    class_mask: NDArray[np.uint8] = (
        np.round(values).astype(np.uint8) if maximum <= 127 else (values > maximum / 2).astype(np.uint8)
    )
    return class_mask
