"""TIFF: values and sizes as ImageJ shows them, colours, and values that cannot be decoded."""

from __future__ import annotations

import contextlib

import numpy as np
import pytest
import tifffile
from PIL import Image
from tests.helpers.tiff import ramp

from napari_latentseg.errors import BadInput
from napari_latentseg.io import read_scan, read_scan_lazy
from napari_latentseg.io.convert import convert


def both(path):
    """The scan read at once and lazily, which must agree."""
    eager, lazy = read_scan(path), read_scan_lazy(path)
    values = np.asarray(lazy.array)
    assert lazy.array.dtype == values.dtype == eager.array.dtype
    assert np.array_equal(values, eager.array)
    assert (eager.axes, eager.geometry, eager.notes) == (lazy.axes, lazy.geometry, lazy.notes)
    return eager


# --- ImageJ's calibration of values ----------------------------------------------------------------

CALIBRATIONS = {
    "signed 16 bits": ({"cf": 0, "c0": -32768.0, "c1": 1.0}, np.int16, lambda v: v - 32768),
    "Hounsfield units": ({"cf": 0, "c0": -1024, "c1": 1}, np.int32, lambda v: v - 1024),
    "a slope": ({"cf": 0, "c0": 0.5, "c1": 0.25}, np.float32, lambda v: v / 4 + 0.5),
    "none": ({"cf": 20}, np.uint16, lambda v: v),
    "the identity": ({"cf": 0, "c0": 0.0, "c1": 1.0}, np.uint16, lambda v: v),
}


@pytest.mark.parametrize("name", CALIBRATIONS)
def test_a_linear_calibration_is_applied(tmp_path, name):
    fields, dtype, expected = CALIBRATIONS[name]
    stored = (np.arange(60) * 1092).astype(np.uint16).reshape(3, 4, 5)  # from 0 to 64428
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"axes": "ZYX", **fields})
    scan = both(tmp_path / "a.tif")
    assert scan.array.dtype == dtype
    assert np.array_equal(scan.array, expected(stored.astype(np.float64)))
    assert scan.notes == ()


def test_a_curve_of_optical_density_is_noted_and_not_applied(tmp_path):
    stored = ramp((4, 5))
    tifffile.imwrite(tmp_path / "a.tif", stored, imagej=True, metadata={"cf": 8, "c0": 1.0, "c1": 2.0})
    scan = both(tmp_path / "a.tif")
    assert np.array_equal(scan.array, stored)
    assert "calibration curve" in scan.notes[0]


# --- units -----------------------------------------------------------------------------------------


def imagej(path, **fields):
    metadata = {"axes": "TYX", "finterval": 3.0, **fields}
    tifffile.imwrite(path, ramp((2, 4, 5)), imagej=True, resolution=(4.0, 2.0), metadata=metadata)
    return path


@pytest.mark.parametrize(
    ("written", "unit", "factor"),
    [
        ("\\u00B5m", "um", 1), ("\\u03BCm", "um", 1), ("um", "um", 1), ("micron", "um", 1),
        ("microns", "um", 1), ("Micrometers", "um", 1), ("mm", "mm", 1), ("Millimetres", "mm", 1),
        ("cm", "cm", 1), ("inch", "mm", 25.4), ("inches", "mm", 25.4), ("meter", "m", 1), ("nm", "nm", 1),
    ],
)  # fmt: skip
def test_writings_of_a_unit_of_length(tmp_path, written, unit, factor):
    scan = both(imagej(tmp_path / "a.tif", unit=written))
    assert scan.geometry.units[1:] == (unit, unit)
    assert scan.geometry.spacing[1:] == pytest.approx((0.5 * factor, 0.25 * factor))
    assert scan.notes == ()


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("hr", 10800), ("h", 10800), ("hours", 10800), ("min", 180), ("mins", 180), ("minutes", 180),
     ("sec", 3), ("seconds", 3), ("day", 259200), ("days", 259200), ("", 3), (None, 3)],
)  # fmt: skip
def test_writings_of_a_unit_of_time(tmp_path, written, seconds):
    fields = {} if written is None else {"tunit": written}
    scan = both(imagej(tmp_path / "a.tif", unit="um", **fields))
    assert (scan.geometry.spacing[0], scan.geometry.units[0]) == (seconds, "s")


def test_an_unknown_unit_of_time_is_no_second(tmp_path):
    scan = both(imagej(tmp_path / "a.tif", unit="um", tunit="frame"))
    assert (scan.geometry.spacing[0], scan.geometry.units[0]) == (1.0, "pixel")
    assert "unit that is not known" in scan.notes[0]


def test_a_size_in_an_unknown_unit_is_noted(tmp_path):
    scan = both(imagej(tmp_path / "a.tif", unit="ells"))
    assert scan.geometry.units[1:] == ("pixel", "pixel")
    assert scan.notes == (
        "the file gives the size of a pixel in a unit that is not known; sizes are in pixels",
    )


