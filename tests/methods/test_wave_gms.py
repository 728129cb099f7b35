"""Wave-GMS against its equations, written out by hand, and against shapes that it must learn."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch
from tests.helpers.learning import falls, short_and_full
from tests.helpers.parameter_counts import parameter_counts
from torch import Tensor

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.registry import METHODS, build_method
from napari_latentseg.methods.wave_gms import WaveGMS, WaveGMSConfig, alignment_loss

TINY = {
    "encoder_block_out_channels": (8,) * 4,
    "decoder_block_out_channels": (8,) * 4,
    "num_encoder_blocks": (1,) * 4,
    "num_decoder_blocks": (1,) * 4,
}
NETWORKS = {
    "tiny": TINY,
    "tiny, 16 channels": TINY | {"latent_channels": 16},
    "compact": {"channels": 8, "widths": (8, 8), "blocks": (1, 1)},
}


@pytest.fixture(scope="module")
@torch.no_grad()
def codec() -> Callable[[str], Codec]:
    torch.manual_seed(7)
    made = {
        name: build_codec(name.partition(",")[0], **network).freeze() for name, network in NETWORKS.items()
    }
    # decoded at random, a mask should be half in and half out, and not lost in the clamp
    last = [codec.autoencoder.decoder.layers[-1] for name, codec in made.items() if name != "compact"]
    for layer in (*last, made["compact"].decoder.head[0]):
        layer.weight.mul_(2.0)
        layer.bias.fill_(0.5)
    return made.__getitem__


@pytest.fixture
def wave(codec) -> Callable[..., WaveGMS]:
    def of(kind: str = "tiny", **settings: object) -> WaveGMS:
        torch.manual_seed(8)
        return WaveGMS(codec(kind), WaveGMSConfig(**({"width": 16} | settings)))

    return of


@pytest.fixture
def batch() -> Batch:
    generator = torch.Generator().manual_seed(9)
    masks = (torch.rand(2, 1, 32, 32, generator=generator) > 0.7).float()
    return Batch(torch.rand(2, 3, 32, 32, generator=generator), masks)


# --- the objective -------------------------------------------------------------------------------------

FOUR = ("level3", "level2", "level1", "out")


def by_hand(method: WaveGMS, batch: Batch, z: Tensor, levels: tuple[str, ...]) -> dict[str, float]:
    """The sums of Section 2.4, element by element."""
    z_mask = method.codec.encode(batch.masks.repeat(1, 3, 1, 1))
    z_image = method.codec.encode(batch.images)
    latent = dice = 0.0
    for level in method.mapper(z, levels).values():
        latent += float(((level - z_mask) ** 2).sum()) / z_mask.numel()
        for image, mask in zip(method.codec.decode(level), batch.masks, strict=True):
            p = image.mean(0).clamp(0, 1)
            inside, both = float((p * mask[0]).sum()), float(p.sum() + mask.sum())
            dice += (1 - (2 * inside + 1e-5) / (both + 1e-5)) / len(batch.masks)
    lengths = (z**2).sum(1).sqrt() * (z_image**2).sum(1).sqrt()
    cosine = float(((z * z_image).sum(1) / lengths).mean())
    apart = float((z - z_image).abs().sum()) / z.numel()
    return {"latent": latent, "dice": dice, "align": 0.9 * (1 - cosine) + 0.1 * apart}


@pytest.mark.parametrize("levels", [FOUR, ("level2", "level1", "out"), ("out",)], ids=len)
@pytest.mark.parametrize("kind", ["tiny", "compact"])
@torch.no_grad()
def test_the_terms_are_those_of_the_paper(wave, batch: Batch, kind: str, levels: tuple[str, ...]) -> None:
    method = wave(kind, levels=levels, latent_weight=0.5, dice_weight=2.0, align_weight=3.0).eval()
    z = method.encoder(batch.images)[:, : method.codec.channels]
    expected = by_hand(method, batch, z, levels)
    found = method.loss(batch)
    assert list(found) == ["latent", "dice", "align"]
    weights = {"latent": 0.5, "dice": 2.0, "align": 3.0}
    for name, weight in weights.items():
        assert found[name].item() == pytest.approx(weight * expected[name], rel=1e-4)


@torch.no_grad()
def test_in_training_the_terms_are_those_of_a_draw(wave, batch: Batch) -> None:
    method = wave().train()
    mean, log_variance = method.encoder(batch.images).chunk(2, dim=1)
    epsilon = torch.randn(mean.shape, generator=torch.Generator().manual_seed(3))
    expected = by_hand(method, batch, mean + torch.exp(log_variance / 2) * epsilon, FOUR)
    found = method.loss(batch, torch.Generator().manual_seed(3))
    assert {k: v.item() for k, v in found.items()} == pytest.approx(expected, rel=1e-4)
    other = method.loss(batch, torch.Generator().manual_seed(4))
    assert found["align"] != other["align"]


@torch.no_grad()
def test_without_draws_training_sees_the_mean(wave, batch: Batch) -> None:
    method = wave(sample_in_training=False)
    still, trained = method.eval().loss(batch), method.train().loss(batch)
    assert {k: v.item() for k, v in trained.items()} == pytest.approx({k: v.item() for k, v in still.items()})


def test_the_distances_of_the_alignment() -> None:
    """Equal directions, half a unit and three units apart: l1 means 1.75, the smooth one 1.3125."""
    target = torch.tensor([1.0, 6.0]).reshape(1, 1, 1, 2)
    z = torch.tensor([1.5, 9.0]).reshape(1, 1, 1, 2)
    assert alignment_loss(z, target).item() == pytest.approx(0.1 * 1.75)
    smooth = (0.5 * 0.5**2 + 3 - 0.5) / 2
    assert alignment_loss(z, target, "smooth_l1").item() == pytest.approx(0.1 * smooth)
    assert alignment_loss(-z, target).item() == pytest.approx(0.9 * 2 + 0.1 * (2.5 + 15) / 2)


def test_a_latent_of_zeros_is_aligned_without_a_break() -> None:
    z = torch.zeros(1, 4, 2, 2, requires_grad=True)
    alignment_loss(z, torch.ones(1, 4, 2, 2)).backward()
    assert torch.isfinite(z.grad).all()


def test_no_alignment_is_no_term(wave, batch: Batch) -> None:
    assert set(wave(align_weight=0).loss(batch)) == {"latent", "dice"}


# --- what learns ---------------------------------------------------------------------------------------


def reached(method: WaveGMS) -> set[str]:
    return {n.partition(".")[0] for n, p in method.named_parameters() if p.grad is not None and p.grad.any()}


def test_the_pixels_reach_the_encoder_through_the_frozen_decoder(wave, batch: Batch) -> None:
    method = wave(latent_weight=0).train()
    method.loss(batch)["dice"].backward()
    assert reached(method) == {"encoder", "mapper"}
    assert method.encoder.extractors[0].stem.weight.grad.any()
    assert all(p.grad is None for p in method.codec.parameters())


def test_the_alignment_moves_the_encoder_alone(wave, batch: Batch) -> None:
    method = wave().train()
    method.loss(batch)["align"].backward()
    assert reached(method) == {"encoder"}


@pytest.mark.parametrize("kind", ["tiny", "compact"])
def test_a_step_changes_what_is_trained_and_leaves_the_codec(wave, batch: Batch, kind: str) -> None:
    method = wave(kind).train()
    assert set(method.trainable_modules) == {"encoder", "mapper"}
    before = {k: v.clone() for k, v in method.state_dict().items()}
    optimizer = torch.optim.AdamW(method.trainable_modules.parameters(), 1e-3)
    torch.stack(list(method.loss(batch).values())).sum().backward()
    unreached = {
        n for n, p in method.trainable_modules.named_parameters() if p.grad is None or not p.grad.any()
    }
    assert all(n.endswith(".key.bias") for n in unreached)  # which a softmax does not see
    optimizer.step()
    after = method.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert {name.partition(".")[0] for name in changed} == {"encoder", "mapper"}
    assert not any(m.training for m in method.codec.modules())


def test_without_draws_the_variance_learns_nothing(wave, batch: Batch) -> None:
    for draws in (True, False):
        method = wave(sample_in_training=draws).train()
        torch.stack(list(method.loss(batch).values())).sum().backward()
        assert bool(method.encoder.aggregator.head.weight.grad[4:].any()) is draws
        assert method.sampling_sources == (("posterior",) if draws else ())


def test_the_width_of_the_posterior_is_measured(wave, batch: Batch) -> None:
    method = wave().train()
    (stage,) = method.stages()
    with torch.no_grad():
        mean, log_variance = method.encoder(batch.images).chunk(2, dim=1)
    for _ in range(2):
        stage.loss(batch, None)
    sigma = float(torch.exp(log_variance / 2).mean())
    assert stage.after_epoch() == pytest.approx(
        {"sigma": sigma, "sigma_to_mean": sigma / float(mean.abs().mean())}, rel=1e-4
    )
    assert stage.after_epoch() == {}
    assert wave(sample_in_training=False).stages()[0].after_epoch() == {}


def test_parameter_counts(codec) -> None:
    counts = parameter_counts(WaveGMS(codec("tiny"), WaveGMSConfig()))
    assert (counts["encoder"], counts["mapper"]) == (1_035_692, 1_564_976)
    assert sum(counts.values()) == 2_600_668


# --- samples -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["tiny", "compact"])
@torch.inference_mode()
def test_the_answer_is_the_decoded_mean(wave, batch: Batch, kind: str) -> None:
    method = wave(kind).eval()
    condition = method.encode(batch.images)
    assert condition.shape == (2, 2 * method.codec.channels, 4, 4)
    z = method.mapper(condition[:, : method.codec.channels])["out"]
    expected = method.codec.decode(z).mean(1, keepdim=True).clamp(0, 1)
    torch.testing.assert_close(method.sample(condition), expected)
    torch.testing.assert_close(method.sample(condition, lambda shape, step=0: torch.zeros(shape)), expected)
    assert method.is_deterministic


@torch.inference_mode()
def test_a_draw_lies_its_deviations_away_from_the_mean(wave, batch: Batch) -> None:
    method = wave().eval()
    condition = method.encode(batch.images)
    moved = condition.clone()
    moved[:, :4] += 2 * torch.exp(condition[:, 4:] / 2)
    drawn = method.sample(condition, lambda shape, step=0: torch.full(shape, 2.0))
    torch.testing.assert_close(drawn, method.sample(moved))


@torch.inference_mode()
def test_samples_of_the_posterior_differ_and_come_again(wave, batch: Batch) -> None:
    method = wave("compact").eval()
    one, other, again = (
        torch.stack(list(method.sample_many(batch.images, 3, torch.Generator().manual_seed(s))))
        for s in (1, 2, 1)
    )
    assert torch.equal(one, again)
    assert (one[0] - one[1]).abs().max() > 1e-3
    assert (one[0] - other[0]).abs().max() > 1e-3
    assert one.shape == (3, 2, method.class_count, 32, 32)
    assert one.min() >= 0
    assert one.max() <= 1


@torch.inference_mode()
def test_without_a_learnt_variance_all_samples_are_the_answer(wave, batch: Batch) -> None:
    method = wave("compact", sample_in_training=False).eval()
    answer = method.sample(method.encode(batch.images))
    assert all(torch.equal(p, answer) for p in method.sample_many(batch.images, 3))


@torch.inference_mode()
def test_a_variance_out_of_all_bounds_stays_a_number(wave, batch: Batch) -> None:
    method = wave().eval()
    condition = method.encode(batch.images)
    condition[:, 4:] = -1e6
    noisy = method.sample(condition, lambda shape, step=0: torch.ones(shape))
    torch.testing.assert_close(noisy, method.sample(condition), atol=1e-4, rtol=0)
    condition[:, 4:] = 1e6
    assert torch.isfinite(method.sample(condition, lambda shape, step=0: torch.ones(shape))).all()


# --- names and settings --------------------------------------------------------------------------------

VARIANTS: dict[str, tuple[str, dict[str, object], str]] = {
    "as published": ("tiny", {}, ""),
    "width": ("tiny", {"width": 16}, "width 16"),
    "three levels": (
        "tiny",
        {"levels": ("level2", "level1", "out")},
        "supervised at level2 and level1 and out",
    ),
    "no alignment": ("tiny", {"align_weight": 0, "align": "smooth_l1"}, "no alignment"),
    "alignment": ("tiny", {"align_weight": 0.5}, "alignment weight 0.5"),
    "smooth": ("tiny", {"align": "smooth_l1"}, "smooth distance in the alignment"),
    "mean": ("tiny", {"sample_in_training": False}, "no sampling in training"),
    "TAEF1": ("tiny, 16 channels", {}, "16-channel codec in place of TAESD"),
    "pyramid": ("tiny", {"conditioner": "pyramid"}, "image encoder over an ImageNet network"),
    "several": (
        "compact",
        {"latent_weight": 0.25, "cross_entropy_weight": 1},
        "latent weight 0.25, pixel cross-entropy, compact codec in place of TAESD",
    ),
}


@pytest.mark.parametrize(("kind", "settings", "expected"), VARIANTS.values(), ids=VARIANTS.keys())
def test_what_differs_from_the_paper_is_said(
    codec, kind: str, settings: dict[str, object], expected: str
) -> None:
    assert build_method("wave-gms", codec(kind), settings).deviations_from_paper == expected


def test_it_is_known_by_its_name() -> None:
    assert METHODS["wave-gms"] is WaveGMS
    assert WaveGMS.needs_codec


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"condition": "frozen"}, "wave-gms settings, condition: is not known; did you mean"),
        ({"conditioner": "frozen"}, "wave-gms settings, conditioner: "),
        ({"width": 24}, "wave-gms settings, width: must be a multiple of 16"),
        ({"levels": ["level1"]}, "wave-gms settings, levels: .*'out'"),
        ({"align_weight": -1}, "wave-gms settings, align_weight: "),
        ({"align": "l2"}, "wave-gms settings, align: "),
        ({"latent_weight": 0, "dice_weight": 0}, "wave-gms settings, as a whole: .*above 0"),
    ],
    ids=str,
)
def test_a_setting_that_is_wrong_is_named(codec, settings: dict[str, object], message: str) -> None:
    with pytest.raises(BadInput, match=message):
        build_method("wave-gms", codec("compact"), settings)


def test_the_configurations_are_the_papers() -> None:
    """As GMS, but the codec and the batch; the ablation differs by one setting."""
    from napari_latentseg.training.config_files import load_config

    gms, paper, ablation = (load_config(n) for n in ("gms-busi", "wave-gms-busi", "wave-gms-busi-no-align"))
    changed = {"name": "wave-gms-busi", "method": "wave-gms", "codec": "madebyollin/taesd", "batch_size": 12}
    assert paper == gms.model_copy(update=changed)
    assert (paper.epochs, paper.learning_rate, paper.warmup_epochs, paper.seed) == (1000, 2e-3, 5, 2333)
    assert WaveGMSConfig.model_validate(paper.settings) == WaveGMSConfig()
    assert ablation.ablation == "Wave-GMS, Table 4: without alignment"
    without = {"name": "wave-gms-busi-no-align", "settings": {"align_weight": 0}, "extends": paper.name}
    assert ablation == paper.model_copy(update=without | {"ablation": ablation.ablation})


def test_a_codec_of_another_factor_is_refused() -> None:
    four = {name: value[:3] for name, value in TINY.items()}
    with pytest.raises(BadInput, match="codec: downsamples by 4, the wavelet encoder by 8"):
        WaveGMS(build_codec("tiny", **four), WaveGMSConfig())


# --- learning ------------------------------------------------------------------------------------------


def taught(data: Batch, steps: int) -> tuple[WaveGMS, list[float], list[float]]:
    """Wave-GMS on the package's own codec, after so many steps of six images; its sigma and loss at each."""
    from napari_latentseg.models.store import open_codec

    codec, _ = open_codec("embedded")
    torch.manual_seed(0)
    settings = {"width": 16, "levels": ["out"], "cross_entropy_weight": 1.0}
    method = build_method("wave-gms", codec, settings).train()
    (stage,) = method.stages()
    optimizer = torch.optim.AdamW(stage.trainable.parameters(), 4e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, steps)
    generator = torch.Generator().manual_seed(3)
    sigmas, losses = [], []
    for _ in range(steps):
        chosen = torch.randperm(len(data.images), generator=generator)[:6]
        terms = stage.loss(Batch(data.images[chosen], data.masks[chosen]), generator)
        optimizer.zero_grad()
        loss = torch.stack(list(terms.values())).sum()
        loss.backward()
        losses.append(loss.item())
        optimizer.step()
        schedule.step()
        sigmas.append(stage.after_epoch()["sigma"])
    return method.eval(), sigmas, losses


