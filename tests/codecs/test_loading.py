"""Codecs from folders: each layout, and each way in which a folder can be wrong."""

from __future__ import annotations

import hashlib
import json
import pickle
import shutil
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_latentseg.codecs.compact import CompactCodec
from napari_latentseg.codecs.loading import load_codec, weights_files, weights_hash
from napari_latentseg.codecs.taef2 import Taef2Codec
from napari_latentseg.errors import BadInput

WEIGHTS = "diffusion_pytorch_model.safetensors"
NETWORK = {"channels": 4, "widths": [8, 8], "blocks": [1, 1]}


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def edit_json(path: Path, **changes: object) -> None:
    path.write_text(json.dumps(json.loads(path.read_text("utf-8")) | changes), "utf-8")


def edit_weights(path: Path, change: Callable[[dict[str, torch.Tensor]], object]) -> None:
    state = load_file(path)
    change(state)
    save_file(state, path)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-100])


# --- diffusers -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["kl", "tiny"])
@pytest.mark.parametrize("inside", ["", "vae"])
def test_a_folder_that_diffusers_wrote(written, tmp_path: Path, kind: str, inside: str) -> None:
    folder = tmp_path / "pipeline"
    shutil.copytree(written[kind], folder / inside)
    codec = load_codec(folder)
    assert codec.kind == kind
    stored = load_file(folder / inside / WEIGHTS)
    assert codec.autoencoder.state_dict().keys() == stored.keys()
    assert all(torch.equal(v, stored[k]) for k, v in codec.autoencoder.state_dict().items())
    assert weights_files(folder)[0] == folder / inside / WEIGHTS
    assert weights_hash(folder) == sha256(folder / inside / WEIGHTS)


def first_weight(change: Callable[[dict[str, torch.Tensor], str], object]) -> Callable[[Path], None]:
    return lambda folder: edit_weights(folder / WEIGHTS, lambda state: change(state, min(state)))


# What is done to a folder of diffusers, and what the message must name.
FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "no weights": (lambda f: (f / WEIGHTS).unlink(), f"has no {WEIGHTS}"),
    "no settings": (lambda f: (f / "config.json").unlink(), "holds no autoencoder"),
    "broken JSON": (lambda f: (f / "config.json").write_text("{", "utf-8"), r"config\.json: is not readable"),
    "deep JSON": (lambda f: (f / "config.json").write_text("[" * 10**5), r"config\.json: is not readable"),
    "not UTF-8": (lambda f: (f / "config.json").write_bytes(b'"\xff"'), r"config\.json: is not readable"),
    "a list": (
        lambda f: (f / "config.json").write_text("[]", "utf-8"),
        r"config\.json: is not a JSON object",
    ),
    "another class": (
        lambda f: edit_json(f / "config.json", _class_name="UNet2DModel"),
        r"config\.json, _class_name: is 'UNet2DModel'",
    ),
    "no class": (lambda f: edit_json(f / "config.json", _class_name=None), "_class_name: is None"),
    "the other class": (
        lambda f: edit_json(f / "config.json", _class_name="AutoencoderTiny"),
        rf"{WEIGHTS}: is not for this model: \d+ weights missing, \d+ unknown",
    ),
    "weights cut off": (lambda f: cut(f / WEIGHTS), f"{WEIGHTS}: is damaged"),
    "weights empty": (lambda f: (f / WEIGHTS).write_bytes(b""), f"{WEIGHTS}: is damaged"),
    "another width": (
        lambda f: edit_json(f / "config.json", block_out_channels=[8, 8, 16, 32]),
        rf"{WEIGHTS}: is not for this model: \d+ weights missing, 0 unknown",
    ),
    "a weight missing": (first_weight(lambda s, n: s.pop(n)), "1 weights missing, 0 unknown"),
    "a weight too many": (
        first_weight(lambda s, n: s.update(strange=s[n].clone())),
        r"0 weights missing, 1 unknown \(first: strange\)",
    ),
    "grey images": (
        lambda f: edit_json(f / "config.json", scaling_factor=0),
        r"config\.json, scaling_factor",
    ),
}


