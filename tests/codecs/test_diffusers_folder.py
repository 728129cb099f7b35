"""Folders of diffusers: weights as one file or in parts, pickled, in half precision."""

from __future__ import annotations

import io
import json
import logging
import shutil
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from diffusers.utils.logging import get_logger as diffusers_logger
from safetensors.torch import load_file, save_file
from tests.helpers.damaged_files import Trap, cut

from napari_latentseg.codecs.formats import reading
from napari_latentseg.codecs.formats.find import find_codec_files
from napari_latentseg.codecs.loading import load_codec, weights_files, weights_hash
from napari_latentseg.errors import BadInput

Copied = Callable[[str], Path]
Fault = Callable[[Path], object]
STEM = "diffusion_pytorch_model"
INDEX = f"{STEM}.safetensors.index.json"
SECOND = f"{STEM}-00002-of-00002.safetensors"


@pytest.mark.parametrize("kind", ["kl", "tiny"])
def test_a_folder_is_loaded_without_a_warning(copied: Copied, kind: str) -> None:
    """diffusers itself would warn of settings that it wrote."""
    stream = io.StringIO()
    handler, logger = logging.StreamHandler(stream), diffusers_logger("diffusers")
    logger.addHandler(handler)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            load_codec(copied(kind))
    finally:
        logger.removeHandler(handler)
    assert stream.getvalue() == ""


# --- weights in other forms ----------------------------------------------------------------------------


def pickled(folder: Path, name: str = f"{STEM}.bin") -> None:
    torch.save(load_file(folder / f"{STEM}.safetensors"), folder / name)
    (folder / f"{STEM}.safetensors").unlink()


def half_precision(folder: Path) -> None:
    state = load_file(folder / f"{STEM}.safetensors")
    save_file({k: v.half() for k, v in state.items()}, folder / f"{STEM}.fp16.safetensors")
    (folder / f"{STEM}.safetensors").unlink()


