from __future__ import annotations

from pathlib import Path
from xml.etree import ElementTree

import dask.array as da
import numpy as np
import pytest
import skimage
import tifffile
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import tiff

MICRO = "\N{MICRO SIGN}m"
NAME = "Doe^Jane"


def ramp(shape: tuple[int, ...], dtype: object = np.uint8) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 250).astype(dtype).reshape(shape)


# --- arrays and axes ------------------------------------------------------------------------------

# What is stored, how tifffile is asked to store it, and the axes and the order that we read.
STORED = {
    "grey": ((30, 20), {}, "yx", None),
    "grey, two bytes": ((30, 20), {"dtype": np.uint16}, "yx", None),
    "grey, with a sign": ((30, 20), {"dtype": np.int16}, "yx", None),
    "floats": ((30, 20), {"dtype": np.float32}, "yx", None),
    "half floats": ((30, 20), {"dtype": np.float16}, "yx", None),
    "doubles": ((30, 20), {"dtype": np.float64}, "yx", None),
    "big-endian": ((30, 20), {"dtype": np.uint16, "byteorder": ">"}, "yx", None),
    "one element": ((1, 1), {}, "yx", None),
    "wide": ((2, 5000), {}, "yx", None),
    "colours": ((30, 20, 3), {"photometric": "rgb"}, "yxc", None),
    "colours and alpha": ((30, 20, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "yxc", None),
    "colours, plane by plane": (
        (3, 30, 20),
        {"photometric": "rgb", "planarconfig": "separate"},
        "yxc",
        (1, 2, 0),
    ),
    "pages": ((5, 30, 20), {"metadata": None}, "zyx", None),
    "three pages": ((3, 30, 20), {"metadata": None, "photometric": "minisblack"}, "zyx", None),
    "pages, compressed": ((5, 30, 20), {"metadata": None, "compression": "zlib"}, "zyx", None),
    "pages of colours": ((5, 30, 20, 3), {"metadata": None, "photometric": "rgb"}, "zyxc", None),
    "pages that tifffile describes": ((5, 30, 20), {}, "zyx", None),
    "tiles": ((70, 50), {"tile": (32, 32)}, "yx", None),
    "strips": ((70, 50), {"rowsperstrip": 16}, "yx", None),
    "BigTIFF": ((30, 20), {"bigtiff": True}, "yx", None),
    "ImageJ stack": ((5, 30, 20), {"imagej": True, "metadata": {"axes": "ZYX"}}, "zyx", None),
    "ImageJ time": ((5, 30, 20), {"imagej": True, "metadata": {"axes": "TYX"}}, "tyx", None),
    "ImageJ channels": ((2, 30, 20), {"imagej": True, "metadata": {"axes": "CYX"}}, "yxc", (1, 2, 0)),
    "ImageJ hyperstack": (
        (2, 3, 4, 30, 20),
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        "tzyxc",
        (0, 1, 3, 4, 2),
    ),
    "ImageJ colours": ((5, 30, 20, 3), {"imagej": True, "metadata": {"axes": "ZYXS"}}, "zyxc", None),
    "OME stack": ((5, 30, 20), {"ome": True, "metadata": {"axes": "ZYX"}}, "zyx", None),
    "OME, channels first": (
        (2, 3, 30, 20),
        {"ome": True, "metadata": {"axes": "CZYX"}},
        "zyxc",
        (1, 2, 3, 0),
    ),
    "OME, depth before time": (
        (2, 3, 30, 20),
        {"ome": True, "metadata": {"axes": "ZTYX"}},
        "tzyx",
        (1, 0, 2, 3),
    ),
    "OME colours": (
        (30, 20, 3),
        {"ome": True, "photometric": "rgb", "metadata": {"axes": "YXS"}},
        "yxc",
        None,
    ),
    "OME, all of length one but a plane": (
        (1, 1, 1, 30, 20),
        {"ome": True, "metadata": {"axes": "TZCYX"}},
        "yx",
        None,
    ),
}


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


def test_a_lookup_table_of_imagej_only_shows(tmp_path):
    table = np.random.default_rng(0).integers(0, 65535, (3, 256), np.uint16)
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20)), imagej=True, photometric="palette", colormap=table)
    assert np.array_equal(tiff.read(tmp_path / "a.tif").array, ramp((30, 20)))


