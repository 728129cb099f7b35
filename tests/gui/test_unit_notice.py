"""A photograph in pixels and a scan in mm in one window: napari says once that their units differ."""

from __future__ import annotations

import numpy as np
import pytest
from napari.utils.notifications import notification_manager, show_warning

from napari_latentseg.widgets._shared import unit_notice
from napari_latentseg.widgets._shared.session import session_of


@pytest.fixture
def messages(monkeypatch):
    """The messages that are shown."""
    monkeypatch.setattr(unit_notice, "_has_been_shown", False)
    shown = []

    def keep(event):
        shown.append(event.message)

    notification_manager.notification_ready.connect(keep, position="last")
    yield shown
    notification_manager.notification_ready.disconnect(keep)


def test_it_is_said_once(viewer, messages, qtbot):
    session_of(viewer)
    viewer.add_image(np.zeros((20, 30)), scale=(0.5, 0.5), units=("mm", "mm"))
    for _ in range(3):
        viewer.add_image(np.zeros((20, 30)))
        viewer.window._qt_viewer.canvas._update_world_units()
    assert len([message for message in messages if message.startswith("Inconsistent units")]) == 1


def test_other_warnings_are_shown_each_time(viewer, messages):
    session_of(viewer)
    show_warning("the disk is full")
    show_warning("the disk is full")
    assert messages == ["the disk is full"] * 2
