"""Writing a segmentation: all of it, or nothing."""

from __future__ import annotations

import json
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
from tests.helpers.segmentation import PLAIN, names, segmentation

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.record import RunRecord
from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan
from napari_latentseg.io.result_names import class_suffixes
from napari_latentseg.io.write_results import write_segmentation

FLIPPED = Geometry.from_matrix(np.diag([-0.2, 0.3, 1]), ("mm", "mm"), ("y", "x"))


@pytest.mark.parametrize(("format", "suffix"), [("tiff", ".tif"), ("nifti", ".nii.gz"), ("photo", ".tif")])
def test_all_parts_are_written_in_the_family_of_the_scan(tmp_path: Path, format: str, suffix: str) -> None:
    found = segmentation(format=format)
    written = write_segmentation(found, tmp_path / "new" / "out", "knee")
    assert [p.name for p in written] == [
        f"knee_mask{suffix}", f"knee_mean{suffix}", f"knee_variance{suffix}", "knee_run.json",
    ]  # fmt: skip
    assert names(tmp_path / "new" / "out") == sorted(p.name for p in written)
    for path, array in zip(written[:3], (found.mask, found.mean[0], found.variance[0]), strict=True):
        again = read_scan(path)
        values = np.squeeze(np.asarray(again.array))
        assert np.array_equal(values, array)
        assert values.dtype == array.dtype
        assert again.geometry.spacing[-2:] == pytest.approx((0.2, 0.3))
    record = RunRecord.model_validate(json.loads(written[-1].read_text("utf-8")))
    assert record.replace(files={}) == found.record
    assert record.files == {
        p.name.removeprefix("knee_"): sha256(p.read_bytes()).hexdigest() for p in written[:-1]
    }


def test_without_a_stem_the_names_are_bare(tmp_path: Path) -> None:
    written = write_segmentation(segmentation(), tmp_path)
    assert [p.name for p in written] == ["mask.tif", "mean.tif", "variance.tif", "run.json"]


def test_another_format_may_be_asked_for(tmp_path: Path) -> None:
    written = write_segmentation(segmentation(FLIPPED), tmp_path, format="nifti")
    assert written[0].name == "mask.nii.gz"


def test_a_flipped_geometry_leaves_no_tiff_and_no_folder_behind(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="a TIFF cannot hold a rotated or flipped geometry") as caught:
        write_segmentation(segmentation(FLIPPED), tmp_path / "new" / "out", "knee")
    assert names(tmp_path) == []
    assert caught.value.what == str(tmp_path / "new" / "out" / "knee_mask.tif")  # not the temporary name
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "mine.txt").write_text("")
    with pytest.raises(BadInput):
        write_segmentation(segmentation(FLIPPED), tmp_path / "there", "knee")
    assert names(tmp_path) == ["mine.txt", "there"]


def test_a_variance_of_an_earlier_run_does_not_stay_beside_a_new_mean(tmp_path: Path) -> None:
    write_segmentation(segmentation(), tmp_path, "knee")
    write_segmentation(segmentation(), tmp_path, "hip")
    write_segmentation(segmentation(variance=False), tmp_path, "knee")
    assert names(tmp_path) == [
        "hip_mask.tif", "hip_mean.tif", "hip_run.json", "hip_variance.tif",
        "knee_mask.tif", "knee_mean.tif", "knee_run.json",
    ]  # fmt: skip


def test_several_classes_have_files_of_their_own(tmp_path: Path) -> None:
    found = segmentation(PLAIN, "Left kidney", "left-kidney", "Tumour (all)", "…")
    written = [p.name for p in write_segmentation(found, tmp_path, "ct")]
    means = [n for n in written if "mean" in n]
    endings = ("left-kidney-1", "left-kidney-2", "tumour-all", "class")
    assert means == [f"ct_mean-{ending}.tif" for ending in endings]
    assert len(written) == 1 + 4 + 4 + 1
    for k, name in enumerate(means):
        assert np.array_equal(np.squeeze(read_scan(tmp_path / name).array), found.mean[k])


def test_classes_whose_names_are_alike_have_files_of_their_own() -> None:
    alike = ("Cyst", "cyst", "cyst 1", "lesion")
    classes = [ClassInfo(label=i, name=name, color="#ff0000") for i, name in enumerate(alike, 1)]
    assert class_suffixes(classes[:2]) == ["-cyst-1", "-cyst-2"]
    assert class_suffixes(classes) == ["-cyst-1", "-cyst-2", "-cyst-1-3", "-lesion-4"]


@pytest.mark.parametrize("stem", ["../up", "a/b", "a\\b", "/etc/x"])
def test_a_stem_cannot_lead_out_of_the_folder(tmp_path: Path, stem: str) -> None:
    for path in write_segmentation(segmentation(), tmp_path / "out", stem):
        assert path.parent == tmp_path / "out"
        assert path.is_file()
    assert [p.name for p in tmp_path.iterdir()] == ["out"]
    assert len(names(tmp_path / "out")) == 4


def test_a_folder_in_the_way_leaves_what_is_there(tmp_path: Path) -> None:
    write_segmentation(segmentation(), tmp_path, "knee")
    before = {p.name: p.read_bytes() for p in tmp_path.iterdir()}
    (tmp_path / "knee_run.json").unlink()
    (tmp_path / "knee_run.json").mkdir()
    changed = replace(segmentation(), mask=np.ones((6, 9), np.uint8))
    with pytest.raises(BadInput, match=r"knee_run\.json: is a folder"):
        write_segmentation(changed, tmp_path, "knee")
    assert names(tmp_path) == sorted(before)
    assert (tmp_path / "knee_mask.tif").read_bytes() == before["knee_mask.tif"]


@pytest.mark.parametrize("folder", ["file.txt", "file.txt/deeper", "x" * 300])
def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path, folder: str) -> None:
    (tmp_path / "file.txt").write_text("")
    with pytest.raises(BadInput, match=r"cannot be (written|the output folder)"):
        write_segmentation(segmentation(), tmp_path / folder)
    assert names(tmp_path) == ["file.txt"]


def test_a_full_disk_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(BadInput, match="No space left on device"):
        write_segmentation(segmentation(), tmp_path / "out")
    assert names(tmp_path) == []
