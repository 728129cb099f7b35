"""The readings of a case in the window that compares readers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.core.scan import Scan
from napari_latentseg.io.result_names import RECORD_NAME
from napari_latentseg.widgets._shared.dialogs import show_dialog
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread
from napari_latentseg.widgets.batch.open_result import read_image
from napari_latentseg.widgets.cases.read_case import row_of
from napari_latentseg.widgets.readers.dialog import ReadersDialog
from napari_latentseg.widgets.readers.fields import ComparedImage

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.caselist.listed_case import ListedCase
    from napari_latentseg.widgets._shared.run_result import RunResult
    from napari_latentseg.widgets.cases.case_work import CaseWork

__all__ = ["show_readings", "why_not_compared"]


def why_not_compared(case: ListedCase | None) -> str:
    """Why the readings of a case cannot be compared; empty if they can."""
    if case is None:
        return "Choose a case first"
    if case.is_blind:
        return "The case waits for a blind second reading"
    return "" if len(case.readings) > 1 else f"The case has {len(case.readings)} of the 2 readings"


def show_readings(viewer: ViewerModel, work: CaseWork, case: ListedCase) -> ThreadWorker | None:
    """Compare the readings of a case, with the result of its model beside them.

    Parameters
    ----------
    viewer
        The viewer with the window.
    work
        Of its list.
    case
        With two readings or more.

    Returns
    -------
    ThreadWorker
        Looks whether the masks are as they were approved; None without a list.
    """
    cases, opened = work.cases, work.opened
    if cases is None:
        return None
    layer = opened.image if opened is not None and opened.name == case.name else None
    results: list[RunResult | Path] = []
    if layer is not None:
        results += [r for r in session_of(viewer).results_of(layer) if r.segmentation is not None]
    elif case.result is not None and case.result.name.endswith(RECORD_NAME):
        results.append(case.result)
    read: Callable[[], Scan] | None = None if case.path is None else lambda: read_image(row_of(case))
    image = ComparedImage(case.name, layer, read)

    def show(readings: dict[str, Path]) -> None:
        dialog = show_dialog(viewer, ReadersDialog, ReadersDialog)
        dialog.show_readings(image, readings, results)

    return run_in_thread(lambda: cases.reading_paths(case.name), show, owner=work)
