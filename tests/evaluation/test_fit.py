"""The distribution of the training images, and what lies outside of it."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray
from pydantic import ValidationError

from napari_latentseg.evaluation.fit import (
    DistanceLimits,
    FitReference,
    ImageStatistics,
    LatentReference,
    SharpnessLimits,
)
from napari_latentseg.evaluation.header_fit import HeaderRange

SIZE = 60
HEADERS = HeaderRange(dimensions=(2,), colors=("grey",), sides=(100, 200))
_MIXING = np.random.default_rng(9).normal(size=(8, SIZE))


def rows(count: int, slices: int = 1, seed: int = 0, shift: float = 0.0) -> list[NDArray[np.float64]]:
    """Statistics of images: correlated, since eight factors and a little noise make them."""
    rng = np.random.default_rng(seed)
    return [
        rng.normal(size=(slices, 8)) @ _MIXING + 0.3 * rng.normal(size=(slices, SIZE)) + shift
        for _ in range(count)
    ]


def images(count: int, slices: int = 1, seed: int = 0, shift: float = 0.0) -> list[ImageStatistics]:
    rng = np.random.default_rng(seed)
    return [ImageStatistics(r, rng.normal(-1, 0.1, slices)) for r in rows(count, slices, seed, shift)]


@pytest.mark.parametrize(("training", "slices", "scale"), [(14, 1, 12), (200, 1, 3), (60, 20, 3)])
def test_like_images_fit_and_others_do_not(training: int, slices: int, scale: int) -> None:
    latents = LatentReference.fit(rows(training, slices), rows(20, slices, 1))
    assert (latents.volumes is None) == (slices == 1)
    like = [latents.check(r, slices).state for r in rows(100, slices, 2)]
    assert like.count("fits") >= 95
    # of a similar size (where there are enough images to tell), but against their correlation
    rng = np.random.default_rng(3)
    unlike = [latents.check(rng.normal(size=(slices, SIZE)) * scale, slices) for _ in range(50)]
    assert {fit.state for fit in unlike} == {"foreign"}
    assert unlike[0].reasons[0].startswith("it looks unlike the training images (distance ")


def test_a_few_slices_of_a_volume_are_judged_as_slices() -> None:
    latents = LatentReference.fit(rows(60, 20))
    assert latents.volumes is not None
    assert latents.volumes.unusual < latents.slices.unusual
    between = (latents.volumes.unusual + latents.slices.unusual) / 2
    centre = np.median(np.concatenate(rows(60, 20)), axis=0)
    direction = np.concatenate(rows(1, 1, 5))[0] - centre
    distance = float(latents.distances((centre + direction)[None])[0])
    slices = np.repeat((centre + direction * between / distance)[None], 10, axis=0)
    assert latents.check(slices, 20).state == "unusual"
    assert latents.check(slices[:2], 20).state == "fits"
    assert latents.check(slices, 200).state == "fits"


def test_the_card_keeps_the_distribution() -> None:
    latents = LatentReference.fit(rows(50))
    again = LatentReference.model_validate_json(latents.model_dump_json())
    assert again == latents
    assert np.array_equal(again.distances(rows(3, seed=4)[0]), latents.distances(rows(3, seed=4)[0]))
    with pytest.raises(ValidationError, match="other sizes"):
        latents.replace(size=SIZE + 1)
    with pytest.raises(ValidationError):
        latents.replace(scale="no base64")


def test_taught_images_become_a_centre() -> None:
    latents, taught = LatentReference.fit(rows(50)), rows(3, shift=30.0, seed=6)
    assert latents.check(taught[0], 1).state == "foreign"
    more = latents.with_centre(taught)
    assert len(more.centres) == 2
    assert more.check(rows(1, shift=30.0, seed=7)[0], 1).state == "fits"
    assert more.check(rows(1, shift=15.0, seed=7)[0], 1).state == "foreign"
    assert more.distances(rows(1)[0]) == pytest.approx(latents.distances(rows(1)[0]))


def test_limits_hold_for_a_further_image() -> None:
    rng = np.random.default_rng(0)
    exceeded = 0
    for _ in range(300):
        distances = np.exp(rng.normal(0, 0.2, 21))
        limits = DistanceLimits.fit(distances[:20])
        assert 1.2 * limits.unusual - 0.01 <= limits.foreign <= 1.5 * limits.unusual + 0.01
        exceeded += distances[20] > limits.unusual
    assert exceeded <= 9  # three are expected of 300; more than nine come with a chance of 0.1 %
    long_tail = np.concatenate([np.ones(196), np.full(4, 5.0)])
    assert DistanceLimits.fit(long_tail).unusual == 5.0


def test_blur_is_told_by_itself() -> None:
    reference = FitReference.fit(HEADERS, images(50), images(10, seed=1), "upright")
    like = images(1, seed=2)[0]
    assert reference.check(like, 1) == reference.check(ImageStatistics(like.latents, np.array([])), 1)
    blurred = reference.check(ImageStatistics(like.latents, np.array([-1.6])), 1)
    assert blurred is not None
    assert blurred.describe() == "Unusual for this model: it is more blurred than the training images"
    assert SharpnessLimits.fit([np.full(8, -1.0), np.full(8, -1.2)]).volumes is not None


def test_without_enough_images_only_headers_are_known() -> None:
    reference = FitReference.fit(HEADERS, images(4), images(4, seed=1), "none")
    assert (reference.images, reference.latents, reference.validation_images) == (4, None, 0)
    assert reference.check(images(1)[0], 1) is None
    with pytest.raises(ValueError, match="4 training images, 5 are needed"):
        LatentReference.fit(rows(4))


def test_statistics_of_another_model_are_not_compared() -> None:
    reference = FitReference.fit(HEADERS, images(20), [], "upright")
    assert reference.check(ImageStatistics(np.zeros((1, SIZE - 2)), np.zeros(1)), 1) is None


def test_images_that_are_all_equal_have_finite_limits() -> None:
    latents = LatentReference.fit([np.ones((1, SIZE))] * 8)
    assert latents.check(np.ones((1, SIZE)), 1).state == "fits"
    assert latents.check(np.zeros((1, SIZE)), 1).state == "foreign"
