"""TIFF with several resolutions: all writings of a pyramid give the finest level, lazily and at once."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from tests.helpers.tiff import ramp

from napari_latentseg.io import read_scan, read_scan_lazy
from napari_latentseg.io.convert import convert

PLANE = ramp((128, 96))
COLOURS = ramp((128, 96, 3))
CHANNELS = ramp((2, 128, 96), np.uint16)


def ome_sub_ifds(path):
    with tifffile.TiffWriter(path, ome=True) as file:
        size = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(PLANE, subifds=2, tile=(32, 32), metadata=size)
        for factor in (2, 4):
            file.write(PLANE[::factor, ::factor], subfiletype=1, tile=(32, 32))
    return PLANE


def ome_channels(path):
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(CHANNELS, subifds=1, tile=(32, 32), metadata={"axes": "CYX"})
        file.write(CHANNELS[:, ::2, ::2], subfiletype=1, tile=(32, 32))
    return np.moveaxis(CHANNELS, 0, -1)


def overviews_as_pages(path):
    """As GDAL writes them."""
    with tifffile.TiffWriter(path) as file:
        file.write(COLOURS, photometric="rgb", tile=(32, 32), metadata=None)
        for factor in (2, 4):
            small = COLOURS[::factor, ::factor]
            file.write(small, photometric="rgb", subfiletype=1, tile=(16, 16), metadata=None)
    return COLOURS


def planes_with_overviews(path):
    separate = np.moveaxis(COLOURS, -1, 0)
    with tifffile.TiffWriter(path) as file:
        for factor, kind in ((1, 0), (2, 1)):
            file.write(separate[:, ::factor, ::factor], photometric="rgb", planarconfig="separate",
                       subfiletype=kind, rowsperstrip=8, metadata=None)  # fmt: skip
    return COLOURS


def slide_scanner(path):
    """As Aperio writes them: the finest level, a thumbnail in strips, then the coarser levels."""
    text = "Aperio Image Library v11.2.1\r\n128x96 [0,0 128x96] (32x32) |AppMag = 20|MPP = 0.5"
    with tifffile.TiffWriter(path) as file:
        options = {"photometric": "rgb", "metadata": None, "description": text}
        file.write(COLOURS, tile=(32, 32), **options)
        file.write(COLOURS[::8, ::8], rowsperstrip=16, **options)
        file.write(COLOURS[::2, ::2], tile=(32, 32), **options)
    return COLOURS


PYRAMIDS = {
    "a.ome.tif": (ome_sub_ifds, 2),
    "channels.ome.tif": (ome_channels, 1),
    "pages.tif": (overviews_as_pages, 2),
    "planes.tif": (planes_with_overviews, 1),
    "slide.tif": (slide_scanner, 1),
}


@pytest.mark.parametrize("name", PYRAMIDS)
def test_the_finest_level_is_the_scan(tmp_path, name):
    write, coarser = PYRAMIDS[name]
    expected = write(tmp_path / name)
    eager, lazy = read_scan(tmp_path / name), read_scan_lazy(tmp_path / name)
    for scan in (eager, lazy):
        assert np.array_equal(np.asarray(scan.array), expected)
    assert eager.geometry == lazy.geometry
    assert (len(eager.levels), len(lazy.levels)) == (0, coarser)
    for number, level in enumerate(lazy.levels):
        step = 2 ** (number + 1)
        assert np.array_equal(np.asarray(level), expected[::step, ::step])


@pytest.mark.parametrize("name", PYRAMIDS)
def test_a_pyramid_is_converted(tmp_path, name):
    expected = PYRAMIDS[name][0](tmp_path / name)
    convert(tmp_path / name, tmp_path / "b.nrrd")
    assert np.array_equal(np.asarray(read_scan(tmp_path / "b.nrrd").array), expected)