@pytest.mark.parametrize(("fault", "message"), FAULTS.values(), ids=FAULTS.keys())
def test_a_diffusers_folder_that_is_wrong(copied, fault: Callable[[Path], object], message: str) -> None:
    folder = copied("kl")
    fault(folder)
    with pytest.raises(BadInput, match=message) as found:
        load_codec(folder)
    assert found.value.remedy
    assert folder.name in found.value.what


# --- this project's own --------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    torch.manual_seed(5)
    codec = CompactCodec(4, (8, 8), (1, 1))
    save_file(codec.state_dict(), folder / "codec.safetensors")
    text = json.dumps({"kind": "compact", "name": "test", "network": NETWORK})
    (folder / "codec.json").write_text(text, "utf-8")
    return folder


def test_own_layout(own: Path) -> None:
    codec = load_codec(own)
    stored = load_file(own / "codec.safetensors")
    assert (codec.kind, codec.channels, codec.downsampling_factor, codec.scale) == ("compact", 4, 8, 1)
    assert all(torch.equal(v, stored[k]) for k, v in codec.state_dict().items())
    assert not codec.training
    assert not any(p.requires_grad for p in codec.parameters())
    assert weights_hash(own) == sha256(own / "codec.safetensors")


def test_half_precision_is_read_as_float32(own: Path) -> None:
    edit_weights(own / "codec.safetensors", lambda s: s.update({k: v.half() for k, v in s.items()}))
    assert {p.dtype for p in load_codec(own).parameters()} == {torch.float32}


OWN_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "broken JSON": (lambda f: (f / "codec.json").write_text("nothing"), r"codec\.json: is not readable"),
    "a kind that is not known": (
        lambda f: edit_json(f / "codec.json", kind="gan"),
        r"codec\.json, kind: no codec is called 'gan'; use one of compact",
    ),
    "no kind": (lambda f: (f / "codec.json").write_text("{}"), r"codec\.json, kind"),
    "a setting that is not known": (
        lambda f: edit_json(f / "codec.json", network=NETWORK | {"depth": 3}),
        r"codec\.json, network: .*depth",
    ),
    "a setting out of range": (
        lambda f: edit_json(f / "codec.json", network=NETWORK | {"channels": -1}),
        r"codec\.json, network",
    ),
    "a scale of 0": (
        lambda f: edit_json(f / "codec.json", network=NETWORK | {"scale": 0}),
        r"codec\.json, network: .*a scale is above 0",
    ),
    "settings that are a list": (
        lambda f: edit_json(f / "codec.json", network=[1]),
        r"codec\.json, network",
    ),
    "another width": (
        lambda f: edit_json(f / "codec.json", network=NETWORK | {"widths": [8, 16]}),
        r"codec\.safetensors: .* has the shape",
    ),
    "weights missing": (lambda f: (f / "codec.safetensors").unlink(), r"codec\.safetensors: no such file"),
    "weights cut off": (lambda f: cut(f / "codec.safetensors"), r"codec\.safetensors: is damaged"),
    "not a number": (
        lambda f: edit_weights(f / "codec.safetensors", lambda s: s[min(s)].fill_(float("nan"))),
        r"codec\.safetensors: weight .* holds values that are not finite",
    ),
}


@pytest.mark.parametrize(("fault", "message"), OWN_FAULTS.values(), ids=OWN_FAULTS.keys())
def test_an_own_folder_that_is_wrong(own: Path, fault: Callable[[Path], object], message: str) -> None:
    fault(own)
    with pytest.raises(BadInput, match=message) as found:
        load_codec(own)
    assert found.value.remedy


