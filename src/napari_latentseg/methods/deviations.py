"""What differs between a method as it is built and its paper, in words."""

from __future__ import annotations

from napari_latentseg.codecs.base import Codec
from napari_latentseg.codecs.spec import Kind

__all__ = ["codec_deviation", "join_deviations"]


def join_deviations(*deviations: tuple[bool, str]) -> str:
    """The text of `Method.deviations_from_paper`.

    Parameters
    ----------
    deviations
        Whether a method deviates from its paper in some respect, and the words for it.
    """
    return ", ".join(text for deviates, text in deviations if deviates)


def codec_deviation(codec: Codec, kind: Kind, name: str) -> tuple[bool, str]:
    """Whether and how a codec differs from that of the paper, for `join_deviations`.

    Parameters
    ----------
    codec
        The codec of the method.
    kind, name
        Kind and name of the paper's codec. Both codecs that papers use, SD-VAE and TAESD, have 4 latent
        channels and one latent position for 8 x 8 pixels; so have those of SDXL, whose latents are others.
    """
    if codec.kind != kind:
        return True, f"{codec.kind} codec in place of {name}"
    if (codec.channels, codec.downsampling_factor) != (4, 8):
        ratio = "" if codec.downsampling_factor == 8 else f", 1:{codec.downsampling_factor},"
        return True, f"{codec.channels}-channel codec{ratio} in place of {name}"
    return bool(codec.other_latents), f"{codec.other_latents} in place of {name}"
