"""The sides of the patient that the axes of the world run to, and that the edges of a view show."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot, radians, sin

__all__ = ["SIDES_OF_AXIS", "EdgeLetters", "edge_letters"]

SIDES_OF_AXIS = {"x": "RL", "y": "AP", "z": "IS"}
"""The sides of the patient towards which each axis of LPS decreases and increases."""

# A second letter from 20 degrees on: usual tilts (the line between the commissures, the gantry) are below,
# and one letter is right for them; at 45 degrees it would be arbitrary.
_SECOND_LETTER = sin(radians(20))


@dataclass(frozen=True)
class EdgeLetters:
    """The side of the patient at each edge of a view: R, L, A, P, I and S, or several such as ``"AL"``."""

    top: str
    bottom: str
    left: str
    right: str


def edge_letters(
    down: Mapping[str, float],
    right: Mapping[str, float],
    *,
    rows_go_down: bool = True,
    columns_go_right: bool = True,
) -> EdgeLetters | None:
    """The letters at the edges of a view.

    Parameters
    ----------
    down, right
        The directions in the patient of the vertical and the horizontal axis of the view: the component along
        each axis of LPS, ``{"y": 1.0}``. A side gets a letter for each component of more than sin(20 degrees)
        of the direction's length, the largest first; there is always one.
    rows_go_down, columns_go_right
        Whether positions along these axes increase downwards and to the right.

    Returns
    -------
    EdgeLetters or None
        None if a direction is none of the patient, such as time.

    Examples
    --------
    >>> edge_letters({"y": 1}, {"x": 1})
    EdgeLetters(top='A', bottom='P', left='R', right='L')
    >>> edge_letters({"z": 1}, {"y": 1}, rows_go_down=False)
    EdgeLetters(top='S', bottom='I', left='A', right='P')
    >>> edge_letters({"y": 0.98, "z": -0.19}, {"x": 0.8, "y": 0.6})
    EdgeLetters(top='A', bottom='P', left='RA', right='LP')
    """
    vertical, horizontal = _ends(down), _ends(right)
    if not vertical or not horizontal or vertical[0][0] in {end[0] for end in horizontal}:
        return None
    top, bottom = vertical[:: 1 if rows_go_down else -1]
    left, right_side = horizontal[:: 1 if columns_go_right else -1]
    return EdgeLetters(top, bottom, left, right_side)


def _ends(direction: Mapping[str, float]) -> tuple[str, str] | None:
    """The letters where a direction comes from and where it goes to; None outside the patient."""
    length = hypot(*direction.values())
    if not length or not direction.keys() <= SIDES_OF_AXIS.keys():
        return None
    axes = sorted(direction, key=lambda axis: -abs(direction[axis]))
    named = axes[:1] + [axis for axis in axes[1:] if abs(direction[axis]) > _SECOND_LETTER * length]
    towards = "".join(SIDES_OF_AXIS[axis][int(direction[axis] > 0)] for axis in named)
    return "".join(SIDES_OF_AXIS[axis][int(direction[axis] < 0)] for axis in named), towards
