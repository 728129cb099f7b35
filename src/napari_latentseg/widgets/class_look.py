"""How the classes of a model look in a Labels layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from napari.utils.colormaps import DirectLabelColormap

from napari_latentseg.classes import ClassInfo

__all__ = ["class_look", "fresh_color"]

# told apart also by those who see red and green alike (Okabe and Ito)
_COLOURS = ("#e69f00", "#56b4e9", "#009e73", "#f0e442", "#0072b2", "#d55e00", "#cc79a7")


def class_look(classes: Sequence[ClassInfo]) -> dict[str, Any]:
    """The colours of classes, and their names, which napari tells under the pointer.

    Returns
    -------
    dict
        `colormap` and `features` of a Labels layer.
    """
    colours: dict[int | None, Any] = {c.label: c.color for c in classes}
    colours |= {0: (0.0, 0.0, 0.0, 0.0), None: (1.0, 1.0, 1.0, 1.0)}
    return {
        "colormap": DirectLabelColormap(color_dict=colours),
        "features": {
            "index": [0, *(c.label for c in classes)],
            "class": ["", *(c.name for c in classes)],
        },
    }


def fresh_color(classes: Sequence[ClassInfo]) -> str:
    """A colour that no class has yet, as far as there is one."""
    taken = {c.color.lower() for c in classes}
    return next(
        (colour for colour in _COLOURS if colour not in taken), _COLOURS[len(classes) % len(_COLOURS)]
    )
