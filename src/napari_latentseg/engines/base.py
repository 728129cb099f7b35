"""The interface of every engine; a run knows the networks only through it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_latentseg.methods.noise import Noise

__all__ = ["Engine"]

FloatArray = NDArray[np.float32]


class Engine(Protocol):
    """Computes the networks of one member of a model.

    Attributes
    ----------
    name
        ``"torch"`` or ``"openvino"``.
    downsampling_factor
        Pixels per latent position along each side.
    size_multiple
        Height and width of an image in pixels must be multiples of this.
    """

    name: str
    downsampling_factor: int
    size_multiple: int

    def activate(self) -> None:
        """Get ready to compute: another model may have moved a codec that is shared to another device."""
        ...

    def uses_noise(self, source: str) -> bool:
        """Whether samples from this sampling source need noise."""
        ...

    def encode(self, images: FloatArray) -> list[Any]:
        """The conditioning of each image, in a form that only this engine knows; see `Method.encode`.

        Parameters
        ----------
        images
            `(B, 3, H, W)` in [0, 1].
        """
        ...

    def as_array(self, conditioning: Any) -> FloatArray:
        """The conditioning of an image as an array, float32 `(C, h, w)`."""
        ...

    def sample(
        self, conditioning: Sequence[Any], noise: Noise | None = None, classes: Sequence[int] | None = None
    ) -> FloatArray:
        """One sample of each image: probabilities in [0, 1], float32 `(B, K, H, W)`.

        Parameters
        ----------
        conditioning
            From `encode`, of B images of one size.
        noise
            As for `Method.sample`.
        classes
            Indices of the requested classes, from 0; None for all.
        """
        ...
