"""The Cases widget: the viewer with a reader that is forgotten afterwards, and a batch to work through."""

from __future__ import annotations

import pytest
from napari.settings import get_plugin_settings
from tests.helpers.case_reader import MODEL

from napari_latentseg import batch


@pytest.fixture
def viewer(own_home, viewer):
    """The viewer, with a home of the test's own; the name of the reader is forgotten afterwards."""
    yield viewer
    get_plugin_settings("napari-latentseg").reset()


@pytest.fixture
def images(tmp_path, write_ellipses):
    return write_ellipses(tmp_path / "set", 4)


@pytest.fixture
def segmented(own_home, images, tmp_path):
    """The results of a batch of four images."""
    batch(images / "images", MODEL, tmp_path / "out", samples=3)
    return tmp_path / "out"
