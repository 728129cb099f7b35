"""Building a codec from a folder of weights."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import torch
from torch import nn

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.compact import CompactCodec
from napari_latentseg.codecs.spec import CODEC_KINDS
from napari_latentseg.codecs.taef2 import Taef2Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.json_text import load_json
from napari_latentseg.utils.outline import check_network_size, unset_weights
from napari_latentseg.utils.weights import file_sha256, load_state, load_weights, read_torch_state

__all__ = ["build_codec", "load_codec", "weights_file", "weights_files", "weights_hash"]

CODEC_CONFIG = "codec.json"
CODEC_WEIGHTS = "codec.safetensors"
DIFFUSERS_CONFIG = "config.json"
DIFFUSERS_WEIGHTS = "diffusion_pytorch_model.safetensors"
TAEF2_FILES = ("taef2_encoder", "taef2_decoder")

_REMEDY = "copy the folder again"


def build_codec(kind: str, **config: Any) -> Codec:
    """A codec of a kind with random weights.

    Parameters
    ----------
    kind
        One of `CODEC_KINDS`.
    config
        Settings of the network; for ``"kl"`` and ``"tiny"`` those of the diffusers class.

    Raises
    ------
    BadInput
        If there is no such kind.
    """
    if kind == "compact":
        return CompactCodec(**config)
    if kind == "taef2":
        return Taef2Codec(**config)
    if kind == "kl":
        from diffusers import AutoencoderKL

        from napari_latentseg.codecs.diffusers_codecs import KLCodec

        return KLCodec(AutoencoderKL(**config))
    if kind == "tiny":
        from diffusers import AutoencoderTiny

        from napari_latentseg.codecs.diffusers_codecs import TinyCodec

        return TinyCodec(AutoencoderTiny(**config))
    raise BadInput("kind", f"no codec is called {kind!r}", f"use one of {', '.join(CODEC_KINDS)}")


def load_codec(folder: Path) -> Codec:
    """Load a frozen codec from a folder; the kind follows from the files in it.

    Parameters
    ----------
    folder
        Holds either `codec.json` and `codec.safetensors` (this project's layout); or `config.json` and
        `diffusion_pytorch_model.safetensors` (diffusers), perhaps in a folder `vae/` of a pipeline; or
        `taef2_encoder` and `taef2_decoder` as .safetensors or .pth.

    Raises
    ------
    BadInput
        If the folder holds none of these, or the weights do not fit.
    """
    layout, weights_folder = _detect_layout(Path(folder))
    if layout == "own":
        return _load_native(weights_folder)
    if layout == "taef2":
        return _load_taef2(weights_folder)
    return _load_diffusers(weights_folder)


def weights_files(folder: Path) -> tuple[Path, ...]:
    """The weight files that `load_codec` reads.

    Raises
    ------
    BadInput
        If the folder holds no codec, or one whose weights are missing or not safe to read.
    """
    layout, weights_folder = _detect_layout(Path(folder))
    if layout == "own":
        return (_require_file(weights_folder / CODEC_WEIGHTS),)
    if layout == "taef2":
        return tuple(_taef2_weights(weights_folder, name) for name in TAEF2_FILES)
    return (_diffusers_weights(weights_folder),)


def weights_file(folder: Path) -> Path:
    """The first of the weight files that `load_codec` reads."""
    return weights_files(folder)[0]


def weights_hash(folder: Path) -> str:
    """Identifies the weights of a codec, as hexadecimal SHA-256.

    Of the weight file, or with several files of their concatenated hexadecimal hashes.
    """
    hashes = [file_sha256(path) for path in weights_files(folder)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()


def _detect_layout(folder: Path) -> tuple[str, Path]:
    """The layout of a folder (``"own"``, ``"taef2"`` or ``"diffusers"``), and the folder of its weights."""
    if not folder.is_dir():
        raise BadInput(folder, "no such folder", "give a folder that holds an autoencoder")
    if (folder / CODEC_CONFIG).is_file():
        return "own", folder
    if any(
        (folder / name).with_suffix(end).is_file() for name in TAEF2_FILES for end in (".safetensors", ".pth")
    ):
        return "taef2", folder
    for candidate in (folder, folder / "vae"):
        if (candidate / DIFFUSERS_CONFIG).is_file():
            return "diffusers", candidate
    raise BadInput(
        folder, "holds no autoencoder", f"give a folder with a {DIFFUSERS_CONFIG} and a {DIFFUSERS_WEIGHTS}"
    )


def _require_file(path: Path) -> Path:
    if not path.is_file():
        raise BadInput(path, "no such file", _REMEDY)
    return path


def _read_config(path: Path) -> dict[str, Any]:
    try:
        config = load_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise BadInput(path, "is not readable as JSON", _REMEDY) from error
    if not isinstance(config, dict):
        raise BadInput(path, "is not a JSON object", _REMEDY)
    return config


def _load_native(folder: Path) -> Codec:
    path = folder / CODEC_CONFIG
    config = _read_config(path)
    weights = folder / CODEC_WEIGHTS

    def build() -> Codec:
        return build_codec(config.get("kind"), **config.get("network", {}))  # type: ignore[arg-type]

    try:
        check_network_size("network", build, weights, _REMEDY)
        with unset_weights():
            codec = build()
    except BadInput as error:
        raise BadInput(f"{path}, {error.what}", error.why, error.remedy) from error
    load_weights(codec, weights)
    return codec.freeze()


def _taef2_weights(folder: Path, name: str) -> Path:
    """The safetensors file if there is one, otherwise the .pth file."""
    path = (folder / name).with_suffix(".safetensors")
    return path if path.is_file() else _require_file(path.with_suffix(".pth"))


def _load_taef2(folder: Path) -> Codec:
    codec = Taef2Codec()
    for name in TAEF2_FILES:
        network: nn.Module = getattr(codec, name.removeprefix("taef2_"))
        path = _taef2_weights(folder, name)
        if path.suffix == ".safetensors":
            load_weights(network, path)
        else:
            load_state(network, read_torch_state(path), path)
    return codec.freeze()


def _diffusers_weights(folder: Path) -> Path:
    path = folder / DIFFUSERS_WEIGHTS
    if not path.is_file():
        raise BadInput(
            folder, f"has no {DIFFUSERS_WEIGHTS}", "only safetensors are read; choose a folder that has them"
        )
    index = path.with_name(f"{path.name}.index.json")
    if index.exists():  # diffusers would prefer it to the file whose hash is checked
        raise BadInput(index, "sharded weights are not supported", "give the weights as one file")
    return path


def _load_diffusers(folder: Path) -> Codec:
    path = folder / DIFFUSERS_CONFIG
    config = _read_config(path)
    name = config.get("_class_name")
    if name not in ("AutoencoderKL", "AutoencoderTiny"):
        raise BadInput(f"{path}, _class_name", f"is {name!r}", "use an AutoencoderKL or AutoencoderTiny")
    weights = _diffusers_weights(folder)
    import diffusers

    from napari_latentseg.codecs.diffusers_codecs import KLCodec, TinyCodec

    check_network_size(
        f"{path}, settings", lambda: getattr(diffusers, name).from_config(config), weights, _REMEDY
    )
    try:
        autoencoder, loading_info = getattr(diffusers, name).from_pretrained(
            folder, use_safetensors=True, local_files_only=True, torch_dtype=torch.float32,
            low_cpu_mem_usage=False, output_loading_info=True,
        )  # fmt: skip
    except Exception as error:  # diffusers and safetensors raise many kinds
        raise BadInput(
            weights, f"is damaged, or not for the {DIFFUSERS_CONFIG} beside it", _REMEDY
        ) from error
    # diffusers only warns of these and leaves such weights random
    missing, extra = sorted(loading_info["missing_keys"]), sorted(loading_info["unexpected_keys"])
    if missing or extra:
        raise BadInput(
            weights,
            f"does not fit the {DIFFUSERS_CONFIG} beside it: {len(missing)} weights missing,"
            f" {len(extra)} unknown (first: {(missing + extra)[0]})",
            _REMEDY,
        )
    try:
        codec = (KLCodec if name == "AutoencoderKL" else TinyCodec)(autoencoder)
    except BadInput as error:
        raise BadInput(f"{path}, {error.what}", error.why, error.remedy) from error
    return codec.freeze()
