"""Every pair of reader and writer: the same values in the same place, seen by another library."""

from __future__ import annotations

import shutil
from pathlib import Path

import nibabel as nib
import nrrd as pynrrd
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import zarr
from hypothesis import HealthCheck, given, settings
from tests.helpers.geometries import CLOSE, by_itk, by_nibabel, itk_image, oblique, places, upright

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import format_for, read_scan, read_scan_lazy
from napari_latentseg.io.convert import convert

SHAPE = (3, 4, 5)
VOLUME = (np.arange(60) * 7 % 200 - 50).astype(np.int16).reshape(SHAPE)
QUICK = settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
# every pair of formats for each example, where the formats alone have all the examples above
PAIRS = settings(QUICK, max_examples=4)
ANY_PLACE = ("a.nrrd", "a.mha", "a.mhd", "a.nii.gz", "a.nii")
UPRIGHT = ("a.ome.tif", "a.ome.zarr", "a.nrrd", "a.mha", "a.nii.gz")


def written(folder: Path, name: str, array: np.ndarray, geometry: Geometry) -> Path:
    path = folder / name
    if path.is_dir():
        shutil.rmtree(path)
    format_for(path).write(path, array, "".join(geometry.axis_labels), geometry, {})
    return path


@QUICK
@given(oblique())
def test_what_we_write_lies_where_itk_and_nibabel_look(tmp_path, geometry):
    expected = places(geometry, SHAPE)
    for name in ANY_PLACE:
        path = written(tmp_path, name, VOLUME, geometry)
        assert np.abs(by_itk(path, SHAPE) - expected).max() < CLOSE, name
        assert np.array_equal(sitk.GetArrayFromImage(sitk.ReadImage(str(path))), VOLUME), name
        if ".nii" in name:
            assert np.abs(by_nibabel(path, SHAPE) - expected).max() < CLOSE


@QUICK
@given(oblique())
def test_what_itk_writes_lies_where_it_says(tmp_path, geometry):
    image, expected = itk_image(VOLUME, geometry), places(geometry, SHAPE)
    for name in (*ANY_PLACE, "a.nhdr"):
        for packed in (False, True):
            sitk.WriteImage(image, str(tmp_path / name), useCompression=packed)
            for scan in (read_scan(tmp_path / name), read_scan_lazy(tmp_path / name)):
                assert np.array_equal(np.asarray(scan.array), VOLUME), (name, packed)
                assert np.abs(places(scan.geometry, SHAPE) - expected).max() < CLOSE, (name, packed)
                assert (scan.geometry.frame, set(scan.geometry.units)) == ("LPS", {"mm"})


@QUICK
@given(oblique(shears=True))
def test_sheared(tmp_path, geometry):
    for name in ("a.nrrd", "a.mha", "a.nii.gz"):
        path = written(tmp_path, name, VOLUME, geometry)
        assert np.abs(places(read_scan(path).geometry, SHAPE) - places(geometry, SHAPE)).max() < CLOSE
        found = by_nibabel(path, SHAPE) if ".nii" in name else by_itk(path, SHAPE)
        assert np.abs(found - places(geometry, SHAPE)).max() < CLOSE


@PAIRS
@given(oblique())
def test_every_pair_by_conversion(tmp_path, geometry):
    for first in ("a.nrrd", "a.mha", "a.nii.gz"):
        path = written(tmp_path, first, VOLUME, geometry)
        for second in ANY_PLACE:
            convert(path, tmp_path / f"b{second[1:]}", overwrite=True)
            scan = read_scan(tmp_path / f"b{second[1:]}")
            assert np.array_equal(np.asarray(scan.array), VOLUME)
            assert np.abs(places(scan.geometry, SHAPE) - places(geometry, SHAPE)).max() < CLOSE


@PAIRS
@given(upright())
def test_every_pair_of_upright_ones_by_conversion(tmp_path, geometry):
    for first in UPRIGHT:
        path = written(tmp_path, first, VOLUME, geometry)
        for second in UPRIGHT:
            target = tmp_path / f"b{second[1:]}"
            if target.is_dir():
                shutil.rmtree(target)
            convert(path, target, overwrite=True)
            scan = read_scan(target)
            assert np.array_equal(np.asarray(scan.array), VOLUME)
            assert np.abs(places(scan.geometry, SHAPE) - places(geometry, SHAPE)).max() < CLOSE


