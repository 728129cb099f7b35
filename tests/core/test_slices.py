from __future__ import annotations

import itertools

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from napari_latentseg.core import slices as module
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.errors import BadInput

NAN, INF = np.nan, np.inf


def scan_of(array, axes="yx") -> Scan:
    return Scan(array, axes, Geometry.from_spacing(axes.removesuffix("c")))


def row(values, dtype) -> np.ndarray:
    return np.array([values], dtype)


# A row of values, and what becomes of it; percentiles of two values lie 0.5 % inside them.
VALUES = {
    "8 bits": (row([0, 51, 255], np.uint8), [0, 0.2, 1]),
    "8 bits, dark": (row([0, 1, 2], np.uint8), [0, 1 / 255, 2 / 255]),
    "truth values": (row([True, False], bool), [1, 0]),
    "floats in [0, 1]": (row([0.25, 0.5], np.float32), [0.25, 0.5]),
    "floats in [0, 1], half": (row([0.25, 0.5], np.float16), [0.25, 0.5]),
    "floats in [0, 1], double": (row([0, 1], np.float64), [0, 1]),
    "big-endian floats": (row([0.25, 0.5], ">f4"), [0.25, 0.5]),
    "floats above 1": (row([0, 1, 2], np.float32), [0, 0.5, 1]),
    "floats below 0": (row([-1, 0, 1], np.float32), [0, 0.5, 1]),
    "16 bits": (row([0, 500, 1000], np.uint16), [0, 0.5, 1]),
    "16 bits, below 0": (row([-1024, 0, 1024], np.int16), [0, 0.5, 1]),
    "16 bits, big-endian": (row([0, 500, 1000], ">u2"), [0, 0.5, 1]),
    "8 bits with a sign": (row([-128, 0, 128 - 1], np.int8), [0, 0.502, 1]),
    "64 bits": (row([0, 5, 10], np.int64) + 2**40, [0, 0.5, 1]),
    "all the same, 0": (row([0, 0], np.int16), [0, 0]),
    "all the same, 7": (row([7, 7], np.int16), [0, 0]),
    "all the same, below 0": (row([-7.5, -7.5], np.float32), [0, 0]),
    "all the same, within [0, 1]": (row([0.5, 0.5], np.float32), [0.5, 0.5]),
    "1x1": (row([300], np.uint16), [0]),
    "far from 0": (row([1e9, 1e9 + 0.5, 1e9 + 1], np.float64), [0, 0.5, 1]),
    "not a number": (row([NAN, 0, 1, 2], np.float32), [0, 0, 0.5, 1]),
    "infinite": (row([INF, 0, 1, 2, -INF], np.float32), [0, 0, 0.5, 1, 0]),
    "not a number, within [0, 1]": (row([NAN, 0.5, 1], np.float64), [0, 0.5, 1]),
    "near the end of what a double holds": (row([-8e307, 0, 8e307], np.float64), [0, 0.5, 1]),
    "one bright point": (row([0] * 999 + [9], np.int16), [0] * 999 + [1]),
}


@pytest.mark.parametrize(("array", "expected"), VALUES.values(), ids=VALUES.keys())
@pytest.mark.parametrize("kind", ["numpy", "dask"])
def test_values(array, expected, kind):
    planes = Planes.from_scan(scan_of(da.from_array(array, chunks=(1, 2)) if kind == "dask" else array))
    plane = planes[0]
    assert plane.dtype == np.float32
    assert plane.shape == (1, len(expected), 3)
    assert plane.flags.writeable  # torch takes no other without a warning
    for channel in range(3):
        np.testing.assert_allclose(plane[0, :, channel], expected, atol=0.006)


def test_known_ranges_are_exact():
    every = np.arange(256, dtype=np.uint8)[None]
    assert np.array_equal(
        Planes.from_scan(scan_of(every))[0][0, :, 0], (np.arange(256) / 255).astype(np.float32)
    )
    floats = np.random.default_rng(0).random((5, 7), np.float32)
    assert np.array_equal(Planes.from_scan(scan_of(floats))[0][..., 1], floats)


