"""How far a training is, with the buttons to stop and to resume it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import Signal
from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.widgets._shared.controls import CopyDetailsButton
from napari_latentseg.widgets._shared.plain_text import PlainLabel
from napari_latentseg.widgets.train.messages import training_progress

if TYPE_CHECKING:
    from napari_latentseg.widgets.train.process import TrainingProcess

__all__ = ["ProgressPanel"]


class ProgressPanel(QWidget):
    """The progress of the training of a viewer, or why it ended.

    Parameters
    ----------
    training
        The training of the viewer.

    Signals
    -------
    resume_asked
        The training that was stopped is to go on.
    """

    resume_asked = Signal()

    def __init__(self, training: TrainingProcess) -> None:
        super().__init__()
        self.training = training
        self.bar = QProgressBar()
        self.bar.setRange(0, 1000)  # a fraction in steps of 0.1 %
        self.bar.setTextVisible(False)
        self.stop_button = QPushButton("Stop and keep best")
        self.status = PlainLabel()
        self.status.setWordWrap(True)
        self.resume_button = QPushButton("Resume")
        self.resume_button.setToolTip("Continue from where the training was stopped")
        self.details_button = CopyDetailsButton()
        bar_row = QHBoxLayout()
        bar_row.addWidget(self.bar, 1)
        bar_row.addWidget(self.stop_button)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(bar_row)
        layout.addWidget(self.status)
        layout.addWidget(self.resume_button)
        layout.addWidget(self.details_button)
        self.stop_button.clicked.connect(training.stop)
        self.resume_button.clicked.connect(self.resume_asked)

    def refresh(self, *, is_writing_layers: bool, time_text: str) -> None:
        """Show the state of the training.

        Parameters
        ----------
        is_writing_layers
            Whether the layers to train on are still being written to files.
        time_text
            For how long a training that was stopped would be resumed.
        """
        training = self.training
        fraction, text = training_progress(training, is_writing_layers)
        self.bar.setVisible(training.busy or is_writing_layers)
        self.bar.setValue(round(1000 * fraction))
        self.stop_button.setVisible(training.busy)
        can_stop = training.state in ("preparing", "running")
        self.stop_button.setEnabled(can_stop)
        if can_stop:
            self.stop_button.setToolTip("Stop training; the best weights so far are kept and validated")
        elif training.state == "stopping":
            self.stop_button.setToolTip("The training is being stopped")
        else:
            self.stop_button.setToolTip("Training has ended; the new model is being validated")
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self.resume_button.setVisible(training.can_resume)
        self.resume_button.setText(f"Resume for {time_text}")
        self.details_button.set_details(f"{training.error}\n\n{training.details}" if training.details else "")
