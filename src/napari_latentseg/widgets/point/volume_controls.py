"""The buttons that follow an object through a volume, its progress, and how far it went."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtWidgets import QHBoxLayout, QProgressBar, QPushButton, QVBoxLayout, QWidget

from napari_latentseg.widgets._shared.controls import WrappedLabel
from napari_latentseg.widgets._shared.plain_text import plain_text
from napari_latentseg.widgets._shared.region import image_shape

if TYPE_CHECKING:
    from napari_latentseg.widgets.point.pointing import Pointing

__all__ = ["VolumeControls"]

_THROUGH = "Follow the object from the slices on which it is answered or accepted through the others"
_BETWEEN = "Fill the slices between those on which the object is answered or accepted"


class VolumeControls(QWidget):
    """Through the volume, Fill between, Cancel and Drop; hidden for a single image.

    Parameters
    ----------
    pointing
        What is pointed at.
    """

    def __init__(self, pointing: Pointing, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._pointing = pointing
        self.through_button = QPushButton("Through the volume")
        self.between_button = QPushButton("Fill between")
        self.progress = QProgressBar()
        self.cancel_button = QPushButton("Cancel")
        self.text = WrappedLabel()
        self.drop_button = QPushButton("Drop the proposal")
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        buttons, running = QHBoxLayout(), QHBoxLayout()
        buttons.addWidget(self.through_button, 3)
        buttons.addWidget(self.between_button, 2)
        running.addWidget(self.progress, 1)
        running.addWidget(self.cancel_button)
        for row in (buttons, running):
            layout.addLayout(row)
        layout.addWidget(self.text)
        layout.addWidget(self.drop_button)
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.cancel_button.setToolTip("Stop; the slices that are computed stay as a proposal")
        self.drop_button.setToolTip("Remove what is proposed; accepted objects and clicks stay")
        through = pointing.through
        self.through_button.clicked.connect(lambda: through.start())
        self.between_button.clicked.connect(lambda: through.start(beyond=False))
        self.cancel_button.clicked.connect(through.cancel)
        self.drop_button.clicked.connect(through.drop)

    def refresh(self) -> None:
        """Show what can be done now, and why not where it cannot."""
        pointing = self._pointing
        through, image = pointing.through, pointing.image
        is_volume = image is not None and len(image_shape(image)) > 2
        self.setVisible(is_volume)
        if not is_volume:
            return
        is_busy = through.is_busy
        for button, tooltip, beyond in (
            (self.through_button, _THROUGH, True),
            (self.between_button, _BETWEEN, False),
        ):
            reason = through.problem(beyond=beyond)
            button.setEnabled(not reason)
            button.setToolTip(plain_text(reason or tooltip))
        self.progress.setVisible(is_busy)
        self.cancel_button.setVisible(is_busy)
        self.progress.setValue(round(1000 * through.fraction))
        proposal = through.proposal
        text = proposal.text if proposal is not None else ""
        if is_busy:
            text = "Following the object. Look at any slice meanwhile."
        self.text.setText(text)
        self.text.setVisible(bool(text))
        self.drop_button.setVisible(proposal is not None and not is_busy)
