"""Mosaics: all slices of a volume in one DICOM image, as tiles (Siemens MOSAIC, United Imaging VFRAME)."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.errors import BadInput
from napari_latentseg.io.dicom.files import DicomFile
from napari_latentseg.io.dicom.geometry import SlicePose

if TYPE_CHECKING:
    from pydicom import Dataset

__all__ = ["Mosaic", "is_mosaic", "read_mosaic"]

_SIEMENS_TYPE, _UNITED_IMAGING_TYPE = "MOSAIC", "VFRAME"  # values of Image Type
# Private elements: the group, the owner of the block, and the element in the block.
_CSA_IMAGE_HEADER = (0x0029, "SIEMENS CSA HEADER", 0x10)
_SIEMENS_COUNT = (0x0019, "SIEMENS MR HEADER", 0x0A)
_UNITED_IMAGING_COUNT = (0x0065, "Image Private Header", 0x50)
_UNITED_IMAGING_SLICES = (0x0065, "Image Private Header", 0x51)
_PARALLEL_TOLERANCE = 1e-3  # of direction cosines, which are written with four decimals or more
_REMEDY = "export it with its private elements, or convert it with dcm2niix first"


@dataclass(frozen=True)
class Mosaic:
    """The tiles of an image.

    Attributes
    ----------
    tiles
        Their number down and across; those after the last slice are empty.
    poses
        Where each slice lies, in the order of the tiles.
    notes
        What was assumed, for people.
    """

    tiles: tuple[int, int]
    poses: tuple[SlicePose, ...]
    notes: tuple[str, ...]


def is_mosaic(ds: Dataset) -> bool:
    """Whether the type of an image says that it is a mosaic of slices."""
    image_type = ds.get("ImageType") or ()
    kinds = {image_type} if isinstance(image_type, str) else set(image_type)
    return bool(kinds & {_SIEMENS_TYPE, _UNITED_IMAGING_TYPE}) and int(ds.get("NumberOfFrames") or 1) == 1


def read_mosaic(item: DicomFile) -> Mosaic | None:
    """Where the slices of a mosaic lie; None if it holds a single one.

    The number of slices is in private elements alone, which are read here.

    Raises
    ------
    BadInput
        If the number of slices, their distance or their positions are not given, or do not fit the image.
    """
    import pydicom

    with item.open() as file:
        ds = pydicom.dcmread(file, stop_before_pixels=True, force=True)
    if _UNITED_IMAGING_TYPE in ds.ImageType:
        return _united_imaging_grid(item, ds)
    return _siemens_mosaic(item, ds)


def _siemens_mosaic(item: DicomFile, ds: Dataset) -> Mosaic | None:
    csa = _read_csa(ds)
    count = int(_first(csa, "NumberOfImagesInMosaic") or _private(ds, _SIEMENS_COUNT) or 0)
    if count == 1:
        return None
    side = math.ceil(math.sqrt(max(count, 0)))
    _check_grid(item, ds, count, (side, side))
    step = float(ds.get("SpacingBetweenSlices") or 0)
    if not math.isfinite(step) or step <= 0:
        raise BadInput(item.name, "is a mosaic of slices whose distance is not given", _REMEDY)
    image = _pose(item, ds, ds.get("ImagePositionPatient"), ds.get("ImageOrientationPatient"), step)
    normal, notes = _siemens_normal(item, csa, image)
    # the position is that of a single slice as large as the mosaic, with the same centre
    offset = (1 - 1 / side) / 2
    first = (
        np.array(image.position)
        + np.multiply(image.row, offset * ds.Columns * image.spacing[1])
        + np.multiply(image.column, offset * ds.Rows * image.spacing[0])
    )
    poses = tuple(image.moved_to(first + k * step * normal) for k in range(count))
    return Mosaic((side, side), poses, (f"each image is a mosaic of {count} slices, which was split", *notes))


def _siemens_normal(
    item: DicomFile, csa: dict[str, Any], image: SlicePose
) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """The direction in which the slices follow each other, and a note where it is assumed."""
    values = csa.get("tags", {}).get("SliceNormalVector", {}).get("items") or []
    if len(values) < 3:
        return image.normal, ("the order of its slices is assumed from the orientation",)
    normal = np.array([float(v) for v in values[:3]])
    alignment = float(normal @ image.normal)
    if abs(abs(alignment) - 1) > _PARALLEL_TOLERANCE:
        raise BadInput(item.name, "is a mosaic whose slices have two different directions", _REMEDY)
    return math.copysign(1.0, alignment) * image.normal, ()


def _united_imaging_grid(item: DicomFile, ds: Dataset) -> Mosaic | None:
    slices = _private(ds, _UNITED_IMAGING_SLICES) or []
    count = int(float(_private(ds, _UNITED_IMAGING_COUNT) or 0)) or len(slices)
    if count == 1 and not slices:
        return None
    across = math.ceil(math.sqrt(max(count, 0)))
    tiles = (math.ceil(count / max(across, 1)), across)
    _check_grid(item, ds, count, tiles)
    if len(slices) != count:
        raise BadInput(item.name, "is a grid of slices whose positions are not given", _REMEDY)
    thickness = float(ds.get("SpacingBetweenSlices") or ds.get("SliceThickness") or 0)
    poses = tuple(
        _pose(
            item,
            ds,
            frame.get("ImagePositionPatient"),
            frame.get("ImageOrientationPatient") or ds.get("ImageOrientationPatient"),
            thickness,
        )
        for frame in slices
    )
    return Mosaic(tiles, poses, (f"each image is a grid of {count} slices, which was split",))


def _check_grid(item: DicomFile, ds: Dataset, count: int, tiles: tuple[int, int]) -> None:
    if count < 1:
        raise BadInput(item.name, "is a mosaic of slices whose number is not given", _REMEDY)
    if ds.Rows % tiles[0] or ds.Columns % tiles[1]:
        raise BadInput(item.name, f"is a mosaic that does not divide into {count} slices", _REMEDY)


def _pose(item: DicomFile, ds: Dataset, position: Any, orientation: Any, thickness: float) -> SlicePose:
    if not position or not orientation or not ds.get("PixelSpacing"):
        raise BadInput(item.name, "is a mosaic of slices whose position is not given", _REMEDY)
    return SlicePose.from_header(
        item.name,
        [float(v) for v in position],
        [float(v) for v in orientation],
        [float(v) for v in ds.PixelSpacing],
        thickness,
    )


def _private(ds: Dataset, element: tuple[int, str, int]) -> Any:
    """The value of a private element; None if there is none."""
    group, owner, number = element
    try:
        return ds.private_block(group, owner)[number].value
    except KeyError:
        return None


def _read_csa(ds: Dataset) -> dict[str, Any]:
    """Siemens' own header of an image, as nibabel reads it; empty if there is none, or it is damaged."""
    data = _private(ds, _CSA_IMAGE_HEADER)
    if not isinstance(data, bytes):
        return {}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # nibabel warns that its other readers of DICOM are experimental
        from nibabel.nicom import csareader

    try:
        csa: dict[str, Any] = csareader.read(data)
    except csareader.CSAReadError:
        return {}
    return csa


def _first(csa: dict[str, Any], name: str) -> Any:
    items = csa.get("tags", {}).get(name, {}).get("items") or [None]
    return items[0]
