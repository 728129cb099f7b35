"""`read_codec`: settings and weights of an autoencoder, from whatever layout it is published in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.codecs.formats.diffusers_folder import read_diffusers_config, read_diffusers_state
from napari_latentseg.codecs.formats.find import COPY_REMEDY, CodecFiles, find_codec_files, read_json_object
from napari_latentseg.codecs.formats.ldm_autoencoder import LDM_WRAPPERS, read_ldm_autoencoder
from napari_latentseg.codecs.formats.tiny_pair import tiny_autoencoder_state
from napari_latentseg.utils.weights import file_sha256, read_state

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["StoredCodec", "read_codec"]

# SHA-256 of TAESDXL's published file. Its settings are those of TAESD, but it is for the latents of SDXL.
_TAESDXL_FILE = "ff4824aca94dd6111e0340fa749347fb74101060d9712cb5ef1ca8f1cf17502f"


@dataclass(frozen=True)
class StoredCodec:
    """An autoencoder as it was read.

    Attributes
    ----------
    files
        Where it was read from.
    kind, config
        As `codecs.loading.build_codec` takes them. What a file says is not checked; `kind` may be anything.
    settings_in, settings_key
        The file that the settings come from, and what they are called in it, for messages.
    states
        The weights, by the part of the codec that they are for: a name of a module in it, or ``""`` for the
        whole; with the file to name in messages.
    other_latents
        See `Codec.other_latents`; where the weights are known by their hash.
    """

    files: CodecFiles
    kind: Any
    config: Mapping[str, Any]
    settings_in: Path
    settings_key: str
    states: Mapping[str, tuple[Mapping[str, Tensor], Path]] = field(repr=False)
    other_latents: str = ""


def read_codec(path: Path) -> StoredCodec:
    """Read the autoencoder of a folder or file; see `find_codec_files` for the layouts.

    Pickled weights are read as tensors alone, and no code in them is run.

    Raises
    ------
    BadInput
        If there is none, or it is damaged.
    """
    files = find_codec_files(path)
    first, last = files.weights[0], files.weights[-1]
    if files.layout == "own":
        assert files.config is not None
        config = read_json_object(files.config)
        network = config.get("network", {})
        states = {"": (read_state(first, remedy=COPY_REMEDY), first)}
        return StoredCodec(files, config.get("kind"), network, files.config, "network", states)
    if files.layout == "diffusers":
        kind, settings = read_diffusers_config(files)
        states = {"autoencoder": (read_diffusers_state(files), files.index or first)}
        other_latents = ""
        if kind == "tiny" and len(files.weights) == 1 and file_sha256(first) == _TAESDXL_FILE:
            other_latents = "TAESDXL"
        assert files.config is not None
        return StoredCodec(files, kind, settings, files.config, "settings", states, other_latents)
    if files.layout == "ldm":
        state = read_state(first, LDM_WRAPPERS, remedy=COPY_REMEDY)
        config, weights = read_ldm_autoencoder(state, first, file_sha256(first))
        return StoredCodec(files, "kl", config, first, "settings", {"autoencoder": (weights, first)})
    encoder, decoder = (read_state(weights, remedy=COPY_REMEDY) for weights in files.weights)
    if files.layout == "taef2":
        states = {"encoder": (encoder, first), "decoder": (decoder, last)}
        return StoredCodec(files, "taef2", {}, first, "settings", states)
    state = tiny_autoencoder_state(encoder, decoder, last)
    return StoredCodec(files, "tiny", {}, first, "settings", {"autoencoder": (state, first)})
