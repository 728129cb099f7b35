"""One napari viewer for many tests: opened once, emptied between them, and checked for what they leave."""

from __future__ import annotations

import gc
import threading
import time
import weakref
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import pytest
from qtpy.compat import isalive
from qtpy.QtCore import QCoreApplication, QEvent, QObject, QProcess, QThreadPool
from qtpy.QtTest import QTest
from qtpy.QtWidgets import QApplication, QDialog, QWidget

from napari_latentseg.widgets._shared.view import camera_of

PACKAGE = "napari_latentseg"
APPLICATION = "latentseg_shared_viewer"
PATIENCE = 120.0
"""Seconds that work may take to end when told to stop: a network's step, on a machine under load."""


@contextmanager
def open_viewer() -> Iterator[Any]:
    """A viewer that is shown, apart from the ones that `make_napari_viewer` makes and counts."""
    from app_model import Application
    from napari import Viewer
    from napari._app_model._app import NapariApplication, _napari_names
    from napari._qt._qapp_model.qactions import init_qactions
    from napari._qt.qt_viewer import QtViewer
    from napari.plugins import _initialize_plugins
    from napari.settings import get_settings

    get_settings().reset()
    _initialize_plugins.cache_clear()
    init_qactions.cache_clear()
    application = NapariApplication(APPLICATION)
    application.injection_store.namespace = _napari_names
    with pytest.MonkeyPatch.context() as patches:
        patches.setattr(NapariApplication, "get_app_model", lambda *_, **__: application)
        # as make_napari_viewer does: no thread that looks at the cursor, and no console
        patches.setattr("napari._qt.threads.status_checker.StatusChecker.start", lambda *_, **__: None)
        patches.setattr("napari._qt.qt_viewer.QtViewer._get_console", lambda *_: _console())
        viewer = Viewer(show=True, show_welcome_screen=False)
        QTest.qWaitForWindowExposed(viewer.window._qt_window, 5000)
        QtViewer._instances.clear()  # make_napari_viewer refuses to begin while it knows of another one
        # what is here now lives as long as the viewer, so collecting need not look at it after each test
        gc.collect()
        gc.freeze()
        seen = weakref.ref(viewer.window._qt_viewer)
        try:
            yield viewer
        finally:
            gc.unfreeze()
            get_settings().reset()
            with patch.object(viewer.window._qt_window, "_save_current_window_settings"):
                viewer.close()
            del viewer
            Application.destroy(APPLICATION)
            _initialize_plugins.cache_clear()
            init_qactions.cache_clear()
            process_events()
            gc.collect()
    assert seen() is None or not isalive(seen()), "something of ours holds the viewer that was closed"


def _console() -> QWidget:
    console = QWidget()
    console._update_theme = lambda *_, **__: None
    return console


def process_events() -> None:
    """What is posted is done, and what is to be deleted goes."""
    for _ in range(3):
        QApplication.processEvents()
        QCoreApplication.sendPostedEvents(None, QEvent.Type.DeferredDelete.value)


class Callbacks:
    """The callbacks of a viewer's events, as they were before a test."""

    def __init__(self, viewer: Any) -> None:
        groups = (viewer.events, viewer.layers.events, viewer.layers.selection.events, viewer.dims.events,
                  camera_of(viewer).events, viewer.cursor.events)  # fmt: skip
        self._emitters = [emitter for group in groups for emitter in (group, *group.emitters.values())]
        self._before = [list(emitter.callbacks) for emitter in self._emitters]

    def restore(self) -> None:
        for emitter, before in zip(self._emitters, self._before, strict=True):
            for callback in list(emitter.callbacks):
                if callback not in before:
                    emitter.disconnect(callback)


def end_work(viewer: Any) -> None:
    """Stop what goes on, as closing the window does, and wait until it has ended.

    Raises
    ------
    AssertionError
        Where a worker, thread or process of ours is left running.
    """
    from superqt.utils import WorkerBase

    most = time.monotonic() + 1  # s; most jobs are nearly through, and end by themselves
    while running_work(viewer) and time.monotonic() < most:
        process_events()
        time.sleep(0.005)
    viewer.window._task_status_manager.cancel_all()
    for worker in list(WorkerBase._worker_set):
        worker.quit()
    until = time.monotonic() + PATIENCE
    while running := running_work(viewer):
        process_events()
        time.sleep(0.005)
        assert time.monotonic() < until, f"left running: {', '.join(running)}"
    process_events()


def running_work(viewer: Any) -> list[str]:
    """The threads, workers and processes of ours that run."""
    from superqt.utils import WorkerBase

    threads = [t.name for t in threading.enumerate() if t.name.startswith("latentseg") and t.is_alive()]
    workers = [f"worker {w!r}" for w in list(WorkerBase._worker_set)]
    pool = ["a thread of Qt's pool"] if QThreadPool.globalInstance().activeThreadCount() else []
    processes = [
        "a child process"
        for owner in (viewer.window._qt_window, *_sessions(viewer))
        for process in owner.findChildren(QProcess)
        if process.state() != QProcess.ProcessState.NotRunning
    ]
    return threads + workers + pool + processes


def _sessions(viewer: Any) -> list[QObject]:
    from napari_latentseg.widgets._shared.per_viewer import objects_of

    return objects_of(viewer)


def empty(viewer: Any) -> None:
    """Take layers, widgets, dialogs and our session away."""
    from napari.utils.notifications import notification_manager

    from napari_latentseg.widgets._shared.per_viewer import release
    from napari_latentseg.widgets.annotate.corrections import Corrections

    window = viewer.window._qt_window
    widgets = [w for w in viewer.window.dock_widgets.values() if isinstance(w, QWidget)]
    end_work(viewer)
    viewer.layers.clear()
    process_events()
    viewer.window.remove_dock_widget("all")
    for widget in widgets:
        widget.deleteLater()
    for child in window.children():
        if type(child).__module__.startswith(PACKAGE) or isinstance(child, QDialog):
            child.deleteLater()
    end_work(viewer)  # what taking them away has begun
    for owned in release(viewer):
        for corrections in (
            *owned.findChildren(Corrections),
            *([owned] if isinstance(owned, Corrections) else []),
        ):
            corrections.open_stores.close()  # as it is when the viewer goes
        owned.deleteLater()
    process_events()
    viewer.dims.ndisplay = 2
    viewer.dims.reset()
    viewer.dims.order = (0, 1)
    getattr(viewer, "canvas", viewer).grid.enabled = False  # napari 0.9 moved it
    camera_of(viewer).angles = (0, 0, 90)
    viewer.reset_view()
    viewer.title = "napari"
    viewer.window._task_status_manager._tasks.clear()
    notification_manager.records.clear()


def widgets_left() -> list[str]:
    """The widgets of ours that still exist, docked or not."""
    process_events()
    return [type(w).__name__ for w in QApplication.allWidgets() if type(w).__module__.startswith(PACKAGE)]
