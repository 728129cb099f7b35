"""Loading what the first run of a model needs, before the run is asked for."""

from __future__ import annotations

import threading
from contextlib import suppress
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, QTimer

from napari_latentseg import api
from napari_latentseg.widgets._shared.child_process import ChildProcess
from napari_latentseg.widgets._shared.per_viewer import per_viewer
from napari_latentseg.widgets._shared.session import session_of
from napari_latentseg.widgets._shared.unwrapped_viewer import main_window

if TYPE_CHECKING:
    from napari.components import ViewerModel

    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.widgets._shared.runner import Runner

__all__ = ["ModelPreparation", "preparation_of"]

_DELAY_MS = 300  # a widget is drawn first, and models that are only passed in the list are not loaded
_POLL_MS = 100


class ModelPreparation(QObject):
    """Loads the chosen model in a thread, and compiles it in a child process where it is not compiled yet.

    Until it is compiled, torch computes its runs. Errors are left to the run, which reports them.

    Parameters
    ----------
    viewer
        Its window ends the child process when it is closed.
    runner
        Of the viewer; nothing is begun while it is busy.
    parent
        Qt parent, which owns this.

    Attributes
    ----------
    compiler
        The child process.
    """

    def __init__(self, viewer: ViewerModel, runner: Runner, parent: QObject) -> None:
        super().__init__(parent)
        self._runner = runner
        self._wanted: tuple[str, InferenceSettings] | None = None
        self._thread: threading.Thread | None = None
        self._to_compile: list[str] = []  # filled by the thread
        self._tried: set[str] = set()  # a model that cannot be compiled is not tried again
        self._compiled_model = ""
        self.compiler = ChildProcess(viewer, self)
        self.compiler.ended.connect(self._on_compiled)
        window = main_window(viewer)
        if window is not None:
            window.destroyed.connect(self.compiler.end)
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self._proceed)

    @property
    def is_busy(self) -> bool:
        """Whether something is yet to be loaded or compiled."""
        return self._wanted is not None or self._thread is not None or self.compiler.is_running

    def prepare(self, model: str, settings: InferenceSettings) -> None:
        """Load a model for runs with these settings; a request that has not begun yet is replaced.

        Parameters
        ----------
        model
            Its name.
        settings
            Of the run.
        """
        self._wanted = model, settings
        self._timer.start(_DELAY_MS)

    def _proceed(self) -> None:
        if self._thread is not None and not self._thread.is_alive():
            self._thread = None
        if self._thread is None and not self._runner.busy:
            if self._to_compile and not self.compiler.is_running:
                self._compile(self._to_compile.pop())
            if self._wanted is not None:
                (model, settings), self._wanted = self._wanted, None
                # A plain thread without signals: napari may be closed before it has ended, and a Qt worker
                # would then signal a window that no longer exists, and crash the program.
                self._thread = threading.Thread(
                    target=_load, args=(self._runner, model, settings, self._to_compile),
                    name="latentseg-preparation",
                )  # fmt: skip
                self._thread.start()
        if self._thread is not None or self._wanted is not None or self._to_compile:
            self._timer.start(_POLL_MS)

    def _compile(self, model: str) -> None:
        if model not in self._tried:
            self._tried.add(model)
            self._compiled_model = model
            self.compiler.start(["models", "compile", model, "--quiet"])

    def _on_compiled(self, code: int | None) -> None:
        """Load what was compiled, unless another model was chosen meanwhile."""
        if code == 0 and self._wanted is None:
            with suppress(Exception):  # it was removed
                from napari_latentseg.inference.settings import InferenceSettings

                card = api.locate_model(self._compiled_model).card
                self.prepare(self._compiled_model, InferenceSettings.for_model(card))


def _load(runner: Runner, model: str, settings: InferenceSettings, to_compile: list[str]) -> None:
    """Load in a thread: first what an image needs that is opened next, then the model."""
    with suppress(Exception):  # the run will report the error
        _load_libraries()
    with suppress(Exception):
        if not api.load_compiled(model, settings):
            runner.load_model(model)
            import napari_latentseg.inference.predictor  # noqa: F401
        if api.needs_compiling(model):
            to_compile.append(model)


def _load_libraries() -> None:
    """Import what the first layer and the first result need, which would hold the window for a second."""
    import pandas  # noqa: F401
    import scipy.ndimage  # noqa: F401

    from napari_latentseg.widgets._shared.unit_registry import prepare_unit_registry

    prepare_unit_registry()
    with suppress(ImportError):  # another version of vispy
        from vispy.visuals.line.dash_atlas import DashAtlas

        # Computes patterns in Python, 60 ms, and keeps them: otherwise the first Labels layer does, whose
        # brush has lines.
        DashAtlas()


@per_viewer
def preparation_of(viewer: ViewerModel) -> ModelPreparation:
    """The preparation of a viewer's models."""
    session = session_of(viewer)
    return ModelPreparation(viewer, session.runner, session)
