"""The two files in which the author of TAESD publishes it, `taesd_encoder` and `taesd_decoder`.

Both are state dicts of a sequence of layers. diffusers' `AutoencoderTiny` has the same layers under
`encoder.layers` and `decoder.layers`; only the clamp of the latents, which has no weights, is a layer of the
published decoder alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput

if TYPE_CHECKING:
    from torch import Tensor

__all__ = ["tiny_autoencoder_state"]

_FIRST_DECODER_LAYER = 1  # after the clamp


def tiny_autoencoder_state(
    encoder: Mapping[str, Tensor], decoder: Mapping[str, Tensor], decoder_path: Path
) -> dict[str, Tensor]:
    """The published weights under the names of diffusers' `AutoencoderTiny`.

    Parameters
    ----------
    encoder, decoder
        The two state dicts: ``"0.weight"``, ``"1.conv.0.weight"`` and so on.
    decoder_path
        File of the decoder, for messages.

    Raises
    ------
    BadInput
        If the decoder has no numbered layers, or has weights where the clamp is.
    """
    state = {f"encoder.layers.{name}": value for name, value in encoder.items()}
    for name, value in decoder.items():
        number, _, rest = name.partition(".")
        if not number.isdecimal() or int(number) < _FIRST_DECODER_LAYER:
            raise BadInput(
                decoder_path, f"is not a decoder of TAESD: it has a weight {name}", "give taesd_decoder.pth"
            )
        state[f"decoder.layers.{int(number) - _FIRST_DECODER_LAYER}.{rest}"] = value
    return state
