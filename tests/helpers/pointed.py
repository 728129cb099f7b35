"""Answers that can be told beforehand: the bright regions in which the points lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.inference.prompt_view import whole_view

__all__ = ["answer_bright_regions"]


def answer_bright_regions(monkeypatch: pytest.MonkeyPatch) -> list[Prompts]:
    """Let sessions answer with the brightness (above 0.5) of the regions that are pointed at.

    Returns
    -------
    list of Prompts
        What was asked, slice after slice.
    """
    asked: list[Prompts] = []

    def answer(
        session: PromptSession, prompts: Prompts, samples: int = 1, previous: Any = None
    ) -> PromptAnswer:
        asked.append(prompts)
        plane: NDArray[np.float32] = session._plane[0]
        regions, _ = ndimage.label(plane > 0.5)
        chosen = {int(regions[round(y), round(x)]) for y, x in prompts.positive} - {0}
        probability = np.where(np.isin(regions, list(chosen)), plane, 0).astype(np.float32)
        return PromptAnswer(np.repeat(probability[None], samples, axis=0), whole_view(session.shape))

    monkeypatch.setattr(PromptSession, "answer", answer)
    return asked
