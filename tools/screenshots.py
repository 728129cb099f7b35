"""Screenshots of the Segment widget in each of its states, to be looked at.

tools/display.sh run .venv/bin/python tools/screenshots.py OUT
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import napari
import numpy as np
from qtpy.QtWidgets import QApplication

from napari_latentseg.samples import retina, ultrasound_phantom
from napari_latentseg.widgets.card import CardDialog
from napari_latentseg.widgets.samples import layer_data_of
from napari_latentseg.widgets.segment import SegmentWidget


def settle(seconds: float = 0.6) -> None:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        QApplication.processEvents()
        time.sleep(0.01)


def main(out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    viewer = napari.Viewer(title="LatentSeg", show=True)
    viewer.window.resize(1366, 768)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")

    def shoot(name: str) -> None:
        settle()
        viewer.screenshot(str(out / f"{name}.png"), canvas_only=False, flash=False)

    shoot("1_nothing")
    for sample in (ultrasound_phantom(), retina()):
        viewer.layers.clear()
        data, arguments, _ = layer_data_of(sample)
        layer = viewer.add_image(data, **arguments)
        widget.form.image.value = layer
        widget.form.model.value = sample.model
        shoot(f"2_ready_{sample.model}")
        widget.segment()
        until = time.monotonic() + 60
        while widget.busy and widget.bar.value() < 300 and time.monotonic() < until:
            settle(0.02)
        if widget.busy:
            shoot(f"3_running_{sample.model}")
        widget.wait()
        shoot(f"4_done_{sample.model}")
        assert widget.layers is not None
        widget.layers.variance.visible = True  # type: ignore[union-attr]
        widget.layers.mask.visible = False  # type: ignore[union-attr]
        shoot(f"5_variance_{sample.model}")
        widget.layers.variance.visible = False  # type: ignore[union-attr]
        widget.layers.mean.visible = True  # type: ignore[union-attr]
        shoot(f"6_mean_{sample.model}")
        widget.layers.mean.visible = False  # type: ignore[union-attr]
        widget.layers.mask.visible = True  # type: ignore[union-attr]
    widget.form.more.expand(animate=False)
    shoot("7_more")
    widget.segment()
    while widget.bar.value() < 400:
        settle(0.02)
    widget.cancel()
    widget.wait()
    shoot("8_cancelled")
    widget.form.source.value = "none"
    widget.segment()
    widget.wait()
    shoot("9_one_answer")
    viewer.add_image(np.full((20, 20), np.nan), name="only NaN")
    widget.form.image.value = viewer.layers["only NaN"]
    widget.segment()
    widget.wait()
    shoot("A_failed")
    widget.form.show_card()
    settle()
    (dialog,) = widget.form.findChildren(CardDialog)
    dialog.grab().save(str(out / "B_card.png"))
    viewer.close()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
