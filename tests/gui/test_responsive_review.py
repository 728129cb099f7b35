"""The main thread stays free while a volume of 200 slices is cut, ranked, walked through and measured."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

from napari_latentseg.widgets.layers import place_on_screen, role_of
from napari_latentseg.widgets.review import ReviewWidget

OURS = 0.100
"""Seconds that our own work may hold the main thread."""

SHAPE = (200, 160, 160)


@pytest.fixture
def shown(show_ball, qtbot):
    """A volume of 200 slices with a result, and what napari itself takes for layers of this size, worst."""
    shown = show_ball(SHAPE)
    shown.viewer.dims.set_point(0, 10 + 3 * 6)
    qtbot.wait(500)
    return shown


@pytest.fixture
def napari_alone(shown, qtbot, gaps):
    """What napari takes, without us, for a new Labels layer, new data in it, and another slice."""
    with gaps() as found:
        labels = shown.viewer.add_labels(np.zeros(SHAPE, dtype=np.uint8), name="alone")
        qtbot.wait(200)
        for number in range(3):
            labels.data = np.full(SHAPE, number, dtype=np.uint8)
            qtbot.wait(150)
            shown.viewer.dims.set_point(0, 10 + 3 * (40 + number))
            qtbot.wait(150)
            shown.viewer.reset_view()
            qtbot.wait(150)
    shown.viewer.layers.remove(labels)
    qtbot.wait(300)
    return found.worst


def check(found, theirs, what):
    sys.stdout.write(f"{what}: held {found.worst * 1000:.0f} ms, napari alone {theirs * 1000:.0f} ms\n")
    assert len(found.found) > 5
    assert found.worst - theirs < OURS


def test_a_moved_cut_shows_on_the_slice_at_once(shown, qtbot, napari_alone, gaps):
    session, result = shown.session, shown.result
    mask, mean = result.layers.mask, result.found.mean[0]
    place = place_on_screen(shown.viewer, mask)
    before = mask.data.copy()
    with gaps() as found:
        for cut in (0.45, 0.35, 0.25):
            begun = time.perf_counter()
            session.cut(cut)
            seconds = time.perf_counter() - begun
            np.testing.assert_array_equal(mask.data[place] > 0, mean[place[0]] > cut)
            assert seconds < 0.05, f"the slice on screen took {seconds:.3f} s"
            qtbot.wait(20)
        qtbot.waitUntil(lambda: result.found.record.threshold == 0.25, timeout=30_000)
        qtbot.wait(100)
    np.testing.assert_array_equal(mask.data > 0, mean > 0.25)
    check(found, napari_alone, "cut")
    for _ in range(3):  # one step back for each position that the cut rested at, as Ctrl+Z does
        if not np.array_equal(mask.data, before):
            mask.undo()
    np.testing.assert_array_equal(mask.data, before)
    assert not result.layers.edited


def test_ranking_and_walking(shown, qtbot, napari_alone, gaps):
    widget = ReviewWidget(shown.viewer)
    shown.viewer.window.add_dock_widget(widget, name="Review", area="right")
    qtbot.wait(500)
    with gaps() as found:
        widget.rank()
        widget.queue.fill((), {})
        qtbot.waitUntil(lambda: len(widget.queue.findings) > 0, timeout=60_000)
        for _ in range(4):
            widget.next()
            qtbot.wait(100)
        widget.outlines_button.click()
        qtbot.waitUntil(lambda: widget.outlines.layer is not None, timeout=30_000)
        for _ in range(4):
            widget.next()
            qtbot.wait(150)
    check(found, napari_alone, "review")


def test_measuring_all_objects(shown, qtbot, napari_alone, gaps):
    widget = ReviewWidget(shown.viewer)
    shown.viewer.window.add_dock_widget(widget, name="Review", area="right")
    qtbot.waitUntil(lambda: bool(widget.measures.sizes.text()), timeout=60_000)
    qtbot.wait(300)
    with gaps() as found:
        widget.measures.table.click()
        qtbot.waitUntil(lambda: widget.measures.table.isEnabled(), timeout=60_000)
        qtbot.wait(300)
    assert [one for one in shown.viewer.layers if role_of(one) == "objects"]
    check(found, napari_alone, "table of objects")
