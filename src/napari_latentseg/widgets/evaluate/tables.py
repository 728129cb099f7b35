"""The tables of an evaluation: its figures, and its worst images."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QWidget

from napari_latentseg.evaluation.click_report import REACHED, ClickReport
from napari_latentseg.evaluation.worst_images import WorstImage
from napari_latentseg.report.click_page import object_headings, object_texts
from napari_latentseg.report.evaluation_summary import SummaryRow
from napari_latentseg.report.evaluation_text import Cell, interval_text
from napari_latentseg.utils.counts import count_text
from napari_latentseg.widgets._shared.text_table import TextTable

__all__ = ["ObjectTable", "ScoreTable", "WorstImageTable"]

_IMAGE_HEADINGS = ("Image", "Dice", "IoU", "HD95 (pixels)", "Slice")


class ScoreTable(TextTable):
    """The figures with their intervals, beside those of another model where there is one."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Scores", parent)

    def show_rows(self, rows: Sequence[SummaryRow], other: str = "") -> None:
        """Replace all rows.

        Parameters
        ----------
        rows
            Of the evaluation.
        other
            The name of the other model; empty without one.
        """
        headings = ["", "Value", "95 % interval"]
        texts = [[row.name, row.value, row.interval] for row in rows]
        if other:
            headings += [other, "Difference (95 % interval)", "p"]
            for text, row in zip(texts, rows, strict=True):
                text += [row.other, row.difference, row.p_value]
        self.show_texts(headings, texts, [row.tooltip for row in rows])

    def show_clicks(self, report: ClickReport) -> None:
        """Replace all rows by the Dice after each click, and how many objects reached a good one."""
        means = [
            [
                f"Dice after {count_text(number + 1, 'click')}",
                f"{dsc:.4f}",
                "" if report.intervals is None else interval_text(report.intervals[number]),
            ]
            for number, dsc in enumerate(report.dsc)
        ]
        reached = [f"Objects that reached a Dice of {REACHED:g}", f"{report.reached:.0%}", ""]
        meanings = ["Mean Dice over objects: overlap of answer and reference; 1 is equal masks"] * len(means)
        self.show_texts(
            ["", "Value", "95 % interval"],
            [*means, reached],
            [*meanings, "After any of the clicks"],
        )


class ObjectTable(TextTable):
    """The objects that were pointed at, those with the lowest Dice first."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Objects", parent)

    def show_objects(self, report: ClickReport) -> None:
        """Replace all rows."""
        rows = [
            [cell.text if isinstance(cell, Cell) else cell for cell in row] for row in object_texts(report)
        ]
        self.show_texts(object_headings(report), rows, [row[0] for row in rows])


class WorstImageTable(TextTable):
    """The images with the lowest Dice.

    Signals
    -------
    image_chosen
        The `WorstImage` on which the user double-clicked or pressed Enter.
    """

    image_chosen = Signal(object)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Worst images", parent)
        self._images: list[WorstImage] = []
        self.activated.connect(lambda index: self.image_chosen.emit(self._images[index.row()]))

    def show_images(self, images: Sequence[WorstImage]) -> None:
        """Replace all rows, and select the first."""
        self._images = list(images)
        rows = [
            (image.name, f"{image.dsc:.4f}", f"{image.iou:.4f}", f"{image.hd95:.1f}", image.worst_slice)
            for image in images
        ]
        self.show_texts(_IMAGE_HEADINGS, rows, [image.name for image in images])
        self.setColumnHidden(len(_IMAGE_HEADINGS) - 1, not any(image.worst_slice for image in images))
        if images:
            self.setCurrentCell(0, 0)

    @property
    def selected_image(self) -> WorstImage | None:
        """The image of the selected row."""
        row = self.currentRow()
        return self._images[row] if 0 <= row < len(self._images) else None
