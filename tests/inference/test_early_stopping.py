"""Samples that end early."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.helpers.predicted import picture, predicted, same, scan_of, started, stopped

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.labels import labels_from_probabilities
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.early_stopping import SampleStopper
from napari_latentseg.inference.ensemble import Ensemble
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model

# tolerance, the changes by sample 1, 2, 3 ..., how many there are at most, and with how many it ends
CHANGES = {
    "twice in a row": (0.1, [1, 0, 0.5, 0.1, 0.2, 0.1, 0.05, 0], 20, 7),
    "not before the fourth": (0.1, [0, 0, 0, 0, 0], 20, 4),
    "the second does not count": (0.1, [0, 0, 0.3, 0, 0], 20, 5),
    "never": (0.1, [1, 1, 1, 1, 1, 1], 6, 6),
    "fewer than that takes": (0.5, [0, 0, 0], 3, 3),
}


@pytest.mark.parametrize(("tolerance", "changes", "most", "number"), CHANGES.values(), ids=CHANGES.keys())
def test_the_number_is_settled(tolerance: float, changes: list[float], most: int, number: int) -> None:
    stopping = SampleStopper(tolerance, most)
    for samples, change in enumerate(changes, 1):
        assert stopping.final_sample_count is None
        if stopping.update(0, samples, change):
            break
    assert samples == stopping.final_sample_count == number
    assert not stopping.update(1, number - 1, 1.0)
    assert stopping.update(1, number, 1.0)


def test_a_plane_without_a_find_settles_nothing() -> None:
    stopping = SampleStopper(0.1, 20)
    assert [stopping.update(0, n, None) for n in range(1, 5)] == [False, False, False, True]
    assert stopping.final_sample_count is None
    stopping.finish(4)
    assert stopping.final_sample_count == 4


@given(seed=st.integers(0, 999), classes=st.integers(1, 3), bands=st.integers(1, 4))
def test_the_change_is_that_of_the_mask(seed: int, classes: int, bands: int) -> None:
    rng = np.random.default_rng(seed)
    labels = tuple(ClassInfo(label=k + 1, name=str(k), color="#000000") for k in range(classes))
    samples = rng.random((5, classes, 8, 9)).astype(np.float32) ** 2
    ensemble = Ensemble(classes, 1, (8, 9))
    edges = np.linspace(0, 8, bands + 1).astype(int)
    parts = [slice(a, b) for a, b in pairwise(edges)]
    before = labels_from_probabilities(ensemble.mean[0], 0.5, labels)
    for sample in samples:
        change = ensemble.add_sample_bands(0, [(p, sample[:, p]) for p in parts], 0.5, compare_mask=True)
        after = labels_from_probabilities(ensemble.mean[0], 0.5, labels)
        there = [k for k in range(1, classes + 1) if (before == k).any() or (after == k).any()]
        if there:
            apart = [1 - dice(before == k, after == k) for k in there]
            assert change == pytest.approx(np.mean(apart))
        else:
            assert change is None
        before = after


def test_a_run_ends_when_its_mask_no_longer_changes(tiny_model: Model) -> None:
    scan = scan_of(picture(60, 80))
    run = started(tiny_model, scan, samples=20, tolerance=0.05, seed=1)
    masks = []
    for step in run:
        if step.is_sample_complete:
            masks.append(run.preview(0))
            assert (run.state.early_stop_samples is None) == (step.fraction < 1)
    n = len(masks)
    assert 4 <= n < 20
    changes = [1 - dice(a > 0, b > 0) for a, b in pairwise(masks)]
    calm = [k for k, change in enumerate(changes, 2) if k >= 3 and change <= 0.05]
    first = next(k for k in calm if k - 1 in calm)
    assert n == first == run.state.early_stop_samples == run.state.target_samples
    found = run.result()
    assert (found.record.samples, found.record.samples_asked, found.record.tolerance) == (n, 20, 0.05)
    assert found.record.complete
    assert found.record.input.notes[-1] == (
        f"stopped at {n} of 20 samples: two in a row changed the mask by at most 0.05 (1 - Dice)"
    )
    plain = predicted(tiny_model, scan, samples=n, seed=1)
    assert same(found, plain)
    assert plain.record.tolerance is None


@settings(max_examples=6)
@given(k=st.integers(1, 4), depth=st.integers(1, 3))
def test_more_after_an_early_end_is_a_longer_run(tiny_model: Model, k: int, depth: int) -> None:
    scan = scan_of(picture(depth, 40, 60), "zyx")
    run = started(tiny_model, scan, samples=20, tolerance=0.1, seed=3)
    list(run)
    n = run.state.early_stop_samples
    assert n < 20
    run.extend(k)
    assert run.state.target_samples == n + k
    list(run)
    later, at_once = run.result(), predicted(tiny_model, scan, samples=n + k, seed=3)
    assert same(later, at_once)
    assert (later.record.samples, later.record.samples_asked, later.record.complete) == (n + k, n + k, True)
    assert not any("stopped at" in note for note in later.record.input.notes)
    assert later.sample_maps.sample_count == n + k


def test_a_run_that_has_to_go_on_to_the_end(tiny_model: Model) -> None:
    found = predicted(tiny_model, scan_of(picture(60, 80)), samples=5, tolerance=1e-6)
    assert (found.record.samples, found.record.complete) == (5, True)
    assert not found.record.input.notes


@pytest.fixture
def blind_model(tiny_model: Model, monkeypatch: pytest.MonkeyPatch, no_encodings: None) -> Model:
    """A model that finds nothing in what is dark, so that planes without a find can be made.

    It remembers no encodings: those of the same model that does see would be its own, and the other way.
    """
    encode, draw = tiny_model.method.encode, tiny_model.method.sample

    def seen(images):  # a condition of nothing but a large number stands for a dark image
        is_dark = images.mean(dim=(1, 2, 3), keepdim=True) < 0.01
        return torch.where(is_dark, torch.tensor(1e6), encode(images))

    def answered(condition, noise=None):
        is_dark = condition[:, :1, :1, :1] == 1e6
        return torch.where(is_dark, torch.tensor(0.0), draw(condition, noise))

    monkeypatch.setattr(tiny_model.method, "encode", seen)
    monkeypatch.setattr(tiny_model.method, "sample", answered)
    return tiny_model


@pytest.mark.parametrize("bright", [(0,), (2,), (3,), (1, 3), ()])
def test_all_planes_have_the_number_of_the_first_with_a_find(
    blind_model: Model, bright: tuple[int, ...]
) -> None:
    array = np.zeros((4, 40, 60), np.uint8)
    for number in bright:
        array[number] = picture(40, 60, seed=number)
    run = started(blind_model, scan_of(array, "zyx"), samples=20, tolerance=0.06, seed=1)
    done = [step.fraction for step in run]
    assert done == sorted(done)
    assert done[-1] == 1
    found = run.result()
    n = run.state.early_stop_samples
    assert set(run.state.ensemble.samples_per_plane.tolist()) == {n}
    assert (found.record.samples, found.record.planes_done, found.record.complete) == (n, 4, True)
    assert found.mask.any(axis=(1, 2)).nonzero()[0].tolist() == list(bright)
    if bright:
        alone = predicted(
            blind_model, scan_of(array[bright[0]]), samples=20, tolerance=0.06, seed=1
        ).record.samples
        assert n == alone
        assert n > 4  # so that planes without a find before it had to be gone back to
    else:
        assert n == 4
    plain = predicted(blind_model, scan_of(array, "zyx"), samples=n, seed=1)
    assert same(found, plain)


def test_stopped_by_hand_before_the_number_is_settled(blind_model: Model) -> None:
    array = np.zeros((3, 40, 60), np.uint8)
    array[1] = picture(40, 60)
    run = started(blind_model, scan_of(array, "zyx"), samples=20, tolerance=0.06, seed=1)
    stopped(run, (1, 1))
    found = run.result()
    assert (found.record.samples, found.record.planes_done, found.record.complete) == (4, 1, False)
    list(run)  # and it goes on
    assert run.result().record.time == found.record.time  # the same run
    whole = predicted(blind_model, scan_of(array, "zyx"), samples=20, tolerance=0.06, seed=1)
    assert np.array_equal(run.result().mean, whole.mean)
    assert run.result().record.samples == whole.record.samples


@pytest.mark.parametrize("value", [0, -0.1, 1, float("nan"), "little"])
def test_a_tolerance_that_makes_no_sense_is_refused(tiny_model: Model, value: object) -> None:
    with pytest.raises(BadInput, match=r"tolerance: (must be|'little' is not a number)"):
        InferenceSettings.for_model(tiny_model.card, tolerance=value)