# --- sizes ----------------------------------------------------------------------------------------

OME = {
    "micrometres by default": (
        {"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.25},
        "yx",
        (0.25, 0.5),
        ("um", "um"),
    ),
    "every axis its own": (
        {
            "PhysicalSizeX": 0.5,
            "PhysicalSizeXUnit": "mm",
            "PhysicalSizeY": 0.25,
            "PhysicalSizeYUnit": "mm",
            "PhysicalSizeZ": 3.0,
            "PhysicalSizeZUnit": "mm",
        },
        "zyx",
        (3, 0.25, 0.5),
        ("mm",) * 3,
    ),
    "several units become that of x": (
        {
            "PhysicalSizeX": 500,
            "PhysicalSizeXUnit": "nm",
            "PhysicalSizeY": 0.25,
            "PhysicalSizeYUnit": MICRO,
            "PhysicalSizeZ": 0.003,
            "PhysicalSizeZUnit": "mm",
        },
        "zyx",
        (3000, 250, 500),
        ("nm",) * 3,
    ),
    "centimetres": (
        {"PhysicalSizeX": 0.5, "PhysicalSizeXUnit": "cm", "PhysicalSizeY": 0.25, "PhysicalSizeYUnit": "cm"},
        "yx",
        (0.25, 0.5),
        ("cm",) * 2,
    ),
    "inches": (
        {"PhysicalSizeX": 1, "PhysicalSizeXUnit": "in", "PhysicalSizeY": 2, "PhysicalSizeYUnit": "in"},
        "yx",
        (50.8, 25.4),
        ("mm",) * 2,
    ),
    "angstrom": (
        {
            "PhysicalSizeX": 1,
            "PhysicalSizeXUnit": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}",
            "PhysicalSizeY": 2,
            "PhysicalSizeYUnit": "\N{LATIN CAPITAL LETTER A WITH RING ABOVE}",
        },
        "yx",
        (0.2, 0.1),
        ("nm",) * 2,
    ),
    "pixels": (
        {"PhysicalSizeX": 2, "PhysicalSizeXUnit": "pixel", "PhysicalSizeY": 3, "PhysicalSizeYUnit": "pixel"},
        "yx",
        (3, 2),
        ("pixel",) * 2,
    ),
    "no length": (
        {
            "PhysicalSizeX": 2,
            "PhysicalSizeXUnit": "reference frame",
            "PhysicalSizeY": 3,
            "PhysicalSizeYUnit": "reference frame",
        },
        "yx",
        (1, 1),
        ("pixel",) * 2,
    ),
    "x alone": ({"PhysicalSizeX": 2}, "yx", (1, 1), ("pixel",) * 2),
    "no depth": ({"PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}, "zyx", (1, 0.5, 0.5), ("pixel", "um", "um")),
    "zero": ({"PhysicalSizeX": 0, "PhysicalSizeY": 0.5}, "yx", (1, 1), ("pixel",) * 2),
    "infinite": ({"PhysicalSizeX": "INF", "PhysicalSizeY": 0.5}, "yx", (1, 1), ("pixel",) * 2),
    "time": (
        {"PhysicalSizeX": 2, "PhysicalSizeY": 2, "TimeIncrement": 1.5, "TimeIncrementUnit": "min"},
        "tyx",
        (90, 2, 2),
        ("s", "um", "um"),
    ),
    "time in milliseconds": (
        {"TimeIncrement": 40, "TimeIncrementUnit": "ms"},
        "tyx",
        (40, 1, 1),
        ("ms", "pixel", "pixel"),
    ),
}


@pytest.mark.parametrize(("metadata", "axes", "spacing", "units"), OME.values(), ids=OME.keys())
def test_sizes_of_ome(tmp_path, metadata, axes, spacing, units):
    shape = (5, 30, 20)[-len(axes) :]
    tifffile.imwrite(
        tmp_path / "a.ome.tif", ramp(shape), ome=True, metadata={"axes": axes.upper(), **metadata}
    )
    scan = tiff.read(tmp_path / "a.ome.tif")
    assert scan.axes == axes
    assert scan.geometry.spacing == pytest.approx(spacing)
    assert scan.geometry.units == units
    assert scan.geometry.frame == ""


def test_position_of_ome(tmp_path):
    planes = {"PositionX": [0.1] * 5, "PositionXUnit": ["mm"] * 5, "PositionY": [7.0] * 5,
              "PositionZ": [-3.0, -1, 1, 3, 5], "PositionZUnit": [MICRO] * 5}  # fmt: skip
    metadata = {
        "axes": "ZYX",
        "PhysicalSizeX": 1.0,
        "PhysicalSizeY": 1.0,
        "PhysicalSizeZ": 2.0,
        "Plane": planes,
    }
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((5, 30, 20)), ome=True, metadata=metadata)
    matrix = tiff.read(tmp_path / "a.ome.tif").geometry.matrix
    assert matrix[:, -1] == pytest.approx([-3, 0, 100, 1])  # a position without a unit is in no known frame


IMAGEJ = {
    "micron": ({"unit": "micron", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("um",) * 3),
    "micro sign": ({"unit": "\\u00B5m", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("um",) * 3),
    "um": ({"unit": "um", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("um",) * 3),
    "millimetres": ({"unit": "mm", "spacing": 3.0}, (4.0, 2.0), (3, 0.5, 0.25), ("mm",) * 3),
    "inches": ({"unit": "inch", "spacing": 1.0}, (1.0, 2.0), (25.4, 12.7, 25.4), ("mm",) * 3),
    "no depth": ({"unit": "um"}, (4.0, 2.0), (1, 0.5, 0.25), ("pixel", "um", "um")),
    "depth in another unit": (
        {"unit": "um", "zunit": "mm", "spacing": 0.002},
        (4.0, 2.0),
        (2, 0.5, 0.25),
        ("um",) * 3,
    ),
    "no unit": ({"spacing": 3.0}, (4.0, 2.0), (1, 1, 1), ("pixel",) * 3),
    "pixels": ({"unit": "pixel", "spacing": 3.0}, (4.0, 2.0), (1, 1, 1), ("pixel",) * 3),
}


@pytest.mark.parametrize(("metadata", "resolution", "spacing", "units"), IMAGEJ.values(), ids=IMAGEJ.keys())
def test_sizes_of_imagej(tmp_path, metadata, resolution, spacing, units):
    tifffile.imwrite(
        tmp_path / "a.tif",
        ramp((5, 30, 20)),
        imagej=True,
        resolution=resolution,
        metadata={"axes": "ZYX", **metadata},
    )
    scan = tiff.read(tmp_path / "a.tif")
    assert scan.geometry.spacing == pytest.approx(spacing)
    assert scan.geometry.units == units


def test_time_of_imagej(tmp_path):
    metadata = {"axes": "TYX", "finterval": 2.5, "unit": "um"}
    tifffile.imwrite(tmp_path / "a.tif", ramp((5, 30, 20)), imagej=True, resolution=(2, 2), metadata=metadata)
    geometry = tiff.read(tmp_path / "a.tif").geometry
    assert (geometry.spacing, geometry.units) == ((2.5, 0.5, 0.5), ("s", "um", "um"))


def test_a_resolution_to_print_with_is_no_size(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20)), resolution=(300, 300), resolutionunit="inch")
    assert tiff.read(tmp_path / "a.tif").geometry == Geometry.from_spacing("yx")


# --- writing --------------------------------------------------------------------------------------

steps = st.floats(1e-4, 1e4)
places = st.floats(-1e4, 1e4)


@st.composite
def geometries(draw: st.DrawFn) -> Geometry:
    axes = draw(st.sampled_from(["yx", "zyx", "tyx", "tzyx"]))
    unit = draw(st.sampled_from(["nm", "um", "mm", "cm", "m", "pixel"]))
    matrix = np.eye(len(axes) + 1)
    units = []
    for i, axis in enumerate(axes):
        matrix[i, i] = draw(steps)
        matrix[i, -1] = 0 if axis == "t" else draw(places)
        units.append(draw(st.sampled_from(["s", "ms", "us"])) if axis == "t" else unit)
    return Geometry.from_matrix(matrix, tuple(units), tuple(axes))


@settings(max_examples=60, deadline=None)
@given(geometries(), st.sampled_from([np.uint8, np.uint16, np.float32]), st.sampled_from([0, 2, 3, 4]),
       st.tuples(*[st.integers(2, 5)] * 4))  # fmt: skip
def test_what_is_written_is_read(tmp_path_factory, geometry, dtype, channels, lengths):
    axes = "".join(geometry.axis_labels) + ("c" if channels else "")
    array = ramp((*lengths[-geometry.ndim :], *([channels] if channels else [])), dtype)
    path = tmp_path_factory.mktemp("tiff") / "a.tif"
    tiff.write(path, array, axes, geometry, {})
    scan = tiff.read(path)
    assert scan.axes == axes
    assert scan.array.dtype == dtype
    assert np.array_equal(scan.array, array)
    assert scan.geometry.units == geometry.units
    np.testing.assert_allclose(scan.geometry.matrix, geometry.matrix, rtol=1e-12, atol=1e-12)


def test_the_xml_says_where_every_plane_is(tmp_path):
    """What another reader of OME-TIFF goes by, read here without tifffile's help or ours."""
    matrix = np.diag([60.0, 3.0, 0.5, 0.25, 1.0])
    matrix[1:4, -1] = (10, 20, 30)
    geometry = Geometry.from_matrix(matrix, ("s", "mm", "mm", "mm"), tuple("tzyx"), "LPS")
    tiff.write(tmp_path / "a.tif", ramp((2, 3, 4, 5)), "tzyx", geometry, {})
    xml = (tmp_path / "a.tif").read_bytes().split(b"<?xml")[1].split(b"</OME>")[0]
    pixels = ElementTree.fromstring(b"<?xml" + xml + b"</OME>").find(".//{*}Pixels")
    assert pixels is not None
    sizes = {k: pixels.get(k) for k in pixels.keys() if k.startswith(("Size", "Physical", "Time"))}  # noqa: SIM118
    assert sizes == {
        "SizeX": "5", "SizeY": "4", "SizeZ": "3", "SizeC": "1", "SizeT": "2",
        "PhysicalSizeX": "0.25", "PhysicalSizeY": "0.5", "PhysicalSizeZ": "3.0", "TimeIncrement": "60.0",
        "PhysicalSizeXUnit": "mm", "PhysicalSizeYUnit": "mm", "PhysicalSizeZUnit": "mm",
        "TimeIncrementUnit": "s",
    }  # fmt: skip
    planes = pixels.findall("{*}Plane")
    assert len(planes) == 6
    for plane in planes:
        assert float(plane.get("PositionZ", "nan")) == 10 + 3 * int(plane.get("TheZ", "-1"))
        assert (plane.get("PositionY"), plane.get("PositionX")) == ("20.0", "30.0")
        assert {plane.get(f"Position{a}Unit") for a in "XYZ"} == {"mm"}


@pytest.mark.parametrize("shape", [(1, 4, 5), (3, 4, 5), (4, 5, 3), (4, 4, 4), (1, 1, 1)])
def test_no_length_is_taken_for_colours(tmp_path, shape):
    tiff.write(tmp_path / "a.tif", ramp(shape), "zyx", Geometry.from_spacing("zyx", (3, 2, 1), "mm"), {})
    scan = tiff.read(tmp_path / "a.tif")
    assert scan.axes == ("zyx" if shape[0] > 1 else "yx")  # a length of one is dropped
    assert np.array_equal(scan.array, ramp(shape).reshape(scan.array.shape))
    assert scan.geometry.spacing == (3, 2, 1)[-len(scan.axes) :]


def test_a_lazy_array_is_written(tmp_path):
    tiff.write(tmp_path / "a.tif", da.from_array(ramp((4, 5))), "yx", Geometry.from_spacing("yx"), {})
    assert np.array_equal(tiff.read(tmp_path / "a.tif").array, ramp((4, 5)))


PLANE = ramp((4, 5))
TURNED = [[0, 1, 0], [1, 0, 0], [0, 0, 1]]
REFUSED = {
    "turned": (PLANE, "yx", Geometry.from_matrix(TURNED, ("mm", "mm"), ("y", "x")), "rotated or flipped"),
    "flipped": (PLANE, "yx", Geometry.from_spacing("yx", (1.0, -1.0), "mm"), "rotated or flipped"),
    "an unknown unit": (PLANE, "yx", Geometry.from_spacing("yx", unit="ell"), "axis y in 'ell'"),
    "time that begins later": (PLANE[None], "tyx", Geometry.from_matrix(
        np.eye(4) + np.eye(4)[:, ::-1] * [[3], [0], [0], [0]], ("s", "mm", "mm"), tuple("tyx")), "axis t"),
    "no unit of time": (PLANE[None], "tyx", Geometry.from_spacing("tyx", (2.0, 1, 1)), "axis t in 'pixel'"),
    "another geometry": (PLANE, "yx", Geometry.from_spacing("zyx"), "does not fit a geometry"),
    "other labels": (PLANE, "yx", Geometry.from_spacing("zx"), "does not fit a geometry"),
    "complex": (PLANE.astype(complex), "yx", Geometry.from_spacing("yx"), "complex128"),
    "too large a number": (PLANE.astype(np.int64) - 2**40, "yx", Geometry.from_spacing("yx"), "32 bits"),
}  # fmt: skip


@pytest.mark.parametrize(("array", "axes", "geometry", "why"), REFUSED.values(), ids=REFUSED.keys())
def test_what_cannot_be_said_is_not_written(tmp_path, array, axes, geometry, why):
    with pytest.raises(BadInput, match=why) as caught:
        tiff.write(tmp_path / "a.tif", array, axes, geometry, {})
    assert caught.value.what.endswith("a.tif")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("name", "why"), [("a.png", "not a name for"), ("no/folder/a.tif", "cannot be written")]
)
def test_where_it_cannot_be_written(tmp_path, name, why):
    with pytest.raises(BadInput, match=why):
        tiff.write(tmp_path / name, PLANE, "yx", Geometry.from_spacing("yx"), {})


# --- broken files ---------------------------------------------------------------------------------

KINDS = {
    "plain": {},
    "bare pages": {"metadata": None, "compression": "zlib"},
    "bare pages, not compressed": {"metadata": None},
    "compressed": {"compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "ImageJ": {
        "imagej": True,
        "resolution": (2, 2),
        "metadata": {"axes": "ZYX", "unit": "um", "spacing": 2.0},
    },
    "OME": {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 3.0}},
    "OME, compressed": {
        "ome": True,
        "compression": "zlib",
        "metadata": {"axes": "ZYX", "PhysicalSizeX": 2.0},
    },
}


