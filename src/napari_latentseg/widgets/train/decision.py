"""What a person decides on a new model: it is installed, or deleted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from qtpy.compat import isalive
from qtpy.QtCore import QObject, Signal

from napari_latentseg import api
from napari_latentseg.widgets._shared.plain_text import show_info
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread, show_exception

if TYPE_CHECKING:
    from napari_latentseg.widgets._shared.session import ViewerSession
    from napari_latentseg.widgets.train.comparison import ComparisonPanel
    from napari_latentseg.widgets.train.process import TrainingProcess

__all__ = ["CandidateDecision"]


class CandidateDecision(QObject):
    """Does what the buttons of the comparison ask for, and ends the training with it.

    A decision is carried out even if the Train widget is closed meanwhile.

    Parameters
    ----------
    training
        The training that gave the new model.
    session
        Of the viewer; the model that is installed becomes its chosen one.
    panel
        The comparison of both models, with the buttons.

    Signals
    -------
    installed
        The new model is installed, under this name.
    """

    installed = Signal(str)

    def __init__(self, training: TrainingProcess, session: ViewerSession, panel: ComparisonPanel) -> None:
        super().__init__(panel)
        self._training, self._session, self._panel = training, session, panel
        panel.adopted.connect(self.adopt)
        panel.discarded.connect(self.discard)

    def adopt(self, keep_both: bool) -> ThreadWorker | None:
        """Install the new model as the next version of its base, or as a separate model beside it.

        Parameters
        ----------
        keep_both
            Whether it becomes a separate model.

        Returns
        -------
        ThreadWorker
            Installs it; None if there is no new model.
        """
        judged, saved = self._training.judged, self._training.saved
        if judged is None or saved is None:
            return None
        folder = Path(saved.folder)
        comparison = judged.comparison
        name = comparison.new.name if keep_both else comparison.base.name
        version = comparison.new.version
        self._panel.set_busy(True)

        def install() -> None:
            api.adopt_model(folder, keep_both=keep_both)

        def done(_: Any) -> None:
            self._training.finish_decision()
            self._session.choices["model"] = name
            self._session.models_changed.emit()
            self._release_panel()
            if isalive(self):
                self.installed.emit(name)
            show_info(
                f"{name} is installed next to its base model."
                if keep_both
                else f"{name} is now at version {version}. Models can revert to the earlier one."
            )

        return run_in_thread(install, done, self._on_failed)

    def discard(self) -> ThreadWorker | None:
        """Delete the new model.

        Returns
        -------
        ThreadWorker
            Deletes it; None if there is no new model.
        """
        saved = self._training.saved
        if saved is None:
            return None
        folder = Path(saved.folder)
        self._panel.set_busy(True)

        def done(_: Any) -> None:
            self._release_panel()
            self._training.finish_decision()

        return run_in_thread(lambda: api.discard_model(folder), done, self._on_failed)

    def _on_failed(self, error: BaseException) -> None:
        self._release_panel()
        show_exception(error)

    def _release_panel(self) -> None:
        if isalive(self._panel):
            self._panel.set_busy(False)
