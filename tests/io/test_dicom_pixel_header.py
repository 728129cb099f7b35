"""The header of a file with many frames is read once, whatever the frames are compressed with."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pydicom
import pytest
from pydicom.encaps import encapsulate, generate_frames
from pydicom.pixels.utils import as_pixel_options
from pydicom.uid import ExplicitVRLittleEndian, RLELossless

from napari_latentseg.io import read_scan, read_scan_lazy
from napari_latentseg.io.dicom import pixel_header
from napari_latentseg.io.dicom.lookup_tables import apply_palette

FRAMES = 12


@pytest.fixture
def header_reads(monkeypatch: pytest.MonkeyPatch) -> list[bool]:
    """One entry for each header that is parsed; the cache is empty at first."""
    pixel_header._read.cache_clear()
    reads: list[bool] = []
    parse = as_pixel_options

    def counting(*args: Any, **options: Any) -> dict[str, Any]:
        reads.append(True)
        return parse(*args, **options)

    # pydicom calls it, too, where it parses the header for a frame
    monkeypatch.setattr("pydicom.pixels.utils.as_pixel_options", counting)
    return reads


def volume() -> np.ndarray:
    return np.arange(FRAMES * 16 * 8, dtype=np.uint16).reshape(FRAMES, 16, 8)


def saved(made: SimpleNamespace, path: Path, syntax: str, has_table: bool, array: np.ndarray) -> Path:
    ds = made.frames(array, [[0, 0, z] for z in range(len(array))])
    if syntax == RLELossless:
        ds.compress(RLELossless)
        frames = list(generate_frames(ds.PixelData, number_of_frames=len(array)))
        ds.PixelData = encapsulate(frames, has_bot=has_table)
    return Path(made.save(ds, path))


@pytest.mark.parametrize(
    ("syntax", "has_table"), [(ExplicitVRLittleEndian, False), (RLELossless, True), (RLELossless, False)]
)
def test_frames_are_read_from_one_header(
    made: SimpleNamespace, tmp_path: Path, header_reads: list[bool], syntax: str, has_table: bool
) -> None:
    lazy = read_scan_lazy(saved(made, tmp_path / "a.dcm", syntax, has_table, volume())).array
    assert np.array_equal(np.asarray(lazy[7]), volume()[7])
    header_reads.clear()
    for frame in (0, 11, 3):
        assert np.array_equal(np.asarray(lazy[frame]), volume()[frame])
    assert not header_reads


def test_threads_that_read_frames_at_once_read_the_right_ones(made: SimpleNamespace, tmp_path: Path) -> None:
    pixel_header._read.cache_clear()
    lazy = read_scan_lazy(saved(made, tmp_path / "a.dcm", RLELossless, False, volume())).array
    with ThreadPoolExecutor(4) as pool:
        planes = list(pool.map(lambda frame: np.asarray(lazy[frame]), range(FRAMES)))
    assert np.array_equal(np.stack(planes), volume())


def test_a_file_that_was_replaced_is_read_anew(made: SimpleNamespace, tmp_path: Path) -> None:
    path = tmp_path / "a.dcm"
    first = read_scan_lazy(saved(made, path, RLELossless, False, volume()))
    np.asarray(first.array[0])
    noise = np.random.default_rng(0).integers(0, 60000, volume().shape).astype(np.uint16)
    saved(made, path, RLELossless, False, noise)
    status = path.stat()
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns + 1_000_000))
    assert np.array_equal(np.asarray(read_scan(path).array), noise)


def test_a_palette_of_a_big_endian_file_is_the_same_for_every_frame(made: SimpleNamespace) -> None:
    """All frames share one header, whose bytes must not be swapped again for each."""
    header = pydicom.Dataset()
    header.PhotometricInterpretation = "PALETTE COLOR"
    header.set_original_encoding(False, False)
    for number, colour in enumerate(("Red", "Green", "Blue")):
        setattr(header, f"{colour}PaletteColorLookupTableDescriptor", [4, 0, 16])
        table = ((np.arange(4) + 4 * number) << 8).astype(">u2").tobytes()
        setattr(header, f"{colour}PaletteColorLookupTableData", table)
    indices = np.array([[0, 3]], np.uint8)
    for _ in range(2):
        colours = apply_palette(indices, header, is_big_endian=True)
        assert colours.tolist() == [[[0, 4, 8], [3, 7, 11]]]
