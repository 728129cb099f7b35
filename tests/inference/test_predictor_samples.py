"""The number of samples of a run, its repeatability, and a run that is stopped midway."""

from __future__ import annotations

import copy

import numpy as np
import pytest
from tests.helpers.predicted import picture, predicted, same, scan_of, started, stopped

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model

# -- the number of samples


@pytest.mark.parametrize(("samples", "has_variance"), [(1, False), (2, False), (3, True), (5, True)])
def test_fewer_than_three_samples_have_no_variance(
    tiny_model: Model, samples: int, has_variance: bool
) -> None:
    found = predicted(tiny_model, scan_of(picture(24, 24)), samples=samples)
    assert (found.variance is not None) == has_variance
    assert len(found.volumes) == samples


def test_without_a_source_there_is_one_answer_and_no_variance(model: Model) -> None:
    scan = scan_of(picture(50, 70))
    found = predicted(model, scan, source="none")
    assert found.variance is None
    assert found.record.samples == 1
    assert found.record.source_settings == {}
    assert np.array_equal(found.mean, predicted(model, scan, samples=1).mean)  # the first view is the image
    with pytest.raises(BadInput, match="ask for 1 sample, or choose a source"):
        InferenceSettings.for_model(model.card, source="none", samples=3)
    with pytest.raises(BadInput, match="same answer every time"):
        started(model, scan, source="none").extend(2)


