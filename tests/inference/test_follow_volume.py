"""A structure through a volume: filled between slices that are decided, and followed beyond them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from napari_latentseg import fill_between as fill_volume
from napari_latentseg.core.prompts import Prompts
from napari_latentseg.core.slice_interpolation import interpolate_between
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.appearance import (
    Example,
    brightness_odds,
    chain_odds,
    log_odds,
    patch_odds,
)
from napari_latentseg.inference.crossing_slices import CrossingSlices
from napari_latentseg.inference.fill_between import fill_between
from napari_latentseg.inference.follow_volume import FollowedVolume
from napari_latentseg.inference.prompt_session import PromptAnswer
from napari_latentseg.inference.prompt_view import whole_view

ROWS, COLUMNS = np.mgrid[:64, :80]
SHAPE = ROWS.shape


def disc(radius: float, x: float = 40) -> np.ndarray:
    return np.hypot(ROWS - 30, COLUMNS - x) < radius


class Volume:
    """Bright discs on noise; the model knows nothing, or answers with the disc that is pointed at."""

    def __init__(self, radii: list[float], *, is_seen: bool = True) -> None:
        self.masks = [disc(radius) if radius else np.zeros(SHAPE, bool) for radius in radii]
        noise = np.random.default_rng(0).normal(0, 0.05, (len(radii), *SHAPE))
        self.images = np.clip(np.stack(self.masks) * 0.5 + 0.25 + noise, 0, 1).astype(np.float32)
        self.is_seen = is_seen
        self.asked: list[int] = []

    def answer(self, plane: int, prompts: Prompts, previous: Any) -> PromptAnswer:
        self.asked.append(plane)
        samples = np.full((3, *SHAPE), 0.5, np.float32)
        if self.is_seen:
            samples[:] = self.masks[plane]
        return PromptAnswer(samples, whole_view(SHAPE))

    def grey(self, plane: int) -> np.ndarray:
        return self.images[plane]

    def follow(self, decided: dict[int, np.ndarray], **options: Any) -> FollowedVolume:
        return FollowedVolume(self.answer, self.grey, decided, len(self.masks), **options)


def test_the_image_decides_near_the_interpolated_edge() -> None:
    volume = Volume([6, 9, 12, 13, 12], is_seen=False)  # it grows quickly, then no more
    known = {0: volume.masks[0], 4: volume.masks[4]}
    filled = list(fill_between(volume.answer, volume.grey, known, (0, 4)))
    interpolated = interpolate_between(known[0], known[4], [0.25, 0.5, 0.75])
    assert [carried.plane for carried in filled] == [1, 2, 3]
    for carried, plain in zip(filled, interpolated, strict=True):
        truth = volume.masks[carried.plane]
        assert dice(carried.mask, truth) > max(0.95, dice(plain, truth))
        assert carried.answer.samples.shape == (3, *SHAPE)


def test_the_image_decides_in_the_band_alone() -> None:
    volume = Volume([8, 8, 8], is_seen=False)
    volume.images[1, 5:9, 5:9] = 0.75  # bright, and far away
    filled = next(fill_between(volume.answer, volume.grey, {0: disc(8), 2: disc(8)}, (0, 2)))
    assert not filled.mask[5:9, 5:9].any()
    assert dice(filled.mask, disc(8)) > 0.95


def test_brightness_and_patches_say_what_is_inside() -> None:
    volume = Volume([10, 10])
    example = Example(0, volume.images[0], volume.masks[0])
    for odds in (brightness_odds(volume.images[1], [example]), patch_odds(volume.images[1], 1, [example])):
        assert odds[disc(7)].mean() > 1
        assert odds[disc(13) & ~disc(11)].mean() < -1


def test_patches_are_followed_from_slice_to_slice() -> None:
    places = [24, 29, 34, 39, 44]  # 20 pixels on the way: farther than a patch is looked for
    noise = np.random.default_rng(0).normal(0, 0.02, (5, *SHAPE))
    images = [(0.25 + 0.5 * disc(8, x) + n).astype(np.float32) for x, n in zip(places, noise, strict=True)]
    odds = chain_odds(images, disc(8, places[0]), disc(8, places[-1]))
    assert len(odds) == 3
    for x, of_slice in zip(places[1:-1], odds, strict=True):
        assert dice(of_slice > 0, disc(8, x)) > 0.9


def test_the_model_is_given_a_box_around_what_is_known() -> None:
    volume = Volume([8, 8, 8])
    prompts: list[Prompts] = []

    def answer(plane: int, asked: Prompts, previous: Any) -> PromptAnswer:
        prompts.append(asked)
        return volume.answer(plane, asked, previous)

    next(fill_between(answer, volume.grey, {0: disc(8), 2: disc(8)}, (0, 2)))
    (top, left, bottom, right) = prompts[0].boxes[0]
    assert 21 <= top <= 23
    assert 31 <= left <= 33
    assert 37 <= bottom <= 39
    assert 47 <= right <= 49


def test_patches_like_nothing_say_nothing() -> None:
    example = Example(0, np.zeros(SHAPE, np.float32), disc(10))
    odds = patch_odds(np.ones(SHAPE, np.float32), 1, [example])
    np.testing.assert_allclose(odds, 0, atol=1e-3)


def test_log_odds_are_limited() -> None:
    np.testing.assert_allclose(log_odds(np.array([0, 0.5, 1], np.float32)), [-6, 0, 6], atol=1e-3)


def test_it_is_followed_beyond_and_filled_between() -> None:
    volume = Volume([0, 7, 8, 9, 9, 8, 0, 9])
    followed = volume.follow({2: volume.masks[2], 4: volume.masks[4]})
    found = {carried.plane: carried.mask for carried in followed}
    assert set(found) == {1, 3, 5}
    for plane, mask in found.items():
        assert dice(mask, volume.masks[plane]) > 0.95
    assert [(stop.plane, stop.reason) for stop in followed.stops] == [
        (0, "the structure ends"), (6, "the structure ends"),
    ]  # fmt: skip
    assert followed.stops[1].describe() == "Stopped at slice 7: the structure ends"


def test_a_slice_without_the_structure_ends_it() -> None:
    volume = Volume([8] * 7)
    nothing = np.zeros(SHAPE, bool)
    followed = volume.follow({3: volume.masks[3], 5: nothing, 1: nothing})
    assert {carried.plane for carried in followed} == {2, 4}


def test_only_between_is_filled_where_that_is_asked() -> None:
    volume = Volume([8] * 6)
    followed = volume.follow({1: volume.masks[1], 4: volume.masks[4]}, beyond=False)
    assert {carried.plane for carried in followed} == {2, 3}
    assert followed.most == 2


@pytest.mark.parametrize(
    ("planes", "beyond", "message"),
    [((), True, "on no slice"), ((2,), False, "two slices"), ((2, 3), False, "two slices")],
)
def test_nothing_to_follow_is_said(planes: tuple[int, ...], beyond: bool, message: str) -> None:
    volume = Volume([8] * 6)
    with pytest.raises(BadInput, match=message):
        volume.follow({plane: volume.masks[plane] for plane in planes}, beyond=beyond)


@pytest.fixture
def scan_and_mask() -> tuple[np.ndarray, np.ndarray]:
    volume = Volume([8, 9, 10, 9, 8])
    mask = np.stack(volume.masks).astype(np.uint8) * 2
    mask[1:4] = 0
    return (volume.images * 255).astype(np.uint8), mask


def test_a_volume_is_filled_from_python(tiny_prompted_folder, scan_and_mask) -> None:
    scan, mask = scan_and_mask
    seen: list[float] = []
    result = fill_volume(scan, tiny_prompted_folder, mask, samples=3, progress=seen.append)
    np.testing.assert_array_equal(result.mask[[0, 4]] > 0, mask[[0, 4]] > 0)
    assert all(
        dice(result.mask[plane] > 0, disc(radius)) > 0.9 for plane, radius in ((1, 9), (2, 10), (3, 9))
    )
    assert result.record.samples == 3
    assert any("2 slices as a person decided" in note for note in result.record.input.notes)
    assert seen[-1] == pytest.approx(1)


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda mask: mask[:, :20], {}, "has shape"),
        (lambda mask: mask * 0, {}, "is empty"),
        (lambda mask: mask, {"label": 1}, "has no label 1"),
        (lambda mask: mask * (np.arange(5) == 0)[:, None, None], {}, "two slices"),
        (lambda mask: mask * 0.3, {}, "not labels"),
    ],
)
def test_masks_that_do_not_do_are_refused(
    tiny_prompted_folder, scan_and_mask, change, options, message
) -> None:
    scan, mask = scan_and_mask
    with pytest.raises(BadInput, match=message):
        fill_volume(scan, tiny_prompted_folder, change(mask), **options)


def crossing_of(masks: np.ndarray, step: float = 1.0) -> CrossingSlices:
    """The slices across a volume that shows the masks, answered with what is bright."""

    def answer(image: np.ndarray, prompts: Prompts, previous: np.ndarray) -> PromptAnswer:
        assert all(image[0][round(y), round(x)] > 0.5 for y, x in prompts.positive)
        assert not any(image[0][round(y), round(x)] > 0.5 for y, x in prompts.negative)
        assert previous.sum() > 0
        return PromptAnswer((image[:1] > 0.5).astype(np.float32), whole_view(image.shape[1:]))

    def colours(plane: int) -> np.ndarray:
        return np.repeat(masks[plane].astype(np.float32)[..., None], 3, axis=-1)

    return CrossingSlices(colours, len(masks), step, answer)


def test_slices_across_say_how_far_a_structure_reaches() -> None:
    masks = np.stack([disc(9) if 6 <= plane < 17 else disc(0) for plane in range(24)])
    across = crossing_of(masks).from_slice(10, masks[10])
    assert across is not None
    for plane in range(24):
        assert dice(across.on(plane, SHAPE) > 0, masks[plane]) > 0.95


def test_of_a_large_structure_some_slices_across_are_asked() -> None:
    masks = np.stack([disc(28)] * 20)
    crossing, asked = crossing_of(masks), []
    counted = replace(crossing, answer=lambda *given: asked.append(1) or crossing.answer(*given))
    across = counted.from_slice(10, masks[10])
    assert across is not None
    assert len(asked) <= 48
    assert dice(across.on(3, SHAPE) > 0, masks[3]) > 0.95


@pytest.mark.parametrize(("count", "step"), [(12, 1.0), (24, 5.0)])
def test_few_or_thick_slices_have_nothing_across(count: int, step: float) -> None:
    masks = np.stack([disc(9)] * count)
    assert crossing_of(masks, step).from_slice(5, masks[5]) is None


def test_what_is_across_counts_where_a_structure_is_followed() -> None:
    volume = Volume([9] * 24)
    masks = np.stack([disc(9 if 9 <= plane < 15 else 4) for plane in range(24)])
    rim = disc(9) & ~disc(6)
    with_it, without = (
        {
            carried.plane: carried.answer.mean[rim].mean()
            for carried in volume.follow({11: volume.masks[11]}, crossing=crossing)
        }
        for crossing in (crossing_of(masks), None)
    )
    assert with_it[12] > without[12]
    assert with_it[16] < without[16]
