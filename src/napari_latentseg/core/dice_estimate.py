"""The Dice that a mask is expected to have against a reference that nobody has drawn."""

from __future__ import annotations

from pydantic import Field

from napari_latentseg.core.frozen import FrozenModel
from napari_latentseg.core.percent import percent

__all__ = ["DiceEstimate"]


class DiceEstimate(FrozenModel):
    """Expected Dice of one class of a result, with a lower bound.

    Attributes
    ----------
    expected
        Expected Dice, in [0, 1].
    lower
        The Dice is at least this in a fraction `level` of images like those of the calibration.
    level
        In (0, 1).

    Examples
    --------
    >>> DiceEstimate(expected=0.84, lower=0.62).describe()
    'about 0.84, at least 0.62 in 9 of 10 images like these'
    """

    expected: float = Field(ge=0, le=1)
    lower: float = Field(ge=0, le=1)
    level: float = Field(0.9, gt=0, lt=1)

    def describe(self) -> str:
        """The estimate in words, without the name of the class."""
        return (
            f"about {self.expected:.2f}, at least {self.lower:.2f} in {_share(self.level)} images like these"
        )


def _share(level: float) -> str:
    """A level as a share that people read at once: ``9 of 10``."""
    return f"{level * 10:.0f} of 10" if round(level * 10, 6).is_integer() else f"{percent(level)} of"
