"""TIFF: arrays, axes and colours, and files that others wrote."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import skimage
import tifffile
from tests.helpers.tiff import STORED, ramp

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import tiff

# --- arrays and axes ------------------------------------------------------------------------------


@pytest.mark.parametrize(("shape", "options", "axes", "order"), STORED.values(), ids=STORED.keys())
def test_arrays_and_axes(tmp_path, shape, options, axes, order):
    options = dict(options)
    array = ramp(shape, options.pop("dtype", np.uint8))
    tifffile.imwrite(tmp_path / "a.tif", array, **options)
    scan = tiff.read(tmp_path / "a.tif")
    assert scan.axes == axes
    assert (scan.array.dtype, scan.array.dtype.isnative) == (array.dtype, True)
    expected = array.transpose(order) if order else array
    assert np.array_equal(scan.array, expected.reshape(scan.array.shape))
    assert scan.geometry == Geometry.from_spacing(scan.spatial_axes)
    assert (scan.format, scan.properties["series"]) == ("tiff", 1)


def test_one_bit(tmp_path):
    from PIL import Image

    array = ramp((30, 21)) % 3 == 0
    Image.fromarray(array).save(tmp_path / "a.tif")
    scan = tiff.read(tmp_path / "a.tif")
    assert scan.array.dtype == bool
    assert np.array_equal(scan.array, array)


def test_truth_values_are_written_as_0_and_1(tmp_path):
    array = ramp((4, 5)) % 3 == 0
    tiff.write(tmp_path / "a.tif", array, "yx", Geometry.from_spacing("yx"), {})
    assert np.array_equal(tiff.read(tmp_path / "a.tif").array, array.astype(np.uint8))


def test_the_largest_level_of_a_pyramid(tmp_path):
    array = ramp((128, 96))
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        file.write(
            array,
            subifds=2,
            tile=(32, 32),
            metadata={"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5},
        )
        file.write(array[::2, ::2], subfiletype=1, tile=(32, 32))
        file.write(array[::4, ::4], subfiletype=1, tile=(32, 32))
    scan = tiff.read(tmp_path / "a.ome.tif")
    assert np.array_equal(scan.array, array)
    assert scan.geometry.spacing == (0.5, 0.5)


def test_of_several_series_the_first(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.tif") as file:
        file.write(ramp((30, 20)), metadata=None)
        file.write(ramp((17, 11)), metadata=None)
    scan = tiff.read(tmp_path / "a.tif")
    assert np.array_equal(scan.array, ramp((30, 20)))
    assert scan.properties["series"] == 2


def test_of_several_ome_images_the_first_with_its_size(tmp_path):
    with tifffile.TiffWriter(tmp_path / "a.ome.tif", ome=True) as file:
        for step in (0.5, 7.0):
            file.write(ramp((30, 20)), metadata={"axes": "YX", "PhysicalSizeX": step, "PhysicalSizeY": step})
    scan = tiff.read(tmp_path / "a.ome.tif")
    assert scan.geometry.spacing == (0.5, 0.5)
    assert scan.properties["series"] == 2


def test_grey_with_alpha_is_grey(tmp_path):
    array = ramp((30, 20, 2))
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="minisblack", planarconfig="contig",
                     extrasamples=["unassalpha"])  # fmt: skip
    scan = tiff.read(tmp_path / "a.tif")
    assert scan.axes == "yx"
    assert np.array_equal(scan.array, array[..., 0])


@pytest.mark.parametrize("dtype", [np.uint8, np.uint16, np.uint32])
def test_white_is_zero(tmp_path, dtype):
    array = ramp((30, 20), dtype)
    tifffile.imwrite(tmp_path / "a.tif", array, photometric="miniswhite")
    assert np.array_equal(tiff.read(tmp_path / "a.tif").array, np.iinfo(dtype).max - array)


def test_white_is_zero_in_one_bit(tmp_path):
    from PIL import Image

    array = ramp((30, 21)) % 3 == 0
    Image.fromarray(array).save(tmp_path / "a.tif", tiffinfo={262: 0})
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        assert file.pages[0].photometric == tifffile.PHOTOMETRIC.MINISWHITE
        assert np.array_equal(tiff.read(tmp_path / "a.tif").array, ~file.asarray())


def test_a_palette_becomes_colours(tmp_path):
    table = np.random.default_rng(0).integers(0, 65535, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", ramp((5, 30, 20)), photometric="palette", colormap=table)
    scan = tiff.read(tmp_path / "a.tif")
    assert (scan.axes, scan.array.dtype) == ("zyxc", np.uint8)
    assert np.array_equal(scan.array, np.moveaxis((table >> 8)[:, ramp((5, 30, 20))], 0, -1))


def test_a_palette_that_was_written_in_8_bits_is_not_black(tmp_path):
    """The format asks for 16 bits; libtiff takes one without larger values as 8 bits."""
    table = np.random.default_rng(0).integers(0, 256, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20)), photometric="palette", colormap=table)
    expected = np.moveaxis(table[:, ramp((30, 20))], 0, -1)
    assert np.array_equal(tiff.read(tmp_path / "a.tif").array, expected)
    assert np.array_equal(np.asarray(tiff.read_lazy(tmp_path / "a.tif").array), expected)


def test_a_lookup_table_of_imagej_only_shows(tmp_path):
    table = np.random.default_rng(0).integers(0, 65535, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20)), imagej=True, photometric="palette", colormap=table)
    assert np.array_equal(tiff.read(tmp_path / "a.tif").array, ramp((30, 20)))


# --- files that others wrote ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "axes", "order"),
    [("multipage.tif", "zyx", (0, 1, 2)), ("multipage_rgb.tif", "zyxc", (0, 2, 3, 1))],
)
def test_examples_of_scikit_image(name, axes, order):
    path = Path(skimage.__file__).parent / "data" / name
    if not path.exists():
        pytest.skip("scikit-image is here without its example files")
    scan = tiff.read(path)
    assert scan.axes == axes
    assert np.array_equal(scan.array, tifffile.imread(path).transpose(order))
