"""Outlines and tables beside a result."""

from __future__ import annotations

import csv
import json
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from tests.helpers.segmentation import segmentation

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.geojson import find_outlines
from napari_latentseg.io.result_names import RESULT_SUFFIXES
from napari_latentseg.io.write_results import write_segmentation
from napari_latentseg.measure import measure, write_csv


def area(ring: np.ndarray) -> float:
    y, x = ring.T
    return abs(float((x[:-1] * y[1:] - x[1:] * y[:-1]).sum() / 2))


@given(hnp.arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_rings_enclose_what_is_inside(inside):
    """Every element is in as many rings as it must be: an even number outside, an odd one inside."""
    from skimage.measure import points_in_poly

    rings = [ring for part in find_outlines(inside) for ring in part]
    points = np.argwhere(np.ones_like(inside))
    hits = sum((points_in_poly(points, ring).astype(int) for ring in rings), np.zeros(len(points), int))
    assert np.array_equal(hits % 2 == 1, inside.ravel())
    assert all(np.array_equal(ring[0], ring[-1]) for ring in rings)


def test_a_hole_belongs_to_the_part_around_it():
    inside = np.zeros((20, 20), bool)
    inside[1:19, 1:19] = True
    inside[3:17, 3:17] = False
    inside[6:14, 6:14] = True
    inside[8:12, 8:12] = False
    outer, inner = sorted(find_outlines(inside), key=lambda part: -area(part[0]))
    assert [len(outer), len(inner)] == [2, 2]
    assert area(inner[0]) < area(outer[1]) < area(outer[0])


def test_geojson_lies_in_the_world(tmp_path: Path):
    mask = np.zeros((2, 6, 9), np.uint8)
    mask[1, 2:4, 3:7] = 1
    matrix = np.array([[3.0, 0, 0, 30], [0, 0, 0.2, 20], [0, 0.5, 0, 10], [0, 0, 0, 1]])  # turned
    geometry = Geometry.from_matrix(matrix, ("mm",) * 3, tuple("zyx"), "LPS")
    mean = np.zeros((1, 2, 6, 9), np.float32)
    found = replace(segmentation(), mask=mask, mean=mean, variance=None, geometry=geometry, axes="zyx")
    written = write_segmentation(found, tmp_path, "a", format="nrrd", contours=True)
    assert [p.name for p in written] == [
        "a_mask.nrrd", "a_mean.nrrd", "a_contours.geojson", "a_run.json",
    ]  # fmt: skip
    told = json.loads(written[2].read_text("utf-8"))
    assert told["place"] == {"frame": "LPS", "order": ["x", "y", "z"], "units": ["mm"] * 3}
    (feature,) = told["features"]
    assert feature["properties"] == {"class": "target", "label": 1, "color": "#ffb000", "plane": [1]}
    x, y, z = np.array(feature["geometry"]["coordinates"][0]).T
    assert set(z) == {33.0}
    # columns run along y of the patient, rows along x, half an element farther than their centres
    assert (y.min(), y.max()) == pytest.approx((20 + 0.2 * 2.5, 20 + 0.2 * 6.5))
    assert (x.min(), x.max()) == pytest.approx((10 + 0.5 * 1.5, 10 + 0.5 * 3.5))
    table = partial(write_csv, measurements=measure(found))
    *_, csv_file, _ = write_segmentation(
        found, tmp_path, "a", format="nrrd", extra_files={"measurements.csv": table}
    )
    assert csv_file == tmp_path / "a_measurements.csv"
    with csv_file.open(encoding="utf-8") as file:
        row, _ = csv.DictReader(file)
    assert (row["class"], row["object"], row["samples"]) == ("target", "0", "3")
    assert float(row["volume (mm3)"]) == pytest.approx(8 * 3 * 0.2 * 0.5)


@pytest.mark.parametrize("format", [name for name in RESULT_SUFFIXES if name != "png"])
def test_every_format_holds_a_result(tmp_path: Path, format: str):
    found = segmentation()
    for _ in range(2):  # the second replaces the first
        written = write_segmentation(found, tmp_path, "a", format=format)
    assert all(p.name.endswith(RESULT_SUFFIXES[format]) for p in written[:3])
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(p.name for p in written)
    for path, array in zip(written[:3], (found.mask, found.mean[0], found.variance[0]), strict=True):
        again = read_scan(path)
        assert np.array_equal(np.squeeze(np.asarray(again.array)), array)
        assert again.geometry.spacing[-2:] == pytest.approx((0.2, 0.3))
    write_segmentation(replace(found, variance=None), tmp_path, "a", format=format)
    assert not (tmp_path / f"a_variance{RESULT_SUFFIXES[format]}").exists()


def test_png_holds_a_result_in_pixels(tmp_path: Path):
    found = segmentation(Geometry.from_spacing("yx"))
    mask, mean, *_ = write_segmentation(found, tmp_path, format="png")
    assert np.array_equal(np.asarray(read_scan(mask).array), found.mask)
    assert np.asarray(read_scan(mean).array) / 65535 == pytest.approx(found.mean[0], abs=1e-5)
    with pytest.raises(BadInput, match="spacing"):
        write_segmentation(segmentation(), tmp_path / "new", format="png")
    assert not (tmp_path / "new").exists()


def test_what_is_not_written(tmp_path: Path):
    with pytest.raises(BadInput, match="'jpeg'"):
        write_segmentation(segmentation(), tmp_path / "new", format="jpeg")
    assert not (tmp_path / "new").exists()


def test_a_folder_that_is_no_zarr_is_not_replaced(tmp_path: Path):
    (tmp_path / "mask.ome.zarr").mkdir()
    with pytest.raises(BadInput, match="is a folder"):
        write_segmentation(segmentation(), tmp_path, format="ome-zarr")