def test_equal_samples_are_no_sign_of_certainty(make_tiny_model) -> None:
    """A model that was only ever mirrored has two views; five samples of them give no variance."""
    still = {"vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
    found = predicted(
        load_model(make_tiny_model("tiny-mirrored", augment=still)), scan_of(picture(30, 30)), samples=5
    )
    assert found.variance is None
    assert "only 2 of the 5 samples differ" in found.record.input.notes[0]


def test_the_mean_is_that_of_the_samples(model: Model) -> None:
    scan = scan_of(picture(45, 60))
    run = started(model, scan, samples=5)
    seen = []
    before = np.zeros((1, 45, 60))
    for step in run:
        if step.is_sample_complete:
            n = step.sample + 1
            mean = run.state.ensemble.mean[0].astype(np.float64)
            seen.append(mean * n - before)
            before = mean * n
    found = run.result()
    np.testing.assert_allclose(found.mean, np.mean(seen, axis=0), atol=1e-5)
    np.testing.assert_allclose(found.variance, np.var(seen, axis=0), atol=1e-5)
    assert found.volumes[:, 0] == pytest.approx([np.count_nonzero(s > 0.5) for s in seen], abs=2)


# -- repeatable


def test_the_same_seed_gives_the_same_bits(model: Model) -> None:
    scan = scan_of(picture(50, 70))
    first = predicted(model, scan, samples=4, seed=11)
    assert same(first, predicted(model, scan, samples=4, seed=11))
    assert not np.array_equal(first.mean, predicted(model, scan, samples=4, seed=12).mean)


@pytest.mark.parametrize(("n", "k"), [(1, 1), (2, 3), (3, 2)])
def test_more_samples_are_a_longer_run(model: Model, n: int, k: int) -> None:
    scan = scan_of(picture(2, 40, 60), "zyx")
    run = started(model, scan, samples=n, seed=3)
    list(run)
    earlier = run.result()
    kept = (earlier.mean.copy(), earlier.mask.copy())
    run.extend(k)
    list(run)
    later, at_once = run.result(), predicted(model, scan, samples=n + k, seed=3)
    assert same(later, at_once)
    assert later.record.samples == later.record.samples_asked == n + k
    assert np.array_equal(earlier.mean, kept[0])  # what was handed out is not written over
    assert np.array_equal(earlier.mask, kept[1])


@pytest.mark.parametrize("samples", [0, -1, 1000])
def test_more_of_what_cannot_be_had_is_refused(tiny_model: Model, samples: int) -> None:
    with pytest.raises(BadInput, match="must be 1 or more, and 1000 at most in total"):
        started(tiny_model, scan_of(picture(8, 8)), samples=4).extend(samples)


@pytest.mark.parametrize("at_once", [1, 2, 100])
def test_the_size_of_a_batch_changes_nothing_but_rounding(tiny_tiles_model: Model, at_once: int) -> None:
    scan = scan_of(picture(90, 130))
    four = predicted(tiny_tiles_model, scan, samples=3, tiles_at_once=4)
    other = predicted(tiny_tiles_model, scan, samples=3, tiles_at_once=at_once)
    np.testing.assert_allclose(other.mean, four.mean, atol=1e-5)
    np.testing.assert_allclose(other.variance, four.variance, atol=1e-5)


def test_the_first_plane_changes_the_order_alone(tiny_model: Model) -> None:
    scan = scan_of(picture(4, 20, 24), "zyx")
    run = started(tiny_model, scan, samples=3, first_plane=2)
    order = list(dict.fromkeys(step.plane for step in run if step.is_sample_complete))
    assert order == run.plane_order() == [2, 1, 3, 0]
    assert same(run.result(), predicted(tiny_model, scan, samples=3))
    assert started(tiny_model, scan, first_plane=99).plane_order() == [3, 2, 1, 0]


# -- stopping midway


def test_progress_moves_from_nothing_to_all(model: Model) -> None:
    steps = list(started(model, scan_of(picture(3, 40, 60), "zyx"), samples=3))
    done = [step.fraction for step in steps]
    assert done == sorted(done)
    assert 0 <= done[0] < 0.2
    assert done[-1] == 1
    assert sum(step.is_sample_complete for step in steps) == 9


def test_nothing_complete_is_no_result(tiny_tiles_model: Model) -> None:
    run = started(tiny_tiles_model, scan_of(picture(100, 120)), samples=3, tiles_at_once=1)
    assert run.result() is None
    for step in run:
        assert not step.is_sample_complete
        break
    assert run.result() is None


@pytest.mark.parametrize("n", [1, 2, 3, 4])
def test_a_run_that_was_stopped_has_its_true_number(model: Model, n: int) -> None:
    scan = scan_of(picture(60, 80))
    run = started(model, scan, samples=5, seed=2)
    stopped(run, (0, n - 1))
    found = run.result()
    whole = predicted(model, scan, samples=n, seed=2)
    assert (found.record.samples, found.record.samples_asked, found.record.complete) == (n, 5, False)
    assert same(found, whole)
    assert (found.variance is None) == (n < 3)
    list(run)  # and it can go on
    assert same(run.result(), predicted(model, scan, samples=5, seed=2))
    assert run.result().record.complete


@pytest.mark.parametrize(("at", "planes"), [((0, 1), [0]), ((1, 0), [0]), ((1, 3), [0]), ((2, 2), [0, 1])])
def test_of_a_stack_the_planes_that_are_done_are_shown(
    tiny_model: Model, at: tuple[int, int], planes: list[int]
) -> None:
    scan = scan_of(picture(4, 20, 24), "zyx")
    run = started(tiny_model, scan, samples=5)
    stopped(run, at)
    found = run.result()
    shown = [i for i in range(4) if found.mean[0, i].any()]
    assert shown == planes
    assert found.record.planes_done == len(planes)
    assert found.record.segmented_slices == ((planes[0], planes[-1]),)
    assert found.segmented_region.is_cancelled
    assert found.record.samples == (2 if at == (0, 1) else 5)
    assert not found.record.complete
    assert not found.mask[[i for i in range(4) if i not in planes]].any()
    assert len(found.volumes) == found.record.samples
    list(run)  # to have asked for a result does not disturb the run
    assert same(run.result(), predicted(tiny_model, scan, samples=5))


def test_further_samples_that_were_stopped_lose_no_plane(tiny_model: Model) -> None:
    scan = scan_of(picture(4, 20, 24), "zyx")
    run = started(tiny_model, scan, samples=3)
    list(run)
    run.extend(3)
    stopped(run, (1, 4))
    found = run.result()
    assert (found.record.samples, found.record.samples_asked) == (3, 6)
    assert (found.record.planes_done, found.record.complete) == (4, False)
    assert found.record.input.notes == ("2 planes have up to 6 samples",)
    np.testing.assert_allclose(found.volumes, predicted(tiny_model, scan, samples=3).volumes, rtol=0.01)
    list(run)
    assert same(run.result(), predicted(tiny_model, scan, samples=6))


# -- batches


@pytest.mark.parametrize("at_once", [1, 3, 16])
@pytest.mark.parametrize("axes", ["yx", "zyx"])
def test_masks_do_not_depend_on_the_batch(model: Model, at_once: int, axes: str) -> None:
    scan = scan_of(picture(*(5, 90, 130)[-len(axes) :]), axes)
    chosen = predicted(model, scan, samples=3)
    assert same(predicted(model, scan, samples=3, tiles_at_once=at_once), chosen)


def test_samples_and_planes_share_batches(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """Six planes with four samples: the first plane alone, so that it is shown first, then all others."""
    sizes: list[int] = []
    sample = tiny_model.method.sample
    monkeypatch.setattr(
        tiny_model.method, "sample", lambda z, noise=None: (sizes.append(len(z)), sample(z, noise))[1]
    )
    predicted(tiny_model, scan_of(picture(6, 20, 24), "zyx"), samples=4, tiles_at_once=16)
    assert sizes == [1, 3, 5, 15]


def test_members_share_batches_across_planes(tiny_model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    other = copy.deepcopy(tiny_model.method)
    card = tiny_model.card.model_copy(update={"members": 2, "sources": ("members", "none")})
    members = Model(tiny_model.method, card, tiny_model.folder, (other,))
    sizes: list[tuple[int, int]] = []
    for number, method in enumerate(members.members):
        sample = method.sample
        monkeypatch.setattr(
            method,
            "sample",
            lambda z, noise=None, number=number, sample=sample: (
                sizes.append((number, len(z))),
                sample(z, noise),
            )[1],
        )
    scan = scan_of(picture(5, 20, 24), "zyx")
    found = predicted(members, scan, source="members", samples=2, tiles_at_once=8)
    assert sizes == [(0, 1), (1, 1), (0, 4), (1, 4)]
    assert same(found, predicted(members, scan, source="members", samples=2, tiles_at_once=1))
