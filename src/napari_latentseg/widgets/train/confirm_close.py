"""What napari is told of work that goes on outside of its own worker threads."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from napari.components import ViewerModel

__all__ = ["confirm_before_closing"]


def confirm_before_closing(
    viewer: ViewerModel, description: str, on_close: Callable[[], object]
) -> Callable[[], None]:
    """Have napari ask before its window is closed, as it does for its own workers.

    napari has no public call for that yet. Where it cannot be told, it closes without a question.

    Parameters
    ----------
    viewer
        Whose window it is.
    description
        Is under way, for the question.
    on_close
        Called when the window is closed all the same.

    Returns
    -------
    callable
        To be called when the work is done.
    """
    window = getattr(viewer, "window", None)
    register = getattr(window, "_register_task_status", None)
    update = getattr(window, "_update_task_status", None)
    if register is None or update is None:
        return lambda: None
    from napari.utils.task_status import Status

    task_id = register("LatentSeg", Status.BUSY, description, on_close)
    return lambda: update(task_id, Status.COMPLETED, description)
