"""A result that was written is read back as it was."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.made import balls, classes_of, made

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.io.read_results import read_segmentation, sibling_record
from napari_latentseg.io.result_names import RESULT_SUFFIXES
from napari_latentseg.io.write_results import write_segmentation
from napari_latentseg.measure import measure
from napari_latentseg.review import rank

SPACING = (2.0, 0.5, 1.0)


def volume(*names: str, planes: int = 8, unit: str = "mm") -> Segmentation:
    rng = np.random.default_rng(0)
    shape = (planes, 24, 20)
    inside = balls(shape, SPACING, ((planes, 6.0, 9.0), 5.0))
    each = [[0.9 * inside * rng.uniform(0.8, 1.0, shape)] * max(1, len(names)) for _ in range(4)]
    geometry = Geometry.from_spacing("zyx", SPACING, unit)
    return made(np.stack(each), geometry, classes=classes_of(*(names or ("lesion",))))


@pytest.mark.parametrize("format", [name for name in RESULT_SUFFIXES if name != "png"])
@pytest.mark.parametrize("names", [("lesion",), ("left part", "right part")])
def test_every_format_comes_back(tmp_path: Path, format: str, names: tuple[str, ...]) -> None:
    found = volume(*names)
    write_segmentation(found, tmp_path, "knee", format=format)
    again = read_segmentation(tmp_path)
    assert np.array_equal(again.mask, found.mask)
    assert np.array_equal(np.asarray(again.mean), found.mean)
    assert np.array_equal(np.asarray(again.variance), found.variance)
    assert np.array_equal(again.volumes, found.volumes)
    assert (again.axes, again.classes, again.record.replace(files={}), again.sample_maps) == (
        "zyx",
        found.classes,
        found.record,
        None,
    )
    assert again.mask.dtype == np.uint8
    assert np.asarray(again.mean).dtype == np.float32
    assert np.allclose(again.geometry.matrix, found.geometry.matrix, atol=1e-6)
    kept = replace(found, sample_maps=None, geometry=again.geometry)
    assert measure(again) == measure(kept)
    assert [one.index for one in rank(again)] == [one.index for one in rank(kept)]


@pytest.mark.parametrize(
    ("place", "number"),
    [
        (("input", "spacing", 0), "NaN"),
        (("input", "spacing", 0), "1e400"),
        (("input", "spacing", 0), "-1"),
        (("input", "shape", 0), "-8"),
        (("volumes", "lesion", 0), "NaN"),
        (("threshold",), "NaN"),
        (("threshold",), "7"),
        (("planes",), "123456789012345678901234567890"),
        (("planes_done",), "9"),
        (("segmented_slices",), "[[0, 99]]"),
        (("slices",), "[-3, 5]"),
        (("box",), "[5, 5, 2, 2]"),
        (("classes",), "[]"),
        (("seconds",), "-1"),
    ],
)
def test_a_record_with_numbers_that_cannot_be_is_refused(
    tmp_path: Path, place: tuple[str | int, ...], number: str
) -> None:
    write_segmentation(volume(), tmp_path, "knee")
    path = tmp_path / "knee_run.json"
    record = json.loads(path.read_text("utf-8"))
    parent = record
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = "in place of the number"
    path.write_text(json.dumps(record).replace('"in place of the number"', number), "utf-8")
    with pytest.raises(BadInput, match=r"knee_run.json: .*write the result again"):
        read_segmentation(tmp_path)


@pytest.mark.parametrize("unit", ["um", "nm", "cm"])
@pytest.mark.parametrize("format", ["tiff", "nifti", "nrrd", "metaimage", "ome-zarr"])
def test_sizes_and_their_intervals_stay_in_one_unit(tmp_path: Path, format: str, unit: str) -> None:
    found = volume(unit=unit)
    write_segmentation(found, tmp_path, "cell", format=format)  # some formats have millimetres alone
    (before, *_), (after, *_) = measure(found), measure(read_segmentation(tmp_path))
    assert (after.unit, after.length_unit) == (before.unit, before.length_unit)
    for name in ("value", "mean", "low", "high", "long_axis"):
        assert getattr(after, name) == pytest.approx(getattr(before, name), rel=1e-6)


def test_small_volumes_in_a_large_unit_keep_their_spread(tmp_path: Path) -> None:
    shape = (8, 24, 20)
    sizes = [balls(shape, SPACING, ((8.0, 6.0, 9.0), radius))[None] for radius in (4.5, 4.7, 5.0, 5.3)]
    metres = Geometry.from_spacing("zyx", tuple(step / 1000 for step in SPACING), "m")
    found = made(np.stack(sizes), metres).with_threshold(0.4)  # whose record was rounded to 1e-6
    write_segmentation(found, tmp_path, "knee")
    (before, *_), (after, *_) = measure(found), measure(read_segmentation(tmp_path))
    assert before.std > 0
    assert (after.mean, after.std) == pytest.approx((before.mean, before.std), rel=1e-9)


@pytest.mark.parametrize("format", ["tiff", "nifti", "nrrd", "metaimage", "ome-zarr"])
def test_an_axis_of_length_one_is_not_lost(tmp_path: Path, format: str) -> None:
    found = volume(planes=1)
    write_segmentation(found, tmp_path, format=format)
    again = read_segmentation(tmp_path)
    assert again.mask.shape == found.mask.shape
    assert again.mean.shape == found.mean.shape
    assert again.geometry.spacing == pytest.approx(SPACING)
    assert measure(again)[0].value == pytest.approx(measure(found)[0].value)


@pytest.mark.parametrize("format", ["tiff", "ome-tiff", "nifti", "nrrd", "ome-zarr"])
@pytest.mark.parametrize("frames", [1, 5])
def test_a_film_comes_back_from_formats_that_store_slices(tmp_path: Path, format: str, frames: int) -> None:
    """NIfTI has no time without a third axis, and is what the film of an ultrasound gets where not asked."""
    rng = np.random.default_rng(0)
    each = rng.random((4, 2, frames, 24, 20)).astype(np.float32)
    geometry = Geometry.from_spacing("tyx", (0.04, 0.5, 1.0), "mm")
    found = made(each, geometry, "tyx", classes_of("left part", "right part"))
    write_segmentation(found, tmp_path, "heart", format=format)
    again = read_segmentation(tmp_path)
    assert again.axes == "tyx"
    assert np.array_equal(again.mask, found.mask)
    assert np.array_equal(np.asarray(again.mean), found.mean)
    assert np.array_equal(np.asarray(again.variance), found.variance)
    assert again.geometry.units == geometry.units
    assert again.geometry.axis_labels == ("t", "y", "x")
    assert np.allclose(again.geometry.matrix, geometry.matrix, atol=1e-6)
    assert [one.value for one in measure(again)] == [one.value for one in measure(found)]


def test_a_png_in_its_own_steps(tmp_path: Path) -> None:
    found = made(np.random.default_rng(0).random((3, 1, 12, 9)), Geometry.from_spacing("yx"), "yx")
    write_segmentation(found, tmp_path, format="png")
    again = read_segmentation(tmp_path)
    assert np.array_equal(again.mask, found.mask)
    assert again.mean == pytest.approx(found.mean, abs=1e-5)


def test_one_of_several_by_any_of_its_files(tmp_path: Path) -> None:
    for stem in ("a", "b", ""):
        write_segmentation(volume(), tmp_path, stem, format="nifti")
    with pytest.raises(BadInput, match="holds 3 results"):
        read_segmentation(tmp_path)
    for name in ("a_run.json", "b_mask.nii.gz", "a_mean.nii.gz", "run.json", "mask.nii.gz"):
        assert read_segmentation(tmp_path / name).mask.any()
    assert sibling_record(tmp_path / "a_mask.nii.gz") is not None
    (tmp_path / "other_mask.nii.gz").write_bytes((tmp_path / "a_mask.nii.gz").read_bytes())
    assert sibling_record(tmp_path / "other_mask.nii.gz") is None


def test_without_a_variance(tmp_path: Path) -> None:
    found = replace(volume(), variance=None, volumes=np.zeros((0, 1)))
    found = replace(found, record=found.record.model_copy(update={"volumes": {}}))
    write_segmentation(found, tmp_path, format="nifti")
    again = read_segmentation(tmp_path)
    assert again.variance is None
    assert again.volumes.shape == (0, 1)


def test_what_is_no_whole_result(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match=r"holds no run\.json"):
        read_segmentation(tmp_path)
    with pytest.raises(BadInput, match="no such file"):
        read_segmentation(tmp_path / "none")
    written = write_segmentation(volume(), tmp_path, "a", format="nifti")
    kept = {path: path.read_bytes() for path in written}
    (tmp_path / "a_mean.nii.gz").unlink()
    with pytest.raises(BadInput, match="holds no a_mean"):
        read_segmentation(tmp_path)
    (tmp_path / "a_mean.nii.gz").write_bytes(kept[tmp_path / "a_mean.nii.gz"][:50])
    with pytest.raises(BadInput, match=r"a_mean\.nii\.gz: was changed after the run"):
        read_segmentation(tmp_path)
    for path, data in kept.items():
        path.write_bytes(data)
    write_segmentation(volume(planes=5), tmp_path / "other", "a", format="nifti")
    (tmp_path / "a_mask.nii.gz").write_bytes((tmp_path / "other" / "a_mask.nii.gz").read_bytes())
    with pytest.raises(BadInput, match=r"a_mask\.nii\.gz: was changed .*; if you edited it, add --edited"):
        read_segmentation(tmp_path)
    with pytest.raises(BadInput, match="shape of the mean"):
        read_segmentation(tmp_path, edited=True)
    record = json.loads((tmp_path / "a_run.json").read_text())
    (tmp_path / "a_run.json").write_text(json.dumps(record | {"samples": "many"}))
    with pytest.raises(BadInput, match="samples: must be a whole number"):
        read_segmentation(tmp_path)
    (tmp_path / "a_run.json").write_text("{")
    with pytest.raises(BadInput, match="not valid JSON"):
        read_segmentation(tmp_path)
    (tmp_path / "loose_mean.nii.gz").write_bytes(b"")
    with pytest.raises(BadInput, match=r"no run\.json beside it"):
        read_segmentation(tmp_path / "loose_mean.nii.gz")


def test_a_variance_of_another_shape_is_refused(tmp_path: Path) -> None:
    """In a result of an earlier version, whose record has no hashes of its files."""
    write_segmentation(volume(), tmp_path, "a", format="nifti")
    write_segmentation(volume(planes=5), tmp_path / "other", "a", format="nifti")
    record = json.loads((tmp_path / "a_run.json").read_text())
    record.pop("files")
    (tmp_path / "a_run.json").write_text(json.dumps(record))
    (tmp_path / "a_variance.nii.gz").write_bytes((tmp_path / "other" / "a_variance.nii.gz").read_bytes())
    with pytest.raises(BadInput, match=r"a_variance\.nii\.gz: does not have the shape of the mean"):
        read_segmentation(tmp_path)
