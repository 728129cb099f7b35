"""File > Save: Image and Labels layers with their geometry; a mask of a DICOM series also as DICOM-SEG."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from napari.layers import Layer

from napari_latentseg.core.scan import Scan
from napari_latentseg.widgets._shared.layers import scan_from_layer

__all__ = ["write_image", "write_labels"]

_DICOM_SUFFIX = ".dcm"


def write_image(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write an image layer; the suffix of the path gives the format.

    Raises
    ------
    OSError
        If the format cannot store the geometry of the layer; with the message of a `BadInput`.
    """
    return _write(path, data, attributes, "image")


def write_labels(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write a labels layer; the suffix of the path gives the format.

    Raises
    ------
    OSError
        See `write_image`; also if a mask is to be written as DICOM-SEG that lies on no DICOM series.
    """
    return _write(path, data, attributes, "labels")


def _write(path: str, data: Any, attributes: dict[str, Any], kind: str) -> list[str]:
    from napari_latentseg.io.convert import write_scan
    from napari_latentseg.widgets.opening.saved_mask import place_saved_mask

    layer = Layer.create(data, attributes, kind)
    try:
        if kind == "labels":
            place_saved_mask(Path(path), layer)
        if path.lower().endswith(_DICOM_SUFFIX):
            _write_dicom(Path(path), layer)
            return [path]
        scan = scan_from_layer(layer)
        if kind == "labels":
            scan = _smallest_integer_type(scan)
        write_scan(scan, Path(path))
    except ValueError as error:
        # such as BadInput: napari takes a ValueError for "no writer", without showing the message
        raise OSError(str(error)) from error
    return [path]


def _write_dicom(path: Path, layer: Layer) -> None:
    from napari_latentseg.io.dicom.seg import write_dicom_mask
    from napari_latentseg.widgets.opening.saved_mask import saved_mask

    write_dicom_mask(saved_mask(path, layer), path)


def _smallest_integer_type(scan: Scan) -> Scan:
    """Labels in the smallest unsigned type that holds them, which all software can read."""
    max_label = int(np.asarray(scan.array.max()))
    min_label = int(np.asarray(scan.array.min()))
    if min_label < 0 or max_label > np.iinfo(np.uint16).max:
        return scan
    return scan.replace(array=scan.array.astype(np.uint8 if max_label < 256 else np.uint16))
