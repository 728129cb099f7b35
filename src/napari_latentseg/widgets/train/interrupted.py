"""Trainings that were interrupted, as by closing napari, to resume or discard."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.compat import isalive
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.interrupted import (
    InterruptedFineTuning,
    discard_interrupted,
    list_interrupted,
)
from napari_latentseg.widgets._shared.plain_text import PlainLabel, plain_text
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception

if TYPE_CHECKING:
    from napari_latentseg.widgets.train.process import TrainingProcess

__all__ = ["InterruptedPanel", "interrupted_text"]


class InterruptedPanel(QWidget):
    """The newest interrupted training, with a button to resume and one to discard it.

    Parameters
    ----------
    training
        The training of the viewer. While it is in progress or awaits a decision, nothing is shown.

    Attributes
    ----------
    entries
        All of them, the newest first.
    """

    def __init__(self, training: TrainingProcess) -> None:
        super().__init__()
        self.training = training
        self.entries: list[InterruptedFineTuning] = []
        self.text = PlainLabel()
        self.text.setWordWrap(True)
        self.resume_button, self.discard_button = QPushButton("Resume"), QPushButton("Discard")
        buttons = QHBoxLayout()
        buttons.addWidget(self.resume_button)
        buttons.addWidget(self.discard_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.text)
        layout.addLayout(buttons)
        self._state = training.state
        self.discard_button.setToolTip("Delete what it has learnt; the base model and the images are kept")
        self.resume_button.clicked.connect(self.resume)
        self.discard_button.clicked.connect(self.discard)
        training.changed.connect(self._on_training)
        self.hide()
        self.look_up()

    def look_up(self) -> None:
        """Read in a thread which trainings were interrupted, and show the newest."""
        run_in_thread(list_interrupted, self._show, owner=self)

    def resume(self) -> None:
        """Resume the training that is shown."""
        try:
            self.training.resume_interrupted(self.entries[0])
        except BadInput as error:
            show_exception(error)

    def discard(self) -> ThreadWorker:
        """Delete the training that is shown.

        Returns
        -------
        ThreadWorker
            Deletes it.
        """
        name = self.entries[0].name
        self._set_enabled(False)  # until the list is read again
        return run_in_thread(
            lambda: discard_interrupted(name), lambda _: self.look_up(), self._on_failed, owner=self
        )

    def _on_failed(self, error: BaseException) -> None:
        show_exception(error)
        self.look_up()

    def _on_training(self) -> None:
        """Look again: another training may have ended in the meantime, or this one was interrupted."""
        previous, self._state = self._state, self.training.state
        if previous != self._state and not self.training.busy:
            # not at once: napari goes through its tasks where it ends them, and a thread is one more
            QTimer.singleShot(0, lambda: self.look_up() if isalive(self) else None)
        self._refresh()

    def _show(self, entries: list[InterruptedFineTuning]) -> None:
        self.entries = entries
        self._refresh()

    def _refresh(self) -> None:
        is_shown = bool(self.entries) and self.training.state in ("idle", "failed")
        if is_shown:
            self.text.setText(interrupted_text(self.entries))
            self.text.setToolTip(plain_text("\n".join(map(str, self.entries[0].data))))
            self._set_enabled(True)
        self.setVisible(is_shown)

    def _set_enabled(self, enabled: bool) -> None:
        is_missing = bool(self.entries and self.entries[0].missing_data)
        self.resume_button.setEnabled(enabled and not is_missing)
        self.resume_button.setToolTip(
            "Its images are not there" if is_missing else "Continue from its last checkpoint"
        )
        self.discard_button.setEnabled(enabled)


def interrupted_text(entries: list[InterruptedFineTuning]) -> str:
    """What is known of the newest interrupted training, and how many more there are.

    Parameters
    ----------
    entries
        One or more, the newest first.
    """
    newest = entries[0]
    total = f"{newest.request.minutes:g} min"
    text = f"The training of {newest.name} was interrupted after {_clock(newest.seconds)} of {total}."
    scores = [epoch for epoch in newest.epochs if epoch.best is not None]
    if scores and scores[-1].base_dsc is not None:
        text += f" Best Dice so far {scores[-1].best:.3f}, base model {scores[-1].base_dsc:.3f}."
    if missing := newest.missing_data:
        text += f" Its images in {missing[0].name} are not there: bring that folder back, or discard it."
    more = len(entries) - 1
    return f"{text} ({more} more)" if more else text


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes}:{rest:02d}"
