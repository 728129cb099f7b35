"""The demo: napari with the fundus photograph, the Segment widget and its result."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.atomic import atomic_path, ensure_writable_folder

__all__ = ["run_demo"]


def run_demo(out: Path | None = None, *, samples: int | None = None) -> list[Path]:
    """Open the sample image in napari, segment it, and show the result.

    Parameters
    ----------
    out
        Write mask, mean, variance, `run.json` and a screenshot to this folder, then close napari.
    samples
        Number of samples; None for the default of the model.

    Returns
    -------
    list of Path
        The files that were written.
    """
    if out is not None:
        ensure_writable_folder(out)
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_latentseg.sample_data import retina
    from napari_latentseg.widgets.segment.samples import layer_data_of
    from napari_latentseg.widgets.segment.widget import SegmentWidget

    viewer = napari.Viewer(title="LatentSeg demo", show=True)
    viewer.window.resize(1366, 768)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    sample = retina()
    data, arguments, _ = layer_data_of(sample)
    viewer.add_image(data, **arguments)
    widget.form.model.value = sample.model
    if samples is not None:
        widget.form.samples.value = samples
    widget.segment()
    if out is None:
        napari.run()
        return []
    widget.wait(300)
    segmentation = widget.finished_result.segmentation if widget.finished_result is not None else None
    if segmentation is None:
        viewer.close()
        reason = widget.status.text() or "the run did not finish"
        raise BadInput("demo", reason, "run napari-latentseg doctor")
    from napari_latentseg import api

    written = api.write_result(segmentation, out, "")
    # the window is drawn, and the pixels have been compared with the images that the model learnt from
    _process_events(QApplication, lambda: widget.form.fit_line.is_checking)
    with atomic_path(out / "screenshot.png", ".png") as path:
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    written.append(out / "screenshot.png")
    viewer.close()
    return written


def _process_events(
    application: object, is_busy: Callable[[], bool], least_s: float = 1.0, most_s: float = 20.0
) -> None:
    """Process events until nothing is computed any more."""
    start = time.monotonic()
    while (seconds := time.monotonic() - start) < least_s or (seconds < most_s and is_busy()):
        application.processEvents()  # type: ignore[attr-defined]
        time.sleep(0.01)