def test_the_scan_is_left_as_it_was():
    array = row([NAN, 5, -3, INF], np.float64)
    before = array.copy()
    plane = Planes.from_scan(scan_of(array))[0]
    plane[:] = 9
    np.testing.assert_array_equal(array, before)


@pytest.mark.parametrize(("values", "mended"), [([NAN, 1, 2], 1), ([INF, 1, 2], 1), ([0, 1, 2], 0)])
def test_what_was_mended_is_noted(values, mended):
    assert len(Planes.from_scan(scan_of(row(values, np.float32))).notes) == mended


# --- channels -------------------------------------------------------------------------------------


def test_colours_stay_and_alpha_goes():
    array = np.zeros((2, 3, 4), np.uint8)
    array[...] = (255, 51, 0, 17)
    plane = Planes.from_scan(scan_of(array, "yxc"))[0]
    np.testing.assert_allclose(plane[1, 2], (1, 0.2, 0), atol=1e-6)


def test_alpha_has_no_say_in_the_range():
    array = np.zeros((10, 10, 4), np.uint16)
    array[..., 0] = np.arange(100).reshape(10, 10)
    array[..., 3] = 65535
    planes = Planes.from_scan(scan_of(array, "yxc"))
    assert planes.high < 100
    assert planes[0].max() == 1


def test_one_channel_is_grey():
    array = np.arange(4, dtype=np.uint8).reshape(2, 2, 1)
    plane = Planes.from_scan(scan_of(array, "yxc"))[0]
    assert np.array_equal(plane, np.repeat(array / np.float32(255), 3, axis=-1))


@pytest.mark.parametrize("channels", [2, 5])
def test_other_channels_are_refused(channels):
    with pytest.raises(BadInput, match=f"{channels} channels"):
        Planes.from_scan(scan_of(np.zeros((2, 2, channels), np.uint8), "yxc"))


@pytest.mark.parametrize(
    ("values", "why"), [([NAN, INF], "no finite value"), ([-1.7e308, 1.7e308], "range of values")]
)
def test_hopeless_values_are_refused(values, why):
    with pytest.raises(BadInput, match=why):
        Planes.from_scan(scan_of(row(values, np.float64)))


# --- stacks ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("axes", "shape", "count"),
    [("yx", (4, 5), 1), ("yxc", (4, 5, 3), 1), ("zyx", (3, 4, 5), 3), ("tzyxc", (2, 3, 4, 5, 3), 6)],
)
def test_every_plane_is_at_its_index(axes, shape, count):
    array = np.random.default_rng(0).integers(0, 255, shape, np.uint8)
    planes = Planes.from_scan(scan_of(array, axes))
    assert len(planes) == count
    assert planes.is_stack is (count > 1)
    assert planes.plane_shape == (4, 5)
    seen = list(planes)
    assert len(seen) == count
    for number, index in enumerate(itertools.product(*map(range, planes.scan.spatial_shape[:-2]))):
        assert planes.index(number) == index
        plane = array[index] if axes.endswith("c") else np.repeat(array[index][..., None], 3, -1)
        assert np.array_equal(seen[number], plane / np.float32(255))


@pytest.mark.parametrize("number", [-1, 3])
@pytest.mark.parametrize("axes", ["yx", "zyx"])
def test_no_such_plane(number, axes):
    planes = Planes.from_scan(scan_of(np.zeros((3, 2, 2)[-len(axes) :], np.uint8), axes))
    with pytest.raises(IndexError):
        planes[number]


def test_one_range_for_the_whole_stack():
    array = np.stack([np.full((4, 4), v, np.int16) for v in (0, 50, 100)])
    planes = Planes.from_scan(scan_of(array, "zyx"))
    assert [float(p.max()) for p in planes] == pytest.approx([0, 0.5, 1])


