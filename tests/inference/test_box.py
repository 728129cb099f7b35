"""A part of each plane, and what is left out around it."""

from __future__ import annotations

from dataclasses import replace

import dask.array as da
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.predicted import TURNED, picture, predicted, same, scan_of, started

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.reorient import reorient, restore_orientation
from napari_latentseg.core.scan import Scan
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.io import read_scan
from napari_latentseg.io.write_results import write_segmentation
from napari_latentseg.measure import class_sizes
from napari_latentseg.models.folder import Model

BOX = (10, 20, 58, 90)
ROWS, COLUMNS = slice(10, 58), slice(20, 90)


def at_scale(model: Model, long_side: int) -> Model:
    """A model in tiles that works at this scale."""
    preprocess = model.card.preprocess.model_copy(update={"long_side": long_side})
    return replace(model, card=model.card.model_copy(update={"preprocess": preprocess}))


@settings(max_examples=12)
@given(top=st.integers(0, 60), left=st.integers(0, 90), height=st.integers(16, 60), width=st.integers(16, 70))
def test_at_its_own_scale_a_box_is_the_crop(tiny_tiles_model: Model, top, left, height, width):
    array = picture(120, 160)
    box = (top, left, top + height, left + width)
    rows, columns = slice(top, top + height), slice(left, left + width)
    found = predicted(at_scale(tiny_tiles_model, 160), scan_of(array), samples=2, box=box, seed=4)
    crop = predicted(
        at_scale(tiny_tiles_model, max(height, width)), scan_of(array[rows, columns]), samples=2, seed=4
    )
    assert np.array_equal(found.mean[:, rows, columns], crop.mean)
    assert np.array_equal(found.mask[rows, columns], crop.mask)
    assert np.array_equal(found.volumes, crop.volumes)
    outside = found.mean.copy()
    outside[:, rows, columns] = 0
    assert not outside.any()
    assert found.mask.shape == (120, 160)
    assert found.record.working_size == (height, width)


def test_in_tiles_the_scale_is_that_of_the_whole_plane(tiny_tiles_model: Model) -> None:
    found = predicted(tiny_tiles_model, scan_of(picture(240, 320)), samples=1, box=(0, 0, 100, 200))
    assert found.record.working_size == (50, 100)
    # and what is far from the edge of the box is what it is in the whole
    whole = predicted(tiny_tiles_model, scan_of(picture(240, 320)), samples=1)
    assert np.abs(found.mean[0, :30, :30] - whole.mean[0, :30, :30]).mean() < 0.05


def test_a_model_that_sees_the_whole_looks_closer(tiny_model: Model) -> None:
    array = picture(100, 120)
    found = predicted(tiny_model, scan_of(array), samples=3, box=BOX)
    crop = predicted(tiny_model, scan_of(array[ROWS, COLUMNS]), samples=3)
    assert np.array_equal(found.mean[:, ROWS, COLUMNS], crop.mean)
    assert np.array_equal(found.variance[:, ROWS, COLUMNS], crop.variance)
    assert found.record.working_size == (64, 64)


def test_the_range_of_values_is_that_of_the_whole_scan(tiny_model: Model) -> None:
    array = picture(100, 120).astype(np.int16)
    array[:10] = 2000
    found = predicted(tiny_model, scan_of(array), samples=1, box=BOX)
    crop = predicted(tiny_model, scan_of(array[ROWS, COLUMNS]), samples=1)
    assert not np.array_equal(found.mean[:, ROWS, COLUMNS], crop.mean)


def test_the_record_tells_the_box(tiny_model: Model) -> None:
    array = picture(100, 120)
    found = predicted(tiny_model, scan_of(array), samples=1, box=BOX)
    assert found.record.box == BOX
    assert found.roi == (ROWS, COLUMNS)
    assert found.predicted_voxel_count == 48 * 70
    assert RunRecord.model_validate_json(found.record.model_dump_json()) == found.record
    other = array.copy()
    other[0, 0] ^= 1  # beside the box
    assert predicted(tiny_model, scan_of(other), samples=1, box=BOX).record.input.sha256 == (
        found.record.input.sha256
    )
    other[30, 30] ^= 1
    assert predicted(tiny_model, scan_of(other), samples=1, box=BOX).record.input.sha256 != (
        found.record.input.sha256
    )


def test_a_share_is_one_of_what_was_worked_on(tiny_model: Model) -> None:
    found = predicted(
        tiny_model, scan_of(picture(3, 100, 120), "zyx", TURNED), samples=3, box=BOX, slices=(1, 1)
    )
    share = class_sizes(found)[0].fraction
    assert share == pytest.approx(np.count_nonzero(found.mask) / (48 * 70))


@pytest.mark.parametrize("slices", [None, (1, 2)])
def test_a_box_of_some_slices(tiny_model: Model, slices) -> None:
    array = picture(4, 100, 120)
    found = predicted(tiny_model, scan_of(array, "zyx", TURNED), samples=3, box=BOX, slices=slices)
    crop = predicted(tiny_model, scan_of(array[:, ROWS, COLUMNS], "zyx", TURNED), samples=3, slices=slices)
    assert np.array_equal(found.mean[..., ROWS, COLUMNS], crop.mean)
    assert found.roi == (slice(1, 3) if slices else slice(0, 4), ROWS, COLUMNS)
    assert found.record.complete
    for number in range(4):
        assert np.array_equal(
            found.sample_maps.plane_samples(number)[..., ROWS, COLUMNS],
            crop.sample_maps.plane_samples(number),
        )


