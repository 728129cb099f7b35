"""The demo: napari with the fundus photograph, the Segment widget and its result."""

from __future__ import annotations

import time
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
    _process_events_for(QApplication)
    with atomic_path(out / "screenshot.png", ".png") as path:
        viewer.screenshot(str(path), canvas_only=False, flash=False)
    written.append(out / "screenshot.png")
    viewer.close()
    return written


def _process_events_for(application: object, seconds: float = 1.0) -> None:
    """Process events, so that the window is drawn."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        application.processEvents()  # type: ignore[attr-defined]
        time.sleep(0.01)
