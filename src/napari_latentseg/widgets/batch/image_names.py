"""The image of each case of a de-identified batch: shown on screen, and written nowhere."""

from __future__ import annotations

from collections.abc import Callable, Collection
from functools import lru_cache
from pathlib import Path

from qtpy.QtCore import QObject, Signal

from napari_latentseg.batches.case import BatchCase
from napari_latentseg.batches.case_rows import CaseRow, table_name
from napari_latentseg.batches.find_cases import find_cases
from napari_latentseg.widgets._shared.threads import run_in_thread

__all__ = ["ImageNames", "cases_by_code", "forget_cases"]

_CODE = "scan-"  # how such names begin, see `napari_latentseg.batches.find_cases`
_MOST_CASES = 500  # every image is read for its hash; of more cases the one that is opened is looked up


class ImageNames(QObject):
    """Looks up the images of cases that are named after a hash, in a worker.

    Signals
    -------
    found
        The names of the images by case, a dictionary.
    """

    found = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._asked: tuple[Path, frozenset[str]] | None = None

    def look_up(self, images: Path | None, rows: Collection[CaseRow]) -> None:
        """Find the images of the rows that have no path, once for the same rows.

        Parameters
        ----------
        images
            What the batch was given; None where that is not known.
        rows
            The rows of its table.
        """
        codes = frozenset(row.case for row in rows if not row.path and row.case.startswith(_CODE))
        if images is None or not codes or len(codes) > _MOST_CASES:
            return
        question = (images, codes)
        if question == self._asked:
            return
        self._asked = question

        def show(names: dict[str, str]) -> None:
            if question == self._asked and names:
                self.found.emit(names)

        run_in_thread(lambda: _names(images, codes), show, _ignore, owner=self)


def _names(images: Path, codes: Collection[str]) -> dict[str, str]:
    cases = cases_by_code(images)
    return {code: case.path.name for code, case in cases.items() if code in codes}


def _ignore(error: BaseException) -> None:
    """The images have gone since: the codes alone are shown, and opening a case says what is missing."""


@lru_cache(maxsize=1)
def cases_by_code(images: Path) -> dict[str, BatchCase]:
    """The cases of a folder by the names that a de-identified batch gives them; reads all files."""
    return {table_name(case.name): case for case in find_cases(images, deidentify=True).cases}


forget_cases: Callable[[], None] = cases_by_code.cache_clear
"""Forget the cases of a folder, which may have changed."""
