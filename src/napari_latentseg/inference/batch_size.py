"""How many tiles go through the networks together."""

from __future__ import annotations

from napari_latentseg.models.card import ModelCard
from napari_latentseg.utils.device import Compute

__all__ = ["tiles_per_batch"]

# Pixels of a batch. On two cores the time for a pixel no longer falls beyond 8 tiles of 192 x 192, and a
# batch takes 0.1 to 0.3 s, after which a run can be cancelled. A GPU needs more to be filled.
_PIXELS = {"cpu": 8 * 192 * 192, "mps": 32 * 192 * 192, "cuda": 128 * 192 * 192}
_MOST_TILES = 64  # small tiles: the result is shown after each batch


def tiles_per_batch(card: ModelCard, compute: Compute) -> int:
    """How many tiles go through the networks together, where memory suffices.

    It depends on the model and the device alone, not on how fast the machine is at the moment, so that a run
    can be repeated to the last bit: networks round differently in batches of another size.

    Parameters
    ----------
    card
        Of the model.
    compute
        Device and precision.
    """
    return max(1, min(_MOST_TILES, _PIXELS[compute.device] // card.preprocess.size**2))
