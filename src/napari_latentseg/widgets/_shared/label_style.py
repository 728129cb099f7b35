"""Colours and names of a model's classes in a Labels layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari.utils.colormaps import DirectLabelColormap

from napari_latentseg.core.classes import ClassInfo

__all__ = ["label_style", "unused_color"]

# distinguishable with red-green colour blindness (Okabe and Ito 2008)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def label_style(classes: Sequence[ClassInfo]) -> dict[str, Any]:
    """Colours of the classes, and their names, which napari shows at the cursor.

    Returns
    -------
    dict
        `colormap` and `features` of a Labels layer.
    """
    colors_by_label: dict[int | None, Any] = {c.label: c.color for c in classes}
    colors_by_label |= {0: (0.0, 0.0, 0.0, 0.0), None: (1.0, 1.0, 1.0, 1.0)}
    return {
        "colormap": DirectLabelColormap(color_dict=colors_by_label),
        "features": {
            "index": [0, *(c.label for c in classes)],
            "class": ["", *(c.name for c in classes)],
        },
    }


def unused_color(classes: Sequence[ClassInfo]) -> str:
    """A colour that no class has yet; one that is used where there is none left."""
    used_colors = {c.color.lower() for c in classes}
    return next(
        (candidate for candidate in _COLOURS if candidate not in used_colors),
        _COLOURS[len(classes) % len(_COLOURS)],
    )
