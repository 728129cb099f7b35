"""Planes and sums that are larger than the limit of memory: the same result, from disk."""

from __future__ import annotations

import tempfile
from itertools import islice
from pathlib import Path

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.slices import Planes
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.resize import resize
from napari_latentseg.errors import BadInput
from napari_latentseg.inference import banded_resize
from napari_latentseg.inference.out_of_core import IndexTransform, LazyView, StripBlender
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tiles import TileBlender, Tiling
from napari_latentseg.inference.tta import tta_transforms
from napari_latentseg.io import read_scan
from napari_latentseg.io.write_results import write_segmentation
from napari_latentseg.measure import class_sizes
from napari_latentseg.utils import scratch_arrays

ALL = AugmentationConfig(
    horizontal_flip=0.5, vertical_flip=0.5, jitter=1, brightness=0.2, contrast=0.2, affine=1, shift=0.1
)
TURNS = AugmentationConfig(quarter_turn=0.5, jitter=1, contrast=0.2, affine=1, shift=0.1)


@pytest.mark.parametrize("ranges", [ALL, TURNS], ids=["flips", "turns"])
@pytest.mark.parametrize("shape", [(37, 52), (64, 33)])
def test_a_view_in_parts_is_the_view(ranges, shape):
    plane = np.random.default_rng(0).random((3, *shape), np.float32)
    for variation in islice(tta_transforms(ranges, 3, latent_step=8, tile_size=64), 12):
        whole = variation.apply(plane)
        parts = LazyView(lambda r, c: plane[:, r, c], shape, variation, float(plane.mean()))
        assert parts.shape == whole.shape
        assert np.allclose(parts[:, 5:17, 9:31], whole[:, 5:17, 9:31], atol=1e-5)
        back = IndexTransform.inverse(variation, *whole.shape[1:])
        assert np.array_equal(back.gather(lambda r, c, x=whole: x[:, r, c]), variation.invert(whole))


@pytest.mark.parametrize("tiling", [Tiling(50, 70, 16, 4), Tiling(16, 40, 16, 0), Tiling(9, 40, 16, 6)])
def test_a_canvas_in_strips_is_the_canvas(tiling):
    store = np.zeros((2, tiling.height, tiling.width), np.float32)
    whole, strips = TileBlender(tiling, 2), StripBlender(tiling, 2, store)
    for corners in tiling.batches(3):
        tiles = np.random.default_rng(0).random((len(corners), 2, 16, 16), np.float32)
        whole.add_tiles(tiles, corners)
        strips.add_tiles(tiles, corners)
    strips.flush()
    assert np.allclose(store, whole.blend(), atol=1e-5)
    if tiling.height > tiling.size:
        with pytest.raises(ValueError, match="finished"):
            strips.add_tiles(np.ones((1, 2, 16, 16), np.float32), [(0, 0)])


