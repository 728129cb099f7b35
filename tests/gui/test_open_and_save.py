"""File > Open and File > Save, through napari itself."""

from __future__ import annotations

import shutil
import time

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from npe2 import PluginManifest
from tests.formats.geometries import CLOSE, by_itk, places

from napari_latentseg.formats import format_for, read_scan, readable_suffixes
from napari_latentseg.scan import Geometry
from napari_latentseg.widgets import readers
from napari_latentseg.widgets.layers import layer_matrix, scan_from_layer

PLUGIN = "napari-latentseg"
TURNED = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.5, -0.75, 3.0]), [-91.5, 20.25, 30.125]
)


@pytest.fixture
def viewer(make_napari_viewer):
    return make_napari_viewer()


@pytest.fixture
def turned(tmp_path):
    array = np.random.default_rng(0).integers(0, 900, (6, 5, 4)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, TURNED), tmp_path / "knee.nii.gz")
    return tmp_path / "knee.nii.gz"


def test_the_manifest_is_valid_and_knows_every_ending():
    manifest = PluginManifest.from_distribution(PLUGIN)
    manifest.validate_imports()
    (reader,) = manifest.contributions.readers
    assert reader.accepts_directories
    shown_by_napari = {".png", ".jpg", ".jpeg", ".bmp"}
    patterns = {p.removeprefix("*") for p in reader.filename_patterns}
    assert set(readable_suffixes()) - shown_by_napari - {".ome.zarr"} <= patterns
    kinds = {
        writer.layer_types[0]: set(writer.filename_extensions) for writer in manifest.contributions.writers
    }
    assert set(kinds) == {"image", "labels"}
    assert {".nii.gz", ".nrrd", ".ome.tif", ".zarr"} <= kinds["labels"]


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_a_layer_is_saved_where_it_lies(viewer, turned, tmp_path, ending):
    (layer,) = viewer.open(str(turned), plugin=PLUGIN)
    assert np.allclose(layer_matrix(layer), read_scan(turned).geometry.matrix)
    path = tmp_path / f"out{ending}"
    assert viewer.layers.save(str(path), plugin=PLUGIN) == [str(path)]
    expected = places(read_scan(turned).geometry, layer.data.shape)
    assert np.abs(by_itk(path, layer.data.shape) - expected).max() < CLOSE
    assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), layer.data)
    assert read_scan(path).geometry.frame == "LPS"


def test_a_mask_is_saved_in_the_smallest_type(viewer, tmp_path):
    data = np.zeros((20, 30), np.int64)
    data[3:5] = 7
    layer = viewer.add_labels(data, scale=(0.2, 0.3), translate=(5, 6), units="mm", axis_labels=("y", "x"))
    for ending in (".ome.tif", ".zarr", ".nii.gz"):
        path = tmp_path / f"mask{ending}"
        layer.save(str(path), plugin=PLUGIN)
        scan = read_scan(path)
        assert scan.array.dtype == np.uint8
        assert np.array_equal(np.asarray(scan.array), data)
        assert scan.geometry.spacing == pytest.approx((0.2, 0.3))
        assert scan.geometry.matrix[:2, 2] == pytest.approx((5, 6))


def test_what_cannot_be_said_is_told(viewer, tmp_path):
    layer = viewer.add_image(np.zeros((20, 30), np.float32), rotate=20, units="mm")
    with pytest.raises(OSError, match="turned or flipped"):
        layer.save(str(tmp_path / "a.ome.tif"), plugin=PLUGIN)
    assert not list(tmp_path.iterdir())


def test_a_pyramid_stays_one_and_is_not_loaded(viewer, qtbot, tmp_path):
    path = tmp_path / "slide.ome.zarr"
    array = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    format_for(path).write(path, array, "yxc", Geometry.plain("yx", (0.5, 0.5), "um"), {})
    assert viewer.open(str(path), plugin=PLUGIN) == []  # a folder is opened beside the window
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=30_000)
    (layer,) = viewer.layers
    assert layer.multiscale
    assert layer.rgb
    scan = scan_from_layer(layer)
    assert isinstance(scan.array, da.Array)
    assert np.array_equal(np.asarray(scan.array), array)
    assert [level.shape for level in scan.levels] == [(350, 450, 3), (175, 225, 3)]
    assert scan.geometry.spacing == (0.5, 0.5)


def test_channels_become_layers(viewer, qtbot, tmp_path):
    path = tmp_path / "cells.zarr"
    array = np.random.default_rng(0).integers(0, 255, (20, 30, 2), np.uint8)
    format_for(path).write(path, array, "yxc", Geometry.plain("yx", (0.5, 0.5), "um"), {})
    viewer.open(str(path), plugin=PLUGIN)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=30_000)
    assert [layer.name for layer in viewer.layers] == ["cells channel 1", "cells channel 2"]
    assert np.array_equal(np.asarray(viewer.layers[1].data), array[..., 1])


def test_one_of_several_is_asked_for(viewer, qtbot, tmp_path, monkeypatch):
    import zarr

    zarr.open_group(tmp_path / "a.zarr", mode="w").attrs["ome"] = {"version": "0.5"}
    for number in range(2):
        path = tmp_path / "b.zarr"
        array = np.full((4, 5), number, np.uint8)
        format_for(path).write(path, array, "yx", Geometry.plain("yx"), {})
        shutil.move(path, tmp_path / "a.zarr" / str(number))
    asked = []
    monkeypatch.setattr(readers, "_chosen", lambda path, several: asked.append(several) or 2)
    viewer.open(str(tmp_path / "a.zarr"), plugin=PLUGIN)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=30_000)
    assert asked == [["0", "1"]]
    assert np.asarray(viewer.layers[0].data).max() == 1


def test_a_broken_folder_is_told_of(viewer, qtbot, tmp_path, monkeypatch):
    import zarr

    told = []
    monkeypatch.setattr("napari.utils.notifications.show_error", told.append)
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    viewer.open(str(tmp_path / "a.zarr"), plugin=PLUGIN)
    qtbot.waitUntil(lambda: bool(told), timeout=30_000)
    assert "without an OME image" in told[0]
    assert not viewer.layers


def test_a_large_file_does_not_hold_the_window(viewer, qtbot, tmp_path, monkeypatch):
    monkeypatch.setattr(readers, "_AT_ONCE", 1000)
    array = np.random.default_rng(0).integers(0, 900, (40, 200, 200)).astype(np.int16)
    nib.save(nib.Nifti1Image(array, np.eye(4)), tmp_path / "big.nii.gz")
    begun = time.perf_counter()
    whole = read_scan(tmp_path / "big.nii.gz")
    takes = time.perf_counter() - begun
    begun = time.perf_counter()
    assert viewer.open(str(tmp_path / "big.nii.gz"), plugin=PLUGIN) == []
    assert time.perf_counter() - begun < max(0.5, takes)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=30_000)
    assert np.array_equal(np.asarray(viewer.layers[0].data), np.asarray(whole.array))


def test_folders_of_others_are_left_to_them(tmp_path):
    (tmp_path / "notes.txt").write_text("a note")
    assert readers.get_reader(str(tmp_path)) is None
    assert readers.get_reader(str(tmp_path / "notes.txt")) is None
