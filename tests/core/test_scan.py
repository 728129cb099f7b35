from __future__ import annotations

import hashlib
import pickle
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.units import canonical_unit
from napari_latentseg.errors import BadInput

YX = Geometry.from_spacing("yx")


def turn(angle: float) -> np.ndarray:
    """A 2D matrix that turns by this angle, in radians."""
    return np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])


# --- errors ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("what", "why", "remedy", "line"),
    [
        ("a.nii", "is cut short", "copy it again", "a.nii: is cut short; copy it again"),
        (Path("a.nii"), "is cut short", "", "a.nii: is cut short"),
        ("a\nb.nii", "two\n  lines", "of\ntext", "a b.nii: two lines; of text"),
        ("a  b.nii", "spaces", "", "a  b.nii: spaces"),
        ("caf\udce9.nii", "a name that is not text", "", "caf?.nii: a name that is not text"),
    ],
)
def test_message_is_one_line_that_can_be_printed(what, why, remedy, line):
    error = BadInput(what, why, remedy)
    assert str(error) == line
    str(error).encode("utf-8")
    assert str(pickle.loads(pickle.dumps(error))) == line


# --- geometry -------------------------------------------------------------------------------------

BAD_AFFINES = {
    "too small": np.eye(2),
    "too large": np.eye(4),
    "not square": np.ones((3, 2)),
    "flat": [[1, 2, 3]],
    "no rows": [],
    "rows of unequal length": [[1, 0, 0], [0, 1], [0, 0, 1]],
    "text": [["one", 0, 0], [0, 1, 0], [0, 0, 1]],
    "not a number": np.diag([np.nan, 1, 1]),
    "infinite origin": [[1, 0, np.inf], [0, 1, 0], [0, 0, 1]],
    "no step": np.diag([0.0, 1, 1]),
    "both axes along one line": [[1, 2, 0], [2, 4, 0], [0, 0, 1]],
    "projective": [[1, 0, 0], [0, 1, 0], [0.1, 0, 1]],
    "too large for its square": np.diag([1e200, 1e200, 1]),
}


@pytest.mark.parametrize("affine", BAD_AFFINES.values(), ids=BAD_AFFINES.keys())
def test_bad_affine(affine):
    with pytest.raises(BadInput, match="geometry"):
        Geometry.from_matrix(affine, ("mm", "mm"), ("y", "x"))


@pytest.mark.parametrize(
    ("units", "labels"), [(("mm",), ("y", "x")), (("mm", "mm"), ("y",)), ((), ())], ids=str
)
def test_units_and_labels_must_fit(units, labels):
    with pytest.raises(BadInput, match="one unit and one label"):
        Geometry.from_matrix(np.eye(3), units, labels)


@pytest.mark.parametrize("size", [1e-9, 1e-3, 1e6])
def test_fine_and_coarse_steps_are_no_fault(size):
    geometry = Geometry.from_spacing("zyx", (size, size, size), "m")
    assert geometry.spacing == pytest.approx((size,) * 3)
    assert geometry.voxel_volume == (pytest.approx(size**3), "m3")


def test_plain():
    geometry = Geometry.from_spacing("tzyx", (2.0, 3.0, 0.5, 0.25), "mm")
    assert geometry.units == ("s", "mm", "mm", "mm")
    assert geometry.axis_labels == ("t", "z", "y", "x")
    assert geometry.spacing == (2.0, 3.0, 0.5, 0.25)
    assert geometry.is_axis_aligned
    assert Geometry.from_spacing("tyx").units == ("pixel",) * 3


@pytest.mark.parametrize("spacing", [(1.0,), (1.0, 2.0, 3.0), (0.0, 1.0), ()])
def test_plain_needs_one_step_an_axis(spacing):
    with pytest.raises(BadInput):
        Geometry.from_spacing("yx", spacing)


def test_geometry_can_be_compared_hashed_and_pickled():
    geometry = Geometry.from_matrix(np.eye(3), ["mm", "mm"], ["y", "x"], "LPS")
    assert geometry == Geometry.from_matrix(np.eye(3, dtype=int), ("mm", "mm"), ("y", "x"), "LPS")
    assert geometry != Geometry.from_matrix(np.eye(3), ("mm", "mm"), ("y", "x"))
    assert len({geometry, pickle.loads(pickle.dumps(geometry))}) == 1


def test_matrix_is_a_copy():
    YX.matrix[0, 0] = 5
    assert YX.matrix[0, 0] == 1


ALIGNED = {
    "plain": (np.eye(3), True),
    "flipped": (np.diag([-1.0, 2.0, 1.0]), True),
    "exchanged": ([[0, 1, 0], [1, 0, 0], [0, 0, 1]], False),
    "turned a little": (turn(1e-4), False),
    "sheared": ([[1, 0.1, 0], [0, 1, 0], [0, 0, 1]], False),
    "turned, beside a long axis": ([[1e6, 0.5, 0], [0, 1, 0], [0, 0, 1]], False),
}


