"""`info`, `convert`, and the options of `segment` that choose and write."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import format_for, read_scan
from napari_latentseg.io._nibabel import StoredArray

AFFINE = np.diag([0.7, -0.8, 3.0, 1.0])


@pytest.fixture
def volume(tmp_path: Path) -> Path:
    array = np.random.default_rng(0).integers(0, 900, (40, 36, 5)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, AFFINE), tmp_path / "knee.nii.gz")
    return tmp_path / "knee.nii.gz"


def test_info_reads_no_pixels(cli, volume, monkeypatch):
    monkeypatch.setattr(StoredArray, "_read", None)
    told = json.loads(cli("info", volume, "--json").out)
    assert (told["axes"], told["shape"], told["dtype"]) == ("zyx", [5, 36, 40], "int16")
    assert told["spacing"] == pytest.approx([3.0, 0.8, 0.7])
    assert (told["units"], told["frame"], told["format"]) == (["mm"] * 3, "LPS", "nifti")
    assert np.array(told["affine"])[1, 1] == pytest.approx(0.8)
    ended = cli("info", volume)
    assert ended.code == 0
    assert "spacing:  3 0.8 0.7" in ended.out


def test_info_says_whether_a_model_fits(cli, refused, volume):
    told = json.loads(cli("info", volume, "--model", "breast-ultrasound", "--json").out)
    assert told["fit"]["state"] == "foreign"
    assert told["fit"]["reasons"][0] == "a volume, the training images are single images"
    ended = cli("info", volume, "--model", "breast-ultrasound")
    assert "Not made for this image: a volume" in ended.out
    assert "none-such" in refused("info", volume, "--model", "none-such")


def test_info_lists_several(cli, tmp_path):
    import zarr

    zarr.open_group(tmp_path / "a.zarr", mode="w").attrs["ome"] = {"version": "0.5"}
    for number in range(2):
        array, geometry = np.zeros((4, 5), np.uint8), Geometry.from_spacing("yx")
        format_for("b.zarr").write(tmp_path / "b.zarr", array, "yx", geometry, {})
        (tmp_path / "b.zarr").rename(tmp_path / "a.zarr" / str(number))
    ended = cli("info", tmp_path / "a.zarr")
    assert ended.out.splitlines()[0].split() == ["NUMBER", "NAME"]
    assert "--series" in ended.out
    assert len(json.loads(cli("info", tmp_path / "a.zarr", "--json").out)["series"]) == 2
    assert json.loads(cli("info", tmp_path / "a.zarr", "--series", 2, "--json").out)["shape"] == [4, 5]


def test_convert(cli, refused, volume, tmp_path):
    ended = cli("convert", volume, tmp_path / "knee.mha")
    assert (ended.code, ended.out.strip()) == (0, str(tmp_path / "knee.mha"))
    first, second = sitk.ReadImage(str(volume)), sitk.ReadImage(str(tmp_path / "knee.mha"))
    assert np.array_equal(sitk.GetArrayFromImage(first), sitk.GetArrayFromImage(second))
    for name in ("Spacing", "Origin", "Direction"):
        ours, theirs = (getattr(image, f"Get{name}")() for image in (second, first))
        assert ours == pytest.approx(theirs, abs=1e-5)
    assert "is a kind of file that is not known" in refused("convert", volume, tmp_path / "knee.xyz")
    assert "one 2D image" in refused("convert", volume, tmp_path / "knee.png")
    assert "is an address" in refused("convert", volume, "http://host/knee.mha")
    address = refused("convert", volume, "dicomweb://host/studies?name=Doe")
    assert "is a kind of file that is not known" in address
    assert "Doe" not in address
    assert "no such file" in refused("convert", tmp_path / "none.nii", tmp_path / "knee.mha")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["knee.mha", "knee.nii.gz"]


def test_convert_says_what_a_format_cannot_hold_before_it_reads_the_values(
    refused, volume, tmp_path, monkeypatch
):
    monkeypatch.setattr(StoredArray, "_read", None)
    oblique = nib.load(volume)
    oblique.set_qform(AFFINE @ nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3), [0, 0, 0]), 1)
    oblique.set_sform(None, 0)
    nib.save(oblique, tmp_path / "oblique.nii.gz")
    assert "rotated or flipped" in refused("convert", tmp_path / "oblique.nii.gz", tmp_path / "knee.tif")
    tifffile.imwrite(tmp_path / "photo.tif", np.zeros((8, 9, 3), np.uint8), photometric="rgb")
    colours = refused("convert", tmp_path / "photo.tif", tmp_path / "photo.nii.gz")
    assert "photo.nii.gz: a NIfTI written here holds no colours or channels; choose a channel" in colours


def test_convert_does_not_replace_a_link_that_leads_nowhere(refused, volume, tmp_path):
    (tmp_path / "knee.mha").symlink_to("elsewhere")
    assert "already exists" in refused("convert", volume, tmp_path / "knee.mha")
    assert (tmp_path / "knee.mha").is_symlink()


@pytest.mark.parametrize(
    ("format", "suffix"), [("nrrd", ".nrrd"), ("metaimage", ".mha"), ("nifti", ".nii.gz")]
)
def test_segment_writes_in_a_format(cli, volume, tiny_model_folder, tmp_path, format, suffix):
    out = tmp_path / "out"
    ended = cli(
        "segment", volume, "--model", tiny_model_folder, "--out", out, "-n", 3, "--format", format,
        "--contours", "--table", "--plane", "coronal",
    )  # fmt: skip
    assert ended.code == 0, ended
    assert sorted(p.name for p in out.iterdir()) == sorted(
        [f"knee_{kind}{suffix}" for kind in ("mask", "mean", "variance")]
        + ["knee_contours.geojson", "knee_measurements.csv", "knee_run.json"]
    )
    scan, mask = read_scan(volume), read_scan(out / f"knee_mask{suffix}")
    assert mask.array.shape == scan.array.shape
    assert np.allclose(mask.geometry.matrix, scan.geometry.matrix, atol=1e-5)
    assert json.loads((out / "knee_run.json").read_text())["input"]["shape"] == [36, 5, 40]


def test_segment_one_channel(cli, refused, tiny_model_folder, tmp_path):
    array = np.random.default_rng(0).integers(0, 255, (2, 30, 40), np.uint8)
    path = tmp_path / "cells.ome.tif"
    tifffile.imwrite(path, array, metadata={"axes": "CYX"}, photometric="minisblack")
    given = ("segment", path, "--model", tiny_model_folder, "--out", tmp_path / "out", "-n", 3)
    assert "--channel" in refused(*given)
    assert "channels 1 to 2" in refused(*given, "--channel", 3)
    assert "not a volume" in refused(*given, "--channel", 1, "--plane", "axial")
    assert "'docx' is not known" in refused(*given, "--channel", 1, "--format", "docx")
    assert cli(*given, "--channel", 2, "--format", "png").code == 0
    one = tmp_path / "one.tif"
    tifffile.imwrite(one, array[1], photometric="minisblack")
    again = ("segment", one, "--model", tiny_model_folder, "--out", tmp_path / "out", "-n", 3)
    assert cli(*again, "--format", "png").code == 0
    first, second = (read_scan(tmp_path / "out" / f"{n}_mean.png") for n in ("cells", "one"))
    assert np.array_equal(np.asarray(first.array), np.asarray(second.array))
