"""Colours and names of a model's classes in a Labels layer."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from napari.utils.colormaps import DirectLabelColormap
from numpy.typing import NDArray

from napari_latentseg.core.classes import ClassInfo

__all__ = ["label_style", "reference_classes", "unused_color"]

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
            "class": ["background", *(c.name for c in classes)],
        },
    }


def reference_classes(classes: Sequence[ClassInfo]) -> list[ClassInfo]:
    """The classes in the colours of a reference mask, which is shown over a prediction.

    One class gets a colour that is not its own; of several, each keeps its own, brightened.
    """
    if len(classes) == 1:
        return [classes[0].replace(color=unused_color(classes))]
    return [info.replace(color=_brightened(info.color)) for info in classes]


def _brightened(color: str) -> str:
    """Halfway to white."""
    parts = [int(color[i : i + 2], 16) for i in (1, 3, 5)]
    return "#" + "".join(f"{(part + 255) // 2:02x}" for part in parts)


def unused_color(classes: Sequence[ClassInfo]) -> str:
    """The colour of a palette that differs most from those of the classes.

    Differences are Euclidean distances in CIE Lab, which is about even to the eye; what counts is the class
    whose colour is nearest.
    """
    if not classes:
        return _COLOURS[0]
    from skimage.color import rgb2lab

    palette, used = (rgb2lab(_rgb(colors)) for colors in (_COLOURS, [c.color for c in classes]))
    nearest = np.linalg.norm(palette[:, None] - used[None], axis=-1).min(axis=1)
    return _COLOURS[int(nearest.argmax())]


def _rgb(colors: Sequence[str]) -> NDArray[np.float64]:
    """Colours ``"#rrggbb"``, `(n, 3)` in [0, 1]."""
    return np.array([[int(color[i : i + 2], 16) / 255 for i in (1, 3, 5)] for color in colors])