@pytest.mark.parametrize(("matrix", "aligned"), ALIGNED.values(), ids=ALIGNED.keys())
def test_is_axis_aligned(matrix, aligned):
    assert Geometry.from_matrix(matrix, ("mm", "mm"), ("y", "x")).is_axis_aligned is aligned


SIZES = {
    "area": ("yx", (0.5, 0.25), ("mm", "mm"), (0.125, "mm2")),
    "volume": ("zyx", (3, 0.5, 0.5), ("um", "um", "um"), (0.75, "um3")),
    "time is not a length": ("tyx", (60, 2, 3), ("s", "mm", "mm"), (6, "mm2")),
    "pixels": ("yx", (1, 1), ("pixel", "pixel"), (1, "pixel")),
    "several units": ("zyx", (2, 500, 500), ("um", "nm", "nm"), (2000 * 500 * 500, "nm3")),
    "one axis without a size": ("zyx", (1, 0.5, 0.5), ("pixel", "um", "um"), (1, "pixel")),
    "a unit of no known length": ("zyx", (1, 0.5, 0.5), ("ell", "um", "um"), (1, "pixel")),
}


@pytest.mark.parametrize(("labels", "steps", "units", "size"), SIZES.values(), ids=SIZES.keys())
def test_element_size(labels, steps, units, size):
    geometry = Geometry.from_matrix(np.diag([*steps, 1.0]), units, tuple(labels))
    assert geometry.voxel_volume == (pytest.approx(size[0]), size[1])


steps = st.floats(0.01, 50)
angles = st.floats(-np.pi, np.pi)


@given(st.tuples(steps, steps), angles, st.booleans(), st.floats(-1, 1))
def test_turning_and_flipping_keep_steps_and_areas(spacing, angle, flip, shear):
    matrix = turn(angle) @ np.diag([*spacing, 1.0]) @ np.diag([-1.0 if flip else 1.0, 1.0, 1.0])
    geometry = Geometry.from_matrix(matrix, ("mm", "mm"), ("y", "x"))
    assert geometry.spacing == pytest.approx(spacing)
    assert geometry.voxel_volume[0] == pytest.approx(spacing[0] * spacing[1])
    slanted = Geometry.from_matrix(
        matrix @ np.array([[1, shear, 0], [0, 1, 0], [0, 0, 1]]), ("mm", "mm"), ("y", "x")
    )
    assert slanted.voxel_volume[0] == pytest.approx(spacing[0] * spacing[1])


@pytest.mark.parametrize(
    ("given_name", "name"),
    [
        ("millimeter", "mm"),
        ("\N{MICRO SIGN}m", "um"),
        ("\N{GREEK SMALL LETTER MU}m", "um"),
        (" micron ", "um"),
        ("sec", "s"),
        ("", "pixel"),
        ("furlong", "furlong"),
    ],
)
def test_unit_name(given_name, name):
    assert canonical_unit(given_name) == name
    assert Geometry.from_spacing("yx", (1, 1), given_name).units == (name, name)


# --- scan -----------------------------------------------------------------------------------------

BAD_SCANS = {
    "unknown axis": (np.ones((2, 2)), "qx", YX, "not known"),
    "axis twice": (np.ones((2, 2)), "xx", YX, "not known"),
    "channels first": (np.ones((3, 2, 2)), "cyx", YX, "channels must come last"),
    "too few axes": (np.ones((3, 2, 2)), "yx", YX, "3 dimensions"),
    "no plane": (np.ones((2, 2)), "zx", YX, "rows and columns"),
    "exchanged": (np.ones((2, 2)), "xy", YX, "rows and columns"),
    "empty": (np.ones((0, 2)), "yx", YX, "empty"),
    "complex": (np.ones((2, 2), complex), "yx", YX, "complex128"),
    "text": (np.array([["a"]]), "yx", YX, "not supported"),
    "objects": (np.array([[None]]), "yx", YX, "not supported"),
    "another geometry": (np.ones((2, 2, 2)), "zyx", YX, "2 axes for an image of 3"),
}


if np.dtype(np.longdouble).itemsize > 8:  # which it is not everywhere
    BAD_SCANS["long double"] = (np.ones((2, 2), np.longdouble), "yx", YX, "64 bits")


@pytest.mark.parametrize(("array", "axes", "geometry", "why"), BAD_SCANS.values(), ids=BAD_SCANS.keys())
def test_bad_scan(array, axes, geometry, why):
    with pytest.raises(BadInput, match=why) as caught:
        Scan(array, axes, geometry, source=Path("folder/scan.tif"))
    assert caught.value.what == "scan.tif"
    assert caught.value.remedy