# --- taef2 ---------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def taef2() -> dict[str, dict[str, torch.Tensor]]:
    torch.manual_seed(6)
    codec = Taef2Codec()
    return {"encoder": codec.encoder.state_dict(), "decoder": codec.decoder.state_dict()}


@pytest.fixture
def pth(taef2, tmp_path: Path) -> Path:
    for half, state in taef2.items():
        torch.save({k: v.half() for k, v in state.items()}, tmp_path / f"taef2_{half}.pth")
    return tmp_path


def test_taef2_as_pth(taef2, pth: Path) -> None:
    codec = load_codec(pth)
    assert codec.kind == "taef2"
    assert all(
        torch.equal(v, taef2["decoder"][k].half().float()) for k, v in codec.decoder.state_dict().items()
    )
    assert [p.name for p in weights_files(pth)] == ["taef2_encoder.pth", "taef2_decoder.pth"]


def test_the_files_that_are_hashed_are_those_that_are_loaded(taef2, pth: Path) -> None:
    """Where a part lies there in both formats, safetensors is what is read."""
    before = weights_hash(pth)
    save_file({k: v + 1 for k, v in taef2["encoder"].items()}, pth / "taef2_encoder.safetensors")
    assert [p.name for p in weights_files(pth)] == ["taef2_encoder.safetensors", "taef2_decoder.pth"]
    assert weights_hash(pth) != before
    codec = load_codec(pth)
    assert all(torch.equal(v, taef2["encoder"][k] + 1) for k, v in codec.encoder.state_dict().items())


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_the_hash_covers_both_halves(taef2, pth: Path, half: str) -> None:
    before = weights_hash(pth)
    torch.save({k: v + 1 for k, v in taef2[half].items()}, pth / f"taef2_{half}.pth")
    assert weights_hash(pth) != before


@pytest.mark.parametrize("half", ["encoder", "decoder"])
def test_half_of_it_is_named_as_missing(pth: Path, half: str) -> None:
    (pth / f"taef2_{half}.pth").unlink()
    for use in (load_codec, weights_hash):
        with pytest.raises(BadInput, match=rf"taef2_{half}\.pth: no such file"):
            use(pth)


class Hostile:
    """A pickle that makes a folder when it is read."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[object, tuple[str]]:
        from os import mkdir

        return mkdir, (str(self.path),)


@pytest.mark.parametrize("how", ["torch", "pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(pth: Path, how: str) -> None:
    path, trap = pth / "taef2_encoder.pth", pth / "trap"
    content = {"0.weight": Hostile(trap)}
    if how == "torch":
        torch.save(content, path)
    else:
        path.write_bytes(pickle.dumps(content, protocol=2))
    with suppress(RuntimeError):
        torch.load(path, weights_only=False)
    assert trap.is_dir()  # so it would do harm
    trap.rmdir()

    with pytest.raises(BadInput, match=r"taef2_encoder\.pth: is not a plain PyTorch state dict"):
        load_codec(pth)
    assert not trap.exists()


TAEF2_FAULTS: dict[str, tuple[Callable[[Path], object], str]] = {
    "cut off": (cut, "is not a plain PyTorch state dict"),
    "not tensors": (lambda p: torch.save({"0.weight": 3}, p), "something other than named tensors"),
    "a list": (lambda p: torch.save([torch.zeros(1)], p), "something other than named tensors"),
    "other weights": (lambda p: torch.save({"a": torch.zeros(1)}, p), r"weights missing, 1 unknown"),
}


@pytest.mark.parametrize(("fault", "message"), TAEF2_FAULTS.values(), ids=TAEF2_FAULTS.keys())
def test_a_pth_that_is_wrong(pth: Path, fault: Callable[[Path], object], message: str) -> None:
    fault(pth / "taef2_decoder.pth")
    with pytest.raises(BadInput, match=message) as found:
        load_codec(pth)
    assert found.value.what.endswith("taef2_decoder.pth")
    assert found.value.remedy