def test_wide_image():
    array = np.tile(np.arange(20_000, dtype=np.uint16), (8, 1))
    plane = Planes.from_scan(scan_of(array))[0]
    assert plane.shape == (8, 20_000, 3)
    assert plane[0, 10_000, 0] == pytest.approx(0.5, abs=0.01)


# --- scans of size --------------------------------------------------------------------------------


def test_a_lazy_scan_is_read_plane_by_plane():
    most = []

    def block(block_info=None):
        (start, stop), *_ = block_info[None]["array-location"]
        most.append(stop - start)
        return np.full((stop - start, 64, 64), start, np.int16)

    array = da.map_blocks(block, chunks=((1,) * 50, (64,), (64,)), dtype=np.int16)
    planes = Planes.from_scan(scan_of(array, "zyx"))
    most.clear()
    assert planes[49].max() == 1
    assert most == [1]


@pytest.fixture
def small_sample(monkeypatch):
    monkeypatch.setattr(module, "_MAX_RANGE_VALUES", 1000)


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("shape", [(30, 40, 50), (1, 1, 60_000), (300, 20, 2)])
def test_a_large_scan_is_sampled_evenly(shape):
    array = np.random.default_rng(0).normal(100, 20, shape).astype(np.float32)
    taken, complete = module._subsample(scan_of(array, "zyx"))
    assert 300 < taken.size <= 1000
    assert not complete
    planes = Planes.from_scan(scan_of(array, "zyx"))
    low, high = np.percentile(array, (0.5, 99.5))
    assert planes.low == pytest.approx(low, abs=12)
    assert planes.high == pytest.approx(high, abs=12)
    assert np.array_equal(planes[0], Planes.from_scan(scan_of(da.from_array(array), "zyx"))[0])


@pytest.mark.usefixtures("small_sample")
@pytest.mark.parametrize("dtype", [np.int16, np.float32])
def test_a_bright_point_that_no_sample_hits_is_found(dtype):
    array = np.full((20, 20, 20), -5, dtype)
    array[1, 1, 1] = 95
    planes = Planes.from_scan(scan_of(array, "zyx"))
    assert (planes.low, planes.high) == (-5, 95)


@settings(max_examples=60, deadline=None)
@given(
    hnp.arrays(
        st.sampled_from([np.dtype(t) for t in ("u1", "?", "i2", "u2", "i4", "f2", "f4", "f8", ">f4", "i8")]),
        hnp.array_shapes(min_dims=2, max_dims=3, max_side=5),
    )
)
def test_whatever_comes_in_lies_in_0_to_1(array):
    try:
        planes = Planes.from_scan(scan_of(array, "zyx"[-array.ndim :]))
    except BadInput:
        finite = array[np.isfinite(array)].astype(float)
        assert not finite.size or np.ptp(finite / 2) > 8e307
        return
    for plane in planes:
        assert plane.dtype == np.float32
        assert plane.min() >= 0
        assert plane.max() <= 1


# -- a box of each plane


@given(data=st.data(), lazy=st.booleans(), axes=st.sampled_from(["yx", "zyx", "yxc"]))
def test_a_box_is_that_part_of_the_plane(data, lazy, axes):
    shape = {"yx": (9, 11), "zyx": (2, 9, 11), "yxc": (9, 11, 3)}[axes]
    array = np.random.default_rng(0).integers(0, 900, shape).astype(np.int16)
    whole = Planes.from_scan(scan_of(da.from_array(array) if lazy else array, axes))
    top, left = data.draw(st.integers(0, 8)), data.draw(st.integers(0, 10))
    bottom, right = data.draw(st.integers(top + 1, 9)), data.draw(st.integers(left + 1, 11))
    part = whole.crop((top, left, bottom, right))
    assert (part.plane_shape, part.full_plane_shape) == ((bottom - top, right - left), (9, 11))
    assert part.crop_slices == (slice(top, bottom), slice(left, right))
    last = len(whole) - 1
    assert len(part) == len(whole)
    assert np.array_equal(part[last], whole[last][top:bottom, left:right])
    assert np.array_equal(part.read_rgb(last, slice(0, 1), slice(None)), part[last][:1])
    assert np.array_equal(part.read_raw(0, slice(None), slice(0, 1))[..., 0].squeeze(), (
        whole.read_raw(0, slice(top, bottom), slice(left, left + 1))[..., 0].squeeze()
    ))  # fmt: skip


