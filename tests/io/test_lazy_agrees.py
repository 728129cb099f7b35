"""What is read at once and what is read lazily agree, for every kind of file of every format."""

from __future__ import annotations

import bz2
import shutil
import struct
import zipfile

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
import tifffile
import zarr
from nibabel.testing import data_path
from PIL import Image
from tests.helpers.dicom import positions, series
from tests.helpers.ngff import image, stored
from tests.helpers.nifti import OBLIQUE
from tests.helpers.photos import KINDS, png
from tests.helpers.tiff import PYRAMIDS, STORED

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import FORMATS, format_for, read_scan, read_scan_lazy

VOLUME = (np.arange(60) * 7 % 200 - 50).astype(np.int16).reshape(3, 4, 5)
MM = Geometry.from_spacing("zyx", (3, 2, 1), "mm")


def agreed(path):
    """The format of the scan, after a check that both ways of reading it give the same."""
    eager, lazy = read_scan(path), read_scan_lazy(path)
    values = np.asarray(lazy.array)
    assert (eager.array.dtype, lazy.array.dtype) == (values.dtype, values.dtype)
    assert lazy.array.shape == values.shape
    assert np.array_equal(np.asarray(eager.array), values, equal_nan=values.dtype.kind == "f")
    for name in ("axes", "geometry", "modality", "format", "notes", "properties"):
        assert getattr(eager, name) == getattr(lazy, name), name
    assert eager.content_sha256 == lazy.content_sha256
    return eager.format


@pytest.mark.parametrize(
    ("picture", "ending"), [(name, e) for name, (_, endings, *_) in KINDS.items() for e in endings]
)
def test_photos(tmp_path, picture, ending):
    KINDS[picture][0].save(tmp_path / f"a{ending}")
    assert agreed(tmp_path / f"a{ending}") == "photo"


@pytest.mark.parametrize("mode", ["L", "RGB", "CMYK"])
def test_jpeg(tmp_path, mode):
    picture = Image.fromarray(np.arange(16 * 24 * 3, dtype=np.uint8).reshape(16, 24, 3)).convert(mode)
    exif = Image.Exif()
    exif[0x0112] = 6  # taken with the camera turned
    picture.save(tmp_path / "a.jpg", exif=exif)
    assert agreed(tmp_path / "a.jpg") == "photo"


def bmp_565(path, rows):
    """A BMP of 16 bits a pixel, 5 of them red, 6 green, 5 blue: Pillow does not write it."""
    height, width = rows.shape
    data = b"".join(row.astype("<u2").tobytes() + bytes(-2 * width % 4) for row in rows[::-1])
    masks = struct.pack("<III", 0xF800, 0x07E0, 0x001F)
    head = struct.pack("<IiiHHIIiiII", 40, width, height, 1, 16, 3, len(data), 0, 0, 0, 0)
    path.write_bytes(struct.pack("<2sIHHI", b"BM", 66 + len(data), 0, 0, 66) + head + masks + data)


def test_a_bmp_of_5_6_and_5_bits(tmp_path):
    bmp_565(tmp_path / "a.bmp", np.array([[0xF800, 0x07E0, 0x001F], [0, 0xFFFF, 0x8410]]))
    assert agreed(tmp_path / "a.bmp") == "photo"
    read = read_scan(tmp_path / "a.bmp").array
    assert read[0].tolist() == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]
    assert np.abs(read[1].astype(int) - [[0] * 3, [255] * 3, [132, 130, 132]]).max() <= 1


@pytest.mark.parametrize("colour", [2, 4, 6])
def test_a_png_of_16_bits_a_channel_is_refused_by_both(tmp_path, colour):
    channels = {2: 3, 4: 2, 6: 4}[colour]
    (tmp_path / "a.png").write_bytes(png(16, colour, b"\0" + bytes(2 * channels), 1, 1))
    for read in (read_scan, read_scan_lazy):
        with pytest.raises(BadInput, match="16 bits"):
            read(tmp_path / "a.png")


@pytest.mark.parametrize("name", STORED)
def test_tiff(tmp_path, name):
    shape, options, *_ = STORED[name]
    options = dict(options)
    dtype = options.pop("dtype", np.uint8)
    tifffile.imwrite(
        tmp_path / "a.tif", (np.arange(np.prod(shape)) % 250).astype(dtype).reshape(shape), **options
    )
    assert agreed(tmp_path / "a.tif") == "tiff"


@pytest.mark.parametrize("name", PYRAMIDS)
def test_pyramids(tmp_path, name):
    PYRAMIDS[name][0](tmp_path / name)
    assert agreed(tmp_path / name) == "tiff"


