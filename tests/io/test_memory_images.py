"""Images in memory, as people have them in Python: which axis is which, where they lie, what is refused."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
import torch
import zarr
from dask import array as da
from napari.layers import Image as ImageLayer
from napari.layers import Labels
from PIL import Image
from tests.helpers.geometries import corners, places

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.memory_images import as_scan

sitk = pytest.importorskip("SimpleITK")
RNG = np.random.default_rng(0)
VOLUME = RNG.integers(-1000, 1000, (5, 20, 24)).astype(np.int16)
PLANE = RNG.integers(0, 256, (20, 24), dtype=np.uint8)
COLOUR = RNG.integers(0, 256, (20, 24, 3), dtype=np.uint8)
COS, SIN = np.cos(0.3), np.sin(0.3)
TURNED = np.array([[COS, -SIN, 0], [SIN, COS, 0], [0, 0, -1]])


def xarray_of(array: np.ndarray, dims: tuple[str, ...]) -> Any:
    """What an xarray.DataArray has; the library itself is not needed for it."""
    kind = type("DataArray", (), {"__module__": "xarray.core.dataarray"})
    image = kind()
    image.data, image.dims, image.shape, image.dtype = array, dims, array.shape, array.dtype
    return image


@pytest.mark.parametrize(
    ("shape", "dtype", "axes"),
    [
        ((20, 24), "uint8", "yx"),
        ((20, 24), "bool", "yx"),
        ((5, 20, 24), "int16", "zyx"),
        ((20, 24, 3), "uint8", "yxc"),
        ((20, 24, 4), "float32", "yxc"),
    ],
)
def test_an_array_whose_shape_leaves_no_doubt_needs_no_axes(shape, dtype, axes) -> None:
    array = np.zeros(shape, dtype)
    scan = as_scan(array)
    assert scan.axes == axes
    assert np.shares_memory(scan.array, array)
    assert scan.geometry == Geometry.from_spacing(axes.removesuffix("c"))


@pytest.mark.parametrize(
    ("shape", "dtype"),
    [
        ((3, 20, 24), "uint8"),  # three slices, or channels first
        ((1, 20, 24), "int16"),
        ((20, 24, 3), "int16"),  # x first: 3 slices of a CT
        ((8, 8, 3), "uint8"),
        ((2, 5, 20, 24), "uint8"),
        ((1, 3, 20, 24), "float32"),  # a batch
        ((1, 2, 5, 20, 24), "uint8"),
    ],
)
def test_an_array_of_several_meanings_is_not_guessed(shape, dtype) -> None:
    with pytest.raises(BadInput, match=r"axes: an array of .*say which axis is which"):
        as_scan(np.zeros(shape, dtype))


@pytest.mark.parametrize("axes", ["cyx", "ycx", "yxc"])
def test_channels_are_brought_to_the_end(axes: str) -> None:
    given = np.moveaxis(COLOUR, 2, axes.index("c"))
    scan = as_scan(given, axes=axes)
    assert scan.axes == "yxc"
    assert np.array_equal(scan.array, COLOUR)


@pytest.mark.parametrize(
    "axes", ["xyz", "zxy", "zy", "zyq", "zyy", "", 3, "ZYX"], ids=lambda value: f"axes {value!r}"
)
def test_axes_that_do_not_fit_are_refused_in_one_line(axes: object) -> None:
    with pytest.raises(BadInput) as caught:
        as_scan(VOLUME, axes=axes)  # type: ignore[arg-type]
    assert len(str(caught.value).splitlines()) == 1


def test_arrays_of_every_library_have_the_same_identity(tmp_path: Path) -> None:
    expected = as_scan(VOLUME).content_sha256
    stored = zarr.create_array(tmp_path / "a.zarr", data=VOLUME)
    duck = SimpleNamespace(__array_interface__=VOLUME.__array_interface__, kept=VOLUME)
    lazy = da.from_array(VOLUME, chunks=(1, 20, 24))
    for image in (torch.from_numpy(VOLUME), stored, duck, lazy, xarray_of(VOLUME, ("z", "y", "x"))):
        scan = as_scan(image)
        assert (scan.axes, scan.content_sha256) == ("zyx", expected)
    assert hasattr(as_scan(lazy).array, "dask")
    assert hasattr(as_scan(stored).array, "dask")
    tensor = torch.zeros(16, 16, requires_grad=True)
    assert as_scan(tensor).array.shape == (16, 16)


def test_an_xarray_that_names_its_axes_is_taken_at_its_word() -> None:
    batch = np.zeros((3, 20, 24), np.uint8)
    assert as_scan(xarray_of(batch, ("c", "y", "x"))).array.shape == (20, 24, 3)
    assert as_scan(xarray_of(PLANE, ("row", "col"))).axes == "yx"


@pytest.mark.parametrize("mode", ["L", "RGB", "RGBA", "P", "1", "I;16", "CMYK"])
def test_a_pillow_image_has_the_colours_that_it_shows(mode: str) -> None:
    picture = Image.fromarray(PLANE.astype(np.uint16)) if mode == "I;16" else Image.fromarray(COLOUR)
    picture = picture if mode == "I;16" else picture.convert(mode)
    scan = as_scan(picture)
    shown = picture if mode in ("L", "RGB", "RGBA", "1", "I;16") else picture.convert("RGB")
    assert np.array_equal(scan.array, np.asarray(shown))
    assert scan.axes == ("yxc" if mode in ("RGB", "RGBA", "P", "CMYK") else "yx")


def test_a_simpleitk_volume_lies_where_simpleitk_says() -> None:
    image = sitk.GetImageFromArray(VOLUME)
    image.SetSpacing((0.7, 0.8, 2.5))
    image.SetOrigin((12.0, -30.0, 7.0))
    image.SetDirection(TURNED.ravel().tolist())
    scan = as_scan(image)
    expected = [
        image.TransformIndexToPhysicalPoint([int(i) for i in row[::-1]])[::-1]
        for row in corners(VOLUME.shape)
    ]
    assert np.allclose(places(scan.geometry, VOLUME.shape), expected)
    assert (scan.geometry.frame, scan.geometry.units) == ("LPS", ("mm",) * 3)
    assert np.array_equal(scan.array, VOLUME)


def test_simpleitk_colours_and_images_without_a_spacing() -> None:
    colour = as_scan(sitk.GetImageFromArray(COLOUR, isVector=True))
    assert (colour.axes, colour.geometry.units) == ("yxc", ("pixel", "pixel"))
    assert as_scan(sitk.GetImageFromArray(VOLUME)).geometry == Geometry.from_spacing("zyx")
    with pytest.raises(BadInput, match="4 dimensions"):
        as_scan(sitk.Image([2, 3, 4, 5], sitk.sitkUInt8))


@pytest.mark.parametrize("saved", [False, True])
def test_a_nibabel_image_is_what_its_file_is(saved: bool, tmp_path: Path) -> None:
    affine = np.eye(4)
    affine[:3, :3] = TURNED @ np.diag([0.7, 0.8, 2.5])
    image = nibabel.Nifti1Image(VOLUME.T, affine)
    nibabel.save(image, tmp_path / "v.nii.gz")
    scan = as_scan(nibabel.load(tmp_path / "v.nii.gz") if saved else nibabel.Nifti1Image(VOLUME.T, affine))
    from_file = read_scan(tmp_path / "v.nii.gz")
    assert np.allclose(scan.geometry.matrix, from_file.geometry.matrix)
    assert scan.content_sha256 == from_file.content_sha256


def test_a_nibabel_image_that_was_moved_is_not_read_from_where_it_was(tmp_path: Path) -> None:
    nibabel.save(nibabel.Nifti1Image(VOLUME.T, np.eye(4)), tmp_path / "v.nii.gz")
    image = nibabel.load(tmp_path / "v.nii.gz")
    image.set_sform(np.diag([2.0, 2, 2, 1]))
    with pytest.raises(BadInput, match="was moved after it was loaded"):
        as_scan(image)


def test_a_layer_of_napari_keeps_its_place() -> None:
    layer = ImageLayer(
        VOLUME, scale=(2.5, 0.8, 0.7), translate=(7, 0, 0), units=("mm",) * 3, name="A Patient"
    )
    scan = as_scan(layer)
    assert (scan.axes, scan.geometry.spacing, scan.geometry.units) == ("zyx", (2.5, 0.8, 0.7), ("mm",) * 3)
    assert scan.geometry.matrix[0, 3] == 7
    assert as_scan(ImageLayer(COLOUR, rgb=True)).axes == "yxc"
    with pytest.raises(BadInput, match="not an image layer"):
        as_scan(Labels(VOLUME.astype(np.uint8)))


@pytest.mark.parametrize("image", [None, 3, object(), b"a.png", {"a": 1}, lambda: None, Image])
def test_what_is_no_image_is_refused_without_showing_it(image: object) -> None:
    with pytest.raises(BadInput, match=r"scan: .* is not an image; give an array") as caught:
        as_scan(image)
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    ("image", "message"),
    [
        (["a.png", "b.png"], "list of files"),
        (np.array(["text"] * 4).reshape(2, 2), "values of type"),
        (np.zeros((16, 16), complex), "values of type"),
        (np.zeros(16), "1 axes"),
        (np.zeros((0, 16)), "empty"),
        (np.ma.masked_array(PLANE, PLANE > 9), "masked values"),
    ],
)
def test_arrays_that_are_no_image_say_why(image: object, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        as_scan(image)


def test_axes_and_series_are_for_what_does_not_say_itself(tmp_path: Path) -> None:
    scan = Scan(PLANE, "yx", Geometry.from_spacing("yx"))
    assert as_scan(scan) is scan
    Image.fromarray(PLANE).save(tmp_path / "a.png")
    for image in (scan, tmp_path / "a.png", sitk.GetImageFromArray(PLANE), ImageLayer(PLANE)):
        with pytest.raises(BadInput, match=r"axes: .* says itself"):
            as_scan(image, axes="yx")
    with pytest.raises(BadInput, match="one image"):
        as_scan(PLANE, series=2)
