"""Contours that enclose the true edge, as files: masks, DICOM-SEG, GeoJSON."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import highdicom
import numpy as np
import pytest
from tests.helpers.made import classes_of
from tests.helpers.made import made as segmented

from napari_latentseg.core.contours import ClassContours, Contours
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.io import read_scan
from napari_latentseg.io.result_names import array_names
from napari_latentseg.io.write_results import write_segmentation

PROMISE = "In 90% of images like these the true edge lies between the contours."


def result(names: tuple[str, ...] = ("lesion",), spatial: tuple[int, ...] = (4, 12, 10)) -> Segmentation:
    samples = np.zeros((3, len(names), *spatial))
    for k in range(len(names)):
        samples[:, k, ..., 3 + k : 8 + k, 2:7] = 0.9 - 0.1 * k
    axes = "zyx"[-len(spatial) :]
    geometry = Geometry.from_spacing(axes, (1.0,) * len(axes), "mm")
    return segmented(samples, geometry, axes, classes_of(*names))


def band_of(segmentation: Segmentation) -> Contours:
    """Contours of every class, which overlap between classes."""
    classes = []
    for k in range(len(segmentation.classes)):
        inner, outer = np.zeros((2, *segmentation.mask.shape), bool)
        inner[..., 5 + k : 6 + k, 4] = True
        outer[..., 1 + k : 10 + k, 1:9] = True
        classes.append(ClassContours(k, inner, outer, 2.0))
    return Contours(0.9, PROMISE, tuple(classes))


def test_both_contours_are_masks_of_the_class(tmp_path: Path) -> None:
    segmentation = result()
    band = band_of(segmentation)
    written = write_segmentation(segmentation, tmp_path, "knee", format="nifti", band=band)
    for side in ("inner", "outer"):
        path = tmp_path / f"knee_{side}.nii.gz"
        assert path in written
        np.testing.assert_array_equal(read_scan(path).array, band.classes[0].region(side).astype(np.uint8))
    record = json.loads((tmp_path / "knee_run.json").read_text())
    assert {"inner.nii.gz", "outer.nii.gz"} <= set(record["files"])


def test_each_of_several_classes_has_its_own_files_since_contours_overlap(tmp_path: Path) -> None:
    segmentation = result(("front", "back"))
    band = band_of(segmentation)
    write_segmentation(segmentation, tmp_path, "knee", format="nifti", band=band)
    back = read_scan(tmp_path / "knee_outer-back.nii.gz").array
    np.testing.assert_array_equal(back, band.classes[1].outer * np.uint8(2))
    assert set(array_names(segmentation.classes, with_band=True)) >= {"inner-front", "outer-back"}


def test_they_are_gone_after_a_run_without_them(tmp_path: Path) -> None:
    segmentation = result()
    write_segmentation(segmentation, tmp_path, "knee", format="nifti", band=band_of(segmentation))
    write_segmentation(segmentation, tmp_path, "knee", format="nifti")
    assert not list(tmp_path.glob("*inner*"))
    assert not list(tmp_path.glob("*outer*"))


def test_geojson_names_the_contours_and_their_promise(tmp_path: Path) -> None:
    segmentation = result(spatial=(12, 10))
    write_segmentation(
        segmentation, tmp_path, "knee", format="nifti", contours=True, band=band_of(segmentation)
    )
    content = json.loads((tmp_path / "knee_contours.geojson").read_text())
    assert content["promise"] == PROMISE
    kinds = [feature["properties"].get("contour") for feature in content["features"]]
    assert kinds == [None, "inner contour (90 %)", "outer contour (90 %)"]
    assert {feature["properties"]["class"] for feature in content["features"]} == {"lesion"}


@pytest.mark.parametrize("names", [("lesion",), ("front", "a name that is longer than any viewer shows" * 2)])
def test_dicom_seg_has_two_segments_a_class(made: Any, tmp_path: Path, names: tuple[str, ...]) -> None:
    volume = made.ramp(4, 12, 10)
    scan = read_scan(made.series(tmp_path / "in", volume, made.positions(4)))
    segmentation = replace(
        result(names),
        geometry=scan.geometry,
        axes=scan.spatial_axes,
        format=scan.format,
        source=scan.source,
        properties=dict(scan.properties),
    )
    band = band_of(segmentation)
    out = tmp_path / "out"
    written = write_segmentation(segmentation, out, "knee", format="dicom-seg", band=band)
    assert out / "knee_band.dcm" in written
    dataset = highdicom.seg.segread(out / "knee_band.dcm")
    labels = [segment.SegmentLabel for segment in dataset.SegmentSequence]
    assert labels[:2] == [f"{names[0]}, inner contour (90 %)", f"{names[0]}, outer contour (90 %)"]
    assert len(labels) == 2 * len(names)
    assert all(len(label) <= 64 and label.endswith("contour (90 %)") for label in labels)
    assert {segment.SegmentDescription for segment in dataset.SegmentSequence} == {PROMISE}
    frames = dataset.get_volume(combine_segments=False).array if hasattr(dataset, "get_volume") else None
    counts = sorted(int(c.region(side).sum()) for c in band.classes for side in ("inner", "outer"))
    if frames is not None:
        assert sorted(frames.reshape(-1, frames.shape[-1]).sum(axis=0).tolist()) == counts
