"""Draw the plugin's icon: a dark scan, a bright lesion, and the outlines of several samples around it.

python tools/icon.py src/napari_latentseg/icon.png
"""

from __future__ import annotations

import sys

import numpy as np
from PIL import Image, ImageDraw

SIZE = 256
SCALE = 4  # drawn larger and reduced, so that the lines are smooth
OUTLINES = [((-3, 2), 1.00, "#ffb000"), ((4, -3), 1.14, "#fe6100"), ((-2, -5), 0.88, "#dc267f"),
            ((3, 5), 1.27, "#648fff")]  # fmt: skip


def outline(offset: tuple[float, float], scale: float) -> list[tuple[float, float]]:
    angles = np.linspace(0, 2 * np.pi, 200)
    radius = (1 + 0.12 * np.sin(3 * angles + 0.6) + 0.06 * np.sin(5 * angles)) * scale * SCALE
    x = SIZE * SCALE / 2 + offset[0] * SCALE + 62 * radius * np.cos(angles)
    y = SIZE * SCALE / 2 + offset[1] * SCALE + 50 * radius * np.sin(angles)
    return [(float(a), float(b)) for a, b in zip(x, y, strict=True)]


def draw() -> Image.Image:
    side = SIZE * SCALE
    picture = Image.new("RGBA", (side, side), (0, 0, 0, 0))
    pen = ImageDraw.Draw(picture)
    pen.rounded_rectangle((8 * SCALE, 8 * SCALE, side - 8 * SCALE, side - 8 * SCALE), 48 * SCALE, "#1b2431")
    pen.polygon(outline((0, 0), 0.62), fill="#c9d4e3")
    for offset, scale, color in OUTLINES:
        pen.line(outline(offset, scale), fill=color, width=6 * SCALE, joint="curve")
    return picture.resize((SIZE, SIZE), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    draw().save(sys.argv[1], optimize=True)
