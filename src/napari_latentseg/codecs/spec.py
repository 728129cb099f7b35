"""What a model card says about the codec of a model; no torch needed."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["CODEC_KINDS", "CodecSpec", "Kind"]

Kind = Literal["compact", "kl", "tiny", "taef2", "vq"]
CODEC_KINDS: tuple[str, ...] = get_args(Kind)


class CodecSpec(FrozenModel):
    """The codec of a model, in its card.

    Attributes
    ----------
    kind
        ``"compact"`` (the embedded one), ``"kl"`` (diffusers' AutoencoderKL, e.g. SD-VAE), ``"tiny"``
        (diffusers' AutoencoderTiny, e.g. TAESD), ``"taef2"``, or ``"vq"`` (diffusers' VQModel).
    name
        ``"latentseg-compact"`` for the embedded codec, otherwise a repository on the Hugging Face hub or a
        folder.
    channels
        Latent channels, checked on loading.
    scale
        Factor of its latents, checked on loading, since it is a setting and not in the hash of the weights.
    sha256
        SHA-256 of the weights (`weights_hash`). A codec with other weights would load and silently give wrong
        masks.
    revision
        Commit of the repository; empty for a codec from elsewhere.
    """

    kind: Kind
    name: str = Field(min_length=1)
    channels: int = Field(ge=1)
    scale: float = Field(1.0, gt=0)
    sha256: str
    revision: str = ""