@short_and_full
def test_it_learns_shapes(
    ellipses: Callable[..., Batch], mean_dice: Callable[..., float], full: bool
) -> None:
    seen, new = ellipses(12, seed=1), ellipses(12, seed=2)

    def scores(method: WaveGMS) -> list[float]:
        with torch.inference_mode():
            return [mean_dice(method.sample(method.encode(b.images)), b.masks) for b in (seen, new)]

    method, _, losses = taught(seen, steps=170 if full else 20)
    found, unseen = scores(method)
    if not full:
        assert falls(losses)
        before, before_unseen = scores(taught(seen, steps=0)[0])
        assert found > before + 0.1
        assert unseen > before_unseen + 0.1
        return
    assert found > 0.95
    assert unseen > 0.85


@short_and_full
def test_its_posterior_does_not_hold_what_is_ambiguous(
    ellipses: Callable[..., Batch], mean_dice: Callable[..., float], full: bool
) -> None:
    """Each image comes once with a small outline and once with a large one.

    No KL term keeps the posterior wide, and nothing tells a draw which of the two it stands for. So it
    narrows, and all its samples give the same compromise, as docs/methods.md says.
    """
    small, large = ellipses(8, seed=1, growth=0.7), ellipses(8, seed=1, growth=1.3)
    both = Batch(torch.cat([small.images, large.images]), torch.cat([small.masks, large.masks]))
    method, sigmas, losses = taught(both, steps=60 if full else 15)
    if not full:
        assert falls(losses)
        assert sigmas[-1] < sigmas[0]

        def score(method: WaveGMS) -> float:
            with torch.inference_mode():
                found = method.sample(method.encode(small.images))
            return max(mean_dice(found, outline.masks) for outline in (small, large))

        assert score(method) > score(taught(both, steps=0)[0])
        return
    assert sum(sigmas[-10:]) < 0.5 * sum(sigmas[:10])
    with torch.inference_mode():
        drawn = list(method.sample_many(small.images, 8, torch.Generator().manual_seed(0)))
    areas = torch.stack([(p > 0.5).float().sum((1, 2, 3)) for p in drawn])  # samples by images
    least, most = small.masks.sum((1, 2, 3)), large.masks.sum((1, 2, 3))
    assert ((areas > least) & (areas < most)).all()
    assert (areas.std(0) < 0.05 * (most - least)).all()  # two outlines in turn would be half of it
    for outline in (small, large):  # and no sample takes either
        assert all(mean_dice(p, outline.masks) < 0.9 for p in drawn)
