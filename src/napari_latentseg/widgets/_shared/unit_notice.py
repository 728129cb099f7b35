"""napari's notice about layers in different units: shown once, not for every layer that is added."""

from __future__ import annotations

from typing import Any

from napari.utils.notifications import notification_manager

__all__ = ["show_unit_notice_once"]

_BEGINNING = "Inconsistent units across layers"  # of napari 0.9; other versions may have another notice

_has_been_shown = False


def show_unit_notice_once() -> None:
    """Let napari say only once that a photograph in pixels and a scan in mm are open in one window.

    napari repeats it each time that a layer is added, so four times a run. The units of each layer stay as
    they are: sizes and exports do not depend on what else is open.
    """
    callbacks = notification_manager.notification_ready.callbacks
    if _block_repetition not in callbacks:
        # before napari's own, which show the notice
        notification_manager.notification_ready.connect(_block_repetition, position="first")


def _block_repetition(event: Any) -> None:
    global _has_been_shown
    if not str(getattr(event, "message", "")).startswith(_BEGINNING):
        return
    if _has_been_shown:
        event.blocked = True
    _has_been_shown = True
