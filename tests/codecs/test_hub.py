"""The adapters for the autoencoders of diffusers: signs, scales, means, gradients."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from napari_latentseg.codecs.diffusers_codecs import KLCodec, TinyCodec
from napari_latentseg.codecs.loading import build_codec, load_codec
from napari_latentseg.errors import BadInput


@pytest.fixture(scope="module")
def kl(written) -> KLCodec:
    return load_codec(written["kl"])


@pytest.fixture(scope="module")
def tiny(written) -> TinyCodec:
    return load_codec(written["tiny"])


@pytest.fixture(params=["kl", "tiny"])
def either(request: pytest.FixtureRequest):
    return request.getfixturevalue(request.param)


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


class Given:
    """What a module is given, while this is open."""

    def __init__(self, module: nn.Module) -> None:
        self.inputs: list[Tensor] = []
        self._hook = module.register_forward_pre_hook(lambda _, args: self.inputs.append(args[0].detach()))

    def __enter__(self) -> Given:
        return self

    def __exit__(self, *_: object) -> None:
        self._hook.remove()


def test_what_they_say_of_themselves(kl: KLCodec, tiny: TinyCodec) -> None:
    assert (kl.kind, kl.channels, kl.downsampling_factor, kl.scale, kl.has_posterior) == (
        "kl",
        4,
        8,
        0.18215,
        True,
    )
    assert (tiny.kind, tiny.channels, tiny.downsampling_factor, tiny.scale, tiny.has_posterior) == (
        "tiny",
        4,
        8,
        1,
        False,
    )


def test_shapes(either, images: Tensor) -> None:
    z = either.encode(images)
    assert z.shape == (2, 4, 4, 6)
    assert either.decode(z).shape == images.shape
    assert either.decode_mask(either.encode_mask(images[:, :1])).shape == (2, 1, 32, 48)


def test_kl_sees_black_at_minus_one_and_white_at_plus_one(kl: KLCodec) -> None:
    with Given(kl.autoencoder.encoder) as given:
        for mask in (torch.zeros(1, 1, 16, 16), torch.ones(1, 1, 16, 16)):
            kl.encode_mask(mask)
    black, white = given.inputs
    assert torch.equal(black, -torch.ones(1, 3, 16, 16))
    assert torch.equal(white, torch.ones(1, 3, 16, 16))


def test_tiny_sees_black_at_zero_and_white_at_one(tiny: TinyCodec, images: Tensor) -> None:
    """Its layers take [0, 1]; diffusers puts a step from [-1, 1] before them."""
    with Given(tiny.autoencoder.encoder.layers) as given:
        tiny.encode(images)
    torch.testing.assert_close(given.inputs[0], images)


def raw_moments(codec: KLCodec, images: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of the posterior from the layers themselves."""
    ae = codec.autoencoder
    mean, log_variance = ae.quant_conv(ae.encoder(2 * images - 1)).chunk(2, dim=1)
    return mean, torch.exp(0.5 * log_variance)


def test_kl_gives_the_mean_of_the_posterior_scaled_once(kl: KLCodec, images: Tensor) -> None:
    mean, std = raw_moments(kl, images)
    torch.testing.assert_close(kl.encode(images), 0.18215 * mean)
    torch.testing.assert_close(kl.posterior_std(images), 0.18215 * std)
    assert torch.equal(kl.encode(images), kl.encode(images))
    assert all(
        torch.equal(a, b)
        for a, b in zip(kl.posterior(images), (kl.encode(images), kl.posterior_std(images)), strict=True)
    )


def test_kl_divides_by_the_scale_once_before_it_decodes(kl: KLCodec) -> None:
    z = torch.randn(1, 4, 3, 3)
    ae = kl.autoencoder
    signed = ae.decoder(ae.post_quant_conv(z / 0.18215))
    torch.testing.assert_close(kl.decode(z), (signed + 1) / 2)


def test_tiny_takes_and_gives_latents_as_they_are(tiny: TinyCodec, images: Tensor) -> None:
    z = tiny.autoencoder.encoder.layers(images)
    torch.testing.assert_close(tiny.encode(images), z)
    found = tiny.autoencoder.decoder.layers(3 * torch.tanh(z / 3))
    torch.testing.assert_close(tiny.decode(z), found, atol=1e-5, rtol=1e-5)
    assert tiny.posterior_std(images) is None
    assert tiny.posterior(images)[1] is None


