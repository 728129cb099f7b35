"""Fractions as percentages, written alike everywhere."""

from __future__ import annotations

__all__ = ["percent"]


def percent(fraction: float) -> str:
    """A fraction in [0, 1] as a whole percentage, with a space before the sign (SI brochure, 5.4.7).

    Examples
    --------
    >>> percent(0.9), percent(0.155)
    ('90 %', '16 %')
    """
    return f"{fraction:.0%}".replace("%", " %")