def test_a_box_of_a_turned_volume_lies_in_its_place(tiny_model: Model) -> None:
    scan = scan_of(picture(24, 30, 40), "zyx", TURNED)
    turned, order = reorient(scan, "sagittal")
    assert order != (0, 1, 2)
    box = (2, 5, 20, 25)
    before = predicted(tiny_model, turned, samples=3, box=box, slices=(3, 6))
    found = restore_orientation(before, scan, order)
    part = np.zeros(scan.array.shape, bool)
    part[found.roi] = True
    assert part.sum() == before.predicted_voxel_count == found.predicted_voxel_count
    assert found.mean[0][part].any()
    assert not found.mean[0][~part].any()
    samples = np.stack([found.sample_maps.sample(i) for i in range(3)])
    np.testing.assert_allclose(samples.mean(axis=0), found.mean, atol=1 / 255)
    for number in (0, 11):
        np.testing.assert_allclose(found.sample_maps.plane_samples(number), samples[:, :, number], atol=0)


def test_a_run_along_another_plane_gives_a_result_that_lies_as_the_scan(tiny_model: Model) -> None:
    scan = scan_of(picture(24, 30, 40), "zyx", TURNED)
    asked = InferenceSettings.for_model(tiny_model.card, samples=3, box=(2, 5, 20, 25), slices=(3, 6))
    predictor = Predictor(tiny_model, "cpu", "float32")
    run = predictor.start(scan, asked, "sagittal")
    list(run)
    result = run.result()
    turned, order = reorient(scan, "sagittal")
    by_hand = restore_orientation(predictor.segment(turned, asked), scan, order)
    assert same(result, by_hand)
    assert (result.roi, result.geometry) == (by_hand.roi, scan.geometry)
    assert (result.record.plane, by_hand.record.plane) == ("sagittal", "acquired")
    assert result.record.input == by_hand.record.input


def test_the_preview_is_that_part(tiny_model: Model) -> None:
    run = started(tiny_model, scan_of(picture(100, 120)), samples=2, box=BOX)
    list(run)
    assert run.state.planes.crop_slices == (ROWS, COLUMNS)
    assert np.array_equal(run.preview(0), run.result().mask[run.state.planes.crop_slices])
    whole = started(tiny_model, scan_of(picture(20, 30)), samples=1)
    assert whole.state.planes.crop_slices == (slice(0, 20), slice(0, 30))


@pytest.mark.parametrize(
    ("box", "message"),
    [
        ((0, 0, 200, 100), "box: rows 0-200, columns 0-100 are not inside a slice of 100 x 120"),
        ((0, 0, 15, 100), "box: must be 16 pixels or more along each side"),
        ((0, 0, 0, 100), "box: must be top, left, bottom and right"),
        ((-1, 0, 50, 100), "box: must be top, left, bottom and right"),
        ((50, 0, 20, 100), "box: must be top, left, bottom and right"),
        ((0, 0, 50), "box"),
    ],
)
def test_a_box_that_makes_no_sense_is_refused(tiny_model: Model, box, message: str) -> None:
    with pytest.raises(BadInput) as caught:
        predicted(tiny_model, scan_of(picture(100, 120)), samples=1, box=box)
    assert str(caught.value).startswith(message)


def huge(side: int, read: list[int]) -> Scan:
    """An image of which every chunk that is read is noted."""

    def block(block_info):
        place = block_info[None]
        shape = place["chunk-shape"]
        read.append(int(np.prod(shape)))
        return np.random.default_rng(list(place["chunk-location"])).integers(0, 255, shape, dtype=np.uint8)

    chunks = da.core.normalize_chunks((256, 256, 3), (side, side, 3))
    array = da.map_blocks(block, chunks=chunks, dtype=np.uint8, meta=np.array([], np.uint8))
    return Scan(array, "yxc", Geometry.from_spacing("yx", (0.5, 0.5), "um"))


def test_a_box_of_a_large_image_costs_what_the_box_costs(tiny_tiles_model: Model) -> None:
    read: list[int] = []
    model = at_scale(tiny_tiles_model, 20_000)
    box = (10_000, 3_000, 10_100, 3_120)
    request = InferenceSettings.for_model(
        model.card, samples=3, box=box, cleanup=PostProcess(keep_largest=True)
    )
    found = Predictor(model, "cpu", "float32").segment(huge(20_000, read), request)
    assert sum(read) <= 4 * 4 * 256 * 256 * 3  # four chunks, looked at a few times
    assert isinstance(found.mean, da.Array)
    assert found.mask.shape == (20_000, 20_000)
    rows, columns = slice(10_000, 10_100), slice(3_000, 3_120)
    inside = np.asarray(found.mask[rows, columns])
    assert inside.any()
    assert not np.asarray(found.mask[9_000:10_000, 2_000:4_000]).any()
    # what is cut anew is cleaned in its part alone, and lies where it did
    again = found.with_threshold(0.5)
    assert np.array_equal(np.asarray(again.mask[rows, columns]), inside)
    assert np.array_equal(again.volumes, found.volumes)
    assert found.with_threshold(0.3, PostProcess()).mask[rows, columns].sum() > inside.sum()


def test_what_does_not_fit_into_memory_around_a_box_is_written(tiny_model: Model, tmp_path) -> None:
    array, box = picture(200, 300), (50, 60, 82, 92)
    usual = predicted(tiny_model, scan_of(array), samples=3, box=box)
    found = predicted(tiny_model, scan_of(array), samples=3, box=box, memory_limit=150_000)
    assert isinstance(usual.mean, np.ndarray)
    assert isinstance(found.mean, da.Array)
    assert np.array_equal(np.asarray(found.mean), usual.mean)
    assert np.array_equal(np.asarray(found.variance), usual.variance)
    mask, *_ = write_segmentation(found, tmp_path, "a", format="ome-zarr")
    assert np.array_equal(np.asarray(read_scan(mask).array), usual.mask)
    assert class_sizes(found)[0].value == class_sizes(usual)[0].value
