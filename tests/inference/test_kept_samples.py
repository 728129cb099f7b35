"""What is kept of each sample, what is mended, and what is cut again."""

from __future__ import annotations

import numpy as np
import pytest
from tests.helpers.predicted import TURNED, picture, predicted, scan_of, started, stopped

from napari_latentseg.core.postprocess import PostProcess
from napari_latentseg.core.record import RunRecord
from napari_latentseg.core.segmentation import Segmentation
from napari_latentseg.errors import BadInput
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model

CLASSES = [
    {"label": 3, "name": "organ", "color": "#ffb000", "includes": ["tumour"]},
    {"label": 1, "name": "tumour", "color": "#00b0ff"},
]


@pytest.fixture(scope="session")
def two_classes(make_tiny_model) -> Model:
    return load_model(make_tiny_model("tiny-two", classes=CLASSES, settings={"width": 16, "classes": 2}))


@pytest.fixture
def found(tiny_model: Model) -> Segmentation:
    return predicted(tiny_model, scan_of(picture(4, 30, 40), "zyx", TURNED), samples=4)


def test_the_mean_is_that_of_what_is_kept(found: Segmentation) -> None:
    assert found.sample_maps.is_complete
    for number in range(4):
        kept = found.sample_maps.plane_samples(number)
        assert kept.shape == (4, 1, 30, 40)
        np.testing.assert_allclose(kept.mean(axis=0), found.mean[:, number], atol=1 / 255)
        np.testing.assert_allclose(kept.var(axis=0), found.variance[:, number], atol=2 / 255)


@pytest.mark.parametrize("name", ["tiny_model", "two_classes"])
def test_at_the_run_s_own_threshold_the_volumes_are_its_own(request, name: str) -> None:
    model = request.getfixturevalue(name)
    found = predicted(model, scan_of(picture(3, 40, 50), "zyx", TURNED), samples=4, threshold=0.47)
    other = found.with_threshold(0.6)
    assert other.record.threshold == 0.6
    assert not np.array_equal(other.volumes, found.volumes)
    size = found.geometry.voxel_volume[0]
    fresh = predicted(model, scan_of(picture(3, 40, 50), "zyx", TURNED), samples=4, threshold=0.6)
    assert np.array_equal(other.mask, fresh.mask)
    # but for places within half a step of the threshold
    assert np.abs(other.volumes - fresh.volumes).max() <= 0.01 * found.mask.size * size
    back = other.with_threshold(0.47)
    assert np.array_equal(back.volumes, found.volumes)
    assert np.array_equal(back.mask, found.mask)
    assert back.record.volumes == found.record.volumes


def test_without_what_is_kept_the_volumes_go(tiny_model: Model) -> None:
    scan = scan_of(picture(40, 50))
    found = predicted(tiny_model, scan, samples=4, keep_samples=False)
    assert found.sample_maps is None
    assert found.with_threshold(0.6).volumes.shape == (0, 1)
    assert np.array_equal(found.with_threshold(0.5).volumes, found.volumes)
    tight = predicted(tiny_model, scan, samples=4, memory_limit=0)
    assert not tight.sample_maps.is_complete
    assert tight.with_threshold(0.6).volumes.shape == (0, 1)


def test_more_samples_are_kept_as_well(tiny_model: Model) -> None:
    scan = scan_of(picture(3, 40, 50), "zyx", TURNED)
    run = started(tiny_model, scan, samples=3)
    list(run)
    earlier = run.result()
    run.extend(2)
    stopped(run, (1, 4))
    between = run.result()
    assert (between.sample_maps.sample_count, len(between.volumes)) == (3, 3)
    np.testing.assert_allclose(
        between.sample_maps.plane_samples(2).mean(axis=0), between.mean[:, 2], atol=1 / 255
    )
    list(run)
    later = run.result()
    assert (earlier.sample_maps.sample_count, later.sample_maps.sample_count) == (3, 5)
    assert np.array_equal(later.sample_maps.plane_samples(1)[:3], earlier.sample_maps.plane_samples(1))
    np.testing.assert_allclose(
        later.sample_maps.plane_samples(1).mean(axis=0), later.mean[:, 1], atol=1 / 255
    )


