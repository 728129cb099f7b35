"""A person who follows objects through a volume until the process is killed; see `test_point_killed`.

Each line that is printed says what has been done: an object is followed, a slice of it was proposed, it is
being accepted, or it is saved.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import numpy as np
import pytest
from qtpy.QtCore import Qt
from qtpy.QtTest import QTest
from tests.helpers.pointed import answer_bright_regions
from tests.helpers.pointing_person import PointingPerson
from tests.helpers.shared_viewer import open_viewer

from napari_latentseg.inference.prompt_session import PromptSession
from napari_latentseg.widgets.annotate.corrections import corrections_of
from napari_latentseg.widgets.segment.widget import SegmentWidget

CENTRES = [(20, 20), (20, 60), (20, 100), (60, 20), (60, 60), (60, 100)]
RADII = (0, 9, 10, 11, 12, 11, 10, 9, 0, 0)  # of each object, slice by slice
MIDDLE = 4
_SECONDS_A_SLICE = 0.05  # so that a kill meets an object that is being followed


def bright_objects() -> np.ndarray:
    """A volume of bright balls."""
    rows, columns = np.mgrid[:80, :120]
    volume = np.full((len(RADII), 80, 120), 0.1, "f4")
    for z, radius in enumerate(RADII):
        for y, x in CENTRES:
            volume[z][np.hypot(rows - y, columns - x) < radius] = 1
    return volume


class _Waiter:
    """What `PointingPerson` needs of pytest-qt."""

    def waitUntil(self, condition: Callable[[], bool], timeout: int) -> None:
        deadline = time.monotonic() + timeout / 1000
        while not condition():
            if time.monotonic() > deadline:
                raise TimeoutError
            QTest.qWait(5)


def _say(*words: object) -> None:
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def main() -> None:
    with pytest.MonkeyPatch.context() as patches, open_viewer() as viewer:
        answer_bright_regions(patches)
        answer = PromptSession.answer

        def slowly(*arguments: object, **options: object) -> object:
            time.sleep(_SECONDS_A_SLICE)
            return answer(*arguments, **options)

        patches.setattr(PromptSession, "answer", slowly)
        widget = SegmentWidget(viewer)
        viewer.window.add_dock_widget(widget, name="Segment", area="right")
        person = PointingPerson(widget, viewer, _Waiter())
        person.open(None, bright_objects())
        person.pointing.through.engine.sliced.connect(lambda job, plane, *_: _say("slice", plane))
        saver = corrections_of(viewer).autosaver
        for number, (y, x) in enumerate(CENTRES, start=1):
            person.look_at(MIDDLE)
            person.click(MIDDLE, y, x)
            _say("following", number)
            person.follow()
            _say("accepting", number)
            person.key(Qt.Key.Key_Return)
            person.wait(lambda: not saver._saving)
            _say("saved", number)


if __name__ == "__main__":
    main()
    sys.exit(0)
