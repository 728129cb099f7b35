"""Building a codec from its files, in whatever layout they were published."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.compact import CompactCodec
from napari_latentseg.codecs.formats.find import CODEC_CONFIG, COPY_REMEDY, DIFFUSERS_CONFIG, find_codec_files
from napari_latentseg.codecs.formats.reading import read_codec
from napari_latentseg.codecs.spec import CODEC_KINDS
from napari_latentseg.codecs.taef2 import Taef2Codec
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.outline import check_network_size, unset_weights
from napari_latentseg.utils.weights import file_sha256, load_state

__all__ = [
    "CODEC_CONFIG",
    "DIFFUSERS_CONFIG",
    "build_codec",
    "load_codec",
    "weights_files",
    "weights_hash",
]


def build_codec(kind: str, **config: Any) -> Codec:
    """A codec of a kind with random weights.

    Parameters
    ----------
    kind
        One of `CODEC_KINDS`.
    config
        Settings of the network; for ``"kl"``, ``"tiny"`` and ``"vq"`` those of the diffusers class.

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
    if kind == "vq":
        from diffusers import VQModel

        from napari_latentseg.codecs.diffusers_codecs import VQCodec

        return VQCodec(VQModel(**config))
    raise BadInput("kind", f"no codec is called {kind!r}", f"use one of {', '.join(CODEC_KINDS)}")


def load_codec(path: Path) -> Codec:
    """Load a frozen codec; its kind follows from the files.

    Parameters
    ----------
    path
        A folder with `codec.json` and `codec.safetensors` (this project's layout); with `config.json` and
        `diffusion_pytorch_model` (diffusers), perhaps in a folder `vae/` of a pipeline, the weights as
        safetensors or pickled, in half precision or in parts; or with `taef2_encoder` and `taef2_decoder`, or
        `taesd_encoder` and `taesd_decoder`, as .safetensors or .pth. Or a single checkpoint of kl-f8 or of
        Stable Diffusion 1 or 2 (.ckpt, .pt, .pth or .safetensors), or the folder that holds it alone.

    Raises
    ------
    BadInput
        If it is none of these, or the weights do not fit.
    """
    stored = read_codec(Path(path))

    def build() -> Codec:
        return build_codec(stored.kind, **stored.config)

    try:
        check_network_size(stored.settings_key, build, stored.files.weights, COPY_REMEDY)
        with unset_weights():
            codec = build()
    except BadInput as error:
        raise BadInput(f"{stored.settings_in}, {error.what}", error.why, error.remedy) from error
    for part, (state, file) in stored.states.items():
        load_state(codec.get_submodule(part), state, file, remedy=COPY_REMEDY)
    codec.other_latents = stored.other_latents or codec.other_latents
    return codec.freeze()


def weights_files(path: Path) -> tuple[Path, ...]:
    """The weight files that `load_codec` reads.

    Raises
    ------
    BadInput
        If there is no codec, or one whose weights are missing.
    """
    return find_codec_files(Path(path)).weights


def weights_hash(path: Path) -> str:
    """Identifies the weights of a codec, as hexadecimal SHA-256.

    Of the weight file, or with several files of their concatenated hexadecimal hashes.
    """
    hashes = [file_sha256(file) for file in weights_files(path)]
    return hashes[0] if len(hashes) == 1 else hashlib.sha256("".join(hashes).encode()).hexdigest()
