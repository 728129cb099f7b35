"""TIFF: what is written, and what cannot be."""

from __future__ import annotations

from xml.etree import ElementTree

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.tiff import PLANE, ramp

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import tiff

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
