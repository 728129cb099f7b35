"""Whether a model was made for an image, as a run, a check before it, and the trainings find it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import ndimage

from napari_latentseg import Geometry, Scan, check_fit
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.inference.fit import (
    LatentSums,
    check_scan,
    extend_reference,
    fit_reference,
    training_orientation,
)
from napari_latentseg.inference.predictor import Predictor
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import LocatedModel
from napari_latentseg.utils.device import resolve_compute

COMPUTE = resolve_compute("cpu", "float32")


@pytest.fixture(scope="module")
def cases(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> list[Case]:
    return find_cases(write_ellipses(tmp_path_factory.mktemp("ellipses") / "data", count=30))


@pytest.fixture
def fitted(model: Model, cases: list[Case]) -> Model:
    """The tiny model with a reference of 20 ellipses."""
    return replace(
        model, card=model.card.replace(fit=fit_reference(model, COMPUTE, cases[:20], cases[20:25]))
    )


def _run(model: Model, scan: Scan, **settings: Any) -> Any:
    run = Predictor(model, "cpu", "float32").start(scan, InferenceSettings.for_model(model.card, **settings))
    return run.finish().record.fit


def _with_values(scan: Scan, values: Any) -> Scan:
    return scan.replace(array=np.asarray(values).astype(np.uint8))


def test_a_run_says_that_a_like_image_fits(fitted: Model, cases: list[Case]) -> None:
    assert fitted.card.fit is not None
    assert (fitted.card.fit.images, fitted.card.fit.validation_images) == (20, 5)
    assert fitted.card.fit.headers.sides == (48, 64)
    for case in cases[25:]:
        assert _run(fitted, case.read_scan(), samples=3).state == "fits"


_NOISE = np.random.default_rng(0).normal(size=(48, 64))
CHANGED = {
    "inverted": lambda v: 255 - v,
    "coarse noise": lambda v: 120 + 60 * np.sign(ndimage.gaussian_filter(_NOISE, 2)),
    "half of it black": lambda v: np.where(np.arange(v.shape[1]) < 32, 0, v),
}  # fmt: skip


@pytest.mark.parametrize("change", CHANGED.values(), ids=CHANGED)
def test_an_image_of_another_kind_is_told(
    fitted: Model, cases: list[Case], change: Callable[[Any], Any]
) -> None:
    scan = cases[25].read_scan()
    fit = _run(fitted, _with_values(scan, change(np.asarray(scan.array).astype(int))), source="none")
    assert fit.state != "fits"
    assert fit.reasons[0].startswith("it looks unlike the training images")


def test_blur_is_told(fitted: Model, cases: list[Case]) -> None:
    scan = cases[25].read_scan()
    fit = _run(fitted, _with_values(scan, ndimage.gaussian_filter(scan.array, 2)), source="none")
    assert "it is more blurred than the training images" in fit.reasons


@pytest.mark.parametrize("value", [0, 90])
def test_a_constant_image_is_told_even_without_a_reference(
    model: Model, cases: list[Case], value: int
) -> None:
    scan = _with_values(cases[25].read_scan(), np.full((48, 64), value))
    assert model.card.fit is None
    for fit in (_run(model, scan, source="none"), check_scan(model, COMPUTE, scan)):
        assert fit.describe().startswith("Not made for this image: every pixel has the same value")


def test_an_image_of_one_bright_pixel_is_not_constant(model: Model) -> None:
    pixels = np.zeros((48, 64), np.uint8)
    pixels[21, 33] = 255
    assert check_scan(model, COMPUTE, Scan(pixels, "yx", Geometry.from_spacing("yx"))) is None


def test_without_a_reference_and_a_modality_nothing_is_claimed(model: Model, cases: list[Case]) -> None:
    assert _run(model, cases[25].read_scan(), source="none") is None
    assert check_scan(model, COMPUTE, cases[25].read_scan()) is None


def test_the_header_counts_in_a_run(fitted: Model, cases: list[Case]) -> None:
    fit = _run(
        replace(fitted, card=fitted.card.replace(modality="US")), cases[25].read_scan().replace(modality="MR")
    )
    assert fit.state == "foreign"
    assert fit.reasons == ("the image is MR, not US",)


def test_the_number_of_samples_does_not_change_the_verdict(fitted: Model, cases: list[Case]) -> None:
    scan = cases[25].read_scan()
    states = []
    for settings in ({"source": "none"}, {"samples": 1}, {"samples": 4}):
        run = Predictor(fitted, "cpu", "float32").start(
            scan, InferenceSettings.for_model(fitted.card, **settings)
        )
        run.finish()
        states.append(run.state.fit_check)
    first = next(iter(states[0].statistics.values()))
    assert all(np.array_equal(first, next(iter(check.statistics.values()))) for check in states)


def test_before_a_run_the_answer_is_that_of_the_run(fitted: Model, cases: list[Case]) -> None:
    scan = cases[26].read_scan()
    located = LocatedModel(fitted.folder, fitted.card)
    inverted = _with_values(scan, 255 - np.asarray(scan.array).astype(int))
    for image in (scan, inverted):
        before, after = check_scan(fitted, COMPUTE, image), _run(fitted, image, source="none")
        assert before == after
        public = check_fit(image, fitted, device="cpu")
        assert public is not None
        assert public.state == after.state
    header_only = check_fit(inverted, located, pixels=False)
    assert header_only is not None
    assert header_only.state == "fits"


def test_of_a_volume_a_cancelled_run_judges_what_it_saw(fitted: Model, cases: list[Case]) -> None:
    pixels = np.stack([np.asarray(case.read_scan().array) for case in cases[:6]])
    volume = Scan(pixels, "zyx", Geometry.from_spacing("zyx"))
    run = Predictor(fitted, "cpu", "float32").start(
        volume, InferenceSettings.for_model(fitted.card, source="none")
    )
    for progress in run:
        if progress.is_sample_complete:
            break
    fit = run.result().record.fit  # type: ignore[union-attr]
    assert len(run.state.fit_check.statistics) == 1
    assert fit is not None
    assert fit.reasons == ("a volume, the training images are single images",)


def test_a_scan_that_has_no_such_slices_is_refused(fitted: Model, cases: list[Case]) -> None:
    with pytest.raises(BadInput):
        check_scan(fitted, COMPUTE, cases[0].read_scan(), "sagittal")


def test_taught_images_fit_afterwards(fitted: Model, cases: list[Case]) -> None:
    def inverted(case: Case) -> Case:
        scan = case.read_scan()
        return replace(case, scan_reader=lambda: _with_values(scan, 255 - np.asarray(scan.array).astype(int)))

    assert fitted.card.fit is not None
    taught = [inverted(case) for case in cases[:4]]
    reference = extend_reference(fitted.card.fit, fitted, COMPUTE, taught)
    assert reference.images == 24
    model = replace(fitted, card=fitted.card.replace(fit=reference))
    other = inverted(cases[26]).read_scan()
    assert check_scan(fitted, COMPUTE, other).state != "fits"  # type: ignore[union-attr]
    assert check_scan(model, COMPUTE, other).state == "fits"  # type: ignore[union-attr]


def test_sums_over_tiles_are_those_of_the_whole() -> None:
    latents = np.random.default_rng(1).standard_normal((1, 6, 8, 12), np.float32)
    whole, tiles = LatentSums(64, 8), LatentSums(64, 8)
    whole.add(latents, [(0, 0)])
    tiles.add(
        np.concatenate([latents[..., :4], latents[..., 4:8], latents[..., 8:]]), [(0, 0), (0, 32), (0, 64)]
    )
    expected, actual = whole.statistics("upright"), tiles.statistics("upright")
    assert expected.shape == (18,)
    assert np.allclose(actual, expected, atol=1e-5)
    assert np.allclose(expected[:6], latents.mean((0, 2, 3)), atol=1e-5)
    assert np.allclose(np.exp(expected[6:12]), latents.std((0, 2, 3)), atol=2e-3)


def test_statistics_follow_the_turns_of_the_training() -> None:
    latents = np.random.default_rng(1).standard_normal((1, 4, 8, 8), np.float32)
    sums = {}
    for name, z in (
        ("as it is", latents),
        ("turned", np.rot90(latents, axes=(2, 3))),
        ("on its head", latents[:, :, ::-1]),
    ):
        sums[name] = LatentSums(64, 8)
        sums[name].add(z, [(0, 0)])
    upright, *turned = sums.values()
    for other in turned:
        assert np.allclose(upright.statistics("none"), other.statistics("none"), atol=1e-5)
        assert not np.allclose(upright.statistics("upright"), other.statistics("upright"), atol=1e-3)
    assert training_orientation(AugmentationConfig(quarter_turn=0, vertical_flip=0)) == "upright"
    assert training_orientation(AugmentationConfig(quarter_turn=0, vertical_flip=0.5)) == "none"
    assert training_orientation(AugmentationConfig(quarter_turn=0.5, vertical_flip=0)) == "none"
