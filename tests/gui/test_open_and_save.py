"""File > Open and File > Save, through napari itself."""

from __future__ import annotations

import shutil

import dask.array as da
import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from npe2 import PluginManifest
from tests.helpers.dicom import dataset, save
from tests.helpers.geometries import CLOSE, by_itk, places

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.io import format_for, read_scan, readable_suffixes
from napari_latentseg.widgets._shared.layers import exact_matrix, layer_matrix, scan_from_layer
from napari_latentseg.widgets.opening import opening, readers
from napari_latentseg.widgets.opening.readers import get_reader

PLUGIN = "napari-latentseg"
TURNED = nib.affines.from_matvec(
    nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.5, -0.75, 3.0]), [-91.5, 20.25, 30.125]
)


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


UID = "1.3.12.2.1107.5.1.4.60064.30000022120808113428000016573"


@pytest.mark.parametrize("name", ["IM-0001-0001", "I10", "1.2.840.113619.2.5", UID, f"CT.{UID}"])
def test_dicom_without_an_ending_or_named_by_its_uid_opens(viewer, tmp_path, name):
    values = np.arange(30, dtype=np.int16).reshape(5, 6)
    save(dataset(values), tmp_path / name)
    (layer,) = viewer.open(str(tmp_path / name), plugin=None)  # napari itself chooses, as for a dropped file
    assert np.array_equal(np.asarray(layer.data)[0], values)


def test_other_files_without_an_ending_are_left_to_other_plugins(tmp_path):
    for name in ("README", "notes.2"):
        (tmp_path / name).write_text("no image")
        assert get_reader(str(tmp_path / name)) is None


@pytest.mark.parametrize("ending", [".nrrd", ".mha", ".nii.gz"])
def test_a_layer_is_saved_where_it_lies(viewer, turned, tmp_path, ending):
    (layer,) = viewer.open(str(turned), plugin=PLUGIN)
    assert np.allclose(exact_matrix(layer), read_scan(turned).geometry.matrix)
    assert viewer.dims.nsteps == layer.data.shape
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
    with pytest.raises(OSError, match="rotated or flipped"):
        layer.save(str(tmp_path / "a.ome.tif"), plugin=PLUGIN)
    assert not list(tmp_path.iterdir())


def test_a_fault_is_told_and_not_taken_for_no_writer(viewer, tmp_path, monkeypatch):
    """napari passes over a writer that raises a ValueError, and says that there is none."""

    def fail(scan, path):
        raise ValueError("a number that cannot be")

    monkeypatch.setattr("napari_latentseg.io.convert.write_scan", fail)
    layer = viewer.add_image(np.zeros((20, 30), np.float32))
    with pytest.raises(OSError, match="a number that cannot be"):
        layer.save(str(tmp_path / "a.nii.gz"), plugin=PLUGIN)


def test_a_pyramid_stays_one_and_is_not_loaded(viewer, qtbot, tmp_path):
    path = tmp_path / "slide.ome.zarr"
    array = np.random.default_rng(0).integers(0, 255, (700, 900, 3), np.uint8)
    format_for(path).write(path, array, "yxc", Geometry.from_spacing("yx", (0.5, 0.5), "um"), {})
    (layer,) = viewer.open(str(path), plugin=PLUGIN)
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
    format_for(path).write(path, array, "yxc", Geometry.from_spacing("yx", (0.5, 0.5), "um"), {})
    viewer.open(str(path), plugin=PLUGIN)
    qtbot.waitUntil(lambda: len(viewer.layers) == 2, timeout=60_000)
    assert [layer.name for layer in viewer.layers] == ["cells channel 1", "cells channel 2"]
    assert np.array_equal(np.asarray(viewer.layers[1].data), array[..., 1])


