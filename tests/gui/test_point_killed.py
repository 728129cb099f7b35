"""A window that follows an object through a volume is killed: what was accepted before is found again."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from tests.helpers.following_person import CENTRES, RADII, bright_objects
from tests.helpers.pointed import answer_bright_regions
from tests.helpers.pointing import make_prompted_model
from tests.helpers.pointing_person import MODEL, PointingPerson

from napari_latentseg.annotations.session_lock import is_alive, remove_dead_sessions
from napari_latentseg.models.store import data_home
from napari_latentseg.widgets.segment.widget import SegmentWidget

PATIENCE = 300.0  # seconds; a window opens slowly on a machine under load


@pytest.fixture
def home(make_tiny_model, monkeypatch, tmp_path):
    """A home with the model, which the process that is killed has too."""
    shutil.copytree(data_home() / "codecs", tmp_path / "codecs")
    shutil.copytree(make_prompted_model(make_tiny_model), tmp_path / "models" / MODEL)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    return tmp_path


def read_until(process, last):
    """The lines of the process up to one."""
    lines, deadline = [], time.monotonic() + PATIENCE
    for line in process.stdout:
        lines.append(line.strip())
        if lines[-1] == last:
            return lines
        assert time.monotonic() < deadline, lines
    raise AssertionError(f"ended with {process.wait()} after {lines}")


def object_mask(number):
    """Where an object is, on all of its slices."""
    rows, columns = np.mgrid[:80, :120]
    y, x = CENTRES[number - 1]
    return np.stack([np.hypot(rows - y, columns - x) < radius for radius in RADII])


@pytest.mark.parametrize(
    ("moment", "delays"),
    [("following 3", (0.1, 0.3)), ("accepting 3", (0.0, 0.15))],
    ids=["while it is followed", "while it is accepted"],
)
def test_what_was_accepted_outlives_a_kill(viewer, qtbot, home, monkeypatch, moment, delays):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.helpers.following_person"],
        stdout=subprocess.PIPE, text=True,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
    )  # fmt: skip
    try:
        lines = read_until(process, moment)
        time.sleep(random.Random(os.getpid()).uniform(*delays))
        process.send_signal(signal.SIGKILL)
        rest = process.stdout.read().split("\n")
        assert process.wait() == -signal.SIGKILL
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
    assert {"saved 1", "saved 2"} <= set(lines)
    if moment.startswith("following"):
        assert "accepting 3" not in rest

    answer_bright_regions(monkeypatch)
    widget = SegmentWidget(viewer)
    viewer.window.add_dock_widget(widget, name="Segment", area="right")
    person = PointingPerson(widget, viewer, qtbot)
    person.open(None, bright_objects())
    person.wait(lambda: person.pointing.draft is not None)
    assert person.panel.resume_button.isVisible()
    person.press(person.panel.resume_button)
    person.wait(lambda: person.objects is not None)
    found = np.asarray(person.objects)
    for number in (1, 2):
        np.testing.assert_array_equal(found == number, object_mask(number))
    if "saved 3" in rest or (found == 3).any():  # all of it, or nothing
        np.testing.assert_array_equal(found == 3, object_mask(3))
    assert found.max() <= 3
    # a file that was being written is hidden, and goes when the store is next written to
    drafts = home / "annotations" / MODEL / "drafts"
    remove_dead_sessions(drafts, own_token="")
    assert not [path for path in (home / "annotations").rglob("*.part*") if not is_alive(path.parent)]
    # the next object is a new one, and is not merged with the first
    person.wait(lambda: person.panel.number.value() == int(found.max()) + 1)
    y, x = CENTRES[5]
    person.look_at(4)
    person.click(4, y, x)  # and the work goes on
    assert person.answer_size == object_mask(6)[4].sum()
