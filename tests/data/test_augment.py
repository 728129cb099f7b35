"""Image and mask vary together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_latentseg.data.augment import augment, draw_in_vain, jitter_colours
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.degradation import Degradation, apply_degradation, draw_degradation
from napari_latentseg.data.elastic import draw_displacements

NONE = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}


def blob(height: int, width: int, seed: int = 0) -> torch.Tensor:
    """A mask without any symmetry, `(1, H, W)`."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:height, :width]
    y, x = rng.uniform(0.3, 0.6, 2)
    mask = (rows - y * height) ** 2 / (0.2 * height) ** 2 + (columns - x * width) ** 2 / (
        0.3 * width
    ) ** 2 < 1
    mask[: height // 5, : width // 3] = True
    return torch.from_numpy(mask.astype(np.float32))[None]


def noise(height: int, width: int) -> torch.Tensor:
    return torch.rand(3, height, width, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("shape", [(64, 64), (64, 96), (120, 80), (40, 64), (50, 30)])
@pytest.mark.parametrize("seed", range(6))
def test_the_mask_goes_where_the_image_goes(shape: tuple[int, int], seed: int) -> None:
    """The mask is put in for the image: what comes out must be the mask, but for its interpolated rim."""
    mask = blob(*shape)
    ranges = AugmentationConfig(affine=1, jitter=0)
    image, moved = augment(mask.expand(3, -1, -1), mask, ranges, np.random.default_rng(seed), size=64)
    assert image.shape == (3, 64, 64)
    assert moved.shape == (1, 64, 64)
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    away = (image[:1] - moved).abs()
    assert float(away.max()) <= 0.75 + 1e-5  # what the nearest of four pixels can be away from all four
    assert float((away > 1e-5).float().mean()) < 0.15
    assert 0 < float(moved.mean()) < 1


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({}, lambda x: x),
        ({"horizontal_flip": 1}, lambda x: x.flip(2)),
        ({"vertical_flip": 1}, lambda x: x.flip(1)),
        ({"horizontal_flip": 1, "vertical_flip": 1}, lambda x: x.flip(1, 2)),
    ],
)
def test_flips_are_exact(changes: dict[str, float], expected) -> None:
    image, mask = noise(32, 32), blob(32, 32)
    found = augment(image, mask, AugmentationConfig(**NONE | changes), np.random.default_rng(0), size=32)
    assert torch.equal(found[0], expected(image))
    assert torch.equal(found[1], expected(mask))


def test_quarter_turns_are_exact_and_all_happen() -> None:
    image, mask = noise(16, 16), blob(16, 16)
    ranges = AugmentationConfig(**NONE | {"quarter_turn": 1})
    seen = set()
    for seed in range(30):
        found = augment(image, mask, ranges, np.random.default_rng(seed), size=16)
        turns = [k for k in range(4) if torch.equal(found[0], torch.rot90(image, k, (1, 2)))]
        assert len(turns) == 1
        assert torch.equal(found[1], torch.rot90(mask, turns[0], (1, 2)))
        seen.add(turns[0])
    assert seen == {0, 1, 2, 3}


def test_windows_are_cut_from_everywhere() -> None:
    """Also from the last row and column; each is the image's own values."""
    image = torch.arange(18 * 19, dtype=torch.float32).reshape(1, 18, 19).expand(3, -1, -1) / 1000
    mask = (image[:1] > 0.1).float()
    corners = set()
    for seed in range(200):
        found, cut = augment(image, mask, AugmentationConfig(**NONE), np.random.default_rng(seed), size=16)
        top, left = divmod(round(float(found[0, 0, 0]) * 1000), 19)
        assert torch.equal(found, image[:, top : top + 16, left : left + 16])
        assert torch.equal(cut, mask[:, top : top + 16, left : left + 16])
        corners.add((top, left))
    assert corners == {(top, left) for top in range(3) for left in range(4)}