def in_parts(folder: Path, suffix: str = "safetensors", index: str = "") -> None:
    """Split the weights into two files with an index."""
    state = load_file(folder / f"{STEM}.safetensors")
    names = sorted(state)
    parts = {
        f"{STEM}-00001-of-00002.{suffix}": names[: len(names) // 2],
        f"{STEM}-00002-of-00002.{suffix}": names[len(names) // 2 :],
    }
    for file, part_names in parts.items():
        save = save_file if suffix == "safetensors" else torch.save
        save({name: state[name] for name in part_names}, folder / file)
    weight_map = {name: file for file, part_names in parts.items() for name in part_names}
    content = json.dumps({"metadata": {"total_size": 1}, "weight_map": weight_map})
    (folder / (index or f"{STEM}.{suffix}.index.json")).write_text(content, "utf-8")
    (folder / f"{STEM}.safetensors").unlink()


FORMS: dict[str, tuple[Fault, float, int]] = {
    "pickled": (pickled, 0, 1),
    "half precision": (half_precision, 1e-3, 1),
    "half precision, pickled": (lambda f: pickled(f, f"{STEM}.fp16.bin"), 0, 1),
    "in parts": (in_parts, 0, 2),
    "in parts, pickled": (lambda f: in_parts(f, "bin"), 0, 2),
    "in parts, half precision": (lambda f: in_parts(f, index=f"{STEM}.safetensors.index.fp16.json"), 0, 2),
}


@pytest.mark.parametrize("kind", ["kl", "tiny"])
@pytest.mark.parametrize(("change", "tolerance", "files"), FORMS.values(), ids=FORMS.keys())
def test_weights_in_another_form(
    written: dict[str, Path], copied: Copied, kind: str, change: Fault, tolerance: float, files: int
) -> None:
    folder = copied(kind)
    change(folder)
    expected = load_codec(written[kind]).state_dict()
    for name, value in load_codec(folder).state_dict().items():
        torch.testing.assert_close(value, expected[name], atol=tolerance, rtol=0)
    assert len(weights_files(folder)) == files
    copy = folder.parent / "copy"
    copy.mkdir()
    for path in find_codec_files(folder).all_files:
        shutil.copy(path, copy)
    assert weights_hash(copy) == weights_hash(folder)
    assert load_codec(copy).kind == kind


def test_parts_that_diffusers_writes(make: Callable[..., Any], tmp_path: Path) -> None:
    autoencoder = make("AutoencoderKL")
    autoencoder.save_pretrained(tmp_path, max_shard_size="30KB")
    assert len(weights_files(tmp_path)) > 2
    expected = autoencoder.state_dict()
    loaded = load_codec(tmp_path).autoencoder.state_dict()
    assert all(torch.equal(value, expected[name]) for name, value in loaded.items())


def test_one_file_is_preferred_to_parts_beside_it(copied: Copied) -> None:
    folder = copied("kl")
    (folder / INDEX).write_text("{}", "utf-8")
    assert [path.name for path in weights_files(folder)] == [f"{STEM}.safetensors"]
    assert load_codec(folder).kind == "kl"


def test_attention_under_its_former_names(written: dict[str, Path], copied: Copied) -> None:
    """As in the published sd-vae-ft-mse."""
    folder = copied("kl")
    former = {"to_q": "query", "to_k": "key", "to_v": "value", "to_out.0": "proj_attn"}
    state = load_file(folder / f"{STEM}.safetensors")
    renamed = {}
    for name, value in state.items():
        for present, old in former.items():
            name = name.replace(f".attentions.0.{present}.", f".attentions.0.{old}.")
        renamed[name] = value
    assert renamed.keys() != state.keys()
    save_file(renamed, folder / f"{STEM}.safetensors")
    expected = load_codec(written["kl"]).state_dict()
    assert all(torch.equal(v, expected[k]) for k, v in load_codec(folder).state_dict().items())


# --- parts that are wrong ------------------------------------------------------------------------------


def edit_index(change: Callable[[dict[str, Any]], object]) -> Fault:
    def edit(folder: Path) -> None:
        index = json.loads((folder / INDEX).read_text("utf-8"))
        change(index["weight_map"])
        (folder / INDEX).write_text(json.dumps(index), "utf-8")

    return edit


PART_FAULTS: dict[str, tuple[Fault, str]] = {
    "a part missing": (
        lambda f: (f / SECOND).unlink(),
        rf"index\.json: names {SECOND}, which is missing; copy that file too",
    ),
    "no index": (
        lambda f: (f / INDEX).unlink(),
        "is a part of sharded weights whose index is missing",
    ),
    "an index of something else": (
        lambda f: (f / INDEX).write_text("{}"),
        r"index\.json: says nothing about weights \(weight_map\)",
    ),
    "broken JSON": (lambda f: (f / INDEX).write_text("{"), r"index\.json: is not readable as JSON"),
    "a file elsewhere": (
        edit_index(lambda m: m.update({min(m): f"../{SECOND}"})),
        r"index\.json: names '\.\./.*', which is not a file of weights beside it",
    ),
    "a number for a file": (edit_index(lambda m: m.update({min(m): 3})), r"index\.json: names ''"),
    "a weight that no part holds": (
        edit_index(lambda m: m.update({"encoder.more": SECOND})),
        r"index\.json: names 1 weights that no part holds \(first: encoder\.more\)",
    ),
    "a weight too few in a part": (
        lambda f: save_file(dict(list(load_file(f / SECOND).items())[1:]), f / SECOND),
        r"index\.json: names 1 weights that no part holds",
    ),
    "a part twice": (
        lambda f: shutil.copy(f / SECOND, f / SECOND.replace("00002-of", "00001-of")),
        r"holds weight .*, which is in another part too",
    ),
    "a part cut short": (lambda f: cut(f / SECOND), rf"{SECOND}: is damaged"),
}


@pytest.mark.parametrize(("fault", "message"), PART_FAULTS.values(), ids=PART_FAULTS.keys())
def test_parts_that_are_wrong(copied: Copied, fault: Fault, message: str) -> None:
    folder = copied("kl")
    in_parts(folder)
    fault(folder)
    with pytest.raises(BadInput, match=message) as refused:
        load_codec(folder)
    assert refused.value.remedy
    assert folder.name in refused.value.what


def test_pickled_weights_run_no_code(copied: Copied, tmp_path: Path) -> None:
    folder = copied("kl")
    (folder / f"{STEM}.safetensors").unlink()
    torch.save({"a": Trap(tmp_path / "trap")}, folder / f"{STEM}.bin")
    with pytest.raises(BadInput, match=rf"{STEM}\.bin: is not a plain PyTorch state dict"):
        load_codec(folder)
    assert not (tmp_path / "trap").exists()


# --- what is given -------------------------------------------------------------------------------------

WRONG_PATHS: dict[str, tuple[Callable[[Path], Path], str]] = {
    "nothing": (lambda f: f / "nowhere", "no such file or folder"),
    "a file of the folder": (
        lambda f: f / f"{STEM}.safetensors",
        "is one of the files of an autoencoder; give the folder that it lies in",
    ),
    "its settings": (lambda f: f / "config.json", "is not a file of weights; give a folder"),
}


@pytest.mark.parametrize(("choose", "message"), WRONG_PATHS.values(), ids=WRONG_PATHS.keys())
def test_a_path_that_is_no_autoencoder(
    written: dict[str, Path], choose: Callable[[Path], Path], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        load_codec(choose(written["kl"]))


def test_a_folder_of_several_checkpoints_asks_for_one(tmp_path: Path) -> None:
    for name in ("a.ckpt", "b.ckpt"):
        (tmp_path / name).write_bytes(b"")
    with pytest.raises(BadInput, match=r"holds no autoencoder; .* or one of the checkpoints in it"):
        load_codec(tmp_path)


def test_taesdxl_is_known_by_its_hash(written: dict[str, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    assert load_codec(written["tiny"]).other_latents == ""
    monkeypatch.setattr(reading, "_TAESDXL_FILE", weights_hash(written["tiny"]))
    assert load_codec(written["tiny"]).other_latents == "TAESDXL"
