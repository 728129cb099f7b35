"""Arrays and files for tests of TIFF."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import tifffile


def ramp(shape: tuple[int, ...], dtype: object = np.uint8) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 250).astype(dtype).reshape(shape)


PLANE = ramp((4, 5))

# What is stored, how tifffile is asked to store it, and the axes and the order that we read.
STORED = {
    "grey": ((30, 20), {}, "yx", None),
    "grey, two bytes": ((30, 20), {"dtype": np.uint16}, "yx", None),
    "grey, with a sign": ((30, 20), {"dtype": np.int16}, "yx", None),
    "floats": ((30, 20), {"dtype": np.float32}, "yx", None),
    "half floats": ((30, 20), {"dtype": np.float16}, "yx", None),
    "doubles": ((30, 20), {"dtype": np.float64}, "yx", None),
    "big-endian": ((30, 20), {"dtype": np.uint16, "byteorder": ">"}, "yx", None),
    "one element": ((1, 1), {}, "yx", None),
    "wide": ((2, 5000), {}, "yx", None),
    "colours": ((30, 20, 3), {"photometric": "rgb"}, "yxc", None),
    "colours and alpha": ((30, 20, 4), {"photometric": "rgb", "extrasamples": ["unassalpha"]}, "yxc", None),
    "colours, plane by plane": (
        (3, 30, 20),
        {"photometric": "rgb", "planarconfig": "separate"},
        "yxc",
        (1, 2, 0),
    ),
    "pages": ((5, 30, 20), {"metadata": None}, "zyx", None),
    "three pages": ((3, 30, 20), {"metadata": None, "photometric": "minisblack"}, "zyx", None),
    "pages, compressed": ((5, 30, 20), {"metadata": None, "compression": "zlib"}, "zyx", None),
    "pages of colours": ((5, 30, 20, 3), {"metadata": None, "photometric": "rgb"}, "zyxc", None),
    "pages that tifffile describes": ((5, 30, 20), {}, "zyx", None),
    "tiles": ((70, 50), {"tile": (32, 32)}, "yx", None),
    "strips": ((70, 50), {"rowsperstrip": 16}, "yx", None),
    "BigTIFF": ((30, 20), {"bigtiff": True}, "yx", None),
    "ImageJ stack": ((5, 30, 20), {"imagej": True, "metadata": {"axes": "ZYX"}}, "zyx", None),
    "ImageJ time": ((5, 30, 20), {"imagej": True, "metadata": {"axes": "TYX"}}, "tyx", None),
    "ImageJ channels": ((2, 30, 20), {"imagej": True, "metadata": {"axes": "CYX"}}, "yxc", (1, 2, 0)),
    "ImageJ hyperstack": (
        (2, 3, 4, 30, 20),
        {"imagej": True, "metadata": {"axes": "TZCYX"}},
        "tzyxc",
        (0, 1, 3, 4, 2),
    ),
    "ImageJ colours": ((5, 30, 20, 3), {"imagej": True, "metadata": {"axes": "ZYXS"}}, "zyxc", None),
    "OME stack": ((5, 30, 20), {"ome": True, "metadata": {"axes": "ZYX"}}, "zyx", None),
    "OME, channels first": (
        (2, 3, 30, 20),
        {"ome": True, "metadata": {"axes": "CZYX"}},
        "zyxc",
        (1, 2, 3, 0),
    ),
    "OME, depth before time": (
        (2, 3, 30, 20),
        {"ome": True, "metadata": {"axes": "ZTYX"}},
        "tzyx",
        (1, 0, 2, 3),
    ),
    "OME colours": (
        (30, 20, 3),
        {"ome": True, "photometric": "rgb", "metadata": {"axes": "YXS"}},
        "yxc",
        None,
    ),
    "OME, all of length one but a plane": (
        (1, 1, 1, 30, 20),
        {"ome": True, "metadata": {"axes": "TZCYX"}},
        "yx",
        None,
    ),
}

LARGE_PLANE = ramp((128, 96))
COLOURS = ramp((128, 96, 3))
CHANNELS = ramp((2, 128, 96), np.uint16)


def ome_sub_ifds(path: Path) -> np.ndarray:
    with tifffile.TiffWriter(path, ome=True) as file:
        size = {"axes": "YX", "PhysicalSizeX": 0.5, "PhysicalSizeY": 0.5}
        file.write(LARGE_PLANE, subifds=2, tile=(32, 32), metadata=size)
        for factor in (2, 4):
            file.write(LARGE_PLANE[::factor, ::factor], subfiletype=1, tile=(32, 32))
    return LARGE_PLANE


def ome_channels(path: Path) -> np.ndarray:
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(CHANNELS, subifds=1, tile=(32, 32), metadata={"axes": "CYX"})
        file.write(CHANNELS[:, ::2, ::2], subfiletype=1, tile=(32, 32))
    return np.moveaxis(CHANNELS, 0, -1)


def overviews_as_pages(path: Path) -> np.ndarray:
    """As GDAL writes them."""
    with tifffile.TiffWriter(path) as file:
        file.write(COLOURS, photometric="rgb", tile=(32, 32), metadata=None)
        for factor in (2, 4):
            small = COLOURS[::factor, ::factor]
            file.write(small, photometric="rgb", subfiletype=1, tile=(16, 16), metadata=None)
    return COLOURS


def planes_with_overviews(path: Path) -> np.ndarray:
    separate = np.moveaxis(COLOURS, -1, 0)
    with tifffile.TiffWriter(path) as file:
        for factor, kind in ((1, 0), (2, 1)):
            file.write(separate[:, ::factor, ::factor], photometric="rgb", planarconfig="separate",
                       subfiletype=kind, rowsperstrip=8, metadata=None)  # fmt: skip
    return COLOURS


def slide_scanner(path: Path) -> np.ndarray:
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
