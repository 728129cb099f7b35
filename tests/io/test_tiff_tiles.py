"""TIFF in tiles: read tile by tile, but in whole pages where the tiles are very small."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import tifffile

from napari_latentseg.io import read_scan_lazy


@pytest.mark.parametrize(("tile", "chunk"), [(16, (128, 192)), (64, (64, 64))])
def test_small_tiles_are_read_as_one_page(tmp_path: Path, tile: int, chunk: tuple[int, int]) -> None:
    pixels = np.arange(128 * 192, dtype=np.uint16).reshape(128, 192)
    tifffile.imwrite(tmp_path / "a.tif", pixels, tile=(tile, tile), compression="zlib")
    lazy = read_scan_lazy(tmp_path / "a.tif").array
    assert lazy.chunksize == chunk
    assert np.array_equal(np.asarray(lazy[100:, :20]), pixels[100:, :20])


def test_small_tiles_of_each_slice_are_a_page(tmp_path: Path) -> None:
    volume = np.arange(3 * 32 * 48, dtype=np.uint8).reshape(3, 32, 48)
    tifffile.imwrite(tmp_path / "a.tif", volume, tile=(16, 16), photometric="minisblack")
    lazy = read_scan_lazy(tmp_path / "a.tif").array
    assert lazy.chunksize == (1, 32, 48)
    assert np.array_equal(np.asarray(lazy), volume)
