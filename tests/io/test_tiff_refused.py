"""TIFF: broken files and kinds of image that are refused."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from tests.helpers.tiff import PLANE, ramp

from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.io import tiff

NAME = "Doe^Jane"
KINDS = {
    "plain": {},
    "bare pages": {"metadata": None, "compression": "zlib"},
    "bare pages, not compressed": {"metadata": None},
    "compressed": {"compression": "zlib"},
    "tiles": {"tile": (16, 16)},
    "ImageJ": {
        "imagej": True,
        "resolution": (2, 2),
        "metadata": {"axes": "ZYX", "unit": "um", "spacing": 2.0},
    },
    "OME": {"ome": True, "metadata": {"axes": "ZYX", "PhysicalSizeX": 2.0, "PhysicalSizeY": 3.0}},
    "OME, compressed": {
        "ome": True,
        "compression": "zlib",
        "metadata": {"axes": "ZYX", "PhysicalSizeX": 2.0},
    },
}


def same(one: Scan, other: Scan) -> bool:
    return (
        one.axes == other.axes and one.geometry == other.geometry and np.array_equal(one.array, other.array)
    )


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS.keys())
def test_a_file_cut_short_is_refused_or_whole(tmp_path, options):
    """tifffile alone gives fewer pages, zeros, or an image without its size."""
    tifffile.imwrite(tmp_path / "a.tif", ramp((5, 24, 40)) + 1, **options)
    whole = (tmp_path / "a.tif").read_bytes()
    scan = tiff.read(tmp_path / "a.tif")
    cut = tmp_path / "b.tif"
    refused = 0
    lengths = [*range(1, len(whole), len(whole) // 40), *range(len(whole) - 20, len(whole))]
    for n in lengths:
        cut.write_bytes(whole[:n])
        try:
            found = tiff.read(cut)
        except BadInput:
            refused += 1
        else:
            assert same(found, scan), n
    assert refused > 0.6 * len(lengths)


@pytest.mark.parametrize("options", [{}, {"compression": "zlib"}, {"tile": (16, 16)}])
def test_data_that_is_not_there_is_seen_before_a_decoder_fills_it_up(tmp_path, options):
    """As decoders of JPEG do."""
    tifffile.imwrite(tmp_path / "a.tif", ramp((32, 48)), metadata=None, **options)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        tiff._check_complete(tmp_path / "a.tif", file, file.series[0])
    whole = (tmp_path / "a.tif").read_bytes()
    (tmp_path / "a.tif").write_bytes(whole[:-1])
    with tifffile.TiffFile(tmp_path / "a.tif") as file, pytest.raises(BadInput, match="cut short"):
        tiff._check_complete(tmp_path / "a.tif", file, file.series[0])


@pytest.mark.parametrize("read", [tiff.read, tiff.read_lazy])
def test_strips_that_are_not_listed_are_not_read_as_zeros(tmp_path, read):
    tifffile.imwrite(tmp_path / "a.tif", ramp((32, 48)), metadata=None, compression="zlib", rowsperstrip=8)
    with tifffile.TiffFile(tmp_path / "a.tif") as file:
        offsets = file.pages[0].tags["StripOffsets"]
    raw = (tmp_path / "a.tif").read_bytes()
    for count in (1, 0):  # the tag lists fewer strips than the image has
        changed = with_bytes(raw, offsets.offset + 4, np.array([count], "<u4").tobytes())
        (tmp_path / "a.tif").write_bytes(changed)
        with pytest.raises(BadInput, match="cut short"):
            read(tmp_path / "a.tif")


def with_bytes(raw: bytes, start: int, value: bytes) -> bytes:
    return raw[:start] + value + raw[start + len(value) :]


BROKEN = {
    "text": lambda raw: NAME.encode() * 60,
    "empty": lambda raw: b"",
    "one byte": lambda raw: raw[:1],
    "mark only": lambda raw: raw[:8],
    "first page nowhere": lambda raw: with_bytes(raw, 4, b"\xff\xff\xff\x00"),
    "first page in the data": lambda raw: with_bytes(raw, 4, np.array([len(raw) - 300], "<u4").tobytes()),
    "compressed data damaged": lambda raw: with_bytes(raw, len(raw) - 60, bytes(40)),
}


@pytest.mark.parametrize("breaking", BROKEN.values(), ids=BROKEN.keys())
def test_a_broken_file_is_refused_in_one_line(tmp_path, breaking):
    noise = np.random.default_rng(0).integers(0, 255, (40, 30), np.uint8)
    tifffile.imwrite(tmp_path / "a.tif", noise, compression="zlib", description=NAME, metadata=None)
    (tmp_path / "b.tif").write_bytes(breaking((tmp_path / "a.tif").read_bytes()))
    with pytest.raises(BadInput) as caught:
        tiff.read(tmp_path / "b.tif")
    assert caught.value.what == str(tmp_path / "b.tif")
    assert caught.value.remedy
    assert "Doe" not in str(caught.value)


def test_missing(tmp_path):
    with pytest.raises(BadInput, match="no such file"):
        tiff.read(tmp_path / "a.tif")


def test_ome_pages_that_are_not_there(tmp_path):
    tifffile.imwrite(tmp_path / "a.ome.tif", ramp((5, 30, 20)), ome=True, metadata={"axes": "ZYX"})
    raw = (tmp_path / "a.ome.tif").read_bytes()
    assert raw.count(b'SizeZ="5"') == 1
    (tmp_path / "a.ome.tif").write_bytes(raw.replace(b'SizeZ="5"', b'SizeZ="9"'))
    with pytest.raises(BadInput, match="lacks some of its pages"):
        tiff.read(tmp_path / "a.ome.tif")


COLOURS = {
    "for print": ({"photometric": "separated"}, (30, 20, 4), np.uint8),
    "Lab": ({"photometric": "cielab"}, (30, 20, 3), np.uint8),
}


@pytest.mark.parametrize(("options", "shape", "dtype"), COLOURS.values(), ids=COLOURS.keys())
def test_other_colours_are_refused(tmp_path, options, shape, dtype):
    tifffile.imwrite(tmp_path / "a.tif", ramp(shape, dtype), **options)
    with pytest.raises(BadInput, match="colours"):
        tiff.read(tmp_path / "a.tif")


def test_an_unknown_axis_is_refused(tmp_path):
    tifffile.imwrite(
        tmp_path / "a.tif", ramp((2, 5, 30, 20)), photometric="minisblack", metadata={"axes": "PZYX"}
    )
    with pytest.raises(BadInput, match="P is not known"):
        tiff.read(tmp_path / "a.tif")


def test_complex_values_are_refused(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", ramp((30, 20), np.complex64))
    with pytest.raises(BadInput, match="complex64"):
        tiff.read(tmp_path / "a.tif")


def test_a_compression_that_needs_another_package_names_it(tmp_path, monkeypatch):
    def refuse(self):
        raise ValueError("<COMPRESSION.LZW: 5> requires the 'imagecodecs' package")

    tifffile.imwrite(tmp_path / "a.tif", PLANE)
    monkeypatch.setattr(tifffile.TiffPageSeries, "asarray", refuse)
    with pytest.raises(BadInput, match="install imagecodecs"):
        tiff.read(tmp_path / "a.tif")


def test_nothing_of_the_patient_is_kept(tmp_path):
    tifffile.imwrite(tmp_path / "a.tif", PLANE, description=NAME, metadata=None)
    scan = tiff.read(tmp_path / "a.tif")
    assert NAME not in str(scan.properties)
    tiff.write(tmp_path / "b.tif", PLANE, "yx", scan.geometry, scan.properties)
    assert NAME.encode() not in (tmp_path / "b.tif").read_bytes()
