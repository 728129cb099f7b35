"""The header of every dock widget: the case, and its run and model."""

from __future__ import annotations

from qtpy.QtCore import Qt
from qtpy.QtWidgets import QCheckBox, QGridLayout, QSizePolicy, QWidget
from superqt import QElidingLabel

from napari_latentseg.widgets._shared.layers import role_of
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.session import RunResult, ViewerSession

__all__ = ["CaseHeader", "case_description"]

_NO_CASE = "No image is open"


def case_description(session: ViewerSession) -> str:
    """Case, run and model of a session: ``"benign_105 · run 2 · Breast ultrasound v1"``."""
    return " · ".join(part for part in _case_and_run(session) if part)


def _case_and_run(session: ViewerSession) -> tuple[str, str]:
    """The name of the case; its run and model, or that it has none."""
    image = session.image
    if image is None:
        return _NO_CASE, ""
    name = image.name if session.cases.is_open(image) else f"{image.name} (image removed)"
    result = session.shown_result
    if result is None:
        return name, _own_masks(session) or "not segmented"
    state = " in progress" if result is session.running and result not in session.results else ""
    data = " (of earlier values)" if result.has_other_data else ""
    return name, f"run {result.layers.run_number}{state}{data} · {_model(result)}"


def _own_masks(session: ViewerSession) -> str:
    """The masks that a person has drawn, or accepted by pointing, on an image without a run, in words."""
    masks = [layer for layer in session.cases.layers if role_of(layer) == "corrected"]
    return ", ".join(layer.name for layer in masks if session.cases.image_of(layer) is session.image)


class CaseHeader(QWidget):
    """Shows which case is worked on, and a box to show the other cases with it.

    Parameters
    ----------
    session
        What is worked on in the viewer.
    """

    def __init__(self, session: ViewerSession, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._session = session
        # two lines: a long name of an image must not push the run out of a line of 340 pixels
        self.line, self.run_line = QElidingLabel(), QElidingLabel()
        for label in (self.line, self.run_line):
            label.setTextFormat(Qt.TextFormat.PlainText)
            label.setElideMode(Qt.TextElideMode.ElideMiddle)
            label.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred)
            label.setStyleSheet("padding: 0; margin: 0")  # napari's would make the lines a third higher
        self.line.setAccessibleName("Case")
        self.run_line.setAccessibleName("Run and model")
        font = self.line.font()
        font.setBold(True)
        self.line.setFont(font)
        self.all_cases = QCheckBox("All cases")
        self.all_cases.setToolTip(
            "Also show the layers of other images; otherwise only those of this case are visible"
        )
        layout = QGridLayout(self)
        layout.setContentsMargins(9, 4, 9, 2)
        layout.setVerticalSpacing(0)
        layout.addWidget(self.line, 0, 0)
        layout.addWidget(self.all_cases, 0, 1)
        layout.addWidget(self.run_line, 1, 0, 1, 2)
        layout.setColumnStretch(0, 1)
        self.all_cases.toggled.connect(self._show_all_cases)
        session.image_changed.connect(self.refresh)
        session.results_changed.connect(self.refresh)
        session.started.connect(self.refresh)
        session.finished.connect(self.refresh)
        session.failed.connect(self.refresh)
        session.cases.image_removed.connect(self.refresh)
        self.refresh()

    def refresh(self, *_: object) -> None:
        """Show the case, run and model of now."""
        description = case_description(self._session)
        case, run = _case_and_run(self._session)
        self.line.setText(case)
        self.run_line.setText(run)
        self.run_line.setVisible(bool(run))
        for label in (self.line, self.run_line):
            label.setToolTip(plain_text(description))
        self.line.setEnabled(self._session.image is not None)
        self.all_cases.setVisible(self._session.cases.count > 1)
        self.all_cases.blockSignals(True)
        self.all_cases.setChecked(self._session.show_all_cases)
        self.all_cases.blockSignals(False)

    def _show_all_cases(self, on: bool) -> None:
        self._session.show_all_cases = on


def _model(result: RunResult) -> str:
    return f"{result.card.title} v{result.card.version}"