@pytest.mark.parametrize("box", [(0, 0, 5, 4), (0, 0, 4, 6), (-1, 0, 4, 4), (2, 2, 2, 4)])
def test_a_box_outside_is_refused(box):
    with pytest.raises(BadInput, match="box: rows"):
        Planes.from_scan(scan_of(np.zeros((4, 5), np.uint8))).crop(box)


@pytest.mark.parametrize(
    ("spacing", "unit", "expected"),
    [
        ((3.0, 0.5, 0.25), "mm", (0.5, 0.25)),
        ((3.0, 500.0, 250.0), "um", (0.5, 0.25)),
        ((1.0, 0.05, 0.025), "cm", (0.5, 0.25)),
        ((1.0, 0.5, 0.25), "pixel", None),
    ],
)
def test_spacing_is_in_millimetres(spacing, unit, expected):
    scan = Scan(np.zeros((2, 4, 5), np.uint8), "zyx", Geometry.from_spacing("zyx", spacing, unit))
    found = Planes.from_scan(scan).spacing
    assert found == (None if expected is None else pytest.approx(expected))


# -- intensity window


def ct(values: np.ndarray) -> Scan:
    return Scan(values, "zyx", Geometry.from_spacing("zyx", (5.0, 1.0, 1.0), "mm"), modality="CT")


@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.uint16])
def test_a_window_is_the_same_grey_in_every_scan(dtype: type) -> None:
    """By percentiles the same liver is another grey where there is a metal table or contrast."""
    values = np.full((3, 8, 8), 100, dtype)
    values[0], values[1, :4] = 0, 400
    other = values.copy()
    other[2, :, 4:] = 3000
    for scan in (ct(values), ct(other)):
        planes = Planes.from_scan(scan, (-175, 250))
        assert planes[1][6, 6] == pytest.approx(np.full(3, 275 / 425), abs=1e-6)
        assert planes[0].max() == pytest.approx(175 / 425, abs=1e-6)
        assert planes[1].max() == 1
    assert Planes.from_scan(ct(values))[1][6, 6, 0] != Planes.from_scan(ct(other))[1][6, 6, 0]


def test_what_is_not_finite_is_black_in_a_window_and_noted() -> None:
    values = np.full((1, 4, 4), 100, np.float32)
    values[0, 0] = np.nan
    values[0, 1] = -500
    planes = Planes.from_scan(ct(values), (-175, 250))
    assert (planes[0][:2] == 0).all()
    assert len(planes.notes) == 1


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).random((2, 6, 6)).astype(np.float32),  # not in HU
        np.full((2, 6, 6), 100, np.int16),
        np.random.default_rng(0).integers(1000, 2000, (2, 6, 6)).astype(np.int16),  # without the intercept
        np.random.default_rng(0).integers(-2000, -500, (2, 6, 6)).astype(np.int16),
        np.random.default_rng(0).random((2, 6, 6)) > 0.5,
    ],
)
def test_a_window_that_leaves_nothing_is_refused(values: np.ndarray) -> None:
    with pytest.raises(
        BadInput, match=r"has values from \S+ to \S+, of which .* window from -175 to 250 leaves"
    ):
        Planes.from_scan(ct(values), (-175, 250))


def test_a_lesion_that_no_sample_hits_is_in_the_window() -> None:
    values = np.full((1, 2100, 2100), -1000, np.int16)
    values[0, 1, 1] = 100
    assert Planes.from_scan(ct(values), (-175, 250))[0].max() == pytest.approx(275 / 425, abs=1e-6)
