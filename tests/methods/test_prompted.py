"""Prompted latent mapping: prompts steer the mask, and what is taught is what was pointed at."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
import torch

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec, load_codec
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.clicked_views import ClickedView
from napari_latentseg.methods.prompted import PromptedMapping, PromptedMappingConfig
from napari_latentseg.methods.simulated_prompts import PromptMaps
from napari_latentseg.models.store import embedded_codec


@pytest.fixture
def codec() -> Codec:
    torch.manual_seed(7)
    return build_codec("compact", channels=8, widths=(8, 8), blocks=(1, 1)).freeze()


@pytest.fixture
def method(codec: Codec) -> PromptedMapping:
    torch.manual_seed(0)
    config = PromptedMappingConfig(width=16, prompt_channels=16, classes=2, readings=2, corrections=1)
    return PromptedMapping(codec, config)


def batch() -> Batch:
    masks = torch.zeros(2, 2, 64, 64)
    masks[0, 0, 8:30, 8:30] = masks[0, 1, 40:60, 40:60] = masks[1, 1, 20:50, 10:40] = 1
    images = masks.sum(1, keepdim=True).repeat(1, 3, 1, 1) * 0.5 + 0.25
    return Batch(images, masks, torch.tensor([[True, True], [False, True]]))


def maps(*clicks: tuple[int, int]) -> torch.Tensor:
    prompt = PromptMaps((64, 64))
    for click in clicks:
        prompt.add_click(click, is_positive=True)
    return torch.from_numpy(prompt.maps)[None]


def test_an_answer_has_the_size_of_the_image(method: PromptedMapping) -> None:
    conditioning = method.eval().encode(batch().images[:1])
    answer = method.draw(conditioning, maps((10, 10)), torch.zeros(1, dtype=torch.long))
    assert answer.shape == (1, 1, 64, 64)
    assert 0 <= answer.detach().min() <= answer.detach().max() <= 1


def test_prompts_and_readings_change_the_answer(method: PromptedMapping) -> None:
    conditioning = method.eval().encode(batch().images[:1])
    first, second = torch.zeros(1, dtype=torch.long), torch.ones(1, dtype=torch.long)
    answer = method.draw(conditioning, maps((10, 10)), first)
    assert not torch.equal(answer, method.draw(conditioning, maps((50, 50)), first))
    assert not torch.equal(answer, method.draw(conditioning, maps((10, 10)), second))


def test_every_trained_weight_has_a_gradient(method: PromptedMapping) -> None:
    method.train()
    torch.nn.init.normal_(
        method.conditioner.out.weight, std=0.1
    )  # zero at first, which has no gradient below
    generator = torch.Generator().manual_seed(0)
    for _ in range(4):  # a reading learns when it is the better one
        sum(method.loss(batch(), generator).values()).backward()
    without = [
        name
        for name, weight in method.trainable_modules.named_parameters()
        if (weight.grad is None or not weight.grad.any()) and not name.startswith("mapper.heads.level")
    ]
    assert not without


@pytest.fixture
def judging_method(codec: Codec) -> PromptedMapping:
    """One that also predicts how good its answers are."""
    torch.manual_seed(0)
    settings = {"width": 16, "prompt_channels": 16, "classes": 2, "readings": 2, "corrections": 1}
    return PromptedMapping(codec, PromptedMappingConfig(**settings, quality=True))


def test_the_quality_is_trained_in_a_stage_of_its_own(judging_method: PromptedMapping) -> None:
    answers, quality = judging_method.stages()
    assert (answers.name, quality.name) == judging_method.stage_names
    trained = {id(weight) for weight in quality.trainable.parameters()}
    assert not trained & {id(weight) for weight in answers.trainable.parameters()}
    losses = quality.loss(batch(), torch.Generator().manual_seed(0))
    losses["quality"].backward()
    for name, weight in judging_method.trainable_modules.named_parameters():
        has_gradient = weight.grad is not None and bool(weight.grad.any())
        assert has_gradient == name.startswith("quality."), name


def test_it_learns_how_good_its_answers_are(judging_method: PromptedMapping) -> None:
    """Dark images are answered rightly, bright ones not at all."""
    method = judging_method.train()
    masks = torch.zeros(8, 2, 64, 64)
    masks[:, 0, 16:48, 16:48] = 1
    images = torch.full((8, 3, 64, 64), 0.1)
    images[4:] = 0.9

    def draw(conditioning: torch.Tensor, maps: torch.Tensor, readings: torch.Tensor) -> torch.Tensor:
        shown = [view.mask if i < 4 else ~view.mask for i, view in enumerate(views)]
        return torch.from_numpy(np.stack(shown)).float()[:, None]

    views: list[ClickedView] = []
    clicked = method._clicked_view
    method._clicked_view = lambda *given: views.append(clicked(*given)) or views[-1]  # type: ignore
    method.draw = draw  # type: ignore[method-assign]
    optimizer = torch.optim.Adam(method.stages()[1].trainable.parameters(), 3e-3)
    generator = torch.Generator().manual_seed(0)
    losses = []
    for _ in range(25):
        views.clear()
        loss = method.quality_loss(Batch(images, masks), generator)["quality"]
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert np.mean(losses[-5:]) < 0.7 * np.mean(losses[:3])


def test_without_its_network_no_quality_is_predicted(method: PromptedMapping) -> None:
    readings, prompt = torch.zeros(1, 2, 64, 64), maps((10, 10))
    with pytest.raises(ValueError, match="does not predict"):
        method.predict_quality(method.eval().encode(batch().images[:1]), readings, prompt)


def test_the_same_generator_gives_the_same_loss(method: PromptedMapping) -> None:
    method.eval()
    losses = [
        {k: float(v.detach()) for k, v in method.loss(batch(), torch.Generator().manual_seed(3)).items()}
        for _ in range(2)
    ]
    assert losses[0] == losses[1]
    assert set(losses[0]) == {"latent", "dice"}


@pytest.mark.slow
def test_it_learns_what_is_pointed_at() -> None:
    """Four squares that look alike: only the click says which is meant."""
    torch.manual_seed(0)
    config = PromptedMappingConfig(
        width=16, prompt_channels=16, corrections=0, cross_entropy_weight=1.0, latent_weight=0.25
    )
    method = PromptedMapping(load_codec(embedded_codec()), config).train()
    masks = torch.zeros(4, 1, 64, 64)
    for i, (row, column) in enumerate([(8, 8), (8, 40), (40, 8), (40, 40)]):
        masks[i, 0, row : row + 18, column : column + 18] = 1
    images = masks.sum(0, keepdim=True).repeat(4, 3, 1, 1) * 0.5 + 0.25
    optimizer = torch.optim.Adam(method.trainable_modules.parameters(), 2e-3)
    generator = torch.Generator().manual_seed(0)
    for _ in range(40):
        loss = sum(method.loss(Batch(images, masks), generator).values())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    method.eval()
    with torch.no_grad():
        answers = method.answer_clicks(images[:1], masks.transpose(0, 1))[0]
    overlaps = np.array([[float((a * m[0]).sum()) for m in masks] for a in answers])
    assert (overlaps.argmax(1) == np.arange(4)).all()


def test_a_class_that_is_not_there_is_not_answered(method: PromptedMapping) -> None:
    data = batch()
    with torch.no_grad():
        answers = method.eval().answer_clicks(data.images, data.masks)
    assert answers.shape == data.masks.shape
    assert not answers[1, 0].any()
    assert answers[1, 1].any()


@pytest.mark.parametrize(
    ("setting", "expected"), [("invert", (1.0, 0.25, 1.0)), ("grey", (0.25, 0.25, 0.25))]
)
def test_training_images_are_inverted_or_grey_in_the_share_that_is_set(
    codec: Codec, setting: str, expected: tuple[float, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PromptedMappingConfig.model_validate(
        {"width": 16, "prompt_channels": 16, "classes": 2, setting: 1}
    )
    method = PromptedMapping(codec, config)
    encode, shown = method.encode, []

    def watched_encode(images: torch.Tensor) -> torch.Tensor:
        shown.append(images)
        return encode(images)

    monkeypatch.setattr(method, "encode", watched_encode)
    green = torch.zeros(2, 3, 64, 64)
    green[:, 1] = 0.75
    given = batch()
    method.loss(Batch(green, given.masks, given.annotated), torch.Generator().manual_seed(0))
    assert shown[0].mean((0, 2, 3)).tolist() == pytest.approx(expected)


def test_a_close_view_shows_the_detail_of_the_image(codec: Codec, monkeypatch: pytest.MonkeyPatch) -> None:
    """Stripes of one pixel, which an image of the working size would not keep."""
    config = PromptedMappingConfig(width=16, prompt_channels=16, detail=2, corrections=0)
    method = PromptedMapping(codec, config)
    encode, shown = method.encode, []

    def watched_encode(images: torch.Tensor) -> torch.Tensor:
        shown.append(images)
        return encode(images)

    monkeypatch.setattr(method, "encode", watched_encode)
    images, masks = torch.zeros(1, 3, 128, 128), torch.zeros(1, 1, 128, 128)
    images[..., ::2] = 1
    masks[..., 60:68, 60:68] = 1
    for seed in range(4):
        method.loss(Batch(images, masks), torch.Generator().manual_seed(seed))
    assert {tuple(views.shape) for views in shown} == {(1, 3, 64, 64)}
    assert max(float(views.std()) for views in shown) > 0.25


def test_clicks_on_detailed_images_are_answered_at_working_size(
    codec: Codec, monkeypatch: pytest.MonkeyPatch
) -> None:
    method = PromptedMapping(codec, PromptedMappingConfig(width=16, prompt_channels=16, classes=2, detail=2))
    encode, sizes = method.encode, []

    def watched_encode(images: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(images.shape[-2:]))
        return encode(images)

    monkeypatch.setattr(method, "encode", watched_encode)
    data = batch()
    with torch.no_grad():
        answers = method.eval().answer_clicks(data.images, data.masks)
    assert sizes == [(32, 32)]
    assert answers.shape == data.masks.shape
    assert answers[0, 1].any()


@pytest.mark.parametrize(("share", "expected"), [(0.0, {1, 2, 3}), (1.0, {0}), (None, {0, 1, 2, 3})])
def test_the_share_of_first_clicks_is_as_set(
    codec: Codec, share: float | None, expected: set[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    config = PromptedMappingConfig(width=16, prompt_channels=16, classes=2, first_click_share=share)
    method = PromptedMapping(codec, config)
    clicks = Counter[int]()
    correct = PromptMaps.correct

    def counted(self: PromptMaps, *arguments: Any) -> None:
        clicks[id(self)] += 1
        correct(self, *arguments)

    monkeypatch.setattr(PromptMaps, "correct", counted)
    seen = set()
    for seed in range(24):
        clicks.clear()
        with torch.no_grad():
            method.eval().loss(batch(), torch.Generator().manual_seed(seed))
        seen.add(max(clicks.values(), default=0))
    assert seen == expected
