"""Tell napari about work outside of its own worker threads, so that it ends it when it closes."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["confirm_before_closing"]


def confirm_before_closing(
    viewer: ViewerModel, description: str, on_close: Callable[[], object]
) -> Callable[[], None]:
    """Have napari end work when its window is closed, as it does with its own workers.

    napari 0.9 has no public call for that; where the private one is missing, the work ends with the program.

    Parameters
    ----------
    viewer
        The viewer whose window is meant.
    description
        The work in progress, shown in napari's own question.
    on_close
        Called when the window is closed all the same.

    Returns
    -------
    callable
        Call it when the work has ended.
    """
    window = getattr(viewer, "window", None)
    register = getattr(window, "_register_task_status", None)
    update = getattr(window, "_update_task_status", None)
    if register is None or update is None:
        return lambda: None
    from napari.utils.task_status import Status

    task_id = register("LatentSeg", Status.BUSY, description, on_close)
    return lambda: update(task_id, Status.COMPLETED, description)
