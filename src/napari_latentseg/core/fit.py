"""Whether a model was made for an image: the verdict and its reasons, without the way it is reached."""

from __future__ import annotations

from typing import Literal

from napari_latentseg.core.frozen import FrozenModel

__all__ = ["Fit", "FitState"]

FitState = Literal["fits", "unusual", "foreign"]

_STATE_TEXTS: dict[FitState, str] = {
    "fits": "Fits this image",
    "unusual": "Unusual for this model",
    "foreign": "Not made for this image",
}


class Fit(FrozenModel):
    """How well an image fits the images that a model was trained on; see `napari_latentseg.evaluation.fit`.

    Attributes
    ----------
    state
        ``"fits"``: like the training images in all that was checked. ``"unusual"``: within the model's
        purpose, but unlike its training images. ``"foreign"``: another modality, another number of
        dimensions, or an image unlike any that the model was trained on.
    reasons
        What differs, one phrase each; empty where the image fits.

    Examples
    --------
    >>> from napari_latentseg import Fit
    >>> Fit(state="foreign", reasons=("the image is MR, the model was trained on US",)).describe()
    'Not made for this image: the image is MR, the model was trained on US'
    """

    state: FitState
    reasons: tuple[str, ...] = ()

    def describe(self) -> str:
        """One line for people: the verdict, then its reasons."""
        text = _STATE_TEXTS[self.state]
        return f"{text}: {'; '.join(self.reasons)}" if self.reasons else text