@QUICK
@given(upright("tzyx"))
def test_series(tmp_path, geometry):
    array = np.arange(120, dtype=np.uint8).reshape(2, *SHAPE)
    for name in ("a.ome.tif", "a.ome.zarr", "a.nrrd", "a.mha", "a.nii.gz"):
        scan = read_scan(written(tmp_path, name, array, geometry))
        assert (scan.axes, scan.geometry.units) == ("tzyx", ("s", "mm", "mm", "mm"))
        assert np.array_equal(np.asarray(scan.array), array)
        # NIfTI and OME-TIFF keep the step of time as a float of 32 bits, or in text
        assert scan.geometry.spacing[0] == pytest.approx(geometry.spacing[0], rel=1e-6)
        apart = places(scan.geometry, array.shape) - places(geometry, array.shape)
        assert np.abs(apart[:, 1:]).max() < CLOSE


@QUICK
@given(upright(unit="um"))
def test_other_libraries_find_the_sizes_of_zarr_and_nrrd(tmp_path, geometry):
    group = zarr.open_group(written(tmp_path, "a.ome.zarr", VOLUME, geometry), mode="r")
    image = group.attrs["ome"]["multiscales"][0]
    scale, *shift = image["datasets"][0]["coordinateTransformations"]
    assert scale["scale"] == pytest.approx(np.diag(geometry.matrix)[:3])
    found = shift[0]["translation"] if shift else [0, 0, 0]
    assert found == pytest.approx(geometry.matrix[:3, 3])
    assert [a["unit"] for a in image["axes"]] == ["micrometer"] * 3
    assert np.array_equal(group["0"][:], VOLUME)
    values, header = pynrrd.read(str(written(tmp_path, "a.nrrd", VOLUME, geometry)), index_order="C")
    assert np.array_equal(values, VOLUME)
    assert np.diag(header["space directions"]) == pytest.approx(np.diag(geometry.matrix)[2::-1])
    assert header["space units"] == ["um"] * 3


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr", "a.nrrd", "a.mha"])
def test_colours(tmp_path, name):
    array = np.random.default_rng(0).integers(0, 255, (40, 50, 3), np.uint8)
    format_for(name).write(tmp_path / name, array, "yxc", Geometry.from_spacing("yx", (0.2, 0.3), "mm"), {})
    for scan in (read_scan(tmp_path / name), read_scan_lazy(tmp_path / name)):
        assert scan.axes == "yxc"
        assert scan.geometry.spacing == pytest.approx((0.2, 0.3))
        assert np.array_equal(np.asarray(scan.array), array)


@pytest.mark.parametrize("dtype", ["u1", "i1", "u2", "i2", "u4", "i4", "f4", "f8"])
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha", "a.mhd", "a.ome.zarr"])
def test_types(tmp_path, name, dtype):
    array = VOLUME.astype(dtype)
    geometry = Geometry.from_spacing("zyx", (3, 2, 1), "mm")
    scan = read_scan(written(tmp_path, name, array, geometry))
    assert scan.array.dtype == array.dtype
    assert np.array_equal(np.asarray(scan.array), array)


@pytest.mark.parametrize("name", ["a.ome.tif", "a.ome.zarr"])
def test_what_cannot_say_a_turned_place_refuses_it(tmp_path, name):
    turned = Geometry.from_matrix(np.eye(4)[[1, 0, 2, 3]], ("mm",) * 3, tuple("zyx"), "LPS")
    source = written(tmp_path, "a.nrrd", VOLUME, turned)
    with pytest.raises(BadInput, match="turned"):
        convert(source, tmp_path / name, overwrite=True)
    assert [p.name for p in tmp_path.iterdir()] == ["a.nrrd"]


@pytest.mark.parametrize("name", ["a.mha", "a.nii.gz"])
def test_what_needs_a_size_refuses_pixels(tmp_path, name):
    tifffile.imwrite(tmp_path / "a.tif", VOLUME, photometric="minisblack", metadata={"axes": "ZYX"})
    with pytest.raises(BadInput, match="physical size"):
        convert(tmp_path / "a.tif", tmp_path / name)


def test_a_lost_frame_is_said(tmp_path):
    geometry = Geometry.from_spacing("zyx", (3, 2, 1), "mm")
    patient = Geometry(geometry.affine, geometry.units, geometry.axis_labels, "LPS")
    notes = convert(written(tmp_path, "a.nrrd", VOLUME, patient), tmp_path / "b.ome.tif")
    assert any("patient" in note for note in notes)
    assert convert(tmp_path / "a.nrrd", tmp_path / "b.mha") == ()


