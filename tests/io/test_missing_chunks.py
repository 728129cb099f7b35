"""OME-Zarr: chunks that are not stored are noted, and lost ones refused where the pyramid shows the loss."""

from __future__ import annotations

import shutil
import zipfile

import numpy as np
import pytest
import zarr
from skimage.filters import gaussian
from skimage.transform import downscale_local_mean
from tests.helpers.ngff import image

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.errors import BadInput
from napari_latentseg.io import ome_zarr, read_scan

SCALE = [{"type": "scale", "scale": [1.0, 1.0, 1.0]}]
VOLUME = np.arange(1, 4 * 20 * 30 + 1, dtype=np.uint16).reshape(4, 20, 30)


def stored(path, volume=VOLUME, zarr_format=3, levels=1, chunks=(1, 16, 16), **options):
    """An image as zarr-python writes it by default: without the chunks that hold nothing but zeros."""
    group = zarr.open_group(path, mode="w", zarr_format=zarr_format)
    names = [str(level) for level in range(levels)]
    for name in names:
        step = 2 ** int(name)
        data = volume[:, ::step, ::step]
        group.create_array(name, data=np.ascontiguousarray(data), chunks=chunks, **options)
    metadata = image() | {"datasets": [{"path": n, "coordinateTransformations": SCALE} for n in names]}
    group.attrs["ome" if zarr_format == 3 else "multiscales"] = (
        {"multiscales": [metadata]} if zarr_format == 3 else [metadata]
    )
    return path


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_a_whole_image_has_no_note(tmp_path, zarr_format):
    assert read_scan(stored(tmp_path / "a.zarr", zarr_format=zarr_format, levels=2)).notes == ()


@pytest.mark.parametrize("zarr_format", [2, 3])
def test_chunks_that_are_not_stored_are_counted(tmp_path, zarr_format):
    volume = VOLUME.copy()
    volume[1] = 0  # 2 x 2 chunks
    volume[2, 16:, 16:] = 0  # one chunk of 4 x 14 values
    scan = read_scan(stored(tmp_path / "a.zarr", volume, zarr_format))
    assert np.array_equal(np.asarray(scan.array), volume)
    assert scan.notes == (
        "5 of 16 chunks are not stored (656 values), and are read as 0: they are empty, or were lost",
    )


def test_the_same_in_a_zip(tmp_path):
    volume = VOLUME.copy()
    volume[1] = 0
    folder = stored(tmp_path / "a.zarr", volume)
    with zipfile.ZipFile(tmp_path / "b.zarr.zip", "w") as archive:
        for path in folder.rglob("*"):
            archive.write(path, path.relative_to(folder))
    assert "4 of 16 chunks" in read_scan(tmp_path / "b.zarr.zip").notes[0]


def test_shards_are_counted_where_chunks_lie_in_them(tmp_path):
    volume = VOLUME.copy()
    volume[:2] = 0
    path = stored(tmp_path / "a.zarr", volume, chunks=(1, 10, 15), shards=(2, 20, 30))
    assert "1 of 2 chunks are not stored (1200 values)" in read_scan(path).notes[0]


LARGE = np.arange(1, 3 * 64 * 96 + 1, dtype=np.float32).reshape(3, 64, 96)


def test_a_lost_chunk_is_refused_where_a_coarser_level_has_values(tmp_path):
    path = stored(tmp_path / "a.zarr", LARGE, levels=2, chunks=(1, 32, 32))
    shutil.rmtree(path / "0" / "c" / "2" / "1")
    with pytest.raises(BadInput, match="has lost at least 3 of its 18 chunks"):
        read_scan(path)


@pytest.mark.parametrize("fill_value", [0, 7, np.nan])
def test_an_empty_chunk_of_a_pyramid_is_not_lost(tmp_path, fill_value):
    volume = LARGE.copy()
    volume[1] = fill_value
    volume[2, :32, :32] = fill_value
    path = stored(tmp_path / "a.zarr", volume, levels=2, chunks=(1, 32, 32), fill_value=fill_value)
    scan = read_scan(path)
    assert np.array_equal(np.asarray(scan.array), volume, equal_nan=True)
    assert "7 of 18 chunks" in scan.notes[0]


def test_what_smoothing_draws_into_an_empty_chunk_is_no_loss(tmp_path):
    volume = LARGE.copy()
    volume[:, :32, :32] = 0
    path = stored(tmp_path / "a.zarr", volume, levels=1, chunks=(1, 32, 32))
    small = np.stack([downscale_local_mean(gaussian(plane, 2 / 3), (2, 2)) for plane in volume])
    assert (small[:, :16, :16] > 0).any()
    group = zarr.open_group(path)
    group.create_array("1", data=small.astype(np.float32), chunks=(1, 32, 32))
    group.attrs["ome"] = {"multiscales": [image() | {"datasets": [
        {"path": name, "coordinateTransformations": SCALE} for name in ("0", "1")
    ]}]}  # fmt: skip
    assert "3 of 18 chunks" in read_scan(path).notes[0]


def test_we_store_empty_chunks_too(tmp_path):
    geometry = Geometry.from_spacing("zyx")
    ome_zarr.write(tmp_path / "a.ome.zarr", np.zeros((2, 30, 20), np.uint8), "zyx", geometry, {})
    assert read_scan(tmp_path / "a.ome.zarr").notes == ()


def test_a_damaged_chunk_is_one_line_that_names_the_file(tmp_path):
    path = stored(tmp_path / "a.zarr")
    chunk = path / "0" / "c" / "2" / "0" / "0"
    chunk.write_bytes(b"damaged" + chunk.read_bytes()[7:])
    scan = read_scan(path)
    with pytest.raises(BadInput, match=r"a\.zarr: has a chunk that is damaged"):
        np.asarray(scan.array)
    assert np.array_equal(np.asarray(scan.array[3]), VOLUME[3])
