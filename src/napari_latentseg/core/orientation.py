"""The sides of the patient that the axes of the world run to, and that the edges of a view show."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["SIDES_OF_AXIS", "EdgeLetters", "edge_letters"]

SIDES_OF_AXIS = {"x": "RL", "y": "AP", "z": "IS"}
"""The sides of the patient towards which each axis of LPS decreases and increases."""


@dataclass(frozen=True)
class EdgeLetters:
    """The side of the patient at each edge of a view, one of R, L, A, P, I and S."""

    top: str
    bottom: str
    left: str
    right: str


def edge_letters(
    row_axis: str, column_axis: str, *, rows_go_down: bool = True, columns_go_right: bool = True
) -> EdgeLetters | None:
    """The letters at the edges of a view that is parallel to two axes of the patient.

    Parameters
    ----------
    row_axis, column_axis
        The axis of LPS along which the view runs vertically and horizontally: ``"z"``, ``"y"`` or ``"x"``.
    rows_go_down, columns_go_right
        Whether positions increase downwards and to the right.

    Returns
    -------
    EdgeLetters or None
        None if one of the axes is not an axis of the patient, such as time.

    Examples
    --------
    >>> edge_letters("y", "x")
    EdgeLetters(top='A', bottom='P', left='R', right='L')
    >>> edge_letters("z", "y", rows_go_down=False)
    EdgeLetters(top='S', bottom='I', left='A', right='P')
    """
    if row_axis == column_axis or not {row_axis, column_axis} <= SIDES_OF_AXIS.keys():
        return None
    vertical = SIDES_OF_AXIS[row_axis][:: 1 if rows_go_down else -1]
    horizontal = SIDES_OF_AXIS[column_axis][:: 1 if columns_go_right else -1]
    return EdgeLetters(vertical[0], vertical[1], horizontal[0], horizontal[1])
