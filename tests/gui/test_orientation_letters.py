"""R, L, A, P, S and I at the edges of the view, of scans that lie in the patient."""

from __future__ import annotations

import numpy as np
import pytest

from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.widgets._shared.layers import scan_arguments
from napari_latentseg.widgets._shared.session import session_of

EDGES = ("top", "bottom", "left", "right")


def letters_of(viewer) -> str:
    overlays = [viewer.canvas.overlays[f"latentseg_{edge}"] for edge in EDGES]
    assert [overlay.visible for overlay in overlays] == [bool(overlay.text) for overlay in overlays]
    return "".join(overlay.text for overlay in overlays)


@pytest.fixture
def volume(viewer):
    session_of(viewer)
    scan = Scan(np.zeros((4, 20, 30)), "zyx", Geometry.from_matrix(np.eye(4), ("mm",) * 3, "zyx", "LPS"))
    return viewer.add_image(scan.array, name="volume", **scan_arguments(scan))


def test_the_planes_of_a_volume(viewer, volume, qtbot):
    assert letters_of(viewer) == "APRL"
    viewer.dims.order = (1, 0, 2)
    assert letters_of(viewer) == "ISRL"
    viewer.scene.camera.orientation2d = ("up", "right")
    assert letters_of(viewer) == "SIRL"
    viewer.dims.ndisplay = 3
    assert letters_of(viewer) == ""
    viewer.dims.ndisplay = 2
    viewer.scene.camera.orientation2d = ("down", "right")
    viewer.dims.order = (0, 1, 2)


def test_a_photograph_has_none_and_the_case_decides(viewer, volume, qtbot):
    photograph = viewer.add_image(np.zeros((20, 30)), name="photograph")
    qtbot.waitUntil(lambda: session_of(viewer).image is photograph)
    assert letters_of(viewer) == ""
    viewer.layers.selection.active = volume
    qtbot.waitUntil(lambda: letters_of(viewer) == "APRL")


def test_letters_are_seen_on_the_canvas_of_either_theme(viewer, volume):
    """Contrast of the relative luminances, as WCAG counts it: 3 is enough for large letters."""
    before = viewer.theme
    try:
        for theme, canvas in (("light", 1.0), ("dark", 0.0)):
            viewer.theme = theme
            color = np.asarray(viewer.canvas.overlays["latentseg_top"].color)[:3]
            linear = np.where(color <= 0.04, color / 12.92, ((color + 0.055) / 1.055) ** 2.4)
            darker, brighter = sorted((float(linear @ (0.2126, 0.7152, 0.0722)), canvas))
            assert (brighter + 0.05) / (darker + 0.05) > 3
    finally:
        viewer.theme = before