@settings(max_examples=200, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    size=st.tuples(st.integers(1, 60), st.integers(1, 60)),
    numbers=st.integers(1, 4000),
)
def test_resizing_in_bands_is_resizing(shape, size, numbers):
    plane = np.random.default_rng(1).random((3, *shape), np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(banded_resize, "_MAX_BAND_VALUES", numbers)
        found = list(banded_resize.resize_in_bands(lambda rows: plane[:, rows], shape, size, 3))
    assert np.allclose(np.concatenate([b for _, b in found], 1), resize(plane, size), atol=1e-6)
    assert [i for rows, _ in found for i in range(rows.start, rows.stop)] == list(range(size[0]))


def test_a_tall_plane_is_resized_in_little_room(monkeypatch):
    monkeypatch.setattr(banded_resize, "_MAX_BAND_VALUES", 10_000)
    plane = np.random.default_rng(1).random((1, 30_000, 2), np.float32)
    asked: list[int] = []

    def rows(band: slice) -> np.ndarray:
        asked.append(band.stop - band.start)
        return plane[:, band]

    found = list(banded_resize.resize_in_bands(rows, (30_000, 2), (20_000, 3), 1))
    assert np.allclose(np.concatenate([b for _, b in found], 1), resize(plane, (20_000, 3)), atol=1e-6)
    assert max(2 * rows for rows in asked) < 11_000
    assert max(band.size for _, band in found) < 11_000


def picture(*shape: int) -> Scan:
    values = np.random.default_rng(0).integers(0, 255, (*shape, 3), np.uint8)
    return Scan(
        da.from_array(values, chunks=(32, 32, 3)), "yxc", Geometry.from_spacing("yx", (0.5, 0.5), "um")
    )


@pytest.fixture
def small_bands(monkeypatch):
    monkeypatch.setattr(banded_resize, "_MAX_BAND_VALUES", 3000)


@pytest.mark.parametrize("shape", [(160, 120), (90, 70), (300, 200)], ids=["own scale", "larger", "smaller"])
def test_a_run_from_disk_is_the_run(tiny_tiles_model, small_bands, tmp_path: Path, shape):
    predictor = Predictor(tiny_tiles_model, precision="float32")
    scan = picture(*shape)
    usual = predictor.segment(scan, InferenceSettings.for_model(tiny_tiles_model.card, samples=3))
    found = predictor.segment(
        scan, InferenceSettings.for_model(tiny_tiles_model.card, samples=3, memory_limit=0)
    )
    assert isinstance(found.mean, da.Array)
    assert np.allclose(np.asarray(found.mean), usual.mean, atol=1e-5)
    assert np.allclose(np.asarray(found.variance), usual.variance, atol=1e-5)
    assert (np.asarray(found.mask) != usual.mask).mean() < 1e-3
    assert found.record.input.sha256 == usual.record.input.sha256
    assert class_sizes(found)[0].value == pytest.approx(class_sizes(usual)[0].value, rel=1e-2)
    written = write_segmentation(found, tmp_path, "a", format="ome-zarr")
    assert np.array_equal(np.asarray(read_scan(written[0]).array), np.asarray(found.mask))


def test_a_stack_stopped_half_way_from_disk(tiny_model):
    values = np.random.default_rng(0).integers(0, 255, (3, 40, 50), np.uint8)
    scan = Scan(values, "zyx", Geometry.from_spacing("zyx", (3, 1, 1), "mm"))
    run = Predictor(tiny_model).start(
        scan, InferenceSettings.for_model(tiny_model.card, samples=3, memory_limit=0)
    )
    for step in run:
        if step.plane == 1 and step.is_sample_complete:
            break
    found = run.result()
    mean = np.asarray(found.mean)
    assert mean[0, 0].any()
    assert not mean[0, 1:].any()
    assert np.array_equal(run.preview(0), np.asarray(found.mask)[0])


def test_no_more_than_a_tile_is_read_at_once(tiny_tiles_model, small_bands, monkeypatch):
    read: list[int] = []
    part = Planes.read_channels

    def noted(self, number, rows, columns):
        found = part(self, number, rows, columns)
        read.append(found[0].size)
        return found

    monkeypatch.setattr(Planes, "read_channels", noted)
    request = InferenceSettings.for_model(tiny_tiles_model.card, samples=1, source="none", memory_limit=0)
    Predictor(tiny_tiles_model).segment(picture(160, 120), request)
    tile = tiny_tiles_model.card.preprocess.size
    assert 0 < max(read) <= tile * tile


@pytest.mark.parametrize(
    ("text", "size"),
    [("", scratch_arrays.DEFAULT_MEMORY_LIMIT), ("1000", 1000), ("1.5 gb", 3 * 2**29), ("8MB", 8 * 2**20)],
)
def test_the_limit(monkeypatch, text, size):
    monkeypatch.setenv(scratch_arrays.MEMORY_ENV_VAR, text)
    assert scratch_arrays.memory_limit() == size
    assert scratch_arrays.memory_limit(5) == 5


def test_a_limit_that_is_none(monkeypatch):
    monkeypatch.setenv(scratch_arrays.MEMORY_ENV_VAR, "plenty")
    with pytest.raises(BadInput, match="not a size"):
        scratch_arrays.memory_limit()


def test_what_lies_on_disk_goes_with_its_array(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    made = scratch_arrays.allocate((2, 30, 40), 0)
    made[0, 3:5] = 1
    assert float(made[0].sum()) == 80
    assert any(tmp_path.iterdir())
    del made
    import gc

    gc.collect()
    assert not any(tmp_path.iterdir())
