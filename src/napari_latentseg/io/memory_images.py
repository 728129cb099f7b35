"""Images that are in memory: arrays of any library, and images of SimpleITK, nibabel, Pillow and napari.

No library is imported for it: an image is known by the module of its class and asked for what it has.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import CHANNEL, Scan
from napari_latentseg.errors import BadInput

__all__ = ["as_scan"]

_REMEDY = "give an array, a Scan, the path of a file, or an image of SimpleITK, nibabel, Pillow or napari"
# Colour pictures have these types; other whole numbers are measured values, as in CT and MR.
_COLOUR_TYPES = ("uint8", "uint16", "float16", "float32", "float64")
_COLOUR_CHANNELS = (3, 4)
_FEWEST_COLUMNS = 16  # a plane that is narrower is no picture: (4, 4, 3) may as well be a tiny volume
_AXES_REMEDY = (
    "say which axis is which, such as axes='zyx' for slices, rows, columns, or axes='yxc' for colours"
)


def as_scan(image: Any, *, axes: str | None = None, series: int | None = None) -> Scan:
    """An image of any kind as a scan.

    Parameters
    ----------
    image
        A scan; the path of a file or folder; an array (NumPy, dask, torch, xarray, zarr, or whatever NumPy
        understands); an image of SimpleITK, nibabel or Pillow; or an image layer of napari.
    axes
        Of an array, one letter for each of its axes out of ``t z y x c``. Where not given, it is ``"yx"`` for
        two axes, ``"yxc"`` for three whose last is a colour, and ``"zyx"`` for three otherwise.
    series
        Which image of a file or folder that holds several, counted from 1.

    Returns
    -------
    Scan
        Of an array without a spacing, in pixels. Arrays are not copied, and dask arrays stay lazy.

    Raises
    ------
    BadInput
        If it is not an image, cannot be read, or the axes of an array are not clear.

    Examples
    --------
    >>> as_scan(np.zeros((20, 64, 48), np.int16)).axes
    'zyx'
    >>> as_scan(np.zeros((3, 64, 48), np.uint8), axes="cyx").array.shape
    (64, 48, 3)
    """
    if isinstance(image, str | os.PathLike):
        from napari_latentseg.io.registry import read_scan

        _refuse_axes(axes, "a file")
        return read_scan(Path(image), series=series)
    if series not in (None, 1):
        raise BadInput("series", "an image in memory is one image", "leave it out")
    if isinstance(image, Scan):
        _refuse_axes(axes, "a scan")
        return image
    library = type(image).__module__.partition(".")[0]
    convert = {"SimpleITK": _from_simpleitk, "nibabel": _from_nibabel}.get(library)
    if convert is not None:
        _refuse_axes(axes, f"an image of {library}")
        return convert(image)
    if library == "napari" or (hasattr(image, "metadata") and hasattr(image, "multiscale")):
        _refuse_axes(axes, "a layer of napari")
        return _from_layer(image)
    if isinstance(image, list | tuple | set) and any(isinstance(i, str | os.PathLike) for i in image):
        raise BadInput("scan", "is a list of files", "segment them one after another with one loaded model")
    return _from_array(_as_array(image), _stated_axes(image) if axes is None else axes)


def _refuse_axes(axes: str | None, what: str) -> None:
    if axes is not None:
        raise BadInput("axes", f"{what} says itself which axis is which", "leave it out")


def _as_array(image: Any) -> Any:
    """The values of an image of any library as a NumPy or dask array."""
    library = type(image).__module__.partition(".")[0]
    if library == "torch":
        return image.detach().cpu().numpy()
    if library == "PIL":
        # a palette's values are no grey levels, and CMYK is not RGB
        is_plain = image.mode in ("L", "1", "F", "I", "RGB", "RGBA") or image.mode.startswith("I;16")
        return np.asarray(image if is_plain else image.convert("RGB"))
    if library == "xarray":
        image = image.data
        library = type(image).__module__.partition(".")[0]
    if library == "zarr" and hasattr(image, "chunks"):
        import dask.array as da

        return da.from_array(image, chunks=image.chunks)
    if isinstance(image, np.ndarray):
        if isinstance(image, np.ma.MaskedArray) and np.ma.is_masked(image):
            raise BadInput("scan", "is an array with masked values", "fill them in first: array.filled(0)")
        return np.asarray(image)
    if library == "dask":
        return image
    if not (hasattr(image, "__array__") or hasattr(image, "__array_interface__")):
        raise BadInput("scan", f"{_kind(image)} is not an image", _REMEDY)
    try:
        return np.asarray(image)
    except (TypeError, ValueError, RuntimeError) as error:
        raise BadInput("scan", f"{_kind(image)} gives no array", _REMEDY) from error


def _kind(value: Any) -> str:
    """What a value is, in words; its values are not shown, for they may be a patient's."""
    return "None" if value is None else f"a value of type {type(value).__name__}"


def _stated_axes(image: Any) -> str | None:
    """The axes that an xarray names, where they are ours."""
    dimensions = getattr(image, "dims", None)
    if not isinstance(dimensions, Sequence) or not all(isinstance(name, str) for name in dimensions):
        return None
    return (
        "".join(name.lower() for name in dimensions) if all(len(name) == 1 for name in dimensions) else None
    )


