"""Autoencoders in a checkpoint of latent diffusion, against diffusers."""

from __future__ import annotations

import pickle
import sys
import types
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tests.helpers.damaged_files import Trap, cut
from tests.helpers.ldm_autoencoder import FULL_KL, kl_autoencoder, published_state, with_discriminator
from torch import Tensor

from napari_latentseg.codecs.formats import ldm_autoencoder
from napari_latentseg.codecs.loading import load_codec, weights_files, weights_hash
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.weights import file_sha256

State = dict[str, Tensor]
Make = Callable[[State], Any]


@pytest.fixture(scope="module")
def autoencoder() -> Any:
    return kl_autoencoder()


@pytest.fixture(scope="module")
def ldm_state(autoencoder: Any) -> State:
    return published_state(autoencoder)


def bare(state: State) -> Any:
    return state


def wrapped(state: State) -> Any:
    return {"state_dict": state, "epoch": 3}


def within_stable_diffusion(state: State) -> Any:
    model = {f"first_stage_model.{name}": value for name, value in state.items()}
    others = {"betas": torch.zeros(3), "model.diffusion_model.out.2.bias": torch.ones(4)}
    return {"state_dict": model | others | {"cond_stage_model.transformer.weight": torch.ones(1)}}


@pytest.mark.parametrize("file", ["model.ckpt", "vae.pth", "vae.safetensors"])
@pytest.mark.parametrize("wrap", [bare, wrapped, with_discriminator, within_stable_diffusion])
@torch.inference_mode()
def test_a_checkpoint_of_latent_diffusion(
    autoencoder: Any, ldm_state: State, images: Tensor, tmp_path: Path, file: str, wrap: Make
) -> None:
    path = tmp_path / file
    content = wrap(ldm_state)
    if path.suffix == ".safetensors":
        save_file({k: v.contiguous() for k, v in content.get("state_dict", content).items()}, path)
    else:
        torch.save(content, path)
    codec = load_codec(path)
    assert (codec.kind, codec.channels, codec.downsampling_factor) == ("kl", 4, 8)
    assert (codec.scale, codec.other_latents) == (0.18215, "")
    expected = autoencoder.encode(2 * images - 1).latent_dist
    torch.testing.assert_close(codec.encode(images), 0.18215 * expected.mean, atol=1e-5, rtol=1e-5)
    decoded = (autoencoder.decode(expected.mean).sample + 1) / 2
    torch.testing.assert_close(codec.decode(0.18215 * expected.mean), decoded, atol=1e-5, rtol=1e-5)
    assert weights_files(path) == (path,)
    assert weights_hash(path) == file_sha256(path) == weights_hash(tmp_path)
    assert not any(weight.requires_grad for weight in codec.parameters())