def test_scan():
    array = np.zeros((4, 5, 3), np.uint8)
    scan = Scan(array, "yxc", YX, properties={"a": 1}, source=Path("folder/scan.tif"))
    assert (scan.spatial_axes, scan.spatial_shape, scan.name) == ("yx", (4, 5), "scan.tif")
    with pytest.raises(TypeError):
        scan.properties["a"] = 2  # type: ignore[index]
    with pytest.raises(AttributeError):
        scan.axes = "yx"  # type: ignore[misc]


def test_replace_checks_again():
    scan = Scan(np.zeros((4, 5), np.uint8), "yx", YX, modality="US")
    assert scan.replace(array=np.ones((2, 2))).modality == "US"
    with pytest.raises(BadInput):
        scan.replace(array=np.ones(3))


def test_scans_can_be_compared_and_go_to_another_process():
    scan = Scan(np.arange(6).reshape(2, 3), "yx", YX, "US", "tiff", {"a": [1]}, Path("a.tif"))
    twin = pickle.loads(pickle.dumps(scan))
    assert scan == scan
    assert scan != twin
    assert np.array_equal(scan.array, twin.array)
    assert (twin.axes, twin.geometry, twin.modality, twin.format) == ("yx", YX, "US", "tiff")
    assert (dict(twin.properties), twin.source) == ({"a": [1]}, Path("a.tif"))


def image(values: np.ndarray) -> Scan:
    axes = "tzyx"[-values.ndim :]
    return Scan(values, axes, Geometry.from_spacing(axes))


VALUES = np.arange(2 * 3 * 4 * 5, dtype=np.int16).reshape(2, 3, 4, 5)


def test_an_image_is_known_by_its_values_and_type_and_shape() -> None:
    """The hash that stores and run records have had from the first, so that they stay valid."""
    expected = hashlib.sha256(b"<i2(2, 3, 4, 5)" + VALUES.tobytes()).hexdigest()
    scan = image(VALUES)
    assert scan.content_sha256 == expected
    same = scan.replace(
        geometry=Geometry.from_spacing("tzyx", (1.0, 2.0, 3.0, 4.0), "mm"), source=Path("other.nii")
    )
    assert same.content_sha256 == expected
    assert image(np.asfortranarray(VALUES)).content_sha256 == expected
    assert pickle.loads(pickle.dumps(scan)).content_sha256 == expected
    others = [
        VALUES[0],
        VALUES.astype(np.uint16),
        VALUES.reshape(2, 3, 5, 4),
        VALUES + 1,
        VALUES.astype(">i2"),
    ]
    assert len({expected, *(image(other).content_sha256 for other in others)}) == 6


@pytest.mark.parametrize("size", [16, 40, 100, 300], ids="{} bytes at a time".format)
def test_a_lazy_image_is_hashed_in_parts(monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    monkeypatch.setattr("napari_latentseg.core.scan._HASHED_AT_A_TIME", size)
    lazy = image(da.from_array(VALUES, chunks=(1, 2, 3, 5)))
    told = list(lazy.iter_sha256())
    assert told[:-1] == [""] * (len(told) - 1)
    assert len(told) > 1 or size >= VALUES.nbytes
    assert told[-1] == lazy.content_sha256 == image(VALUES.copy()).content_sha256


def test_an_image_is_read_once_for_its_hash_and_past_the_caches_of_others() -> None:
    from dask.callbacks import Callback

    read: list[int] = []

    def load(block: np.ndarray) -> np.ndarray:
        read.append(1)
        return block

    scan = image(da.from_array(VALUES, chunks=-1).map_blocks(load, meta=VALUES[:0]))
    seen: list[int] = []
    with Callback(start=lambda graph: seen.append(1)):
        assert scan.content_sha256 == scan.content_sha256
    assert (len(read), seen) == (1, [])


def test_of_a_box_nothing_else_is_read() -> None:
    scan = image(VALUES)
    (told,) = scan.iter_sha256((1, 2, 3, 5))
    part = np.ascontiguousarray(VALUES[..., 1:3, 2:5])
    assert told == hashlib.sha256(b"<i2(2, 3, 4, 5)(1, 2, 3, 5)" + part.tobytes()).hexdigest()
    assert told != scan.content_sha256


def test_an_image_that_is_gone_is_said() -> None:
    def load(block: np.ndarray) -> np.ndarray:
        raise FileNotFoundError(2, "No such file or directory")

    lazy = da.from_array(VALUES, chunks=-1).map_blocks(load, meta=VALUES[:0])
    scan = Scan(lazy, "tzyx", Geometry.from_spacing("tzyx"), source=Path("gone.nii"))
    message = "gone.nii: cannot be read (No such file or directory); open it again"
    with pytest.raises(BadInput) as error:
        _ = scan.content_sha256
    assert str(error.value) == message