def _from_array(array: Any, axes: str | None) -> Scan:
    """A scan in pixels, with the colours last."""
    if axes is None:
        axes = _guess_axes(tuple(array.shape), str(array.dtype))
    if not isinstance(axes, str):
        raise BadInput("axes", f"{_kind(axes)} is not text", "write 'zyx', for example")
    if len(axes) != array.ndim:
        raise BadInput("axes", f"{axes!r} for an array of {array.ndim} axes", "give one letter for each axis")
    if CHANNEL in axes and len(set(axes)) == len(axes):
        channel = axes.index(CHANNEL)
        order = [i for i in range(array.ndim) if i != channel]
        array, axes = array.transpose(*order, channel), axes.replace(CHANNEL, "") + CHANNEL
    spatial = axes.removesuffix(CHANNEL)
    if set(spatial) <= set("tzyx") and len(set(spatial)) == len(spatial):
        in_order = "".join(letter for letter in "tzyx" if letter in spatial)
        if spatial != in_order:
            raise BadInput("axes", f"{spatial!r} is not in the order {in_order}", "transpose the array")
    return Scan(array, axes, Geometry.from_spacing(spatial or axes))


def _guess_axes(shape: tuple[int, ...], dtype: str) -> str:
    """The axes of an array that does not say, where its shape leaves no doubt.

    Raises
    ------
    BadInput
        If it does.
    """
    text = " x ".join(map(str, shape))
    if len(shape) == 2:
        return "yx"
    if len(shape) == 3:
        may_be_colours = shape[-1] in _COLOUR_CHANNELS
        if may_be_colours and dtype in _COLOUR_TYPES and min(shape[:2]) >= _FEWEST_COLUMNS:
            return "yxc"
        if not may_be_colours and shape[0] not in (1, *_COLOUR_CHANNELS):
            return "zyx"
        raise BadInput("axes", f"an array of {text} may be slices or channels", _AXES_REMEDY)
    if len(shape) in (4, 5):
        raise BadInput(
            "axes", f"an array of {text} may be a volume over time, or have channels", _AXES_REMEDY
        )
    raise BadInput("scan", f"is an array of {len(shape)} axes", "give an image of two to five axes")


def _from_simpleitk(image: Any) -> Scan:
    """SimpleITK's image with its place; its axes and positions are x first, ours are last."""
    if not hasattr(image, "GetDirection"):
        raise BadInput("scan", f"{_kind(image)} is not an image", _REMEDY)
    array = sys.modules["SimpleITK"].GetArrayFromImage(image)
    n = image.GetDimension()
    if n not in (2, 3):
        raise BadInput("scan", f"has {n} dimensions", "give a 2D image or a volume")
    matrix = np.eye(n + 1)
    direction: NDArray[np.float64] = np.asarray(image.GetDirection(), dtype=np.float64).reshape(n, n)
    matrix[:n, :n] = (direction * np.asarray(image.GetSpacing()))[::-1, ::-1]
    matrix[:n, n] = np.asarray(image.GetOrigin())[::-1]
    # ITK has no way to say that a spacing is not known, and gives 1, as for an array without a place
    is_unknown = np.array_equal(matrix, np.eye(n + 1))
    axes = "zyx"[-n:]
    geometry = Geometry.from_matrix(
        matrix, ("pixel" if is_unknown else "mm",) * n, tuple(axes), "" if is_unknown or n == 2 else "LPS"
    )
    is_vector = image.GetNumberOfComponentsPerPixel() > 1
    file_format = "tiff" if n == 2 or is_unknown else "nifti"
    return Scan(array, axes + CHANNEL * is_vector, geometry, format=file_format)


def _from_nibabel(image: Any) -> Scan:
    """An image of nibabel, read as its file would be."""
    from napari_latentseg.io.nifti import scan_from_header
    from napari_latentseg.io.registry import read_scan

    header, path = getattr(image, "header", None), getattr(image, "get_filename", lambda: None)()
    if path is not None and not isinstance(getattr(image, "dataobj", None), np.ndarray):
        _check_unmoved(image, path)
        return read_scan(path)  # its values are still in the file; nibabel would scale them to other types
    if header is None or not hasattr(header, "get_best_affine"):
        raise BadInput(
            "scan", f"{_kind(image)} of nibabel is not a NIfTI image", "save it, and give the file"
        )
    version = 2 if header["sizeof_hdr"] == 540 else 1
    scan = scan_from_header(Path("image.nii"), np.asarray(image.dataobj), header, version)
    return scan.replace(source=None)


def _check_unmoved(image: Any, path: str) -> None:
    """Refuse an image whose place was changed in memory: that of its file would be taken."""
    try:
        stored = sys.modules["nibabel"].load(path)
        is_unmoved = np.array_equal(stored.affine, image.affine, equal_nan=True)
    except Exception:  # a file that cannot be read is refused by our own reader, with its reason
        return
    if not is_unmoved:
        why = "was moved after it was loaded: its affine is not that of its file"
        raise BadInput("scan", why, "save it, and give the new file")


def _from_layer(layer: Any) -> Scan:
    from napari_latentseg.io.napari_layers import scan_from_layer

    if not hasattr(layer, "rgb"):
        raise BadInput(
            "scan", f"{_kind(layer)} is not an image layer", "give an image layer, such as viewer.layers[0]"
        )
    return scan_from_layer(layer)
