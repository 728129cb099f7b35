"""Codecs that have the shape of the papers', and other latents."""

from __future__ import annotations

import pytest

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.methods.deviations import codec_deviation

KL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
}
TINY = {
    "encoder_block_out_channels": (8,) * 4,
    "decoder_block_out_channels": (8,) * 4,
    "num_encoder_blocks": (1,) * 4,
    "num_decoder_blocks": (1,) * 4,
}
PAPERS = {"kl": "SD-VAE", "tiny": "TAESD"}


def codec_of(kind: str, scale: float) -> Codec:
    return build_codec(kind, **(KL if kind == "kl" else TINY), scaling_factor=scale)


@pytest.mark.parametrize(
    ("kind", "scale", "other"),
    [
        ("kl", 0.18215, ""),
        ("kl", 0.13025, "SDXL's VAE"),
        ("kl", 0.5, "codec with latent scale 0.5"),
        ("tiny", 1.0, ""),
        ("tiny", 0.13025, "codec with latent scale 0.13025"),
    ],
)
def test_the_scale_of_the_latents_counts(kind: str, scale: float, other: str) -> None:
    deviates, words = codec_deviation(codec_of(kind, scale), kind, PAPERS[kind])  # type: ignore[arg-type]
    assert deviates == bool(other)
    assert words == f"{other} in place of {PAPERS[kind]}"


def test_taesdxl_is_not_taesd() -> None:
    codec = codec_of("tiny", 1.0)
    codec.other_latents = "TAESDXL"
    assert codec_deviation(codec, "tiny", "TAESD") == (True, "TAESDXL in place of TAESD")


def test_another_kind_is_named_by_its_kind() -> None:
    assert codec_deviation(codec_of("kl", 0.13025), "tiny", "TAESD") == (True, "kl codec in place of TAESD")
