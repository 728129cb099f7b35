"""What cannot be read: one clear line that names the file, and never another exception."""

from __future__ import annotations

import gzip
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import zarr
from nibabel.testing import data_path

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import format_for, read_scan, read_scan_lazy

VOLUME = np.arange(60, dtype=np.int16).reshape(3, 4, 5)
PLAIN = Geometry.from_spacing("zyx", (3, 2, 1), "mm")


def made(path: Path) -> Path:
    format_for(path).write(path, VOLUME, "zyx", PLAIN, {})
    return path


def edited(path: Path, old: str, new: str) -> Path:
    """The file with a part of its header replaced."""
    content = path.read_bytes()
    assert old.encode() in content
    path.write_bytes(content.replace(old.encode(), new.encode(), 1))
    return path


def nrrd(folder: Path, old: str = "", new: str = "") -> Path:
    return edited(made(folder / "a.nrrd"), old, new)


def mha(folder: Path, old: str = "", new: str = "") -> Path:
    return edited(made(folder / "a.mha"), old, new)


def cut(path: Path, count: int) -> Path:
    path.write_bytes(path.read_bytes()[:-count])
    return path


def plain_by_itk(path: Path) -> Path:
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(path), useCompression=False)
    return path


def analyze(folder: Path, **fields: object) -> Path:
    image = nib.AnalyzeImage(VOLUME.T, np.diag([1.0, 2, 3, 1]))
    nib.save(image, folder / "a.img")
    with (folder / "a.hdr").open("rb") as file:
        header = nib.AnalyzeHeader.from_fileobj(file, check=False)
    for name, value in fields.items():
        header[name] = value
    with (folder / "a.hdr").open("wb") as file:
        header.write_to(file)
    return folder / "a.hdr"


def without_image(folder: Path) -> Path:
    path = analyze(folder)
    path.with_suffix(".img").unlink()
    return path


def nifti(folder: Path, name: str = "a.nii", kind: type = nib.Nifti1Image) -> Path:
    """A step of zero where only the qform places the image."""
    image = kind(VOLUME.T, np.eye(4))
    image.set_sform(None, 0)
    image.set_qform(np.eye(4), 1)
    nib.save(image, folder / name)
    path = folder / name.replace(".img", ".hdr")
    content = bytearray(path.read_bytes())
    at, size = (80, 4) if kind in (nib.Nifti1Image, nib.Nifti1Pair) else (112, 8)
    content[at : at + size] = bytes(size)
    path.write_bytes(content)
    return path


def mgh(folder: Path, name: str = "a.mgh", delta: tuple[float, ...] = (1, 1, 1)) -> Path:
    image = nib.MGHImage(VOLUME.T, np.eye(4))
    nib.save(image, folder / "a.mgh")
    content = bytearray((folder / "a.mgh").read_bytes())
    content[30:42] = np.array(delta, ">f4").tobytes()
    path = folder / name
    path.write_bytes(gzip.compress(content) if name.endswith("z") else content)
    return path


def ome(folder: Path, change: Callable[[dict], None]) -> Path:
    path = made(folder / "a.ome.zarr")
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    change(metadata["attributes"]["ome"]["multiscales"][0])
    file.write_text(json.dumps(metadata))
    return path


def _newer(folder: Path, version: str) -> Path:
    """As 0.6 has it: the axes lie in a system of coordinates."""
    path = made(folder / "a.ome.zarr")
    file = path / "zarr.json"
    metadata = json.loads(file.read_text())
    image = metadata["attributes"]["ome"]["multiscales"][0]
    image["coordinateSystems"] = [{"name": "intrinsic", "axes": image.pop("axes")}]
    metadata["attributes"]["ome"]["version"] = version
    file.write_text(json.dumps(metadata))
    return path


def _vox_offset(folder: Path, offset: float) -> Path:
    path = folder / "a.nii"
    nib.save(nib.Nifti1Image(VOLUME.T, np.eye(4)), path)
    content = bytearray(path.read_bytes())
    content[108:112] = np.array(offset, "<f4").tobytes()
    path.write_bytes(content)
    return path


def first(image: dict) -> dict:
    return image["datasets"][0]["coordinateTransformations"][0]


def detached(folder: Path, name: str) -> Path:
    path = folder / "a.nhdr"
    sitk.WriteImage(sitk.GetImageFromArray(VOLUME), str(path), useCompression=False)
    return edited(path, "a.raw", name)


def bomb(folder: Path) -> Path:
    """A header of sixty numbers, with far more behind it."""
    path = nrrd(folder)
    header = path.read_bytes().split(b"\n\n")[0]
    path.write_bytes(header + b"\n\n" + gzip.compress(bytes(10_000_000)))
    return path