def test_pixels_are_no_unknown_unit(tmp_path):
    assert both(imagej(tmp_path / "a.tif", unit="pixel")).notes == ()


# --- colours ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("pages", [1, 2])
def test_a_palette_of_two_colours(tmp_path, pages):
    bits = ramp((9, 10)) % 3 == 0
    image = Image.fromarray(bits.astype(np.uint8), "P")
    image.putpalette([10, 20, 30, 200, 100, 50])
    image.save(tmp_path / "a.tif", save_all=True, append_images=[image] * (pages - 1))
    # Pillow stores an index of 8 bits, and tifffile one of 1 bit
    colours = np.zeros((3, 2), np.uint16)
    colours[:, 0], colours[:, 1] = [10 << 8, 20 << 8, 30 << 8], [200 << 8, 100 << 8, 50 << 8]
    with tifffile.TiffWriter(tmp_path / "b.tif") as file:
        for _ in range(pages):
            packed = [(320, "H", 6, colours.ravel(), True)]
            file.write(bits, photometric="palette", extratags=packed, metadata=None)
    for name in ("a.tif", "b.tif"):
        scan = both(tmp_path / name)
        assert scan.axes == ("yxc" if pages == 1 else "zyxc")
        expected = np.where(bits[..., None], (200, 100, 50), (10, 20, 30))
        assert np.array_equal(scan.array, np.broadcast_to(expected, scan.array.shape)), name


@pytest.mark.parametrize("planar", ["contig", "separate"])
@pytest.mark.parametrize("photometric", ["minisblack", "miniswhite"])
def test_grey_with_alpha_is_grey_in_one_plane_or_two(tmp_path, planar, photometric):
    array = ramp((2, 4, 5))
    stored = array if planar == "separate" else np.moveaxis(array, 0, -1)
    tifffile.imwrite(tmp_path / "a.tif", stored, photometric=photometric, planarconfig=planar,
                     extrasamples=["unassalpha"], metadata=None)  # fmt: skip
    scan = both(tmp_path / "a.tif")
    assert scan.axes == "yx"
    assert np.array_equal(scan.array, array[0] if photometric == "minisblack" else 255 - array[0])


# --- values that cannot be decoded -----------------------------------------------------------------


def retagged(path, tag, value):
    """The file with the value of a tag of its first page overwritten."""
    with tifffile.TiffFile(path, mode="r+") as tif:
        tif.pages[0].tags[tag].overwrite(value)
    return path


def unknown_compression(path):
    tifffile.imwrite(path, ramp((40, 50)), metadata=None)
    return retagged(path, "Compression", 32809)  # ThunderScan


def old_jpeg(path):
    tifffile.imwrite(path, ramp((40, 50, 3)), photometric="ycbcr", compression="jpeg", metadata=None)
    return garbled(retagged(path, "Compression", 6))


def garbled(path):
    with tifffile.TiffFile(path) as tif:
        page = tif.pages[0]
        start, count = page.dataoffsets[0], page.databytecounts[0]
    content = bytearray(path.read_bytes())
    content[start : start + count] = b"\x55" * count
    path.write_bytes(content)
    return path


def garbled_tiles(path):
    tifffile.imwrite(path, ramp((64, 64)), tile=(16, 16), compression="zlib", metadata=None)
    return garbled(path)


UNREADABLE = {
    "a method that is not known": (unknown_compression, "TIFF compression 32809"),
    "old JPEG": (old_jpeg, "old-style JPEG"),
    "damaged tiles": (garbled_tiles, "values that cannot be decoded"),
}


@pytest.mark.parametrize("name", UNREADABLE)
def test_one_line_from_every_way_to_the_values(tmp_path, name, capfd):
    make, why = UNREADABLE[name]
    path = make(tmp_path / "Mustermann.tif")
    ways = [
        lambda: read_scan(path),
        lambda: np.asarray(read_scan_lazy(path).array),
        lambda: read_scan_lazy(path).content_sha256,
        lambda: convert(path, tmp_path / "b.nrrd"),
    ]
    for way in ways:
        with pytest.raises(BadInput, match=why) as caught:
            way()
        assert "Mustermann.tif" in caught.value.what
    assert capfd.readouterr() == ("", "")
    assert not (tmp_path / "b.nrrd").exists()


def test_tifffile_does_not_name_the_file_on_stderr(tmp_path, caplog, capfd):
    path = tmp_path / "Mustermann.tif"
    tifffile.imwrite(path, ramp((40, 50)), rowsperstrip=8, metadata=None)
    retagged(path, "RowsPerStrip", 40)  # fewer strips than are stored
    with tifffile.TiffFile(path) as tif:
        assert len(tif.pages[0].dataoffsets) == 1
    assert "Mustermann" in caplog.text or caplog.records, "tifffile no longer warns about this file"
    caplog.clear()
    capfd.readouterr()
    for read in (read_scan, read_scan_lazy):
        with contextlib.suppress(BadInput):
            np.asarray(read(path).array)
    assert not caplog.records
    assert capfd.readouterr() == ("", "")