@pytest.mark.parametrize(("kind", "name"), [("kl", "AutoencoderKL"), ("tiny", "AutoencoderTiny")])
def test_scale_and_shift_of_the_settings(kind: str, name: str, make, images: Tensor) -> None:
    """As SD3 and FLUX have them: (latent - shift) * scale."""
    wrap = {"kl": KLCodec, "tiny": TinyCodec}[kind]
    plain = wrap(make(name, scaling_factor=1.0, shift_factor=None if kind == "kl" else 0.0)).freeze()
    other = wrap(make(name, scaling_factor=0.25, shift_factor=0.5)).freeze()
    torch.testing.assert_close(other.encode(images), 0.25 * (plain.encode(images) - 0.5))
    z = plain.encode(images)
    torch.testing.assert_close(other.decode(0.25 * (z - 0.5)), plain.decode(z), atol=1e-5, rtol=1e-5)


def test_gradients_pass_to_the_latent_and_stay_out_of_the_codec(either, images: Tensor) -> None:
    z = either.encode(images).requires_grad_()
    either.decode_mask(z).sum().backward()
    assert z.grad is not None
    assert z.grad.abs().sum() > 0
    assert all(p.grad is None and not p.requires_grad for p in either.parameters())
    assert not any(m.training for m in either.modules())


def test_a_copy_of_the_encoder_maps_what_the_codec_maps_and_learns_alone(either, images: Tensor) -> None:
    copy = either.trainable_encoder()
    torch.testing.assert_close(copy(images), either.encode(images), atol=1e-5, rtol=1e-4)
    assert all(p.requires_grad for p in copy.parameters())
    copy(images).square().sum().backward()
    assert all(p.grad is not None for p in copy.parameters())
    with torch.no_grad():
        for weight in copy.parameters():
            weight.add_(1)
    assert not torch.allclose(copy(images), either.encode(images))
    assert not any(p.requires_grad or p.grad is not None for p in either.parameters())


@pytest.mark.parametrize(
    ("name", "changes"),
    [
        ("AutoencoderKL", {"scaling_factor": 0.25, "shift_factor": 0.5}),
        ("AutoencoderKL", {"use_quant_conv": False}),
        ("AutoencoderTiny", {"scaling_factor": 0.25, "shift_factor": 0.5}),
    ],
    ids=str,
)
def test_the_copy_has_scale_and_shift_inside(
    make, images: Tensor, name: str, changes: dict[str, object]
) -> None:
    codec = (KLCodec if name == "AutoencoderKL" else TinyCodec)(make(name, **changes)).freeze()
    torch.testing.assert_close(codec.trainable_encoder()(images), codec.encode(images), atol=1e-5, rtol=1e-4)


def test_the_copy_of_sd_vae_has_the_parameters_of_sdseg() -> None:
    with torch.device("meta"):
        copy = build_codec("kl", **SD_VAE).trainable_encoder()
    assert sum(p.numel() for p in copy.parameters()) == 34_163_592 + 36


SD_VAE = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (128, 256, 512, 512),
    "layers_per_block": 2,
    "latent_channels": 4,
}


@pytest.mark.parametrize(
    ("kind", "settings", "expected"), [("kl", SD_VAE, 83_653_863), ("tiny", {}, 2_445_063)]
)
def test_parameters_at_full_size(kind: str, settings: dict[str, object], expected: int) -> None:
    with torch.device("meta"):
        codec = build_codec(kind, **settings)
    assert sum(p.numel() for p in codec.parameters()) == expected
    assert (codec.channels, codec.downsampling_factor) == (4, 8)


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"in_channels": 1}, "in_channels"),
        ({"out_channels": 4}, "out_channels"),
        ({"scaling_factor": 0.0}, "scaling_factor"),
        ({"scaling_factor": float("nan")}, "scaling_factor"),
        ({"scaling_factor": None}, "scaling_factor"),
        ({"shift_factor": "0"}, "shift_factor"),
    ],
    ids=str,
)
def test_settings_that_make_no_codec_are_named(make, changes: dict[str, object], field: str) -> None:
    with pytest.raises(BadInput, match=f"^{field}: "):
        KLCodec(make("AutoencoderKL", **changes))
