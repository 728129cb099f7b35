"""Voxels of classes that a model does not know: they are no background, and it learns nothing from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import torch

from napari_latentseg.data.cases import Case
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.training.patches import EncodedPatches, Patch, encode_patches
from napari_latentseg.training.scoring import UNKNOWN_PIXEL, predicted_patches
from napari_latentseg.utils.device import Compute

__all__ = ["encode_for_training", "encode_for_validation", "unknown_classes_note"]


def encode_for_training(
    method: Method, spec: FineTuneSpec, patches: Sequence[Patch], compute: Compute, threshold: float
) -> EncodedPatches:
    """Encode patches to train on; call it before the first step.

    The mask of a whole patch is encoded into one latent, from which single pixels cannot be left out. At
    unknown pixels the mask that the base model predicts stands in, from which there is nothing to learn.

    Parameters
    ----------
    method, spec
        The base model.
    patches
        With their unknown pixels.
    compute
        Device and arithmetic.
    threshold
        Probabilities above it are in the mask.
    """
    rows = [i for i, patch in enumerate(patches) if patch.unknown is not None]
    encoded = encode_patches(method, spec, patches, compute)
    if not rows:
        return encoded
    selected = encoded.select(torch.tensor(rows))
    predicted = np.concatenate([p for _, p in predicted_patches(selected, spec, method, compute)]) > threshold
    filled = list(patches)
    for i, mask in zip(rows, torch.from_numpy(predicted), strict=True):
        unknown = patches[i].unknown
        assert unknown is not None
        filled[i] = replace(patches[i], mask=torch.where(unknown > 0, mask.float(), patches[i].mask))
    masks = encode_patches(method, spec, [filled[i] for i in rows], compute)
    target, all_masks = encoded.target.clone(), encoded.masks.clone()
    target[rows], all_masks[rows] = masks.target, masks.masks
    return replace(encoded, target=target, masks=all_masks)


def encode_for_validation(
    method: Method, spec: FineTuneSpec, patches: Sequence[Patch], compute: Compute
) -> EncodedPatches:
    """Encode patches to validate on; their unknown pixels are marked, and are not scored.

    Parameters
    ----------
    method, spec, patches, compute
        As for `encode_for_training`.
    """
    encoded = encode_patches(method, spec, patches, compute)
    masks = encoded.masks.clone()
    for i, patch in enumerate(patches):
        if patch.unknown is not None:
            masks[i, :, patch.unknown > 0] = UNKNOWN_PIXEL
    return replace(encoded, masks=masks)


def unknown_classes_note(cases: Sequence[Case]) -> str:
    """Which classes that the model does not know are marked in some cases; empty for none.

    Parameters
    ----------
    cases
        From `collect_cases`. Masks are read again, where a class that the model does not know may be in them.
    """
    counts: dict[str, int] = {}
    for case in cases:
        if case.unknown_labels:
            mask = case.read_mask()
            if case.annotated_slices is not None:
                mask = mask[list(case.annotated_slices)]
            for label in np.unique(mask).tolist():
                if label in case.unknown_labels:
                    name = case.unknown_labels[label]
                    counts[name] = counts.get(name, 0) + 1
    if not counts:
        return ""
    names = ", ".join(f"{name!r} (in {n} {'case' if n == 1 else 'cases'})" for name, n in counts.items())
    word = "class" if len(counts) == 1 else "classes"
    return f"the model does not know the {word} {names}: what is marked so is left out of training"
