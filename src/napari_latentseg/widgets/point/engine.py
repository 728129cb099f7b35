"""Computes answers off the GUI thread: one at a time, and always the latest that was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QObject, Signal

from napari_latentseg.core.pointed_object import PointedObject, PromptStep
from napari_latentseg.widgets._shared.sample_contours import contour_segments
from napari_latentseg.widgets._shared.threads import ThreadWorker, run_in_thread

if TYPE_CHECKING:
    from napari_latentseg.core.scan import Scan
    from napari_latentseg.inference.prompt_image import PromptImage
    from napari_latentseg.inference.slice_part import SliceAnswer, SlicePart
    from napari_latentseg.models.folder import Model

__all__ = ["AnswerEngine", "Answered", "ImageKey", "Outlines", "Question"]

ImageKey = tuple[str, str, int]
"""Id of an image layer, name of the model, and how often the values of the image were replaced."""

Outlines = tuple[NDArray[np.float32], NDArray[np.intp]]
"""Of samples, see `contour_segments`."""


@dataclass(frozen=True)
class Question:
    """What is asked about a slice.

    Attributes
    ----------
    key, scan
        The image; `scan` holds the values of `key`.
    part
        The part of the slice.
    pointed
        A copy of the steps so far; None to encode the part alone.
    samples
        How many are drawn.
    carried
        What was proposed on the slice, `(H, W)`, which the steps correct; None where nothing was.
    """

    key: ImageKey
    scan: Scan
    part: SlicePart
    pointed: PointedObject | None = None
    samples: int = 1
    carried: NDArray[np.bool_] | None = None

    def asked(self) -> PointedObject:
        """The steps, after points inside what was proposed, which nobody has clicked."""
        from napari_latentseg.inference.carry_on import inner_points

        assert self.pointed is not None
        steps = self.pointed.steps
        if self.carried is None:
            return self.pointed
        outside = [(round(y), round(x)) for y, x in self.pointed.places("outside")]
        inside = self.carried.copy()
        for place in outside:
            inside[place] = False  # so that the points lie away from clicks outside
        implied = tuple(p for p in inner_points(inside) if p not in outside) if inside.any() else ()
        return PointedObject([PromptStep("inside", implied), *steps] if implied else list(steps))

    def corrected(self) -> NDArray[np.float32] | None:
        """What was proposed on the part, as read; None where nothing was."""
        if self.carried is None:
            return None
        (top, left, bottom, right), step = self.part.box, self.part.step
        first = (step - 1) // 2
        return self.carried[top + first : bottom : step, left + first : right : step].astype(np.float32)


@dataclass(frozen=True)
class Answered:
    """An answer, and what is drawn of it."""

    answer: SliceAnswer
    outlines: Outlines


class AnswerEngine(QObject):
    """Answers questions in a thread.

    A question that has not begun is replaced by the next one: of ten quick clicks the last is answered.

    Parameters
    ----------
    load_model
        The model of a name; called in the thread.
    parent
        Qt parent.

    Signals
    -------
    answered
        `Question`, and its `Answered`; None where the part was only encoded.
    failed
        `Question`, and the exception.
    """

    answered = Signal(object, object)
    failed = Signal(object, object)

    def __init__(self, load_model: Callable[[str], Model], parent: QObject) -> None:
        super().__init__(parent)
        self._load_model = load_model
        self._waiting: Question | None = None
        self._worker: ThreadWorker | None = None
        self._image: tuple[ImageKey, PromptImage] | None = None  # used in the thread alone

    @property
    def is_busy(self) -> bool:
        """Whether something is being computed."""
        return self._worker is not None

    def ask(self, question: Question) -> None:
        """Answer a question, after the one that is being answered."""
        self._waiting = question
        self._start()

    def forget(self) -> None:
        """Drop the question that has not been started."""
        self._waiting = None

    def _start(self) -> None:
        if self._worker is not None or self._waiting is None:
            return
        question, self._waiting = self._waiting, None

        def deliver(answer: Answered | None) -> None:
            self._worker = None
            self.answered.emit(question, answer)
            self._start()

        def fail(error: BaseException) -> None:
            self._worker = None
            self.failed.emit(question, error)
            self._start()

        self._worker = run_in_thread(lambda: self._compute(question), deliver, fail, self)

    def _compute(self, question: Question) -> Answered | None:
        """In the thread: the image of the last question is kept, with its encoded part."""
        from napari_latentseg.inference.prompt_image import PromptImage

        if self._image is None or self._image[0] != question.key:
            self._image = None  # frees the last one before the next is read
            image = PromptImage(question.scan, self._load_model(question.key[1]))
            self._image = question.key, image
        image = self._image[1]
        image.prepare(question.part)
        if question.pointed is None:
            return None
        answer = image.answer(question.part, question.asked(), question.samples, question.corrected())
        if answer is None:
            return None
        return Answered(answer, contour_segments(answer.samples[:, None], answer.threshold))
