"""Small pictures of the masks of a model while it is fine-tuned."""

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

from napari_latentseg.data.slices import Slice
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.events import PreviewCase
from napari_latentseg.training.patches import EncodedPatches, Patch, encode_patches, grid_patches

__all__ = ["thumbnail_with_contour", "thumbnails"]

_SIDE = 80  # pixels, of the longer side: two rows of three fit into a dock widget
# An event is one line through a pipe to the window, which takes up to 64 kB without waiting (Linux).
_MAX_EVENT_BYTES = 30_000
_CASES_SHOWN = 2
_PATCHES_SEARCHED = 64  # of a slice: a large photograph has hundreds of tiles
_CONTOUR_COLOR = (255, 150, 0)


def thumbnails(tuner: Tuner, slices: Sequence[Slice], card: ModelCard) -> tuple[PreviewCase, ...]:
    """Two cases as the base sees them, as the model sees them now, and as they were annotated.

    Parameters
    ----------
    tuner
        Has the weights of the base and those that would be kept now.
    slices
        With the numbers of their cases; the first two cases with foreground are shown.
    card
        Of the model.
    """
    first_with_foreground: dict[int, Slice] = {}
    for annotated_slice in slices:
        if annotated_slice.has_foreground:
            first_with_foreground.setdefault(annotated_slice.case, annotated_slice)
    cases: list[PreviewCase] = []
    for case, annotated_slice in list(first_with_foreground.items())[:_CASES_SHOWN]:
        patch = _largest_foreground_patch(annotated_slice, card)
        encoded = encode_patches(tuner.method, tuner.spec, [patch], tuner.compute)
        tuner.load_base_weights()
        before = _predicted(tuner, encoded)
        tuner.load_best_weights()
        now = _predicted(tuner, encoded)
        tuner.restore_working_weights()
        cases.append(
            PreviewCase(
                case=case,
                before=thumbnail_with_contour(patch.image, before),
                now=thumbnail_with_contour(patch.image, now),
                yours=thumbnail_with_contour(patch.image, patch.mask),
            )
        )
    while len(json.dumps([case.model_dump() for case in cases])) > _MAX_EVENT_BYTES - 100:
        cases.pop()
    return tuple(cases)


def _largest_foreground_patch(annotated_slice: Slice, card: ModelCard) -> Patch:
    """The patch of a slice with most foreground."""
    patches = grid_patches([annotated_slice], card, _PATCHES_SEARCHED)
    return max(patches, key=lambda patch: float(patch.mask.sum()))


def _predicted(tuner: Tuner, patch: EncodedPatches) -> Tensor:
    """The mask `(K, S, S)` of a single patch, with the present weights."""
    device = tuner.compute.torch_device()
    noise = None if tuner.method.is_deterministic else _fixed_noise
    with torch.inference_mode(), tuner.compute.autocast():
        drawn = tuner.spec.sample(patch.features.to(device, torch.float32), noise)[0].float().cpu()
    return (drawn > tuner.threshold).float()


def _fixed_noise(shape: tuple[int, ...], step: int = 0) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(step))


def thumbnail_with_contour(image: Tensor, mask: Tensor) -> str:
    """A picture of at most 80 pixels with the contour of a mask, as PNG in base64, of some kilobytes.

    Parameters
    ----------
    image
        `(3, H, W)` in [0, 1].
    mask
        `(K, H, W)`; above 0 is foreground. The contour is that of all classes together.
    """
    rgb = (image.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    foreground = (mask > 0).any(0).numpy()
    scale = _SIDE / max(foreground.shape)
    size = (max(1, round(foreground.shape[1] * scale)), max(1, round(foreground.shape[0] * scale)))
    thumbnail = np.array(Image.fromarray(rgb).convert("RGB").resize(size, Image.Resampling.BILINEAR))
    small_mask = np.array(Image.fromarray(foreground).resize(size, Image.Resampling.NEAREST))
    thumbnail[_edge(small_mask)] = _CONTOUR_COLOR
    out = io.BytesIO()
    # 24 colours are enough for a thumbnail, at a fraction of the bytes
    Image.fromarray(thumbnail).quantize(24, dither=Image.Dither.NONE).save(out, "PNG", optimize=True)
    return base64.b64encode(out.getvalue()).decode("ascii")


def _edge(foreground: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """The pixels of a mask with a neighbour outside of it."""
    padded = np.pad(foreground, 1, mode="edge")
    interior = padded[:-2, 1:-1] & padded[2:, 1:-1] & padded[1:-1, :-2] & padded[1:-1, 2:]
    boundary: NDArray[np.bool_] = foreground & ~interior
    return boundary
