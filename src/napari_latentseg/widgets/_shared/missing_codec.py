"""The dialog for a model whose codec is not on this machine."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFileDialog,
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_latentseg import api
from napari_latentseg.codecs.store import short_hash
from napari_latentseg.models.codec_lookup import MissingCodec, is_repository
from napari_latentseg.widgets._shared.plain_text import PlainLabel, show_info
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from napari_latentseg.codecs.store import KeptCodec

__all__ = ["CodecQuestion", "MissingCodecDialog"]


class MissingCodecDialog(QDialog):
    """Offers to download a codec, or to choose its folder or file; what was chosen is kept.

    Parameters
    ----------
    missing
        The codec that is needed.

    Signals
    -------
    added
        The `KeptCodec`; the dialog is closed.
    """

    added = Signal(object)

    def __init__(self, missing: MissingCodec, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setAttribute(Qt.WidgetAttribute.WA_DeleteOnClose)
        self.setWindowTitle("The codec of this model is missing")
        self._missing = missing
        self._is_adding = False
        self.text = PlainLabel(_explanation(missing))
        self.text.setWordWrap(True)
        self.status = PlainLabel()
        self.status.setWordWrap(True)
        self.progress_bar = QProgressBar()
        self.progress_bar.setRange(0, 0)
        self.folder_button = QPushButton("Choose its folder…")
        self.folder_button.setToolTip("A folder of TAESD or SD-VAE, as diffusers saves it")
        self.file_button = QPushButton("Choose its file…")
        self.file_button.setToolTip("A single file of weights, such as model.ckpt")
        self.download_button = QPushButton("Download")
        self.download_button.setToolTip(f"From huggingface.co/{missing.name}")
        self.download_button.setVisible(is_repository(missing.name))
        self._lay_out()
        self.folder_button.clicked.connect(self._ask_folder)
        self.file_button.clicked.connect(self._ask_file)
        self.download_button.clicked.connect(self.download)
        self._show_state("")

    def _lay_out(self) -> None:
        buttons = QHBoxLayout()
        for button in (self.download_button, self.folder_button, self.file_button):
            buttons.addWidget(button)
        buttons.addStretch(1)
        box = QDialogButtonBox(QDialogButtonBox.StandardButton.Cancel)
        box.rejected.connect(self.reject)
        buttons.addWidget(box)
        layout = QVBoxLayout(self)
        layout.addWidget(self.text)
        layout.addWidget(self.status)
        layout.addWidget(self.progress_bar)
        layout.addLayout(buttons)
        self.setMinimumWidth(440)  # pixels: the explanation in four lines

    def _show_state(self, text: str) -> None:
        self.status.setText(text)
        self.status.setVisible(bool(text))
        self.progress_bar.setVisible(self._is_adding)
        for button in (self.download_button, self.folder_button, self.file_button):
            button.setEnabled(not self._is_adding)
        layout = self.layout()
        if layout is not None:  # Qt does not enlarge a window for wrapped text that gets longer
            self.resize(self.width(), layout.heightForWidth(self.width()))

    def _ask_folder(self) -> None:
        if folder := QFileDialog.getExistingDirectory(self, "Folder of the codec"):
            self.add(Path(folder))

    def _ask_file(self) -> None:
        kinds = "Weights (*.ckpt *.pth *.pt *.safetensors)"
        path, _ = QFileDialog.getOpenFileName(self, "File of the codec", "", kinds)
        if path:
            self.add(Path(path))

    def add(self, path: Path) -> ThreadWorker:
        """Keep the codec in a folder or file, if it is the one that is needed.

        Parameters
        ----------
        path
            The folder or file.

        Returns
        -------
        ThreadWorker
            Reads and copies it.
        """
        sha256, name = self._missing.sha256 or None, self._missing.name
        return self._run(
            lambda: api.add_codec(path, name if sha256 else None, sha256=sha256), "Reading and copying…"
        )

    def download(self) -> ThreadWorker:
        """Download the codec, and keep it.

        Returns
        -------
        ThreadWorker
            Downloads it.
        """
        name, revision, sha256 = self._missing.name, self._missing.revision, self._missing.sha256
        return self._run(
            lambda: api.add_codec(name, revision=revision or None, download=True, sha256=sha256 or None),
            "Downloading…",
        )

    def _run(self, job: Callable[[], KeptCodec], text: str) -> ThreadWorker:
        self._is_adding = True
        self._show_state(text)

        def done(kept: KeptCodec) -> None:
            show_info(kept.describe())
            self.accept()
            self.added.emit(kept)

        def fail(error: BaseException) -> None:
            self._is_adding = False
            self._show_state(str(error) or type(error).__name__)

        return run_in_thread(job, done, fail, owner=self)


def _explanation(missing: MissingCodec) -> str:
    digits = f" with the SHA-256 {short_hash(missing.sha256)}" if missing.sha256 else ""
    return (
        f"The model needs the codec {missing.name}{digits}, which is not on this machine."
        " What you choose is kept in your data folder, so that this is asked once."
    )


class CodecQuestion(QObject):
    """Asks for the codec of a model where a widget cannot work without it.

    Parameters
    ----------
    widget
        The widget, which owns this.

    Attributes
    ----------
    dialog
        The dialog that is open; None where there is none.
    """

    def __init__(self, widget: QWidget) -> None:
        super().__init__(widget)
        self._widget = widget
        self.dialog: MissingCodecDialog | None = None

    def ask(self, missing: MissingCodec, then: Callable[[KeptCodec], Any]) -> None:
        """Open the dialog.

        Parameters
        ----------
        missing
            The codec that is needed.
        then
            Called when it is kept.
        """
        if self.dialog is not None:
            return
        dialog = MissingCodecDialog(missing, self._widget)
        dialog.added.connect(then)
        dialog.destroyed.connect(self._forget)
        self.dialog = dialog
        dialog.open()

    def ask_if_missing(self, model: str, then: Callable[[KeptCodec], Any]) -> Any:
        """After work with a model has failed: look in a thread whether its codec is missing, and ask for it.

        Parameters
        ----------
        model
            Its name.
        then
            Called when the codec is kept.

        Returns
        -------
        ThreadWorker
            Reads the card and the codec.
        """

        def fail(error: BaseException) -> None:
            if isinstance(error, MissingCodec):
                self.ask(error, then)

        return run_in_thread(lambda: api.check_codec(model), on_error=fail, owner=self._widget)

    def _forget(self, *_: Any) -> None:
        self.dialog = None
