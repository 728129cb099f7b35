"""Photographs of every kind that Pillow writes, and some that it does not."""

from __future__ import annotations

import struct
import zlib

import numpy as np
from PIL import Image


def ramp(shape: tuple[int, ...], dtype: object = np.uint8) -> np.ndarray:
    return (np.arange(np.prod(shape)) % 250).astype(dtype).reshape(shape)


GREY = ramp((30, 20))
COLOURS = np.random.default_rng(0).integers(0, 255, (30, 20, 3), np.uint8)
ALPHA = np.dstack([COLOURS, GREY])


def png(bits: int, colour: int, rows: bytes, width: int, height: int) -> bytes:
    """A PNG made by hand, for the kinds that Pillow does not write."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, bits, colour, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", zlib.compress(rows)) + chunk(b"IEND", b"")


def palette(with_alpha: bool) -> Image.Image:
    image = Image.fromarray(GREY % 4).convert("P")
    image.putpalette([10, 20, 30, 40, 50, 60, 70, 80, 90, 100, 110, 120])
    if with_alpha:
        image.info["transparency"] = 2
    return image


TABLE = np.arange(10, 121, 10, dtype=np.uint8).reshape(4, 3)[GREY % 4]

# An image as Pillow has it, the endings it is saved under, and what we read.
KINDS = {
    "grey": (Image.fromarray(GREY), (".png", ".bmp"), "yx", GREY),
    "colours": (Image.fromarray(COLOURS), (".png", ".bmp"), "yxc", COLOURS),
    "colours and alpha": (Image.fromarray(ALPHA), (".png",), "yxc", ALPHA),
    "16 bits": (
        Image.fromarray(ramp((30, 20), np.uint16) * 200),
        (".png",),
        "yx",
        ramp((30, 20), np.uint16) * 200,
    ),
    "one bit": (
        Image.fromarray(GREY % 3 == 0),
        (".png", ".bmp"),
        "yx",
        (GREY % 3 == 0).astype(np.uint8) * 255,
    ),
    "grey and alpha": (Image.fromarray(np.dstack([GREY, GREY])), (".png",), "yxc", np.dstack([GREY] * 4)),
    "palette": (palette(False), (".png", ".bmp"), "yxc", TABLE),
    "palette and alpha": (
        palette(True),
        (".png",),
        "yxc",
        np.dstack([TABLE, np.where(GREY % 4 == 2, 0, 255)]),
    ),
    "one element": (Image.fromarray(GREY[:1, :1]), (".png", ".bmp"), "yx", GREY[:1, :1]),
    "wide": (Image.fromarray(ramp((8, 20_000))), (".png",), "yx", ramp((8, 20_000))),
}
