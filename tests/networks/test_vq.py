"""The VQ-VAE: its size, its two ties, the life of its codes, and the scale of its latents."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from napari_latentseg.networks.vq import VQAutoencoder, VQConfig
from napari_latentseg.utils.weights import load_weights, save_weights

TINY = VQConfig(widths=(8, 16), layers_per_block=1, codes=16, norm_groups=4)


@pytest.fixture
def autoencoder() -> VQAutoencoder:
    torch.manual_seed(3)
    return VQAutoencoder(TINY, 1, 1)


@pytest.fixture
def x() -> Tensor:
    return torch.rand(3, 1, 16, 16, generator=torch.Generator().manual_seed(4))


@pytest.mark.parametrize(("channels", "expected"), [(3, 13_852_271), (1, 13_849_965)])
def test_the_published_size(channels: int, expected: int) -> None:
    with torch.device("meta"):
        autoencoder = VQAutoencoder(VQConfig(), channels, channels)
    assert sum(p.numel() for p in autoencoder.parameters()) == expected


@pytest.mark.parametrize(("widths", "factor"), [((8,), 1), ((8, 16, 16), 4), ((8, 8, 16, 16), 8)])
@torch.inference_mode()
def test_every_width_but_the_first_halves_the_sides(widths: tuple[int, ...], factor: int) -> None:
    config = TINY.model_copy(update={"widths": widths, "channels": 3})
    autoencoder = VQAutoencoder(config, 2, 5)
    assert config.downsampling_factor == factor
    latents = autoencoder.encode(torch.rand(1, 2, 32, 16))
    assert latents.shape == (1, 3, 32 // factor, 16 // factor)
    assert autoencoder.decode(latents).shape == (1, 5, 32, 16)


def test_widths_that_cannot_be_normed_in_groups() -> None:
    with pytest.raises(ValueError, match=r"multiple of norm_groups \(32\)"):
        VQConfig(widths=(64, 80))


@torch.no_grad()
def test_latents_are_the_nearest_codes(autoencoder: VQAutoencoder, x: Tensor) -> None:
    autoencoder.initialise_codebook(autoencoder.sample_encoder_outputs(x))
    z = autoencoder.network.encode(x).latents
    for row, found in zip(
        z.movedim(1, -1).reshape(-1, 4), autoencoder.encode(x).movedim(1, -1).reshape(-1, 4), strict=True
    ):
        nearest = min(autoencoder.codebook, key=lambda code, row=row: float((code - row).square().sum()))
        torch.testing.assert_close(found, nearest)


def test_the_ties_pull_as_hard_as_the_paper_says(autoencoder: VQAutoencoder, x: Tensor) -> None:
    """Equations 8 and 9: the codes are pulled with weight 1, the encoder with 1/4, and not the other way."""
    seen: list[Tensor] = []
    hook = autoencoder.network.quant_conv.register_forward_hook(lambda _, __, z: seen.append(z))
    _, tie = autoencoder(x)
    hook.remove()
    (z,) = seen
    to_z, to_codes = torch.autograd.grad(tie, [z, autoencoder.codebook])
    rows = z.detach().movedim(1, -1).reshape(-1, 4)
    taken = torch.cdist(rows, autoencoder.codebook).argmin(1)
    apart = (autoencoder.codebook[taken] - rows).detach()
    expected = torch.zeros_like(to_codes).index_add_(0, taken, 2 * apart / apart.numel())
    torch.testing.assert_close(to_codes, expected)
    torch.testing.assert_close(to_z.movedim(1, -1).reshape(-1, 4), -0.25 * 2 * apart / apart.numel())
    assert tie.item() == pytest.approx(1.25 * float(apart.square().mean()))


def test_the_reconstruction_teaches_the_encoder_past_the_codes(autoencoder: VQAutoencoder, x: Tensor) -> None:
    found, _ = autoencoder(x)
    found.square().mean().backward()
    assert autoencoder.network.encoder.conv_in.weight.grad.abs().sum() > 0
    assert autoencoder.codebook.grad is None


# --- the codes -----------------------------------------------------------------------------------------


@torch.no_grad()
def test_codes_begin_among_the_outputs(autoencoder: VQAutoencoder, x: Tensor) -> None:
    before = autoencoder.code_counts(x).count_nonzero()
    outputs = autoencoder.sample_encoder_outputs(x)
    assert outputs.shape == (TINY.codes, TINY.channels)
    autoencoder.initialise_codebook(outputs)
    assert torch.cdist(autoencoder.codebook, outputs).amin(1).max() < 1e-3
    assert autoencoder.code_counts(x).count_nonzero() > before


@torch.no_grad()
def test_perplexity_is_that_of_the_codes_taken(autoencoder: VQAutoencoder, x: Tensor) -> None:
    autoencoder.initialise_codebook(autoencoder.sample_encoder_outputs(x))
    autoencoder.train()
    autoencoder(x)
    autoencoder(x[:1])
    counts = autoencoder.code_counts(x) + autoencoder.code_counts(x[:1])
    share = counts[counts > 0] / counts.sum()
    expected = float((-share * share.log()).sum().exp())
    assert 1 < expected < TINY.codes
    assert autoencoder.after_epoch()["perplexity"] == pytest.approx(expected, rel=1e-5)
    assert not autoencoder.usage.any()


@torch.no_grad()
def test_a_collapsed_codebook_recovers(autoencoder: VQAutoencoder, x: Tensor) -> None:
    """All codes in one place: one of them takes everything, until the others are moved."""
    autoencoder.codebook.fill_(100.0)
    autoencoder.train()
    autoencoder(x)
    first = autoencoder.after_epoch()
    assert first == {"perplexity": pytest.approx(1.0), "restarted": TINY.codes - 1}
    _, tie = autoencoder(x)
    second = autoencoder.after_epoch()
    assert second["perplexity"] > TINY.codes / 3
    assert tie < 0.1


@torch.no_grad()
def test_codes_in_use_stay(autoencoder: VQAutoencoder, x: Tensor) -> None:
    autoencoder.initialise_codebook(autoencoder.sample_encoder_outputs(x))
    autoencoder.codebook[5] = 100.0
    before = autoencoder.codebook.clone()
    autoencoder.train()
    autoencoder(x)
    used = autoencoder.usage > 0
    moved = autoencoder.after_epoch()["restarted"]
    assert moved == int((~used).sum()) >= 1
    assert torch.equal(autoencoder.codebook[used], before[used])
    assert autoencoder.codebook[5].abs().max() < 50


@torch.no_grad()
def test_nothing_moves_where_every_output_has_its_code(autoencoder: VQAutoencoder) -> None:
    still = torch.zeros(1, 1, 2, 2)
    autoencoder.train()
    autoencoder.codebook[:] = autoencoder.network.encode(still).latents.flatten()
    autoencoder.codebook[1:] += 100.0
    before = autoencoder.codebook.clone()
    autoencoder(still)
    assert autoencoder.after_epoch()["restarted"] == 0
    assert torch.equal(autoencoder.codebook, before)


@torch.no_grad()
def test_only_training_counts(autoencoder: VQAutoencoder, x: Tensor) -> None:
    autoencoder.eval()
    autoencoder(x)
    autoencoder.train().encode(x)
    assert autoencoder.after_epoch() == {}


# --- the scale of the latents --------------------------------------------------------------------------


@torch.no_grad()
def test_measured_latents_have_unit_scale(autoencoder: VQAutoencoder, x: Tensor) -> None:
    autoencoder.initialise_codebook(autoencoder.sample_encoder_outputs(x))
    before = autoencoder.decode(autoencoder.encode(x))
    autoencoder.standardise(autoencoder.code_counts(x[:1]) + autoencoder.code_counts(x[1:]))
    latents = autoencoder.encode(x)
    assert latents.mean((0, 2, 3)).abs().max() < 1e-4
    assert (latents.std((0, 2, 3), correction=0) - 1).abs().max() < 1e-4
    torch.testing.assert_close(autoencoder.decode(latents), before, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_a_channel_that_is_the_same_everywhere_is_not_blown_up(autoencoder: VQAutoencoder, x: Tensor) -> None:
    autoencoder.codebook[:, 2] = 0.7
    autoencoder.standardise(autoencoder.code_counts(x))
    assert autoencoder.encode(x)[:, 2].abs().max() < 1e-3


@torch.no_grad()
def test_the_scale_is_stored_with_the_weights(autoencoder: VQAutoencoder, x: Tensor, tmp_path) -> None:
    autoencoder.standardise(autoencoder.code_counts(x))
    save_weights(autoencoder.state_dict(), tmp_path / "weights.safetensors")
    other = VQAutoencoder(TINY, 1, 1)
    load_weights(other, tmp_path / "weights.safetensors")
    assert torch.equal(other.mean, autoencoder.mean)
    assert torch.equal(other.spread, autoencoder.spread)
    assert torch.equal(other.encode(x), autoencoder.encode(x))