@pytest.mark.parametrize("shape", [(10, 16), (16, 10), (9, 7), (1, 1)])
def test_what_is_smaller_than_the_window_is_mirrored(shape: tuple[int, int]) -> None:
    image, mask = noise(*shape), (noise(*shape)[:1] > 0.5).float()
    found, cut = augment(image, mask, AugmentationConfig(**NONE), np.random.default_rng(0), size=16)
    top, left = ((16 - n + 1) // 2 for n in shape)
    inside = (slice(None), slice(top, top + shape[0]), slice(left, left + shape[1]))
    torch.testing.assert_close(found[inside], image, atol=1e-4, rtol=0)
    assert torch.equal(cut[inside], mask)
    assert found.min() >= image.min() - 1e-4


def angle_and_scale(ranges: AugmentationConfig, seed: int) -> tuple[float, float, tuple[float, float]]:
    """What happened to three marks, measured from the image that comes out."""
    size = 161
    image = torch.zeros(3, size, size)
    for channel, (y, x) in enumerate(((80, 80), (80, 110), (50, 80))):
        image[channel, y - 2 : y + 3, x - 2 : x + 3] = 1
    found, _ = augment(image, image[:1], ranges, np.random.default_rng(seed), size=size)
    rows, columns = torch.meshgrid(torch.arange(size), torch.arange(size), indexing="ij")
    (y0, x0), (y1, x1), _ = (
        (float((c * rows).sum() / c.sum()), float((c * columns).sum() / c.sum())) for c in found
    )
    return (
        float(np.degrees(np.arctan2(y1 - y0, x1 - x0))),
        float(np.hypot(y1 - y0, x1 - x0) / 30),
        (y0 - 80, x0 - 80),
    )


def test_shift_scale_and_rotation_stay_in_their_ranges() -> None:
    ranges = AugmentationConfig(**NONE | {"affine": 1, "rotate": 20, "scale": 0.1, "shift": 0.05})
    found = [angle_and_scale(ranges, seed) for seed in range(60)]
    angles, scales = [f[0] for f in found], [f[1] for f in found]
    shifts = [abs(s) for f in found for s in f[2]]
    assert 15 < max(map(abs, angles)) <= 20.5
    assert 0.89 < min(scales) < 0.95
    assert 1.05 < max(scales) < 1.11
    assert 5 < max(shifts) < 0.05 * 161 * 1.3  # the scale and the turn act on the shift


def test_probabilities_are_kept() -> None:
    image, mask = noise(16, 16), blob(16, 16)
    ranges = AugmentationConfig(**NONE | {"horizontal_flip": 0.25})
    flipped = sum(
        torch.equal(augment(image, mask, ranges, np.random.default_rng(seed), size=16)[0], image.flip(2))
        for seed in range(400)
    )
    assert 70 < flipped < 130


def test_colours_keep_the_mask_and_the_range() -> None:
    image, mask = noise(24, 24), blob(24, 24)
    ranges = AugmentationConfig(
        **NONE
        | {"jitter": 1, "brightness": 0.9, "contrast": 0.9, "saturation": 0.9, "hue": 0.5, "gamma": 1.5}
    )
    for seed in range(20):
        found, cut = augment(image, mask, ranges, np.random.default_rng(seed), size=24)
        assert torch.equal(cut, mask)
        assert 0 <= float(found.min()) <= float(found.max()) <= 1
        assert not torch.equal(found, image)


def hue(x: torch.Tensor) -> float:
    from skimage.color import rgb2hsv

    return float(rgb2hsv(x.permute(1, 2, 0).numpy())[0, 0, 0])


# How far a jittered image is from the image, in the unit of the range.
AWAY = {
    "brightness": lambda x, image: float(x.mean() / image.mean()) - 1,
    "contrast": lambda x, image: float(x.std() / image.std()) - 1,
    "saturation": lambda x, image: float((x - x.mean(0)).std() / (image - image.mean(0)).std()) - 1,
    "hue": lambda x, image: (hue(x) - hue(image) + 0.5) % 1 - 0.5,
    "gamma": lambda x, image: float(torch.log(x[0, 0, 0].log() / image[0, 0, 0].log())),
}


@pytest.mark.parametrize("which", AWAY)
def test_each_colour_jitter_stays_in_its_range(which: str) -> None:
    image = 0.35 + 0.3 * noise(20, 20)
    ranges = AugmentationConfig(**dict.fromkeys(AWAY, 0) | {which: 0.1})
    found = [AWAY[which](jitter_colours(image, ranges, np.random.default_rng(s)), image) for s in range(40)]
    assert 0.07 < max(map(abs, found)) <= 0.1 + 1e-3


def test_grey_stays_grey() -> None:
    image = noise(16, 16)[:1].expand(3, -1, -1)
    for seed in range(10):
        found = jitter_colours(image, AugmentationConfig(), np.random.default_rng(seed))
        assert torch.equal(found[0], found[1])
        assert torch.equal(found[1], found[2])


def test_the_same_seed_gives_the_same_variation() -> None:
    image, mask = noise(40, 40), blob(40, 40)
    one, other, third = (
        augment(image, mask, AugmentationConfig(affine=1, jitter=1), np.random.default_rng(seed), size=32)
        for seed in (4, 4, 5)
    )
    assert torch.equal(one[0], other[0])
    assert torch.equal(one[1], other[1])
    assert not torch.equal(one[0], third[0])


@pytest.mark.parametrize("seed", range(6))
def test_a_deformed_mask_goes_where_the_image_goes(seed: int) -> None:
    mask = blob(64, 64)
    ranges = AugmentationConfig(**NONE | {"elastic": 1, "deformation": 0.05})
    image, moved = augment(mask.expand(3, -1, -1), mask, ranges, np.random.default_rng(seed), size=64)
    away = (image[:1] - moved).abs()
    assert set(moved.unique().tolist()) <= {0.0, 1.0}
    assert float((away > 1e-5).float().mean()) < 0.15
    assert not torch.equal(image[:1], mask)


def test_displacements_are_smooth_and_stay_in_their_range() -> None:
    ranges = AugmentationConfig(elastic=1, deformation=0.04)
    found = [draw_displacements(ranges, np.random.default_rng(seed), 100) for seed in range(50)]
    deviations = [float(d.std()) for d in found]
    # a deviation of up to 4 pixels at the nodes; between them the interpolation is flatter
    assert 2 < max(deviations) < 5
    assert min(deviations) < 0.5
    steps = [float(d.diff(dim=1).abs().max()) for d in found]
    assert max(steps) < 1  # of neighbouring pixels: nothing is folded


@pytest.mark.parametrize(
    ("kind", "strength", "check"),
    [
        ("blur", 2.0, lambda x, image: float(x.std() / image.std()) < 0.3),
        ("noise", 0.1, lambda x, image: 0.08 < float((x - image).std()) < 0.11),
        ("coarsening", 4.0, lambda x, image: float(x.std() / image.std()) < 0.6),
    ],
)
def test_degraded_images_are_worse_and_grey_ones_stay_grey(kind, strength, check) -> None:
    image = 0.25 + 0.5 * noise(48, 48)[:1].expand(3, -1, -1)
    found = apply_degradation(image, Degradation(kind, strength, seed=1), is_grey=True)
    assert check(found, image)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])
    assert 0 <= float(found.min()) <= float(found.max()) <= 1
    assert abs(float(found.mean() - image.mean())) < 0.02


