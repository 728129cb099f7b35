"""VQ-VAEs as codecs: folders of diffusers' `VQModel`."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from diffusers import VQModel

from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.methods.registry import build_method


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    model = VQModel(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 16), layers_per_block=1, latent_channels=4, num_vq_embeddings=32,
        norm_num_groups=8, scaling_factor=0.5,
    )  # fmt: skip
    torch.nn.init.normal_(model.quantize.embedding.weight)
    model.save_pretrained(tmp_path / "vq")
    return tmp_path / "vq"


@pytest.fixture
def images() -> torch.Tensor:
    return torch.rand(2, 3, 32, 48, generator=torch.Generator().manual_seed(0))


def test_latents_are_scaled_codes_and_come_back_as_diffusers_decodes_them(
    folder: Path, images: torch.Tensor
) -> None:
    codec, model = load_codec(folder), VQModel.from_pretrained(folder)
    assert (codec.kind, codec.channels, codec.downsampling_factor, codec.scale) == ("vq", 4, 2, 0.5)
    with torch.no_grad():
        latents = codec.encode(images)
        codes = (latents / 0.5).movedim(1, -1).reshape(-1, 4)
        distances = torch.cdist(codes, model.quantize.embedding.weight).amin(1)
        assert float(distances.max()) < 1e-3
        expected = (model(2 * images - 1).sample + 1) / 2
        assert torch.allclose(codec.decode(latents), expected, atol=1e-5)


def test_a_step_of_gms_can_be_made_with_it(folder: Path, images: torch.Tensor) -> None:
    method = build_method("gms", load_codec(folder), {"width": 16})
    assert "vq codec in place of SD-VAE" in method.deviations_from_paper
    masks = (images[:, :1] > 0.5).float()
    method.train()
    terms = method.loss(Batch(images, masks, torch.ones(2, 1, dtype=torch.bool)))
    terms["dice"].backward()  # through the quantisation, which passes it unchanged
    gradients = [p.grad for p in method.trainable_modules.parameters() if p.grad is not None]
    assert any(bool(g.any()) for g in gradients)


def test_it_has_no_encoder_to_train(folder: Path) -> None:
    with pytest.raises(BadInput, match="a vq codec has no encoder that can be trained"):
        load_codec(folder).trainable_encoder()


def test_a_card_may_name_it() -> None:
    spec = CodecSpec(kind="vq", name="my-vq", channels=4, sha256="0" * 64)
    assert CodecSpec.model_validate_json(spec.model_dump_json()) == spec
