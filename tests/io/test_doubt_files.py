"""How near the mean probability is to a half, as files."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pydicom
import pytest
from tests.helpers.segmentation import PLAIN, segmentation

from napari_latentseg import api
from napari_latentseg.api.results import check_result
from napari_latentseg.batches.target import check_layout
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.read_results import read_segmentation


@pytest.mark.parametrize("format", ["nifti", "nrrd", "metaimage", "ome-tiff", "ome-zarr"])
@pytest.mark.parametrize("variance", [True, False])
def test_each_class_has_a_file_beside_the_mean(tmp_path: Path, format: str, variance: bool) -> None:
    result = segmentation(variance=variance)
    written = api.write_result(result, tmp_path, "knee", format=format, doubt=True)
    (name,) = [path.name for path in written if "doubt" in path.name]
    stored = np.asarray(read_scan(tmp_path / name).array).reshape(result.mask.shape)
    assert stored.dtype == np.float32
    np.testing.assert_array_equal(stored, np.minimum(result.mean[0], 1 - result.mean[0]))
    assert any("variance" in path.name for path in written) == variance
    read = read_segmentation(tmp_path)
    np.testing.assert_array_equal(read.doubt, result.doubt)


def test_names_of_several_classes(tmp_path: Path) -> None:
    written = api.write_result(
        segmentation(PLAIN, "front", "back"), tmp_path, "knee", format="nifti", doubt=True
    )
    names = [path.name for path in written if "doubt" in path.name]
    assert names == ["knee_doubt-front.nii.gz", "knee_doubt-back.nii.gz"]


def test_a_result_that_is_written_without_it_again_loses_it(tmp_path: Path) -> None:
    result = segmentation()
    api.write_result(result, tmp_path, "knee", doubt=True)
    assert list(tmp_path.glob("*doubt*"))
    api.write_result(result, tmp_path, "knee")
    assert not list(tmp_path.glob("*doubt*"))


def test_a_file_of_somebody_else_is_not_replaced(tmp_path: Path) -> None:
    (tmp_path / "knee_doubt.tif").write_bytes(b"mine")
    with pytest.raises(BadInput, match=r"knee_doubt\.tif"):
        api.write_result(segmentation(), tmp_path, "knee", doubt=True)
    assert [path.name for path in tmp_path.iterdir()] == ["knee_doubt.tif"]
    with pytest.raises(BadInput, match=r"knee_doubt\.tif"):
        check_result(
            segmentation(), tmp_path, "knee", classes=segmentation().classes, doubt=True,
            input_sha256=lambda: "",
        )  # fmt: skip


def test_dicom_holds_it_as_a_parametric_map(made: Any, tmp_path: Path) -> None:
    scan = read_scan(made.series(tmp_path / "in", made.ramp(4, 12, 10), made.positions(4)))
    mean = np.random.default_rng(0).random((1, 4, 12, 10), np.float32)
    result = replace(
        segmentation(), mask=(mean[0] > 0.5).astype(np.uint8), mean=mean, variance=None,
        geometry=scan.geometry, axes=scan.spatial_axes, format=scan.format, source=scan.source,
        properties=dict(scan.properties),
    )  # fmt: skip
    api.write_result(result, tmp_path / "out", "knee", format="dicom-seg", doubt=True)
    dataset = pydicom.dcmread(tmp_path / "out" / "knee_doubt.dcm")
    assert dataset.ContentLabel == "LATENTSEG_DOUBT"
    (mapping,) = dataset.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    assert mapping.LUTLabel == "DOUBT"
    assert (mapping.DoubleFloatRealWorldValueFirstValueMapped, mapping.RealWorldValueSlope) == (0.0, 1.0)
    assert mapping.DoubleFloatRealWorldValueLastValueMapped == 0.5
    stored = np.frombuffer(dataset.FloatPixelData, "<f4").reshape(4, 12, 10)
    assert sorted(stored.sum(axis=(1, 2))) == pytest.approx(sorted(result.doubt[0].sum(axis=(1, 2))))
    assert not (tmp_path / "out" / "knee_variance.dcm").exists()


def test_layouts_without_a_name_for_it_refuse_it() -> None:
    with pytest.raises(BadInput, match="doubt"):
        check_layout("bids", {"doubt": True})