def test_channels_keep_their_names_colours_and_place(viewer, tmp_path):
    import tifffile
    import zarr

    array = np.random.default_rng(0).integers(1, 900, (2, 5, 20, 30), np.uint16)  # c z y x
    geometry = Geometry.from_spacing("zyx", (2.0, 0.5, 0.25), "um")
    at = tmp_path / "cells.zarr"
    format_for(at).write(at, np.moveaxis(array, 0, -1), "zyxc", geometry, {})
    group = zarr.open_group(at, mode="a")
    named = [{"label": "nuclei", "color": "0000FF"}, {"label": "membrane", "color": "00ff00"}]
    group.attrs["ome"] = {**group.attrs["ome"], "omero": {"channels": named}}
    tifffile.imwrite(
        tmp_path / "cells.ome.tif",
        np.moveaxis(array, 0, 1),
        ome=True,
        photometric="minisblack",
        metadata={
            "axes": "ZCYX", "PhysicalSizeX": 0.25, "PhysicalSizeY": 0.5, "PhysicalSizeZ": 2,
            "Channel": {"Name": ["nuclei", "membrane"], "Color": [0x0000FFFF, 0x00FF00FF]},
        },
    )  # fmt: skip
    for name in ("cells.zarr", "cells.ome.tif"):
        viewer.layers.clear()
        layers = viewer.open(str(tmp_path / name), plugin=PLUGIN)
        assert [layer.name for layer in layers] == ["cells nuclei", "cells membrane"]
        for k, layer in enumerate(layers):
            scan = scan_from_layer(layer)
            assert scan.axes == "zyx"
            assert scan.geometry.spacing == pytest.approx((2.0, 0.5, 0.25))
            assert scan.geometry.units == ("um",) * 3
            assert np.array_equal(np.asarray(scan.array), array[k])
            assert layer.blending == "additive"
            assert layer.visible
            assert layer.contrast_limits == [array[k].min(), array[k].max()]
        assert np.allclose(layers[0].colormap.colors[-1], (0, 0, 1, 1))
        assert np.allclose(layers[1].colormap.colors[-1], (0, 1, 0, 1))


def test_a_time_series_has_its_time_axis(viewer, tmp_path):
    array = np.random.default_rng(0).integers(0, 900, (3, 5, 20, 30)).astype(np.int16)
    image = nib.Nifti1Image(array.T, np.diag([0.5, 0.5, 2, 1]))
    image.header["pixdim"][4] = 1.5
    image.header.set_xyzt_units("mm", "sec")
    nib.save(image, tmp_path / "beats.nii")
    (layer,) = viewer.open(str(tmp_path / "beats.nii"), plugin=PLUGIN)
    assert layer.axis_labels == ("t", "z", "y", "x")
    assert [str(unit) for unit in layer.units] == ["second", "millimeter", "millimeter", "millimeter"]
    assert np.allclose(np.abs(np.diag(layer_matrix(layer))[:-1]), (1.5, 2, 0.5, 0.5))
    assert np.array_equal(np.asarray(scan_from_layer(layer).array), array)


def test_one_of_several_is_asked_for(viewer, qtbot, tmp_path, monkeypatch):
    import zarr

    zarr.open_group(tmp_path / "a.zarr", mode="w").attrs["ome"] = {"version": "0.5"}
    for number in range(2):
        path = tmp_path / "b.zarr"
        array = np.full((4, 5), number, np.uint8)
        format_for(path).write(path, array, "yx", Geometry.from_spacing("yx"), {})
        shutil.move(path, tmp_path / "a.zarr" / str(number))
    asked = []
    monkeypatch.setattr(
        opening, "choose_series", lambda path, several, window: asked.append(list(several)) or 2
    )
    viewer.open(str(tmp_path / "a.zarr"), plugin=PLUGIN)
    qtbot.waitUntil(lambda: len(viewer.layers) == 1, timeout=60_000)
    assert asked == [["0", "1"]]
    assert np.asarray(viewer.layers[0].data).max() == 1


def test_a_broken_folder_is_told_of(viewer, qtbot, tmp_path, monkeypatch):
    import zarr

    errors = []
    monkeypatch.setattr(opening, "show_error", errors.append)
    zarr.open_group(tmp_path / "a.zarr", mode="w")
    viewer.open(str(tmp_path / "a.zarr"), plugin=PLUGIN)
    qtbot.waitUntil(lambda: bool(errors), timeout=60_000)
    assert "without an OME-Zarr image" in errors[0]
    assert not viewer.layers


def test_folders_of_others_are_left_to_them(tmp_path):
    (tmp_path / "notes.txt").write_text("a note")
    assert readers.get_reader(str(tmp_path)) is None
    assert readers.get_reader(str(tmp_path / "notes.txt")) is None
