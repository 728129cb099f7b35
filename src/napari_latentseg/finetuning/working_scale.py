"""The scale at which a model of a new structure works: chosen by what its codec keeps of the masks.

A mask that is resized to the working size, encoded, decoded and resized back is the best answer that the
model could ever give. Where much of the structure is lost on this way, no training brings it back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from napari_latentseg.codecs.base import Codec
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.resize import resize, resize_labels
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.tiles import TileBlender, make_tiling
from napari_latentseg.models.folder import Model
from napari_latentseg.networks.folded_masks import FoldedMasks
from napari_latentseg.utils.device import Compute
from napari_latentseg.utils.oom import run_in_batches

__all__ = [
    "LARGEST_SIDE",
    "WorkingScale",
    "check_long_side",
    "choose_working_scale",
    "sample_masks",
    "working_at",
]

LARGEST_SIDE = 4096  # pixels; at 128 a tile more than a thousand tiles, minutes an image

# The Dice that masks must keep at the working size of the base. Lesions and polyps keep 0.98 and more, nuclei
# in crops of 96 pixels 0.96, vessels of a fundus photograph 0.49. What a few images teach hardly reaches 0.9
# anyway, so a limit there costs nothing, and whole images are many times as fast and show the surroundings.
_LEAST_OF_WHOLE = 0.9
# Tiles must keep more: they cost the time of a finer scale anyway, and at 0.9 the finest vessels are lost.
_LEAST_OF_TILES = 0.95
_STEP = 1.25  # between the scales that are tried: each has about half as many pixels again as the one before
_LARGEST_UPSCALING = 2  # along a side: beyond it, pixels of the image become blobs and nothing is gained
_OVERLAP_DIVISOR = 4  # tiles overlap by a quarter, as for retina-vessels: their edges lack surroundings
_MASKS = 4  # how many are measured; the scale of a structure differs little between images of one kind
_BATCH = 8  # tiles encoded at once, as for training


@dataclass(frozen=True)
class WorkingScale:
    """A scale, and what the masks keep at it.

    Attributes
    ----------
    preprocess
        How the model sees a slice.
    kept
        Mean Dice of masks that went there and back, in [0, 1]: the most that the model can reach.
    kept_of_whole
        The same at the working size of the base.
    reason
        Which scale was chosen and why, in words, beginning with a small letter.
    """

    preprocess: Preprocess
    kept: float
    kept_of_whole: float
    reason: str


def check_long_side(long_side: int | None, card_name: str, size: int, *, is_new_structure: bool) -> None:
    """Refuse a scale from a person that is not possible.

    Parameters
    ----------
    long_side
        Pixels of the longer side of the scaled image; None where the masks are to choose it.
    card_name, size
        Of the base: its name and working size.
    is_new_structure
        Whether a new structure is taught.

    Raises
    ------
    BadInput
        If it is given for a model that has its scale, or is out of range.
    """
    if long_side is None:
        return
    if not is_new_structure:
        why = f"{card_name} keeps the scale that it was trained at"
        raise BadInput("long side", why, "leave it out, or teach a new structure (finetune --structure NAME)")
    if not size <= long_side <= LARGEST_SIDE:
        why = f"{long_side} is not from {size} to {LARGEST_SIDE:,} pixels"
        raise BadInput("long side", why, f"give {size} for whole images at once, more for a thin structure")


def sample_masks(cases: Sequence[Case]) -> list[NDArray[np.bool_]]:
    """Masks `(H, W)` of the structure, at the size of their files: of some cases one slice each.

    Parameters
    ----------
    cases
        With a structure of one class. Of a volume the annotated slice is taken that shows a middling amount
        of it.

    Raises
    ------
    BadInput
        If a mask cannot be read.
    """
    masks: list[NDArray[np.bool_]] = []
    # evenly over all cases, and on to the others where a mask is empty
    first = [i * len(cases) // _MASKS for i in range(min(len(cases), _MASKS))]
    for i in [*first, *(i for i in range(len(cases)) if i not in first)]:
        case = cases[i]
        assert case.label_map is not None
        numbers = case.read_class_numbers(case.label_map)
        shown = (numbers > 0) & (numbers != UNKNOWN_CLASS)
        areas = shown.sum(axis=(1, 2))
        with_structure = np.flatnonzero(areas)
        if len(with_structure):
            middle = with_structure[np.argsort(areas[with_structure])[len(with_structure) // 2]]
            masks.append(shown[middle])
        if len(masks) == _MASKS:
            break
    return masks


def choose_working_scale(
    mask_codec: Codec | FoldedMasks,
    base: Preprocess,
    masks: Sequence[NDArray[np.bool_]],
    compute: Compute,
    long_side: int | None = None,
) -> WorkingScale:
    """The coarsest scale at which enough of the masks is kept.

    Parameters
    ----------
    mask_codec
        `Method.mask_codec` of the model, on the device of `compute`.
    base
        How the base sees a slice; whole slices.
    masks
        From `sample_masks`. Without any, the scale of the base stays.
    compute
        Device and arithmetic.
    long_side
        The scale that a person asked for; None to choose.
    """
    if base.mode == "tiles" and long_side is None:
        return WorkingScale(base, 1.0, 1.0, f"{_works_on(base)}, as its base does")
    if not masks:
        return WorkingScale(base, 1.0, 1.0, "no mask shows the structure, so its scale is that of the base")
    of_whole = _kept(mask_codec, base, masks, compute)
    if long_side is not None:
        asked = base if long_side <= base.size else _tiles(base, long_side)
        kept = of_whole if asked is base else _kept(mask_codec, asked, masks, compute)
        return WorkingScale(asked, kept, of_whole, f"as asked, {_works_on(asked)}: {_most(kept)}")
    if of_whole >= _LEAST_OF_WHOLE:
        return WorkingScale(base, of_whole, of_whole, f"{_works_on(base)}: {_most(of_whole)}")
    best, kept = _finer_scale(mask_codec, base, masks, compute, of_whole)
    seen = f"{base.size} x {base.size} pixels"
    if best is base:
        reason = f"the structure is small or thin: {_most(kept)}, and no finer scale keeps more of it"
    else:
        reason = (
            f"the structure is thin or small: {_works_on(best)}, where {_most(kept)}; with whole images at"
            f" {seen} it is {of_whole:.2f}"
        )
    return WorkingScale(best, kept, of_whole, reason)


def working_at(model: Model, scale: WorkingScale) -> Model:
    """A model of a new structure that works at this scale, with the scale in its card."""
    card = model.card
    limits = f"{card.limits} {scale.reason[:1].upper()}{scale.reason[1:]}."
    return replace(model, card=card.replace(preprocess=scale.preprocess, limits=limits))


def _finer_scale(
    mask_codec: Codec | FoldedMasks,
    base: Preprocess,
    masks: Sequence[NDArray[np.bool_]],
    compute: Compute,
    of_whole: float,
) -> tuple[Preprocess, float]:
    best, best_kept = base, of_whole
    largest = min(LARGEST_SIDE, _LARGEST_UPSCALING * max(max(mask.shape) for mask in masks))
    side = base.size * _STEP
    while side <= largest:
        preprocess = _tiles(base, round(side / 8) * 8)
        side *= _STEP
        # resizing alone takes no time and loses no more than with the codec, so most scales end here
        if np.mean([_resized(mask, preprocess) for mask in masks]) < _LEAST_OF_TILES and side <= largest:
            continue
        kept = _kept(mask_codec, preprocess, masks, compute)
        if kept > best_kept:
            best, best_kept = preprocess, kept
        if kept >= _LEAST_OF_TILES:
            break
    return best, best_kept


def _tiles(base: Preprocess, long_side: int) -> Preprocess:
    values = {"mode": "tiles", "long_side": long_side, "overlap": base.size // _OVERLAP_DIVISOR}
    return Preprocess.model_validate(base.model_dump() | values)


def _works_on(preprocess: Preprocess) -> str:
    size = f"{preprocess.size} x {preprocess.size} pixels"
    if preprocess.mode == "whole":
        return f"the model works on whole images at {size}"
    return f"the model works on tiles of {size} of the image at {preprocess.long_side} pixels"


def _most(kept: float) -> str:
    return f"the best possible answer has Dice {kept:.2f}"


def _resized(mask: NDArray[np.bool_], preprocess: Preprocess) -> float:
    """Dice of a mask that was only resized to working size and back."""
    height, width = mask.shape
    small = resize_labels(mask.astype(np.uint8), preprocess.working_size(height, width))
    return dice(resize(small[None].astype(np.float32), (height, width))[0] > 0.5, mask)


def _kept(
    mask_codec: Codec | FoldedMasks,
    preprocess: Preprocess,
    masks: Sequence[NDArray[np.bool_]],
    compute: Compute,
) -> float:
    """Mean Dice of masks that were resized, encoded, decoded and resized back, tile by tile."""

    def there_and_back(tiles: torch.Tensor) -> torch.Tensor:
        with torch.no_grad(), compute.autocast():
            on_device = tiles.to(compute.torch_device())
            return mask_codec.decode_mask(mask_codec.encode_mask(on_device)).float().cpu()

    scores = []
    for mask in masks:
        height, width = mask.shape
        small = resize_labels(mask.astype(np.uint8), preprocess.working_size(height, width))
        plane = small[None].astype(np.float32)
        tiling = make_tiling(small.shape, preprocess)
        blender = TileBlender(tiling, 1)
        # what shows nothing comes back as nothing
        corners = [corner for corner in tiling.corners() if tiling.crop_tile(plane, corner).any()]
        if not corners:  # lost where it was resized
            scores.append(0.0)
            continue
        tiles = torch.from_numpy(np.stack([tiling.crop_tile(plane, corner) for corner in corners]))
        blender.add_tiles(run_in_batches(there_and_back, tiles, _BATCH).numpy(), corners)
        scores.append(dice(resize(blender.blend(), (height, width))[0] > 0.5, mask))
    return float(np.mean(scores))