@pytest.mark.parametrize(
    "name", ["a.nii", "a.nii.gz", "a.nrrd", "a.mha", "a.mhd", "a.tif", "a.ome.tif", "a.ome.zarr"]
)
def test_what_we_write(tmp_path, name):
    format_for(name).write(tmp_path / name, VOLUME, "zyx", MM, {})
    assert agreed(tmp_path / name) == format_for(name).NAME


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz", "a.nrrd", "a.nhdr", "a.mha", "a.mhd", "a.tif"])
@pytest.mark.parametrize("packed", [True, False])
def test_what_itk_writes(tmp_path, name, packed):
    picture = sitk.GetImageFromArray(VOLUME.astype(np.float32))
    picture.SetSpacing((0.5, 0.75, 3.0))
    sitk.WriteImage(picture, str(tmp_path / name), useCompression=packed)
    assert agreed(tmp_path / name) == format_for(name).NAME


NIFTI_TYPES = ("u1", "i2", "i4", "f4", "f8", "u2", "i8", ">i2", ">f4")


@pytest.mark.parametrize("dtype", NIFTI_TYPES)
@pytest.mark.parametrize("scaled", [True, False])
def test_nifti(tmp_path, dtype, scaled):
    header = nib.Nifti1Header(endianness=">" if dtype[0] == ">" else "<")
    header.set_data_dtype(dtype.lstrip(">"))
    picture = nib.Nifti1Image((VOLUME.T % 100).astype(dtype), OBLIQUE, header)
    if scaled:
        picture.header.set_slope_inter(0.5, 3.0)
    for name in ("a.nii", "a.nii.gz"):
        nib.save(picture, tmp_path / name)
        assert agreed(tmp_path / name) == "nifti"


def test_nifti_colours(tmp_path):
    colours = np.zeros((5, 4, 3), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    colours["G"] = np.arange(60).reshape(5, 4, 3)
    nib.save(nib.Nifti1Image(colours, np.eye(4)), tmp_path / "a.nii")
    assert agreed(tmp_path / "a.nii") == "nifti"


@pytest.mark.parametrize("kind", [nib.AnalyzeImage, nib.Nifti1Pair, nib.Nifti2Pair])
def test_pairs(tmp_path, kind):
    nib.save(kind(VOLUME.T, np.diag([1.0, 2, 3, 1])), tmp_path / "a.img")
    assert agreed(tmp_path / "a.hdr") in ("analyze", "nifti")


@pytest.mark.parametrize("name", ["a.mgh", "a.mgz"])
def test_mgh(tmp_path, name):
    nib.save(nib.MGHImage(VOLUME.T, np.eye(4)), tmp_path / name)
    assert agreed(tmp_path / name) == "mgh"


@pytest.mark.parametrize("name", ["anatomical.nii", "functional.nii", "example4d.nii.gz", "test.mgz"])
def test_examples_of_nibabel(name):
    agreed(f"{data_path}/{name}")


def test_nrrd_of_text_and_bzip2(tmp_path):
    head = "NRRD0004\ntype: short\ndimension: 2\nsizes: 5 4\nspacings: 1 2\nendian: little\nencoding: {}\n\n"
    plane = VOLUME[0].astype("<i2")
    (tmp_path / "a.nrrd").write_bytes(
        head.format("text").encode() + " ".join(map(str, plane.ravel())).encode()
    )
    (tmp_path / "b.nrrd").write_bytes(head.format("bzip2").encode() + bz2.compress(plane.tobytes()))
    assert agreed(tmp_path / "a.nrrd") == agreed(tmp_path / "b.nrrd") == "nrrd"


@pytest.mark.parametrize("axes", ["yx", "zyx", "tzyx", "cyx", "tczyx"])
def test_ome_zarr_and_its_zip(tmp_path, axes):
    steps = [{"type": "scale", "scale": [1.0] * len(axes)}]
    folder = stored(tmp_path, {"multiscales": [image(axes, steps)]}, (2, 2, 3, 4, 5)[-len(axes) :])
    assert agreed(folder) == "omezarr"
    shutil.make_archive(str(tmp_path / "b.zarr"), "zip", folder)
    assert agreed(tmp_path / "b.zarr.zip") == "omezarr"


def test_ome_zarr_of_big_endian_values(tmp_path):
    group = zarr.open_group(tmp_path / "a.zarr", mode="w", zarr_format=2)
    group.create_array("0", data=VOLUME.astype(">i2"), chunks=(1, 4, 5))
    group.attrs["multiscales"] = [image()]
    assert agreed(tmp_path / "a.zarr") == "omezarr"


def test_dicom(tmp_path):
    series(tmp_path / "ct", VOLUME, positions(len(VOLUME)), PixelSpacing=[0.7, 0.7])
    assert agreed(tmp_path / "ct") == "dicom"
    with zipfile.ZipFile(tmp_path / "ct.zip", "w") as archive:
        for path in (tmp_path / "ct").iterdir():
            archive.write(path, path.name)
    assert agreed(tmp_path / "ct.zip") == "dicom"
    assert agreed(next((tmp_path / "ct").iterdir())) == "dicom"


def test_every_format_is_here():
    tested = {"photo", "tiff", "nifti", "nrrd", "metaimage", "omezarr", "analyze", "mgh", "dicom"}
    assert set(FORMATS) == tested