@torch.inference_mode()
def test_diffusers_reads_the_same_from_a_checkpoint(
    autoencoder: Any, ldm_state: State, images: Tensor, tmp_path: Path
) -> None:
    from diffusers import AutoencoderKL

    torch.save({"state_dict": ldm_state}, tmp_path / "model.ckpt")
    autoencoder.save_config(tmp_path / "settings")
    theirs = AutoencoderKL.from_single_file(
        str(tmp_path / "model.ckpt"), config=str(tmp_path / "settings"), local_files_only=True
    ).eval()
    ours = load_codec(tmp_path / "model.ckpt").autoencoder
    expected, posterior = theirs.encode(images).latent_dist, ours.encode(images).latent_dist
    torch.testing.assert_close(posterior.mean, expected.mean, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(posterior.std, expected.std, atol=1e-5, rtol=1e-5)
    decoded = theirs.decode(expected.mean).sample
    torch.testing.assert_close(ours.decode(expected.mean).sample, decoded, atol=1e-5, rtol=1e-5)


@pytest.mark.slow
@torch.inference_mode()
def test_kl_f8_at_full_size(images: Tensor, tmp_path: Path) -> None:
    published = kl_autoencoder(FULL_KL)
    torch.save(with_discriminator(published_state(published)), tmp_path / "model.ckpt")
    codec = load_codec(tmp_path / "model.ckpt")
    assert sum(weight.numel() for weight in codec.parameters()) == 83_653_863
    expected = 0.18215 * published.encode(2 * images - 1).latent_dist.mean
    torch.testing.assert_close(codec.encode(images), expected, atol=1e-5, rtol=1e-5)


def test_a_checkpoint_in_half_precision_is_read_as_float32(ldm_state: State, tmp_path: Path) -> None:
    torch.save({name: value.half() for name, value in ldm_state.items()}, tmp_path / "model.ckpt")
    assert {weight.dtype for weight in load_codec(tmp_path / "model.ckpt").parameters()} == {torch.float32}


def test_a_checkpoint_as_torch_saved_before_1_6(ldm_state: State, tmp_path: Path) -> None:
    path = tmp_path / "model.ckpt"
    torch.save(wrapped(ldm_state), path, _use_new_zipfile_serialization=False)
    assert load_codec(path).kind == "kl"


@pytest.fixture
def lightning(monkeypatch: pytest.MonkeyPatch) -> Iterator[type]:
    """A class of Lightning, which is a key in its checkpoints; Lightning is gone when they are read."""
    module = types.ModuleType("pytorch_lightning.callbacks.model_checkpoint")
    callback = type("ModelCheckpoint", (), {"__module__": module.__name__})
    module.ModelCheckpoint = callback  # type: ignore[attr-defined]
    with monkeypatch.context() as patch:
        for name in ("pytorch_lightning", "pytorch_lightning.callbacks", module.__name__):
            patch.setitem(sys.modules, name, module)
        yield callback


@pytest.fixture
def lightning_checkpoint(ldm_state: State, tmp_path: Path, lightning: type) -> Path:
    state = {"best_model_score": np.float64(0.25), "monitor": "val/rec_loss"}
    content = {"state_dict": ldm_state, "callbacks": {lightning: state}, "global_step": 7}
    torch.save(content, tmp_path / "model.ckpt")
    return tmp_path / "model.ckpt"


def test_what_a_training_stores_beside_the_weights_is_passed_over(lightning_checkpoint: Path) -> None:
    assert load_codec(lightning_checkpoint).kind == "kl"
    with pytest.raises(pickle.UnpicklingError, match="ModelCheckpoint"):  # torch's own list is as before
        torch.load(lightning_checkpoint, weights_only=True)


@pytest.mark.parametrize("is_whole_model", [False, True])
def test_the_autoencoder_of_sdxl_has_its_own_scale(
    ldm_state: State, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_whole_model: bool
) -> None:
    path = tmp_path / "model.ckpt"
    content = within_stable_diffusion(ldm_state) if is_whole_model else wrapped(ldm_state)
    if is_whole_model:
        content["state_dict"]["conditioner.embedders.0.transformer.weight"] = torch.ones(1)
    torch.save(content, path)
    if not is_whole_model:
        monkeypatch.setattr(ldm_autoencoder, "_SDXL_FILES", {file_sha256(path)})
    codec = load_codec(path)
    assert (codec.scale, codec.other_latents) == (0.13025, "SDXL's VAE")


def change(**changes: Tensor | None) -> Make:
    """A checkpoint with other weights; None takes one away. Dots in names are written as two underscores."""

    def changed(state: State) -> Any:
        values = {name.replace("__", "."): value for name, value in changes.items()}
        return wrapped({k: v for k, v in (state | values).items() if v is not None})

    return changed


OTHER_CHECKPOINTS: dict[str, tuple[Make, str]] = {
    "a U-Net alone": (
        lambda s: {"state_dict": {"model.diffusion_model.out.0.bias": torch.ones(3)}},
        r"holds no autoencoder of latent diffusion: it has no encoder\.conv_out\.weight",
    ),
    "a weight missing": (
        change(quant_conv__bias=None),
        r"is not the autoencoder kl-f8: 1 weights missing, 0 unknown \(first: quant_conv\.bias\)",
    ),
    "a weight too many": (
        change(encoder__down__3__attn__0__q__weight=torch.ones(1)),
        r"0 weights missing, 1 unknown \(first: encoder\.down\.3\.attn\.0\.q\.weight\)",
    ),
    "a codebook": (change(quantize__embedding__weight=torch.ones(2, 4)), "1 unknown"),
    "16 latent channels": (
        change(encoder__conv_out__weight=torch.zeros(32, 64, 3, 3)),
        "is another autoencoder: 4 levels and 16 latent channels, where kl-f8 has 4 and 4",
    ),
    "another shape": (
        change(decoder__mid__attn_1__q__weight=torch.ones(8, 64, 1, 1)),
        r"decoder\.mid_block\.attentions\.0\.to_q\.weight has the shape \(8, 64\), not \(64, 64\)",
    ),
    "a claim": (
        change(encoder__down__0__block__0__conv1__weight=torch.zeros(1).expand(2**30, 1)),
        r"weight encoder\.down\.0\.block\.0\.conv1\.weight claims more values than the file holds",
    ),
    "not a number": (
        change(quant_conv__bias=torch.full((8,), float("nan"))),
        r"weight quant_conv\.bias holds values that are not finite",
    ),
    "no tensors": (lambda s: {"state_dict": {"a": 3}}, "holds something other than named tensors"),
}


@pytest.mark.parametrize(("make", "message"), OTHER_CHECKPOINTS.values(), ids=OTHER_CHECKPOINTS.keys())
def test_a_checkpoint_of_another_layout_is_refused(
    ldm_state: State, tmp_path: Path, make: Make, message: str
) -> None:
    torch.save(make(ldm_state), tmp_path / "model.ckpt")
    with pytest.raises(BadInput, match=message) as refused:
        load_codec(tmp_path / "model.ckpt")
    assert "model.ckpt" in refused.value.what
    assert refused.value.remedy


def compress(path: Path) -> None:
    """Make a zip file that may unpack to more than it holds."""
    with zipfile.ZipFile(path) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in entries.items():
            archive.writestr(name, content)


DAMAGED: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut short": (cut, "is damaged, or cut short"),
    "compressed": (compress, "is compressed"),
    "empty": (lambda p: p.write_bytes(b""), "is not a plain PyTorch state dict"),
    "text": (lambda p: p.write_text("weights"), "is not a plain PyTorch state dict"),
}


@pytest.mark.parametrize(("fault", "message"), DAMAGED.values(), ids=DAMAGED.keys())
def test_a_damaged_checkpoint_is_refused(
    ldm_state: State, tmp_path: Path, fault: Callable[[Path], object], message: str
) -> None:
    torch.save(wrapped(ldm_state), tmp_path / "model.ckpt")
    fault(tmp_path / "model.ckpt")
    with pytest.raises(BadInput, match=rf"model\.ckpt: .*{message}"):
        load_codec(tmp_path / "model.ckpt")


def test_no_code_in_a_checkpoint_is_run(ldm_state: State, tmp_path: Path) -> None:
    torch.save({"state_dict": ldm_state, "hook": Trap(tmp_path / "trap")}, tmp_path / "model.ckpt")
    with pytest.raises(BadInput, match="is not a plain PyTorch state dict"):
        load_codec(tmp_path / "model.ckpt")
    assert not (tmp_path / "trap").exists()
