"""The training curve as a small PNG, drawn with Pillow rather than a plotting library."""

from __future__ import annotations

import io
from collections.abc import Sequence

from napari_latentseg.training.events import TrainEpoch

__all__ = ["draw_curve"]

_SIZE, _MARGIN = (640, 360), 48  # pixels


def draw_curve(events: Sequence[TrainEpoch]) -> bytes:
    """Plot the Dice on the validation images (blue, 0 to 1) and the sum of the losses (grey).

    The losses are scaled from 0 to their maximum. Epochs are numbered on from stage to stage; a vertical line
    marks where a stage begins.

    Parameters
    ----------
    events
        Of all epochs, in their order.

    Returns
    -------
    bytes
        PNG, 640 by 360 pixels.
    """
    from PIL import Image, ImageDraw

    image = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(image)
    left, top, right, bottom = _MARGIN, 24, _SIZE[0] - 16, _SIZE[1] - 32
    epochs = max(2, len(events))

    def to_pixels(epoch: float, value: float) -> tuple[float, float]:
        return left + (epoch - 1) / (epochs - 1) * (right - left), bottom - value * (bottom - top)

    for tenth in range(0, 11, 2):
        y = to_pixels(1, tenth / 10)[1]
        draw.line([(left, y), (right, y)], fill="#dddddd")
        draw.text((16, y - 6), f"{tenth / 10:.1f}", fill="black")
    totals = [sum(event.losses.values()) for event in events]
    max_loss = max([*totals, 1e-9])
    # none where a training was stopped in the first batch of an epoch
    losses = [to_pixels(i + 1, t / max_loss) for i, t in enumerate(totals) if events[i].losses]
    scores = [to_pixels(i + 1, event.dsc) for i, event in enumerate(events) if event.dsc is not None]
    for i in range(1, len(events)):
        if events[i].stage != events[i - 1].stage:
            draw.line([to_pixels(i + 0.5, 0), to_pixels(i + 0.5, 1)], fill="#c06000")
            draw.text((to_pixels(i + 0.5, 0)[0] + 4, top), events[i].stage, fill="#c06000")
    for points, colour in ((losses, "#999999"), (scores, "#0060c0")):
        if len(points) > 1:
            draw.line(points, fill=colour, width=2)
        for x, y in points if colour == "#0060c0" else []:
            draw.ellipse([(x - 3, y - 3), (x + 3, y + 3)], fill=colour)
    draw.text(
        (left, 6), f"Dice of the validation images (blue); loss, at most {max_loss:.3g} (grey)", fill="black"
    )
    draw.text((left, bottom + 10), f"epoch 1 to {len(events)}", fill="black")
    out = io.BytesIO()
    image.save(out, "PNG", optimize=True)
    return out.getvalue()