def looped(folder: Path) -> Path:
    (folder / "loop").mkdir()
    (folder / "loop" / "again").symlink_to(folder / "loop", target_is_directory=True)
    return folder / "loop"


def zipped(folder: Path, name: str, inside: dict[str, bytes]) -> Path:
    with zipfile.ZipFile(folder / name, "w") as file:
        for member, content in inside.items():
            file.writestr(member, content)
    return folder / name


CASES: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nrrd, zero spacing": (lambda p: nrrd(p, "(1,0,0)", "(0,0,0)"), "cannot be inverted"),
    "nrrd, a spacing below any atom": (lambda p: nrrd(p, "(1,0,0)", "(1e-30,0,0)"), "1e-30 mm cannot be"),
    "nrrd, a spacing of light-years": (lambda p: nrrd(p, "(1,0,0)", "(1e30,0,0)"), r"1e\+30 mm cannot be"),
    "nrrd, axes in one plane": (lambda p: nrrd(p, "(1,0,0)", "(0,4,0)"), "cannot be inverted"),
    "nrrd, no number": (lambda p: nrrd(p, "(1,0,0)", "(1,x,0)"), "damaged"),
    "nrrd, not a number": (lambda p: nrrd(p, "(1,0,0)", "(1,nan,0)"), "cannot be inverted"),
    "nrrd, no mark": (lambda p: nrrd(p, "NRRD", "NRRX"), "not an NRRD"),
    "nrrd, cut short": (lambda p: cut(nrrd(p), 20), "cut short"),
    "nrrd, plain and cut short": (lambda p: cut(plain_by_itk(p / "a.nrrd"), 2), "cut short"),
    "nrrd, swells": (bomb, "damaged"),
    "nrrd, unknown units": (lambda p: nrrd(p, '"mm"', '"furlong"'), "units"),
    "nrrd, time in the space": (
        lambda p: edited(plain_by_itk(p / "a.nrrd"), "left-posterior-superior", "scanner-xyz-time"),
        "space that is not supported",
    ),
    "nrrd, data elsewhere": (lambda p: detached(p, "../a.raw"), "outside its folder"),
    "nrrd, data at the root": (lambda p: detached(p, "/etc/hostname"), "outside its folder"),
    "nrrd, data missing": (lambda p: detached(p, "b.raw"), "needs b.raw"),
    "mha, zero spacing": (lambda p: mha(p, "Spacing = 1.0", "Spacing = 0.0"), "spacing of zero"),
    "mha, axes in one plane": (
        lambda p: mha(p, "1.0 0.0 0.0 0.0 1.0", "0.0 1.0 0.0 0.0 1.0"), "cannot be inverted",
    ),
    "mha, too few numbers": (lambda p: mha(p, "Offset = 0.0 ", "Offset = "), "damaged"),
    "mha, no end": (lambda p: mha(p, "ElementDataFile", "ElementDataFill"), "damaged"),
    "mha, unknown type": (lambda p: mha(p, "MET_SHORT", "MET_SHIRT"), "type of values that is not known"),
    "mha, a type of 4 or 8 bytes": (lambda p: mha(p, "MET_SHORT", "MET_LONG"), "MET_LONG, which has 4 or 8"),
    "mha, the same without a sign": (lambda p: mha(p, "MET_SHORT", "MET_ULONG"), "MET_ULONG"),
    "zarr, version 0.6": (lambda p: _newer(p, "0.6"), "is OME-Zarr of version 0.6"),
    "zarr, version 1.0": (lambda p: _newer(p, "1.0.dev"), "is OME-Zarr of version 1.0"),
    "nifti, values at byte 0": (lambda p: _vox_offset(p, 0.0), "vox_offset"),
    "nifti, values at byte 348": (lambda p: _vox_offset(p, 348.0), "vox_offset"),
    "nifti, values nowhere": (lambda p: _vox_offset(p, float("nan")), "vox_offset"),
    "mha, cut short": (lambda p: cut(mha(p), 20), "cut short"),
    "mha, plain and cut short": (lambda p: cut(plain_by_itk(p / "a.mha"), 2), "cut short"),
    "mhd, data missing": (lambda p: edited(made(p / "a.mhd"), "a.zraw", "b.zraw"), "needs b.zraw"),
    "mhd, data elsewhere": (lambda p: edited(made(p / "a.mhd"), "a.zraw", "../a.zraw"), "outside"),
    "mha, not one": (lambda p: _text(p / "a.mha"), "not a MetaImage"),
    "nifti, zero spacing": (nifti, "spacing of zero"),
    "nifti 2, zero spacing": (lambda p: nifti(p, kind=nib.Nifti2Image), "spacing of zero"),
    "nifti pair, zero spacing": (lambda p: nifti(p, "a.img", nib.Nifti1Pair), "spacing of zero"),
    "analyze, no image": (without_image, "needs a.img"),
    "analyze, zero spacing": (lambda p: analyze(p, pixdim=[0, 1, 0, 1, 1, 1, 1, 1]), "spacing of zero"),
    "analyze, cut short": (lambda p: cut(analyze(p).with_suffix(".img"), 2), "cut short"),
    "analyze, not one": (lambda p: _text(without_image(p), p / "a.img"), "damaged"),
    "mgh, zero spacing": (lambda p: mgh(p, delta=(0, 1, 1)), "invalid spacing"),
    "mgh, cut short": (lambda p: cut(mgh(p), 80), "cut short"),
    "mgz, cut short": (lambda p: cut(mgh(p, "a.mgz"), 20), "cut short"),
    "mgh, not one": (lambda p: _text(p / "a.mgh"), "not an MGH"),
    "zarr, zero spacing": (lambda p: ome(p, lambda m: first(m).update(scale=[0, 1, 1])), "spacing of zero"),
    "zarr, turned": (lambda p: ome(p, lambda m: first(m).update(type="affine")), "not supported"),
    "zarr, unknown axis": (lambda p: ome(p, lambda m: m["axes"][0].update(name="q")), "axes"),
    "zarr, unknown unit": (lambda p: ome(p, lambda m: m["axes"][0].update(unit="parsec")), "unit"),
    "zarr, level missing": (lambda p: ome(p, lambda m: m["datasets"][0].update(path="9")), "damaged"),
    "zarr, no image": (lambda p: _empty_zarr(p / "a.zarr"), "without an OME-Zarr image"),
    "zarr, a file": (lambda p: _text(p / "a.zarr"), "not an OME-Zarr"),
    "zip, not one": (lambda p: _text(p / "a.zarr.zip"), "not an OME-Zarr"),
    "zip, no zarr in it": (lambda p: zipped(p, "a.zarr.zip", {"a.txt": b"a"}), "damaged"),
    "zip, leads out": (lambda p: zipped(p, "a.ozx", {"../zarr.json": b"{}"}), "not an OME-Zarr"),
    "folder that holds itself": (looped, "folder"),
}  # fmt: skip