def test_of_a_run_that_was_stopped_what_is_shown_is_kept(tiny_model: Model) -> None:
    run = started(tiny_model, scan_of(picture(4, 20, 24), "zyx"), samples=4)
    stopped(run, (1, 1))
    found = run.result()
    assert found.record.planes_done == 1
    assert found.sample_maps.plane_samples(0).any()
    assert not found.sample_maps.plane_samples(1).any()
    assert not found.sample_maps.sample(1)[:, 1:].any()


# -- cleaned


MENDED = PostProcess(fill_holes=True, keep_largest=True)


@pytest.mark.parametrize("name", ["tiny_model", "two_classes"])
def test_a_mask_is_cleaned_and_so_are_the_samples(request, name: str) -> None:
    model = request.getfixturevalue(name)
    scan = scan_of(picture(3, 40, 50), "zyx", TURNED)
    plain = predicted(model, scan, samples=4)
    found = predicted(model, scan, samples=4, cleanup=MENDED)
    labels = [c.label for c in model.card.classes]
    assert np.array_equal(found.mask, MENDED.apply(plain.mask, labels, "zyx"))
    assert not np.array_equal(found.mask, plain.mask)
    assert np.array_equal(found.mean, plain.mean)
    assert (found.record.cleanup, plain.record.cleanup) == (MENDED, None)
    assert found.record.volumes_cleaned
    size = found.geometry.voxel_volume[0]
    masks = [MENDED.apply(m, labels, "zyx") for m in plain.sample_maps.sample_masks(0.5, model.card.classes)]
    expected = [[np.count_nonzero(m == label) * size for label in labels] for m in masks]
    np.testing.assert_allclose(found.volumes, expected)
    assert found.record.volumes[model.card.classes[0].name] == pytest.approx(found.volumes[:, 0].tolist())
    # the same is had by cutting again, and taken back
    again = plain.with_threshold(0.5, MENDED)
    assert np.array_equal(again.mask, found.mask)
    assert np.array_equal(again.volumes, found.volumes)
    back = found.with_threshold(0.5, PostProcess())
    assert np.array_equal(back.mask, plain.mask)
    assert np.array_equal(back.volumes, plain.volumes)
    assert back.record.cleanup is None
    assert np.array_equal(found.with_threshold(0.5).mask, found.mask)  # as it was, where nothing is said


def test_samples_that_are_not_kept_are_not_cleaned_and_the_record_says_so(tiny_model: Model) -> None:
    scan = scan_of(picture(40, 50))
    plain = predicted(tiny_model, scan, samples=4, keep_samples=False)
    found = predicted(tiny_model, scan, samples=4, keep_samples=False, cleanup=MENDED)
    assert not found.record.volumes_cleaned
    assert np.array_equal(found.volumes, plain.volumes)
    assert not np.array_equal(found.mask, plain.mask)


def test_one_slice_of_a_volume_is_cleaned_as_a_plane(tiny_model: Model) -> None:
    array = picture(3, 40, 50)
    found = predicted(tiny_model, scan_of(array, "zyx"), samples=1, slices=(1, 1), cleanup=MENDED)
    alone = predicted(tiny_model, scan_of(array[1]), samples=1, cleanup=MENDED)
    assert np.array_equal(found.mask[1], alone.mask)
    assert np.array_equal(found.volumes, alone.volumes)
    assert np.array_equal(found.with_threshold(0.6).mask[1], alone.with_threshold(0.6).mask)


def test_what_is_too_large_for_it_is_refused_before_the_run(tiny_tiles_model: Model) -> None:
    with pytest.raises(BadInput, match="cleanup: the mask is too large"):
        started(tiny_tiles_model, scan_of(picture(90, 120)), samples=1, cleanup=MENDED, memory_limit=0)


def test_an_old_record_is_still_one(found: Segmentation) -> None:
    old = found.record.model_dump(mode="json")
    for name in ("box", "tolerance", "cleanup", "volumes_cleaned"):
        del old[name]
    record = RunRecord.model_validate(old)
    assert (record.box, record.tolerance, record.cleanup, record.volumes_cleaned) == (None, None, None, False)
