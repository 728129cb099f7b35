"""A program ends while files are being read, or compared, in a thread."""

from __future__ import annotations

import subprocess
import sys

_TASK = """
import threading
import torch
from qtpy.QtWidgets import QApplication, QWidget
from napari_latentseg.widgets._shared.background_task import BackgroundTask
application, begun = QApplication([]), threading.Event()
image = torch.rand(1, 8, 256, 256)
weights = torch.rand(8, 8, 5, 5)
def work(task):
    try:
        while True:
            begun.set()
            torch.nn.functional.conv2d(image, weights)
            task.report_progress(1, 2)
    finally:
        print('stopped', flush=True)
window = QWidget()
BackgroundTask(window, work, print, print).start()
begun.wait()
"""

_AHEAD = """
import threading
import torch
from napari_latentseg.utils.waited_thread import waited_thread
begun = threading.Event()
def work():
    image = torch.rand(1, 8, 512, 512)
    for _ in range(30):
        begun.set()
        torch.nn.functional.conv2d(image, torch.rand(8, 8, 5, 5))
    print('stopped', flush=True)
waited_thread(work, 'latentseg-case-ahead').start()
begun.wait()
"""


_COMPUTED_AHEAD = """
import torch
from napari_latentseg.inference.pipeline import computed_ahead
image, weights = torch.rand(1, 8, 512, 512), torch.rand(8, 8, 5, 5)
batches = computed_ahead(range(1000), lambda number: torch.nn.functional.conv2d(image, weights))
next(batches)  # and the program ends, as at a second Ctrl+C
"""


def _run(code: str) -> tuple[int, str, str]:
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60_000)
    return ended.returncode, ended.stdout.strip(), ended.stderr


def test_a_task_is_stopped_and_waited_for():
    assert _run(_TASK) == (0, "stopped", "")


def test_a_case_that_is_read_ahead_is_waited_for():
    assert _run(_AHEAD) == (0, "stopped", "")


def test_a_run_that_is_left_is_stopped_and_waited_for():
    assert _run(_COMPUTED_AHEAD) == (0, "", "")


def test_a_thread_that_does_not_end_is_not_waited_for_for_ever():
    code = (
        "import threading\n"
        "from napari_latentseg.utils import waited_thread as module\n"
        "module._EXIT_WAIT_S = 0.1\n"
        "module.waited_thread(threading.Event().wait, 'latentseg-stuck').start()\n"
    )
    assert _run(code) == (0, "", "")