def _text(path: Path, also: Path | None = None) -> Path:
    for one in (path, also):
        if one is not None:
            one.write_text("This is a note about Doe^Jane.\n" * 40)
    return path


def _empty_zarr(path: Path) -> Path:
    zarr.open_group(path, mode="w")
    return path


@pytest.mark.parametrize(("make", "why"), CASES.values(), ids=CASES.keys())
def test_refused(tmp_path, make, why):
    path = make(tmp_path)
    with pytest.raises(BadInput, match=why) as caught:
        read_scan(path)
    line = str(caught.value)
    assert "\n" not in line
    assert path.name in line
    assert "Doe" not in line
    with pytest.raises(BadInput) as caught:  # at once, or when the values are asked for
        np.asarray(read_scan_lazy(path).array)
    assert "Doe" not in str(caught.value)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="this user may read everything")
@pytest.mark.parametrize("name", ["a.nrrd", "a.mha"])
def test_no_right_to_read(tmp_path, name):
    path = made(tmp_path / name)
    path.chmod(0)
    with pytest.raises(BadInput, match=r"cannot be read \(permission denied\)"):
        read_scan(path)


SHIPPED = sorted(p for p in Path(data_path).iterdir() if p.is_file())
READ = {".mgz", ".nii"}


def is_read(path: Path) -> bool:
    """Headers come without their images, one file has six dimensions, and the DICOM mosaics are shrunken."""
    return (path.suffix in READ or path.name.endswith(".nii.gz")) and path.name != "row_major.dconn.nii"


def test_nibabel_ships_files_of_both_kinds():
    assert sum(map(is_read, SHIPPED)) >= 8
    assert len(SHIPPED) - sum(map(is_read, SHIPPED)) >= 30


@pytest.mark.parametrize("path", [p for p in SHIPPED if not is_read(p)], ids=lambda p: p.name)
def test_what_nibabel_ships_and_is_not_read(path):
    for open_it in (read_scan, read_scan_lazy):
        with pytest.raises(BadInput) as caught:
            open_it(path)
        assert path.name in str(caught.value)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("path", [p for p in SHIPPED if is_read(p)], ids=lambda p: p.name)
