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
from napari_latentseg.training.dataset import AnnotatedSlice
from napari_latentseg.training.patches import EncodedPatches, Patch, encode_patches, grid_patches

__all__ = ["thumbnail_with_contour", "thumbnails"]

_SIDE = 80
_MOST_BYTES = 30_000  # of an event: it goes through a pipe, one line each
_SHOWN = 2  # cases
_LINE = (255, 150, 0)


def thumbnails(
    tuner: Tuner, examples: Sequence[tuple[int, AnnotatedSlice]], card: ModelCard
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
    marked: dict[int, AnnotatedSlice] = {}
    for case, example in examples:
        if bool(example.mask.any()):
            marked.setdefault(case, example)
    cases: list[dict[str, int | str]] = []
    for case, example in list(marked.items())[:_SHOWN]:
        piece = _largest_foreground_patches(case, example, card)
        known = encode_patches(tuner.method, tuner.spec, [piece], tuner.compute)
        tuner.load_base_weights()
        before = _predicted(tuner, known)
        tuner.load_best_weights()
        now = _predicted(tuner, known)
        tuner.restore_working_weights()
        masks = {"before": before, "now": now, "yours": piece.mask}
        cases.append(
            {"case": case} | {name: thumbnail_with_contour(piece.image, mask) for name, mask in masks.items()}
        )
    while len(json.dumps(cases)) > _MOST_BYTES - 100:
        cases.pop()
    return cases


def _largest_foreground_patches(case: int, example: AnnotatedSlice, card: ModelCard) -> Patch:
    """The window of an example in which most is marked."""
    return max(grid_patches([(case, example)], card, 64), key=lambda patch: float(patch.mask.sum()))


def _predicted(tuner: Tuner, pieces: EncodedPatches) -> Tensor:
    """The mask `(K, S, S)` of a single patch, with the weights that are in place."""
    device = tuner.compute.torch_device()
    noise = None if tuner.method.is_deterministic else _fixed_noise
    with torch.inference_mode(), tuner.compute.autocast():
        drawn = tuner.spec.sample(pieces.features.to(device, torch.float32), noise)[0].float().cpu()
    return (drawn > tuner.threshold).float()


def _fixed_noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step))


def thumbnail_with_contour(image: Tensor, mask: Tensor) -> str:
    """A picture of at most 80 pixels with a mask's edge drawn in, as PNG in base64, of some kilobytes.

    Parameters
    ----------
    image
        `(3, H, W)` in [0, 1].
    mask
        `(K, H, W)`; where it is above 0, any of the classes is.
    """
    rgb = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    foreground = (mask > 0).any(0).numpy()
    scale = _SIDE / max(foreground.shape)
    size = (max(1, round(foreground.shape[1] * scale)), max(1, round(foreground.shape[0] * scale)))
    thumbnail = np.array(Image.fromarray(rgb).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    small_mask = np.array(Image.fromarray(foreground).resize(size, Image.Resampling.NEAREST))
    thumbnail[_edge(small_mask)] = _LINE
    out = io.BytesIO()
    # so many colours are enough to see by, and make a fraction of the bytes
    Image.fromarray(thumbnail).quantize(24, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _edge(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask that have a neighbour outside."""
    padded = np.pad(foreground, 1, mode="edge")
    interior = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    boundary: NDArray[np.bool_] = foreground & ~interior
    return boundary
