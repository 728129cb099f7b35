"""Guided latent diffusion: its parts, its losses, and that it learns."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.helpers.guided import AUTOENCODER, TINY, make
from tests.helpers.learning import dice_to_nearest, falls, short_and_full
from tests.helpers.parameter_counts import parameter_counts
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.guided import GuidedConfig, GuidedLatentDiffusion, draw_training_classes
from napari_latentseg.methods.noise import random_noise
from napari_latentseg.networks.losses import dice_loss
from napari_latentseg.training.pretrained import load_pretrained_weights

SIZE = 32
_OF_AN_EIGHTH = AUTOENCODER | {"widths": (16, 16, 16)}
PYRAMID: dict[str, Any] = {
    "mask_autoencoder": _OF_AN_EIGHTH,
    "image_autoencoder": _OF_AN_EIGHTH,
    "conditioner": "pyramid",
}


def shapes(count: int, seed: int = 0) -> Batch:
    """A bright disc (class 0) and a dark rectangle (class 1) each on a noisy ground."""
    rng = np.random.default_rng(seed)
    rows, columns = np.mgrid[:SIZE, :SIZE]
    images, masks = [], []
    for _ in range(count):
        (y, v), (x, u) = rng.uniform(9, 22, 2), (rng.uniform(7, 10), rng.uniform(21, 24))
        if rng.random() < 0.5:
            x, u = u, x
        radius, high, wide = rng.uniform(5, 7), rng.uniform(4, 7), rng.uniform(4, 6)
        disc = (rows - y) ** 2 + (columns - x) ** 2 < radius**2
        box = (abs(rows - v) < high) & (abs(columns - u) < wide)
        images.append(np.clip(0.5 + 0.4 * disc - 0.4 * box + rng.normal(0, 0.03, disc.shape), 0, 1))
        masks.append(np.stack([disc, box]))
    grey = torch.from_numpy(np.stack(images)).float()[:, None]
    return Batch(grey.repeat(1, 3, 1, 1), torch.from_numpy(np.stack(masks)).float())


def teach(
    method: GuidedLatentDiffusion, data: Batch, steps: tuple[int, int], rate: float = 3e-3
) -> list[list[float]]:
    """Train both stages on batches of 16; gives the loss at each step of each."""
    losses: list[list[float]] = []
    generator = torch.Generator().manual_seed(0)
    for stage, count in zip(method.stages(), steps, strict=True):
        method.eval()
        with torch.no_grad():
            stage.on_start([data])
        method.requires_grad_(False).train()
        stage.trainable.requires_grad_(True)
        optimizer = torch.optim.AdamW(stage.trainable.parameters(), rate, weight_decay=1e-5)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rate, count)
        losses.append([])
        for _ in range(count):
            rows = torch.randint(len(data.images), (16,), generator=generator)
            annotated = None if data.annotated is None else data.annotated[rows]
            terms = stage.loss(Batch(data.images[rows], data.masks[rows], annotated), generator)
            loss = torch.stack(list(terms.values())).sum()
            loss.backward()
            losses[-1].append(loss.item())
            torch.nn.utils.clip_grad_norm_(stage.trainable.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
            schedule.step()
    method.eval()
    return losses


def dice(found: Tensor, masks: Tensor) -> float:
    a, b = (found > 0.5).flatten(2), (masks > 0.5).flatten(2)
    return float((2 * (a & b).sum(2) / (a.sum(2) + b.sum(2)).clamp_min(1)).mean())


@torch.no_grad()
def drawn(method: GuidedLatentDiffusion, images: Tensor, seed: int = 0) -> Tensor:
    return method.sample(method.encode(images), random_noise(torch.Generator().manual_seed(seed)))


def test_the_defaults_are_the_paper_s() -> None:
    config = GuidedConfig()
    assert (config.classes, config.diffusion.prediction, config.learned_variance) == (29, "sample", True)
    method = GuidedLatentDiffusion(None, config)
    counts = parameter_counts(method)
    assert counts["mask_autoencoder"] == counts["image_autoencoder"] == 5_251_333
    assert (method.downsampling_factor, method.size_multiple, method.class_count) == (8, 32, 29)
    assert method.deviations_from_paper == "no perceptual term in the image autoencoder"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"learned_variance": False}, "no learned variance"),
        ({"timesteps": "uniform"}, "uniform timesteps"),
        ({"diffusion": TINY["diffusion"] | {"prediction": "epsilon"}}, "predicts the noise"),
        ({"pixel_weight": 0.5}, "pixel losses"),
        ({"pixel_weight": 0.5, "dice_over": "batch"}, "pixel losses, Dice over the batch"),
        (PYRAMID, "image encoder over an ImageNet network"),
    ],
)
def test_what_differs_is_a_variant_that_still_works(changes: dict[str, Any], words: str) -> None:
    method = make(**changes)
    assert method.deviations_from_paper.endswith(words)
    terms = method.loss(shapes(4), torch.Generator().manual_seed(0))
    assert ("bound" in terms) == method.config.learned_variance
    assert all(bool(term.isfinite()) for term in terms.values())
    found = drawn(method, shapes(2).images)
    assert found.shape == (2, 2, SIZE, SIZE)
    assert 0 <= float(found.min()) <= float(found.max()) <= 1


def test_the_pyramid_begins_at_the_latent_and_learns_with_the_diffusion() -> None:
    method = make(**PYRAMID)
    data = shapes(4)
    first, second = method.stages()
    assert "conditioner" not in first.trainable
    assert set(method.pretrained_modules) == {"efficientnet-lite0"}
    latent = method.image_autoencoder.encode(data.images.mean(1, keepdim=True))
    assert torch.equal(method.encode(data.images), latent)  # its last layer begins with zeros
    torch.stack(list(second.loss(data, torch.Generator().manual_seed(0)).values())).sum().backward()
    assert all(bool(p.grad.any()) for p in second.trainable["conditioner"].out.parameters())
    assert not any(p.grad is not None for p in first.trainable.parameters())


def test_pixel_losses_are_of_the_decoded_prediction_of_the_drawn_class() -> None:
    data = shapes(4)
    terms = [make(pixel_weight=weight).loss(data, torch.Generator().manual_seed(0)) for weight in (0.5, 1.0)]
    for name in ("pixel_cross_entropy", "pixel_dice"):
        assert float(terms[1][name]) == pytest.approx(2 * float(terms[0][name]), rel=1e-5)
    assert torch.equal(terms[0]["latent"], terms[1]["latent"])
    method = make(pixel_weight=1.0).eval()
    latents, masks = method.mask_autoencoder.encode(data.masks[:, :1]), data.masks[:, :1]
    exact = method._pixel_losses(latents, masks, torch.zeros(4, dtype=torch.long))
    method.mask_autoencoder.requires_grad_(False)
    expected = method.stages()[0].loss(Batch(data.images, data.masks[:, :1].repeat(1, 2, 1, 1)), None)
    assert float(exact["pixel_dice"]) == pytest.approx(float(expected["mask_dice"]), rel=1e-5)


def test_the_pixel_dice_may_be_that_of_a_class_over_the_batch() -> None:
    data = shapes(4)
    method = make(pixel_weight=1.0, dice_over="batch").eval()
    latents, masks = method.mask_autoencoder.encode(data.masks[:, :1]), data.masks[:, :1]
    found = method._pixel_losses(latents, masks, torch.tensor([0, 1, 0, 1]))["pixel_dice"]
    p = method.decode(latents)
    of_classes = [dice_loss(*(x[k::2].reshape(1, 1, 2 * SIZE, SIZE) for x in (p, masks))) for k in (0, 1)]
    assert float(found) == pytest.approx(float(torch.stack(of_classes).mean()), rel=1e-5)


def test_a_pyramid_beside_latents_of_a_quarter_is_refused() -> None:
    with pytest.raises(BadInput, match="downsample by 8, these do so by 4"):
        make(conditioner="pyramid")


def test_latents_of_two_sizes_are_refused() -> None:
    with pytest.raises(BadInput, match="must downsample by the same factor"):
        make(image_autoencoder=AUTOENCODER | {"widths": (16, 16, 16)})


def test_a_stage_teaches_its_own_parts() -> None:
    method = make()
    first, second = method.stages()
    assert (set(first.trainable), set(second.trainable)) == (
        {"mask_autoencoder", "image_autoencoder"},
        {"denoiser"},
    )
    assert first.validate is not None
    data = shapes(8)
    with torch.no_grad():
        second.on_start([data])
    for own, other, loss in ((first, second, first.loss), (second, first, second.loss)):
        method.zero_grad()
        torch.stack(list(loss(data, torch.Generator().manual_seed(0)).values())).sum().backward()
        assert any(p.grad is not None and bool(p.grad.any()) for p in own.trainable.parameters())
        assert not any(p.grad is not None and bool(p.grad.any()) for p in other.trainable.parameters())


def test_the_latents_are_brought_to_unit_scale_and_stored() -> None:
    method = make()
    data = shapes(32)
    with torch.no_grad():
        method.stages()[1].on_start([data])
        z = method.encode(data.images)
    assert torch.allclose(z.mean((0, 2, 3)), torch.zeros(4), atol=1e-4)
    assert torch.allclose(z.std((0, 2, 3)), torch.ones(4), atol=1e-2)
    assert {"mask_autoencoder.mean", "image_autoencoder.spread"} <= set(method.trainable_modules.state_dict())


def test_an_image_autoencoder_of_three_channels_tells_neighbouring_slices_apart() -> None:
    images = shapes(2).images.clone()
    images[:, 0], images[:, 2] = images[:, 0].flip(-1), images[:, 2].flip(-2)
    swapped = images.flip(1)  # the same mean over the channels
    grey = make()
    coloured = make(image_autoencoder=AUTOENCODER | {"image_channels": 3})
    assert torch.allclose(grey.encode(images), grey.encode(swapped), atol=1e-5)
    assert not torch.allclose(coloured.encode(images), coloured.encode(swapped), atol=1e-2)
    reconstruction = coloured.reconstruct(images, shapes(2).masks)
    assert reconstruction.images.shape == reconstruction.given_images.shape == (2, 3, SIZE, SIZE)
    losses = coloured.stages()[0].loss(Batch(images, shapes(2).masks), torch.Generator().manual_seed(0))
    assert torch.isfinite(sum(losses.values()))


def test_a_mask_has_one_channel() -> None:
    with pytest.raises(BadInput, match="mask_autoencoder: a mask has one channel"):
        make(mask_autoencoder=AUTOENCODER | {"image_channels": 3})


def test_a_class_that_was_not_looked_for_is_never_drawn() -> None:
    masks = torch.zeros(200, 4, 2, 2)
    masks[:, 1] = masks[:, 3] = 1  # seen, but the last was not looked for: its pixels tell nothing
    annotated = torch.tensor([True, True, True, False]).repeat(200, 1)
    found = draw_training_classes(masks, annotated, 0.8, torch.Generator().manual_seed(0))
    counts = found.bincount(minlength=4)
    assert counts[3] == 0
    assert counts[0] > 0
    assert counts[2] > 0
    assert counts[1] == pytest.approx(200 * (0.8 + 0.2 / 3), abs=20)
    only = draw_training_classes(masks, annotated, 1.0, torch.Generator().manual_seed(0))
    assert only.unique().tolist() == [1]


def test_a_class_that_was_not_looked_for_gets_no_gradient() -> None:
    method = make(classes=3, buckets=2)
    data = shapes(6)
    masks = torch.cat([data.masks, torch.ones(6, 1, SIZE, SIZE)], dim=1)

    def gradient(of_third: Tensor) -> Tensor:
        method.zero_grad()
        masks[:, 2] = of_third
        batch = Batch(data.images, masks, torch.tensor([[True, True, False]]).repeat(6, 1))
        torch.stack(list(method.loss(batch, torch.Generator().manual_seed(1)).values())).sum().backward()
        return torch.cat([p.grad.flatten() for p in method.denoiser.parameters() if p.grad is not None])

    method.denoiser.requires_grad_(True)
    with_it, without = gradient(torch.ones(SIZE, SIZE)), gradient(torch.zeros(SIZE, SIZE))
    assert torch.equal(with_it, without)
    table = method.denoiser.unet.class_embedding.weight.grad
    assert not bool(table[2].any())
    assert bool(table[:2].any())


@pytest.mark.parametrize("at_once", [1, 32])
def test_the_class_changes_the_answer_out_of_the_same_noise(
    at_once: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("napari_latentseg.methods.guided._MAX_DENOISER_BATCH", at_once)
    method = make(classes=3)
    found = drawn(method, shapes(2).images)
    assert not torch.allclose(found[:, 0], found[:, 1], atol=1e-4)
    with torch.no_grad():
        method.denoiser.unet.class_embedding.weight[1] = method.denoiser.unet.class_embedding.weight[0]
    same = drawn(method, shapes(2).images)
    assert torch.allclose(same[:, 0], same[:, 1], atol=1e-5)


def test_many_classes_at_once_are_as_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    method = make(classes=5)
    images = shapes(3).images
    together = drawn_by_place(method, images)
    assert together.shape == (3, 5, SIZE, SIZE)
    monkeypatch.setattr("napari_latentseg.methods.guided._MAX_DENOISER_BATCH", 1)
    assert torch.allclose(drawn_by_place(method, images), together, atol=1e-4)


@torch.no_grad()
def drawn_by_place(method: GuidedLatentDiffusion, images: Tensor) -> Tensor:
    return method.sample(method.encode(images), PositionalNoise(1, 0, [(0, 0)] * len(images)))


def test_equal_neighbours_of_a_volume_give_equal_samples() -> None:
    """One field of noise for all slices and windows of a sample; another for the next sample."""
    method = make()
    slices = shapes(1).images.repeat(3, 1, 1, 1)
    found = drawn_by_place(method, slices)
    assert torch.allclose(found[0], found[1], atol=1e-5)
    assert torch.allclose(found[0], found[2], atol=1e-5)
    with torch.no_grad():
        other = method.sample(method.encode(slices), PositionalNoise(1, 1, [(0, 0)] * 3))
        # windows that overlap see the same noise where they do
        one, two = PositionalNoise(1, 0, [(0, 0), (0, 4)])((2, 4, 8, 8), 3)
    assert not torch.allclose(found[0], other[0], atol=1e-4)
    assert torch.equal(one[:, :, 4:], two[:, :, :4])


def test_only_a_training_step_is_remembered() -> None:
    method = make()
    assert method.resampler is not None
    method.eval().loss(shapes(4))
    assert int(method.resampler.counts.sum()) == 0
    method.train().loss(shapes(4))
    assert int(method.resampler.counts.sum()) == 4


def test_texts_are_centred_and_of_length_one(tmp_path: Path) -> None:
    method = make(classes=3, class_embedding="text", text_width=8)
    vectors = 5 + torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    save_file({"vectors": vectors}, tmp_path / "texts.safetensors")
    load_pretrained_weights(method, str(tmp_path / "texts.safetensors"))
    codes = method.texts(torch.arange(3))
    assert torch.allclose(codes.norm(dim=1), torch.ones(3))
    apart = vectors - vectors.mean(0)
    assert torch.allclose(codes, apart / apart.norm(dim=1, keepdim=True), atol=1e-5)
    assert "class_texts.vectors" in method.trainable_modules.state_dict()
    assert drawn(method, shapes(1).images).shape == (1, 3, SIZE, SIZE)


def test_texts_must_be_given_and_fit(tmp_path: Path) -> None:
    method = make(classes=3, class_embedding="text", text_width=8)
    for source in ("", "none"):
        with pytest.raises(BadInput, match="class-texts: are not given; set published_weights to a file"):
            load_pretrained_weights(method, source)
    file = tmp_path / "texts.safetensors"
    for vectors, message in (
        (torch.randn(2, 8), r"has the shape \(2, 8\), not \(3, 8\); give one vector of 8 values for each of"),
        (torch.ones(3, 8), "has the same vector for two classes"),
        (torch.full((3, 8), torch.nan), "not finite"),
        (torch.zeros(24), "does not hold one matrix"),
    ):
        save_file({"vectors": vectors}, file)
        with pytest.raises(BadInput, match=message):
            load_pretrained_weights(method, str(file))
    file.write_bytes(b"damaged")
    with pytest.raises(BadInput, match="is damaged, or no file of tensors"):
        load_pretrained_weights(method, str(file))
    with pytest.raises(BadInput, match="no such file"):
        load_pretrained_weights(method, str(tmp_path / "none.safetensors"))


def test_texts_may_be_a_plain_tensor_as_the_clip_driven_model_publishes_them(tmp_path: Path) -> None:
    method = make(classes=3, class_embedding="text", text_width=8)
    vectors = torch.randn(3, 8, generator=torch.Generator().manual_seed(0))
    torch.save(vectors, tmp_path / "txt_encoding.pth")
    load_pretrained_weights(method, str(tmp_path / "txt_encoding.pth"))
    assert torch.equal(method.texts.vectors, vectors)


@short_and_full
def test_it_learns_two_shapes_by_their_names(full: bool) -> None:
    method = make(learned_variance=False)
    data = shapes(128)
    before = dice(drawn(method, data.images[:32]), data.masks[:32])
    assert all(map(falls, teach(method, data, (200, 350) if full else (30, 30))))
    if not full:
        assert dice(drawn(method, data.images[:32]), data.masks[:32]) > before + 0.1
        return
    known = dice(drawn(method, data.images[:32]), data.masks[:32])
    fresh = shapes(32, seed=1)
    new = dice(drawn(method, fresh.images), fresh.masks)
    assert known > 0.95
    assert new > 0.85


@short_and_full
def test_where_readers_disagree_samples_fall_on_both_and_vary_between(full: bool) -> None:
    """The same image with a small and with a large outline."""
    rows, columns = np.mgrid[:SIZE, :SIZE]
    far = torch.from_numpy((rows - 15.5) ** 2 + (columns - 15.5) ** 2)
    small, large = far < 5**2, far < 11**2
    images = torch.full((2, 3, SIZE, SIZE), 0.4)
    images[:, :, 15:17, 15:17] = 0.9
    method = make(classes=1)
    both = Batch(images, torch.stack([small, large])[:, None].float())

    def score() -> float:
        samples = torch.cat([drawn(method, images[:1], seed) for seed in range(8)])[:, 0]
        return dice_to_nearest(samples, (small, large))

    before = score()
    assert all(map(falls, teach(method, both, (150, 250) if full else (20, 25))))
    if not full:
        assert score() > before
        return
    samples = torch.cat([drawn(method, images[:1], seed) for seed in range(16)])[:, 0]
    masks = samples > 0.5
    to_small, to_large = (
        torch.stack([2 * (m & o).sum() / (m.sum() + o.sum()) for m in masks]) for o in (small, large)
    )
    assert bool((torch.maximum(to_small, to_large) > 0.85).all())
    assert 2 <= int((to_small > to_large).sum()) <= 14
    variance = samples.var(0, unbiased=False)
    between = large & ~small
    assert float(variance[between].mean()) > 5 * float(variance[~between].mean())
