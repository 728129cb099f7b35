"""A model that takes prompts, and answers that a test can foretell: discs around clicks inside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from napari_latentseg.core.prompts import Prompts
from napari_latentseg.inference.prompt_session import PromptAnswer, PromptSession
from napari_latentseg.inference.prompt_view import whole_view

RADIUS = 8  # pixels of the discs
SETTINGS = {"width": 16, "prompt_channels": 16, "readings": 2}


def make_prompted_model(make_tiny_model: Callable[..., Path], name: str = "tiny-prompted") -> Path:
    """The folder of a tiny model that takes prompts, with random weights."""
    return make_tiny_model(
        name, method="prompted", settings=SETTINGS, title="Any structure", sources=["readings"],
        default_samples=3,
    )  # fmt: skip


def disc_answer(
    session: PromptSession, prompts: Prompts, samples: int = 1, previous: Any = None
) -> PromptAnswer:
    """Discs of the size asked around clicks inside but not outside, and boxes; samples differ in size."""
    prompts = prompts.on_plane(session.shape)
    radius = RADIUS if prompts.size is None else prompts.size / 2
    rows, columns = np.mgrid[: session.shape[0], : session.shape[1]]
    drawn = []
    for number in range(samples):
        mask = np.zeros(session.shape, bool)
        for y0, x0, y1, x1 in prompts.boxes:
            mask |= (rows >= y0) & (rows <= y1) & (columns >= x0) & (columns <= x1)
        for points, value in ((prompts.positive, True), (prompts.negative, False)):
            for y, x in points:
                mask[(rows - y) ** 2 + (columns - x) ** 2 < (radius + number - samples // 2) ** 2] = value
        drawn.append(mask.astype(np.float32))
    return PromptAnswer(np.stack(drawn), whole_view(session.shape))
