"""A model card's reliability curve as a drawing."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari_latentseg.evaluation.calibration import Reliability

__all__ = ["curve_svg"]

_SIDE, _LEFT, _BOTTOM, _TOP = 150, 34, 30, 8


def curve_svg(reliability: Reliability) -> str:
    """Observed share against mean probability, with the diagonal that a calibrated model would follow.

    Parameters
    ----------
    reliability
        Of the card.

    Returns
    -------
    str
        An ``<svg>`` element without scripts or references.
    """

    def at(predicted: float, observed: float) -> str:
        return f"{_LEFT + predicted * _SIDE:.1f},{_TOP + (1 - observed) * _SIDE:.1f}"

    points = [
        at(p, o)
        for p, o in zip(reliability.predicted, reliability.observed, strict=True)
        if p is not None and o is not None
    ]
    width, height = _LEFT + _SIDE + 8, _TOP + _SIDE + _BOTTOM
    middle = _TOP + _SIDE / 2
    dots = "".join(f'<circle cx="{x}" cy="{y}" r="2.4"/>' for x, y in (p.split(",") for p in points))
    ticks = "".join(
        f'<text x="{_LEFT + v * _SIDE:.0f}" y="{_TOP + _SIDE + 11}" text-anchor="middle">{v:g}</text>'
        f'<text x="{_LEFT - 4}" y="{_TOP + (1 - v) * _SIDE + 3:.0f}" text-anchor="end">{v:g}</text>'
        for v in (0, 0.5, 1)
    )
    return (
        f'<svg viewBox="0 0 {width} {height}" width="{width}" height="{height}" role="img" '
        'aria-label="Reliability curve" font-size="9" fill="#333">'
        f'<rect x="{_LEFT}" y="{_TOP}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#999"/>'
        f'<polyline points="{at(0, 0)} {at(1, 1)}" fill="none" stroke="#999" stroke-dasharray="4 3"/>'
        f'<polyline points="{" ".join(points)}" fill="none" stroke="#0b62a4" stroke-width="1.6"/>'
        f'<g fill="#0b62a4">{dots}</g>{ticks}'
        f'<text x="{_LEFT + _SIDE / 2}" y="{height - 6}" text-anchor="middle">mean probability</text>'
        f'<text transform="translate(9 {middle}) rotate(-90)" text-anchor="middle">how often right</text>'
        "</svg>"
    )
