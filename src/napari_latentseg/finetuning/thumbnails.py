"""Small pictures of what a model that is being taught now sees."""

from __future__ import annotations

import base64
import io
import json
from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.dataset import Example
from napari_latentseg.training.pieces import Piece, Pieces, encoded, plain_pieces

__all__ = ["outlined", "thumbnails"]

_SIDE = 80
_MOST_BYTES = 30_000  # of an event: it goes through a pipe, one line each
_SHOWN = 2  # cases
_LINE = (255, 150, 0)


def thumbnails(
    tuner: Tuner, examples: Sequence[tuple[int, Example]], card: ModelCard
) -> list[dict[str, int | str]]:
    """Two cases as they were, as they are now, and as they should be.

    Parameters
    ----------
    tuner
        Has the weights of the base and those that would be kept now.
    examples
        With the numbers of their cases; the first two in which something is marked are shown.
    card
        Of the model.

    Returns
    -------
    list of dict
        ``case``, its number; ``before``, ``now`` and ``yours``, pictures as `outlined` gives them.
    """
    marked: dict[int, Example] = {}
    for case, example in examples:
        if bool(example.mask.any()):
            marked.setdefault(case, example)
    cases: list[dict[str, int | str]] = []
    for case, example in list(marked.items())[:_SHOWN]:
        piece = _most_marked(case, example, card)
        known = encoded(tuner.method, tuner.tuning, [piece], tuner.compute)
        tuner.show_base()
        before = _predicted(tuner, known)
        tuner.show_kept()
        now = _predicted(tuner, known)
        tuner.back_to_work()
        masks = {"before": before, "now": now, "yours": piece.mask}
        cases.append({"case": case} | {name: outlined(piece.image, mask) for name, mask in masks.items()})
    while len(json.dumps(cases)) > _MOST_BYTES - 100:
        cases.pop()
    return cases


def _most_marked(case: int, example: Example, card: ModelCard) -> Piece:
    """The window of an example in which most is marked."""
    return max(plain_pieces([(case, example)], card, 64), key=lambda piece: float(piece.mask.sum()))


def _predicted(tuner: Tuner, pieces: Pieces) -> Tensor:
    """The mask `(K, S, S)` of a single patch, with the weights that are in place."""
    device = tuner.compute.torch_device()
    noise = None if tuner.method.is_deterministic else _one_noise
    with torch.inference_mode(), tuner.compute.autocast():
        drawn = tuner.tuning.draw(pieces.features.to(device, torch.float32), noise)[0].float().cpu()
    return (drawn > tuner.threshold).float()


def _one_noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step))


def outlined(image: Tensor, mask: Tensor) -> str:
    """A picture of at most 80 pixels with a mask's edge drawn in, as PNG in base64, of some kilobytes.

    Parameters
    ----------
    image
        `(3, H, W)` in [0, 1].
    mask
        `(K, H, W)`; where it is above 0, any of the classes is.
    """
    rgb = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    inside = (mask > 0).any(0).numpy()
    scale = _SIDE / max(inside.shape)
    size = (max(1, round(inside.shape[1] * scale)), max(1, round(inside.shape[0] * scale)))
    small = np.array(Image.fromarray(rgb).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    shape = np.array(Image.fromarray(inside).resize(size, Image.Resampling.NEAREST))
    small[_edge(shape)] = _LINE
    out = io.BytesIO()
    # so many colours are enough to see by, and make a fraction of the bytes
    Image.fromarray(small).quantize(24, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _edge(inside: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that have a neighbour outside."""
    padded = np.pad(inside, 1, mode="edge")
    core = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    found: NDArray[np.bool_] = inside & ~core
    return found
