"""How many samples agree at each voxel, as files."""

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

from napari_latentseg import api
from napari_latentseg.core.agreement import agreement_counts
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.read_results import read_segmentation


def result(
    names: tuple[str, ...] = ("lesion",), spatial: tuple[int, ...] = (4, 12, 10), n: int = 4, **options: Any
) -> Segmentation:
    """Samples of which the i-th calls one column more the class than the one before."""
    samples = np.zeros((n, len(names), *spatial))
    for i in range(n):
        for k in range(len(names)):
            samples[i, k, ..., 2 + 4 * k : 5 + 4 * k, 1 : 3 + min(i, 6)] = 0.9
    axes, unit = "zyx"[-len(spatial) :], options.pop("unit", "mm")
    geometry = Geometry.from_spacing(axes, (1.0,) * len(axes), unit)
    return segmented(samples, geometry, axes, classes_of(*names), **options)


@pytest.mark.parametrize("format", ["nifti", "nrrd", "metaimage", "ome-tiff", "ome-zarr"])
def test_it_is_read_back_as_it_was_counted(tmp_path: Path, format: str) -> None:
    segmentation = result(("front", "back"))
    counts = agreement_counts(segmentation)
    assert set(np.unique(counts)) == {0, 1, 2, 3, 4}
    written = api.write_result(segmentation, tmp_path, "knee", format=format, agreement=True)
    names = [path.name for path in written if "agreement" in path.name]
    assert [name.partition(".")[0] for name in names] == ["knee_agreement-front", "knee_agreement-back"]
    for name, class_counts in zip(names, counts, strict=True):
        stored = np.asarray(read_scan(tmp_path / name).array)
        assert stored.dtype == np.uint8
        np.testing.assert_array_equal(stored, class_counts)
    record = json.loads((tmp_path / "knee_run.json").read_text())
    assert record["samples"] == 4
    assert {name.removeprefix("knee_") for name in names} <= set(record["files"])
    read = read_segmentation(tmp_path / "knee_run.json")
    np.testing.assert_array_equal(agreement_counts(read), counts)


def test_a_png_holds_the_counts_themselves(tmp_path: Path) -> None:
    segmentation = result(spatial=(12, 10), unit="pixel")
    api.write_result(segmentation, tmp_path, "mole", format="png", agreement=True)
    stored = read_scan(tmp_path / "mole_agreement.png").array
    np.testing.assert_array_equal(stored, agreement_counts(segmentation)[0])
    np.testing.assert_array_equal(
        agreement_counts(read_segmentation(tmp_path)), agreement_counts(segmentation)
    )


def test_what_was_read_can_be_written_with_it_again(tmp_path: Path) -> None:
    api.write_result(result(), tmp_path / "a", "knee", agreement=True)
    read = read_segmentation(tmp_path / "a")
    api.write_result(read, tmp_path / "b", "knee", agreement=True)
    np.testing.assert_array_equal(
        agreement_counts(read_segmentation(tmp_path / "b")), agreement_counts(result())
    )
    assert agreement_counts(read.with_threshold(0.2)) is None  # it was counted at 0.5


def test_it_is_gone_after_a_run_without_it(tmp_path: Path) -> None:
    api.write_result(result(), tmp_path, "knee", format="nifti", agreement=True)
    api.write_result(result(), tmp_path, "knee", format="nrrd")
    assert not list(tmp_path.glob("*agreement*"))
    with pytest.raises(BadInput, match="the single samples were not kept"):
        api.write_result(read_segmentation(tmp_path), tmp_path, "knee", agreement=True)


def test_a_changed_one_is_refused(tmp_path: Path) -> None:
    api.write_result(result(), tmp_path, "knee", format="nifti", agreement=True)
    (tmp_path / "knee_agreement.nii.gz").write_bytes((tmp_path / "knee_mask.nii.gz").read_bytes())
    with pytest.raises(BadInput, match=r"knee_agreement\.nii\.gz: was changed after the run"):
        read_segmentation(tmp_path)


@pytest.mark.parametrize(
    ("segmentation", "why"),
    [
        (result(n=2), "needs 3 samples or more, and there are 2"),
        (result(n=1, source="none"), "needs 3 samples or more, and one pass has none"),
        (result(keep=False), "the single samples were not kept"),
    ],
)
def test_without_samples_there_is_none_and_nothing_is_written(
    tmp_path: Path, segmentation: Segmentation, why: str
) -> None:
    with pytest.raises(BadInput, match=f"^agreement: {why}"):
        api.write_result(segmentation, tmp_path / "out", "knee", agreement=True)
    assert not (tmp_path / "out").exists()


def of_series(made: Any, folder: Path, segmentation: Segmentation) -> Segmentation:
    """The result as that of a DICOM series."""
    scan = read_scan(made.series(folder, made.ramp(4, 12, 10), made.positions(4)))
    return replace(
        segmentation, geometry=scan.geometry, axes=scan.spatial_axes, format=scan.format, source=scan.source,
        properties=dict(scan.properties),
    )  # fmt: skip


def test_dicom_seg_stores_the_counts_of_each_class_as_a_segment(made: Any, tmp_path: Path) -> None:
    segmentation = of_series(made, tmp_path / "in", result(("front", "back")))
    out = tmp_path / "out"
    written = api.write_result(segmentation, out, "knee", format="dicom-seg", agreement=True)
    assert out / "knee_agreement.dcm" in written
    dataset = highdicom.seg.segread(out / "knee_agreement.dcm")
    assert (dataset.SegmentationType, dataset.MaximumFractionalValue) == ("FRACTIONAL", 4)
    assert [s.SegmentLabel for s in dataset.SegmentSequence] == ["front", "back"]
    assert dataset.SegmentSequence[0].SegmentDescription == "agreement: 4 stands for all 4 samples"
    stored = dataset.pixel_array.astype(int)
    counts = agreement_counts(segmentation).astype(int)
    assert sorted(stored.reshape(8, -1).sum(axis=1)) == sorted(counts.reshape(8, -1).sum(axis=1))
    assert np.array_equal(np.unique(stored), np.unique(counts))


def test_dicom_seg_counts_no_more_samples_than_it_has_steps(made: Any, tmp_path: Path) -> None:
    segmentation = of_series(made, tmp_path / "in", result(n=300))
    with pytest.raises(BadInput, match="of 300 samples: DICOM-SEG can count 255"):
        api.write_result(segmentation, tmp_path / "out", "knee", format="dicom-seg", agreement=True)
    api.write_result(segmentation, tmp_path / "out", "knee", format="nifti", agreement=True)
    read = agreement_counts(read_segmentation(tmp_path / "out"))
    assert read.dtype == np.uint16
    np.testing.assert_array_equal(read, agreement_counts(segmentation))
