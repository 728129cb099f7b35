"""Which codec, and what it must be: what a card says of it, without loading anything."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["CODEC_KINDS", "CodecSpec", "Kind"]

Kind = Literal["compact", "kl", "tiny", "taef2"]
CODEC_KINDS: tuple[str, ...] = get_args(Kind)


class CodecSpec(FrozenModel):
    """A codec as a card names it.

    Attributes
    ----------
    kind
        ``"compact"`` (the embedded one), ``"kl"`` (diffusers' AutoencoderKL: SD-VAE), ``"tiny"``
        (diffusers' AutoencoderTiny: TAESD) or ``"taef2"``.
    name
        What it is called: ``"latentseg-compact"``, or the repository on the hub.
    channels
        Latent channels, checked on loading.
    scale
        What its latents are multiplied by, checked on loading: it lies in the codec's settings, where a hash
        of the weights does not see it.
    sha256
        Of the weights; a codec with other weights would load and be wrong without a sign.
    revision
        The commit of the repository on the hub, where it came from there.
    """

    kind: Kind
    name: str = Field(min_length=1)
    channels: int = Field(ge=1)
    scale: float = Field(1.0, gt=0)
    sha256: str
    revision: str = ""