def test_noise_of_a_coloured_image_differs_between_channels() -> None:
    image = 0.25 + 0.5 * noise(32, 32)
    change = apply_degradation(image, Degradation("noise", 0.1, seed=1), is_grey=False) - image
    assert abs(float(torch.corrcoef(change.flatten(1))[0, 1])) < 0.1


@pytest.mark.parametrize(
    "more", [{}, {"elastic": 0.6}, {"degrade": 0.6}, {"elastic": 0.5, "degrade": 0.5, "noise": 0.2}]
)
@pytest.mark.parametrize("channels", [1, 3])
def test_numbers_drawn_in_vain_are_those_of_the_augmentation(more: dict[str, float], channels: int) -> None:
    image = (noise(40, 50)[:channels].expand(3, -1, -1) * 255).to(torch.uint8)
    ranges = AugmentationConfig(affine=0.5, jitter=0.5, **more)
    for seed in range(10):
        drawn, in_vain = np.random.default_rng(seed), np.random.default_rng(seed)
        augment(image.float() / 255, image[:1].float(), ranges, drawn, size=32)
        draw_in_vain(image, ranges, in_vain, size=32)
        assert drawn.random() == in_vain.random()


def test_without_the_new_augmentations_no_number_is_drawn_for_them() -> None:
    """So that a training of an earlier version gives the same weights."""
    rng = np.random.default_rng(0)
    assert draw_displacements(AugmentationConfig(), rng, 32) is None
    assert draw_degradation(AugmentationConfig(), rng) is None
    assert rng.random() == np.random.default_rng(0).random()
