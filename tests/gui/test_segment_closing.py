"""napari is closed while the Segment widget is open, also in the middle of a run."""

from __future__ import annotations

import subprocess
import sys


def test_napari_closed_at_once_ends_cleanly():
    """In a program of its own: the window is gone before the imports in the background are through."""
    code = (
        "import napari\n"
        "from napari_latentseg.widgets.segment.widget import SegmentWidget\n"
        "viewer = napari.Viewer(show=False)\n"
        "viewer.window.add_dock_widget(SegmentWidget(viewer))\n"
        "viewer.close()\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60_000)
    assert ended.returncode == 0, ended.stderr
    assert "Traceback" not in ended.stderr


def test_napari_closed_in_the_middle_of_a_run_ends_cleanly():
    """In a program of its own: the run is stopped, and the program ends without a word."""
    code = (
        "import napari, numpy as np\n"
        "from qtpy.QtWidgets import QApplication\n"
        "from napari_latentseg.widgets.segment.widget import SegmentWidget\n"
        "viewer = napari.Viewer(show=False)\n"
        "viewer.add_image(np.random.default_rng(0).random((30, 64, 64)), name='stack')\n"
        "widget = SegmentWidget(viewer)\n"
        "viewer.window.add_dock_widget(widget)\n"
        "widget.form.model.value = 'breast-ultrasound'\n"
        "widget.form.samples.value = 50\n"
        "widget.segment()\n"
        "while widget.progress_bar.value() < 5:\n"
        "    QApplication.processEvents()\n"
        "assert viewer.window._task_status_manager.is_busy()\n"  # so napari asks before it closes
        "viewer.close()\n"
        "QApplication.processEvents()\n"
        "print('closed')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60_000)
    assert ended.returncode == 0, ended.stderr
    assert "closed" in ended.stdout
    assert "Traceback" not in ended.stderr
