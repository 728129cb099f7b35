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
        "assert widget.busy\n"
        "viewer.close()\n"
        "QApplication.processEvents()\n"
        "print('closed')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60_000)
    assert ended.returncode == 0, ended.stderr
    assert "closed" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_the_x_of_the_window_asks_one_question_in_plain_words(tmp_path):
    """In a program of its own: No leaves all as it was; Yes stops the run, and the program ends promptly."""
    code = (
        "import time, napari, numpy as np\n"
        "from qtpy.QtCore import QEvent, QTimer\n"
        "from qtpy.QtWidgets import QApplication\n"
        "from napari_latentseg.widgets._shared.closing import CloseGuard\n"
        "from napari_latentseg.widgets.segment.widget import SegmentWidget\n"
        "viewer = napari.Viewer(show=True)\n"
        "viewer.add_image(np.random.default_rng(0).random((30, 64, 64)), name='stack')\n"
        "widget = SegmentWidget(viewer)\n"
        "viewer.window.add_dock_widget(widget)\n"
        "widget.form.model.value = 'breast-ultrasound'\n"
        "widget.form.samples.value = 100\n"
        "widget.segment()\n"
        "while widget.progress_bar.value() < 5:\n"
        "    QApplication.processEvents()\n"
        "window, questions = viewer.window._qt_window, []\n"
        "(guard,) = window.findChildren(CloseGuard)\n"
        "class ByAPerson(QEvent):\n"
        "    def __init__(self): super().__init__(QEvent.Type.Close)\n"
        "    def spontaneous(self): return True\n"
        "def answer(button):\n"
        "    box = QApplication.activeModalWidget()\n"
        "    questions.append(box.text())\n"
        "    assert box.defaultButton().text() == box.escapeButton().text() == 'Keep running'\n"
        "    next(b for b in box.buttons() if b.text() == button).click()\n"
        "QTimer.singleShot(300, lambda: answer('Keep running'))\n"
        "assert guard.eventFilter(window, ByAPerson())\n"
        "assert widget.busy\n"
        "for quit_app in (False, True):  # File > Close window, and Exit\n"
        "    QTimer.singleShot(300, lambda: answer('Keep running'))\n"
        "    assert not window.close(quit_app=quit_app, confirm_need=True)\n"
        "    assert window.isVisible() and widget.busy\n"
        "QTimer.singleShot(300, lambda: answer('Close and stop'))\n"
        "assert guard.eventFilter(window, ByAPerson())\n"
        "assert widget.busy\n"
        "start = time.monotonic()\n"
        "while window.isVisible():\n"
        "    QApplication.processEvents()\n"
        "from superqt.utils import WorkerBase\n"
        "while WorkerBase._worker_set:\n"
        "    QApplication.processEvents()\n"
        "print(questions)\n"
        "print(f'{time.monotonic() - start:.0f} s')\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60_000)
    assert ended.returncode == 0, ended.stderr
    questions, seconds = ended.stdout.splitlines()
    asked = "“stack” is being segmented. Its result is lost; exports and approvals are kept."
    assert questions == str([f"{asked}\n\nClose and stop it?"] * 4)
    assert int(seconds.split()[0]) <= 10
    assert "Traceback" not in ended.stderr
