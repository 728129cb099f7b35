"""Models on the codec of SDXL, which earlier versions took for that of the papers."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.loading import build_codec
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.folder import load_model_folder, save_model_folder

SDXL = {
    "down_block_types": ("DownEncoderBlock2D",) * 4,
    "up_block_types": ("UpDecoderBlock2D",) * 4,
    "block_out_channels": (8, 8, 8, 8),
    "layers_per_block": 1,
    "norm_num_groups": 4,
    "latent_channels": 4,
    "scaling_factor": 0.13025,
}


@pytest.fixture
def codec() -> Codec:
    return build_codec("kl", **SDXL).freeze()


def saved(folder: Path, codec: Codec, base: Path, settings: dict[str, Any]) -> Path:
    """A model on that codec, with the card that an earlier version would have written."""
    spec = CodecSpec(kind="kl", name="sdxl", channels=4, scale=0.13025, sha256="0" * 64)
    card = read_card(base).replace(settings=settings, codec=spec)
    save_model_folder(folder, build_method("gms", codec, settings), card)
    content = json.loads((folder / CARD).read_text("utf-8"))
    (folder / CARD).write_text(json.dumps(content | {"variant": ""}), "utf-8")
    return folder


def test_a_card_of_an_earlier_version_is_corrected(lesions: Path, codec: Codec, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", codec, lesions, {})
    assert read_card(folder).deviations_from_paper == ""
    model = load_model_folder(folder, lambda spec: codec)
    assert model.card.method_title == "GMS variant (SDXL's VAE in place of SD-VAE)"


def test_what_else_differs_may_not_be_left_out(lesions: Path, codec: Codec, tmp_path: Path) -> None:
    folder = saved(tmp_path / "model", codec, lesions, {"width": 16})
    with pytest.raises(BadInput, match=r"variant: is '', but its settings make it .*width 16, SDXL's VAE"):
        load_model_folder(folder, lambda spec: codec)