def test_what_nibabel_ships_and_is_read(path):
    scan = read_scan(path)
    lazy = read_scan_lazy(path)
    assert np.array_equal(np.asarray(lazy.array), np.asarray(scan.array), equal_nan=True)
    assert lazy.geometry == scan.geometry
    theirs = nib.load(path)
    values = np.squeeze(np.asarray(theirs.dataobj))
    assert np.allclose(np.asarray(scan.array).T, values, rtol=1e-6, equal_nan=True)
    corner = np.array([n - 1 for n in theirs.shape[:3]])
    place = nib.affines.apply_affine(theirs.affine, corner) * (-1, -1, 1)
    index = np.array([*[0] * (scan.geometry.ndim - 3), *corner[::-1]])
    ours = scan.geometry.matrix[:-1, :-1] @ index + scan.geometry.matrix[:-1, -1]
    assert ours[-3:][::-1] == pytest.approx(place, abs=1e-4)


def test_the_images_of_a_collection_are_counted_from_one(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w")
    group.attrs["ome"] = {"version": "0.5", "bioformats2raw.layout": 3}
    for number in range(2):
        path = tmp_path / "a.zarr" / str(number)
        array = VOLUME + number
        format_for(tmp_path / "b.zarr").write(tmp_path / "b.zarr", array, "zyx", PLAIN, {})
        (tmp_path / "b.zarr").rename(path)
    with pytest.raises(BadInput, match="holds 2 images"):
        read_scan(tmp_path / "a.zarr")
    assert np.array_equal(np.asarray(read_scan(tmp_path / "a.zarr", series=2).array), VOLUME + 1)
    for wrong in (0, 3):
        with pytest.raises(BadInput, match="images 1 to 2"):
            read_scan(tmp_path / "a.zarr", series=wrong)
    with pytest.raises(BadInput, match="holds one image"):
        read_scan(made(tmp_path / "a.nrrd"), series=2)


@pytest.mark.parametrize("version", ["0.4", "0.5"])
@pytest.mark.parametrize("packed", [False, True])
def test_omezarr_by_another_hand(tmp_path, version, packed):
    """Written by zarr alone, as the standard has it: five axes, two steps of place, one channel of two."""
    values = np.arange(2 * 3 * 4 * 5, dtype=np.uint16).reshape(1, 2, 3, 4, 5)
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2 if version == "0.4" else 3)
    group.create_array("full", data=values, chunks=(1, 1, 1, 2, 5))
    axes = [{"name": "t", "type": "time"}, {"name": "c", "type": "channel"}]
    axes += [{"name": a, "type": "space", "unit": "micrometer"} for a in "zyx"]
    steps = [
        {"type": "scale", "scale": [1, 1, 2, 0.5, 0.25]},
        {"type": "translation", "translation": [0, 0, 10, 1, 2]},
    ]
    image = {"axes": axes, "datasets": [{"path": "full", "coordinateTransformations": steps}]}
    image["coordinateTransformations"] = [{"type": "scale", "scale": [1, 1, 10, 10, 10]}]
    image["version"] = version
    attributes = {"multiscales": [image]}
    group.attrs.update(attributes if version == "0.4" else {"ome": {"version": version, **attributes}})
    path = tmp_path / "a.zarr"
    if packed:
        path = tmp_path / "a.zarr.zip"
        with zipfile.ZipFile(path, "w") as file:
            for one in (tmp_path / "a.zarr").rglob("*"):
                file.write(one, one.relative_to(tmp_path))
    scan = read_scan(path)
    assert scan.axes == "zyxc"
    assert np.array_equal(np.asarray(scan.array), np.moveaxis(values[0], 0, -1))
    assert scan.geometry.spacing == (20, 5, 2.5)
    assert scan.geometry.matrix[:3, 3].tolist() == [100, 10, 20]
    assert scan.geometry.units == ("um",) * 3


@pytest.mark.parametrize("spelled", ["LIST", "pattern"])
def test_metaimage_with_a_file_for_each_slice(tmp_path, spelled):
    for number, plane in enumerate(VOLUME):
        plane.astype(">i2").tofile(tmp_path / f"s{number + 1}.raw")
    names = "LIST\ns1.raw\ns2.raw\ns3.raw" if spelled == "LIST" else "s%d.raw 1 3 1"
    (tmp_path / "a.mhd").write_text(
        "NDims = 3\nDimSize = 5 4 3\nElementSpacing = 1 2 3\nElementType = MET_SHORT\n"
        f"BinaryDataByteOrderMSB = True\nElementDataFile = {names}\n"
    )
    for scan in (read_scan(tmp_path / "a.mhd"), read_scan_lazy(tmp_path / "a.mhd")):
        assert np.array_equal(np.asarray(scan.array), VOLUME)
        assert scan.geometry.spacing == (3, 2, 1)
