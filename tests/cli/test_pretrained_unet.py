"""SDSeg from the weights that its authors began from: an LDM autoencoder and an LDM U-Net."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.helpers.damaged_files import Trap, cut
from tests.helpers.ldm_autoencoder import kl_autoencoder, published_state, with_discriminator
from tests.helpers.ldm_reference import ReferenceUNet, fill

from napari_latentseg.errors import BadInput
from napari_latentseg.models.card import read_card
from napari_latentseg.models.store import load_model
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.config_files import load_config
from napari_latentseg.training.pretrained import with_pretrained_unet
from napari_latentseg.utils.weights import file_sha256

UNET: dict[str, Any] = {
    "widths": [32, 64],
    "attention": [True, False],
    "layers_per_block": 1,
    "resample": "resnet",
    "scale_shift": True,
    "heads": 4,
    "dropout": 0.2,
}
CONFIG: dict[str, Any] = {
    "method": "sdseg",
    "settings": {"denoiser": UNET},
    "preprocess": {"mode": "whole", "size": 32},
    "augment": {"horizontal_flip": 0.5, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0},
    "split": {"fraction": 0.3},
    "epochs": 1,
    "batch_size": 2,
    "learning_rate": 1e-9,
    "warmup_epochs": 0,
    "schedule_by": "step",
    "schedule": "constant",
}
PREFIX = "model.diffusion_model."


@pytest.fixture(scope="module")
def published() -> ReferenceUNet:
    network = ReferenceUNet(4, (32, 64), (True, False), 1, 4)
    fill(network)
    return network


@pytest.fixture
def unet_file(published: ReferenceUNet, tmp_path: Path) -> Path:
    path = tmp_path / "lsun_churches256" / "model.ckpt"
    path.parent.mkdir()
    state = {f"{PREFIX}{name}": value for name, value in published.state_dict().items()}
    torch.save({"state_dict": state | {"betas": torch.zeros(1000)}, "global_step": 3}, path)
    return path


@pytest.fixture
def codec_file(tmp_path: Path) -> Path:
    path = tmp_path / "kl-f8" / "model.ckpt"
    path.parent.mkdir()
    torch.save(with_discriminator(published_state(kl_autoencoder())), path)
    return path


@pytest.fixture
def train(
    cli: Any, write_ellipses: Callable[..., Path], codec_file: Path, tmp_path: Path
) -> Callable[..., Any]:
    data = write_ellipses(tmp_path / "data", count=6)
    (tmp_path / "config.json").write_text(json.dumps(CONFIG))

    def run(*options: object) -> Any:
        return cli(
            "train", "--method", "sdseg", "--config", tmp_path / "config.json", "--codec", codec_file,
            "--data", data, "--out", tmp_path / "model", "--device", "cpu", *options,
        )  # fmt: skip

    return run


def test_sdseg_begins_as_its_authors_begin(
    train: Callable[..., Any], published: ReferenceUNet, unet_file: Path, codec_file: Path, tmp_path: Path
) -> None:
    ended = train("--pretrained-unet", unet_file)
    assert (ended.code, ended.errors) == (0, [])
    card = read_card(tmp_path / "model")
    assert card.deviations_from_paper == "widths 32-64"
    assert card.settings["unet_sha256"] == file_sha256(unet_file)
    assert (card.codec.kind, card.codec.scale) == ("kl", 0.18215)
    assert card.codec.sha256 == file_sha256(codec_file)
    record = json.loads((tmp_path / "model" / "training.json").read_text())
    assert record["pretrained_unet"] == "model.ckpt"  # no path of this machine
    model = load_model(tmp_path / "model", codec_file)
    weights = model.method.denoiser.unet.state_dict()
    torch.testing.assert_close(
        weights["conv_in.weight"][:, :4], published.input_blocks[0][0].weight, atol=1e-3, rtol=1e-3
    )
    torch.testing.assert_close(
        weights["mid_block.resnets.1.conv2.bias"],
        published.middle_block[2].out_layers[3].bias,
        atol=1e-3,
        rtol=1e-3,
    )


def test_without_the_weights_it_is_a_variant(train: Callable[..., Any], tmp_path: Path) -> None:
    ended = train()
    assert (ended.code, ended.errors) == (0, [])
    assert read_card(tmp_path / "model").deviations_from_paper == "U-Net trained from scratch, widths 32-64"


FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda p: p.unlink(), r"model\.ckpt: no such file"),
    "cut short": (cut, r"model\.ckpt: is not a plain PyTorch state dict: it is damaged, or cut short"),
    "an autoencoder": (
        lambda p: torch.save({"state_dict": {"encoder.conv_in.bias": torch.ones(1)}}, p),
        r"model\.ckpt: holds no U-Net: no weight's name starts with model\.diffusion_model\.",
    ),
    "another U-Net": (
        lambda p: torch.save({f"{PREFIX}out.2.bias": torch.ones(4)}, p),
        r"model\.ckpt: is not the U-Net that is trained: it has no weight",
    ),
    "code": (
        lambda p: torch.save({"a": Trap(p.parent / "trap")}, p),
        r"model\.ckpt: is not a plain PyTorch state dict",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_wrong_file_ends_the_training_before_it_begins(
    train: Callable[..., Any],
    unet_file: Path,
    tmp_path: Path,
    fault: Callable[[Path], object],
    message: str,
) -> None:
    fault(unet_file)
    ended = train("--pretrained-unet", unet_file)
    assert ended.code == 2
    (line,) = ended.errors
    assert re.search(message, line)
    assert not (tmp_path / "model").exists()
    assert not (unet_file.parent / "trap").exists()


# --- the configuration ---------------------------------------------------------------------------------


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(CONFIG | changes)


def test_the_settings_get_the_hash_of_the_file(unet_file: Path) -> None:
    begun = with_pretrained_unet(config(pretrained_unet=str(unet_file)))
    assert begun.settings["unet_sha256"] == file_sha256(unet_file)
    assert with_pretrained_unet(begun) == begun
    assert with_pretrained_unet(config()) == config()


def test_a_hash_without_its_file_is_refused(unet_file: Path) -> None:
    """A configuration cannot say by itself that the U-Net began from published weights."""
    settings = CONFIG["settings"] | {"unet_sha256": "0" * 64}
    with pytest.raises(BadInput, match="unet_sha256: names weights that the U-Net begins from, and no file"):
        with_pretrained_unet(config(settings=settings))
    with pytest.raises(BadInput, match="is another file than the settings name"):
        with_pretrained_unet(config(settings=settings, pretrained_unet=str(unet_file)))


def test_it_is_for_sdseg_alone(unet_file: Path) -> None:
    gms = load_config("gms-small").replace(pretrained_unet=str(unet_file))
    with pytest.raises(BadInput, match="pretrained_unet: is for sdseg, not for gms; leave it out"):
        with_pretrained_unet(gms)