def same(one: Scan, other: Scan) -> bool:
    return (
        one.axes == other.axes and one.geometry == other.geometry and np.array_equal(one.array, other.array)
    )


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_a_file_cut_short_is_refused_or_whole(tmp_path, options):
    """tifffile alone gives fewer pages, zeros, or an image without its size."""
    tifffile.imwrite(tmp_path / "a.tif", ramp((5, 24, 40)) + 1, **options)
    whole = (tmp_path / "a.tif").read_bytes()
    scan = tiff.read(tmp_path / "a.tif")
    cut = tmp_path / "b.tif"
    refused = 0
    lengths = [*range(1, len(whole), len(whole) // 40), *range(len(whole) - 20, len(whole))]
    for n in lengths:
        cut.write_bytes(whole[:n])
        try:
            found = tiff.read(cut)
        except BadInput:
            refused += 1
        else:
            assert same(found, scan), n
    assert refused > 0.6 * len(lengths)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_data_that_is_not_there_is_seen_before_a_decoder_fills_it_up(tmp_path, options):
    """As decoders of JPEG do."""
    tifffile.imwrite(tmp_path / "a.tif", ramp((32, 48)), metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tiff._check_complete(tmp_path / "a.tif", file, file.series[0])
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:-1])
    with tifffile.TiffFile(tmp_path / "a.tif") as file, pytest.raises(BadInput, match="cut short"):
        tiff._check_complete(tmp_path / "a.tif", file, file.series[0])


def with_bytes(raw: bytes, start: int, value: bytes) -> bytes:
    return raw[:start] + value + raw[start + len(value) :]


BROKEN = {
    "text": lambda raw: NAME.encode() * 60,
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "mark only": lambda raw: raw[:8],
    "first page nowhere": lambda raw: with_bytes(raw, 4, b"\xff\xff\xff\x00"),
    "first page in the data": lambda raw: with_bytes(raw, 4, np.array([len(raw) - 300], "<u4").tobytes()),
    "compressed data damaged": lambda raw: with_bytes(raw, len(raw) - 60, bytes(40)),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_in_one_line(tmp_path, breaking):
    noise = np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", noise, compression="zlib", description=NAME, metadata=None)
    (tmp_path / "b.tif").write_bytes(breaking((tmp_path / "a.tif").read_bytes()))
    with pytest.raises(BadInput) as caught:
        tiff.read(tmp_path / "b.tif")
    assert caught.value.what == str(tmp_path / "b.tif")
    assert caught.value.remedy
    assert "Doe" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        tiff.read(tmp_path / "a.tif")


def test_ome_pages_that_are_not_there(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((5, 30, 20)), ome=True, metadata={"axes": "ZYX"})
    raw = (tmp_path / "a.ome.tif").read_bytes()
    assert raw.count(b'SizeZ="5"') == 1
    (tmp_path / "a.ome.tif").write_bytes(raw.replace(b'SizeZ="5"', b'SizeZ="9"'))
    with pytest.raises(BadInput, match="lacks some of its pages"):
        tiff.read(tmp_path / "a.ome.tif")


COLOURS = {
    "for print": ({"photometric": "separated"}, (30, 20, 4), np.uint8),
    "Lab": ({"photometric": "cielab"}, (30, 20, 3), np.uint8),
}


@pytest.mark.parametrize(("options", "shape", "dtype"), COLOURS.values(), ids=COLOURS.keys())
def test_other_colours_are_refused(tmp_path, options, shape, dtype):
    tifffile.imwrite(tmp_path / "a.tif", ramp(shape, dtype), **options)
    with pytest.raises(BadInput, match="colours"):
        tiff.read(tmp_path / "a.tif")


def test_an_unknown_axis_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", ramp((2, 5, 30, 20)), photometric="minisblack", metadata={"axes": "PZYX"}
    )
    with pytest.raises(BadInput, match="P is not known"):
        tiff.read(tmp_path / "a.tif")


def test_complex_values_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20), np.complex64))
    with pytest.raises(BadInput, match="complex64"):
        tiff.read(tmp_path / "a.tif")


def test_a_compression_that_needs_another_package_names_it(tmp_path, monkeypatch):
    def refuse(self):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refuse)
    with pytest.raises(BadInput, match="install imagecodecs"):
        tiff.read(tmp_path / "a.tif")


def test_nothing_of_the_patient_is_kept(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, description=NAME, metadata=None)
    scan = tiff.read(tmp_path / "a.tif")
    assert NAME not in str(scan.properties)
    tiff.write(tmp_path / "b.tif", PLANE, "yx", scan.geometry, scan.properties)
    assert NAME.encode() not in (tmp_path / "b.tif").read_bytes()


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