def test_a_conversion_that_would_move_the_image_is_refused(tmp_path, monkeypatch):
    from napari_latentseg.io import nrrd

    geometry = Geometry.from_spacing("zyx", (3, 2, 1), "mm")
    source = written(tmp_path, "a.mha", VOLUME, geometry)
    right = nrrd.write

    def wrong(path, array, axes, geometry, properties):
        right(path, array, axes, Geometry.from_spacing("zyx", (3, 2, 1.01), "mm"), properties)

    monkeypatch.setattr(nrrd, "write", wrong)
    with pytest.raises(BadInput, match="would not have the geometry"):
        convert(source, tmp_path / "b.nrrd")
    assert not (tmp_path / "b.nrrd").exists()


MGH = {"one frame": SHAPE, "frames": (2, *SHAPE)}


@pytest.mark.parametrize("shape", MGH.values(), ids=MGH.keys())
@pytest.mark.parametrize("suffix", [".mgh", ".mgz", ".mgh.gz"])
def test_mgh_lies_where_nibabel_looks(tmp_path, shape, suffix):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    affine = nib.affines.from_matvec(
        nib.eulerangles.euler2mat(0.3, -0.2, 0.5) @ np.diag([0.5, -0.75, 3.0]), [-91.5, 20.25, 300.1]
    )
    image = nib.MGHImage(array.transpose(), affine.astype(np.float32))
    path = tmp_path / f"a{suffix}"
    if suffix == ".mgh.gz":
        nib.save(image, tmp_path / "a.mgz")
        (tmp_path / "a.mgz").rename(path)
        expected = nib.affines.apply_affine(image.affine, np.zeros(3))
    else:
        nib.save(image, path)
        expected = nib.affines.apply_affine(nib.load(path).affine, np.zeros(3))
    for scan in (read_scan(path), read_scan_lazy(path)):
        assert np.array_equal(np.asarray(scan.array), array)
        assert scan.axes == "tzyx"[-len(shape) :]
        assert scan.geometry.matrix[-4:-1, -1][::-1] * (-1, -1, 1) == pytest.approx(expected, abs=CLOSE)
        assert scan.geometry.spacing[-3:] == pytest.approx((3.0, 0.75, 0.5), abs=1e-5)


def test_analyze_says_that_it_has_no_place(tmp_path):
    image = nib.AnalyzeImage(VOLUME.transpose(), np.diag([2.0, 3.0, 4.0, 1.0]))
    nib.save(image, tmp_path / "a.hdr")
    for name in ("a.hdr", "a.img"):
        for scan in (read_scan(tmp_path / name), read_scan_lazy(tmp_path / name)):
            assert np.array_equal(np.asarray(scan.array), VOLUME)
            assert scan.geometry.spacing == (4.0, 3.0, 2.0)
            assert scan.geometry.frame == ""
            assert "left and right" in scan.notes[0]


@pytest.mark.parametrize("kind", [nib.Nifti1Pair, nib.Nifti2Pair])
def test_a_pair_of_nifti_has_its_place(tmp_path, kind):
    affine = nib.affines.from_matvec(nib.eulerangles.euler2mat(0.3, -0.2, 0.5) * 0.7, [1, 2, 3])
    nib.save(kind(VOLUME.transpose(), affine), tmp_path / "a.img")
    for scan in (read_scan(tmp_path / "a.hdr"), read_scan_lazy(tmp_path / "a.img")):
        assert scan.format == "nifti"
        assert np.array_equal(np.asarray(scan.array), VOLUME)
        assert np.abs(by_nibabel(tmp_path / "a.img", SHAPE) - places(scan.geometry, SHAPE)).max() < CLOSE


@pytest.mark.parametrize(
    "space", ["left-posterior-superior", "right-anterior-superior", "left-anterior-superior"]
)
def test_the_normal_of_an_nrrd_slice_in_space_points_as_in_dicom(tmp_path, space):
    """A 2D image with a position in 3D: x, y and the normal are right-handed in LPS."""
    header = {
        "space": space,
        "space directions": np.array([[0.5, 0, 0], [0, 0, 2.0]]),
        "space origin": [5, 6, 7],
        "kinds": ["domain", "domain"],
    }
    pynrrd.write(str(tmp_path / "a.nrrd"), VOLUME[0], header, index_order="C")
    scan = read_scan(tmp_path / "a.nrrd")
    assert (scan.axes, scan.array.shape) == ("zyx", (1, 4, 5))
    z, y, x = scan.geometry.matrix[:3, :3][::-1].T  # the directions of the axes, x component first
    assert np.cross(x, y) / (0.5 * 2.0) == pytest.approx(z)
