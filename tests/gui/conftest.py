"""A viewer for the tests of a module, and a finished result in it."""

from __future__ import annotations

import pytest
from napari.settings import get_settings
from tests.helpers.shared_viewer import Callbacks, empty, open_viewer, widgets_left
from tests.helpers.shown import show_ball_in


@pytest.fixture(scope="module")
def shared_viewer(qapp):
    """One viewer for a module; tests ask for `viewer`, which is this one, empty."""
    with open_viewer() as shared:
        yield shared


@pytest.fixture
def viewer(shared_viewer):
    """A viewer that is shown and empty; afterwards nothing of the test may be left in it, or run on."""
    settings = get_settings()
    settings.reset()
    empty(shared_viewer)
    callbacks = Callbacks(shared_viewer)
    yield shared_viewer
    empty(shared_viewer)
    callbacks.restore()
    settings.reset()
    left = widgets_left()
    assert not left, f"widgets that outlive the test: {left}"


@pytest.fixture
def show_ball(viewer):
    """Shows a volume of some shape with a finished result of it: `viewer`, `session`, `result`, `image`."""
    return lambda shape: show_ball_in(viewer, shape)


@pytest.fixture
def shown_volume(show_ball):
    """See `show_ball`; a small one."""
    return show_ball((12, 60, 70))
