"""The line under the model that says whether it was made for the image."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TYPE_CHECKING, Any

from napari.layers import Image
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import QWidget

from napari_latentseg import api
from napari_latentseg.core.fit import Fit
from napari_latentseg.evaluation.header_fit import header_fit
from napari_latentseg.models.card import ModelCard
from napari_latentseg.widgets._shared.controls import WrappedLabel
from napari_latentseg.widgets._shared.layers import scan_from_layer
from napari_latentseg.widgets._shared.text import keep_units

if TYPE_CHECKING:
    from napari_latentseg.models.folder import Model

__all__ = ["FitLine", "fitting_model"]

_DELAY_MS = (
    300  # the check begins when the choice has settled, and does not slow down stepping through models
)
_POLL_MS = 50
_ONLY_HEADER = "The header fits; the pixels are not compared yet"
_RANKS = {"fits": 0, "unusual": 2, "foreign": 3}


class FitLine(WrappedLabel):
    """Whether the chosen model was made for the chosen image, in words; hidden where that is not known.

    The header is compared at once. The pixels are compared in a plain thread, which is asked for its result
    from time to time: napari would list a worker of its own, and ask about it when the window is closed.

    Parameters
    ----------
    is_busy
        Whether a run is in progress; the pixels are compared after it.
    load_model
        Gives a model by its name, in any thread.
    parent
        Qt's.

    Signals
    -------
    fit_changed
        `fit` is another.
    """

    fit_changed = Signal()

    def __init__(
        self, is_busy: Callable[[], bool], load_model: Callable[[str], Model], parent: QWidget | None = None
    ) -> None:
        super().__init__(parent)
        self.fit: Fit | None = None
        self._is_busy, self._load_model = is_busy, load_model
        self._key: Any = None
        self._request: tuple[Image, str, str] | None = None
        self._results: list[tuple[Any, Fit | None]] = []
        self._thread: threading.Thread | None = None
        self.setObjectName("fit")
        self.setToolTip(
            "Compared with the images that the model was trained on: modality, dimensions, colour, spacing,"
            " size and the features of its encoder. The image can be segmented in any case."
        )
        self._timer = QTimer(self)
        self._timer.timeout.connect(self._proceed)
        self.hide()

    @property
    def is_doubtful(self) -> bool:
        """Whether the model was not made for the image, or for one like it."""
        return self.fit is not None and self.fit.state != "fits"

    @property
    def is_checking(self) -> bool:
        """Whether the pixels have yet to be compared."""
        return self._request is not None or self._thread is not None

    def check(self, image: Image | None, card: ModelCard | None, orientation: str) -> None:
        """Show the verdict on an image, and check it unless nothing has changed.

        Parameters
        ----------
        image, card
            The image, and the card of the model; None where there is none.
        orientation
            Of the slices.
        """
        if image is None or card is None or not 2 <= image.ndim <= 4:
            self._key = self._request = None
            self._show(None)
            return
        scan = scan_from_layer(image)
        data = 0 if image.multiscale else id(image.data)  # a pyramid is another object at each access
        header = (scan.geometry.spacing, scan.geometry.units, scan.modality)
        key = (id(image), data, header, card.name, card.version, orientation)
        if key == self._key:
            return
        self._key, self._request = key, (image, card.name, orientation)
        headers = None if card.fit is None else card.fit.headers
        self._show(header_fit(scan, card.modality, headers))
        self._timer.start(_DELAY_MS)

    def _proceed(self) -> None:
        """Show what the thread has found, and start the next one."""
        if self._thread is not None and self._results:
            self._thread = None
            key, fit = self._results.pop()
            if key == self._key:
                self._show(fit)
        if self._thread is None and self._request is not None and not self._is_busy():
            image, name, orientation = self._request
            self._request = None
            scan, key, results = scan_from_layer(image), self._key, self._results
            load_model = self._load_model

            def compare() -> None:  # holds nothing of the widget, which may be closed before
                fit = None
                try:
                    with suppress(Exception):  # a run will report the error
                        fit = api.check_fit(scan, load_model(name), plane=orientation)
                finally:  # after a panic of a decoder too, which is no Exception
                    results.append((key, fit))

            # no daemon: its engine has threads of its own, and Python must not end under them
            self._thread = threading.Thread(target=compare, name="latentseg-fit")
            self._thread.start()
        if self.is_checking:
            self._timer.start(_POLL_MS)
        else:
            self._timer.stop()

    def _show(self, fit: Fit | None) -> None:
        is_part = fit is not None and fit.state == "fits" and self.is_checking
        text = _ONLY_HEADER if is_part else "" if fit is None else fit.describe()
        self.setText(keep_units(text))
        self.setVisible(fit is not None)
        if fit != self.fit:
            self.fit = fit
            self.fit_changed.emit()


def fitting_model(image: Image, cards: Mapping[str, ModelCard], current: str) -> str:
    """The model to offer for an image: the current one if its header fits, else the first that fits best.

    Parameters
    ----------
    image
        The layer.
    cards
        Of all models, by name.
    current
        The model that is offered now.
    """
    scan = scan_from_layer(image)

    def rank(name: str) -> int:
        card = cards[name]
        fit = header_fit(scan, card.modality, None if card.fit is None else card.fit.headers)
        return 1 if fit is None else _RANKS[fit.state]  # not known is better than unlike

    names = [current, *cards] if current in cards else list(cards)
    return min(names, key=rank, default=current)
