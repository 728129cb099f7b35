"""Replay: encoded patches of a model's own training, saved with it against forgetting in fine-tuning.

A file of a few dozen encoded patches with their masks. Most come from training images: fine-tuning mixes them
into its batches. The others come from validation images: by those of one half of the cases the new weights
are selected, and those of the other half show whether the model still segments what it was first trained on.
Patches of training images do not: what is lost elsewhere is not lost there. Latents are stored in 8 bits; the
images can be reconstructed from them, so the file has the licence of the images, and is as private.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.layout import REPLAY_FILE
from napari_latentseg.training.patches import (
    EncodedPatches,
    Patch,
    augmented_patches,
    encode_images,
    grid_patches,
    patches_from_conditioning,
)
from napari_latentseg.training.stored_slices import TrainingSlice
from napari_latentseg.utils.device import Compute

__all__ = ["Replay", "make_replay", "read_replay"]

DEFAULT_PATCHES = 64
_MAX_FILE_BYTES = 3_000_000  # less than the weights of the embedded models, which have 4 to 11 MB
_MIN_PATCHES = 8  # also of a model with large latents
_TEST_FRACTION = 0.25  # of all patches; from validation images, for the comparison after fine-tuning
_VALIDATION_FRACTION = 0.25  # of the others, where no validation image shows what is forgotten
_MIN_SELECTING = 4  # patches: the mean loss of fewer is chance
_REMEDY = "install the model again"


@dataclass(frozen=True)
class Replay:
    """The replay patches of a model, by what they are for.

    Attributes
    ----------
    train
        Are mixed into the batches of fine-tuning.
    validation
        The weights are selected with them. Of every second case of the validation images of the first
        training; where there are too few of these, of training images, but not trained on again.
    test
        Of the other cases of its validation images; empty where these are not known.
    """

    train: EncodedPatches
    validation: EncodedPatches
    test: EncodedPatches


def make_replay(
    method: Method,
    card: ModelCard,
    train: Sequence[TrainingSlice],
    validation: Sequence[TrainingSlice],
    compute: Compute,
    *,
    count: int = DEFAULT_PATCHES,
    seed: int = 0,
) -> bytes:
    """The content of a replay file.

    Parameters
    ----------
    method, card
        The trained model.
    train, validation
        The slices that it was trained on, and those of its validation images.
    compute
        Device and arithmetic.
    count
        How many patches, a quarter of them from validation images; fewer, but at least 8, where they are
        large.
    seed
        Draws slices and augmentation.

    Raises
    ------
    BadInput
        If there is no training slice, or the model gives NaN or infinity.
    """
    from safetensors.torch import save

    if not train:
        raise BadInput(
            "data", "holds no image that the model was trained on", "give the data of its training"
        )
    rng = np.random.default_rng(seed)
    size = card.preprocess.size
    conditioning_size = encode_images(method, torch.zeros(1, 3, size, size), compute)
    bytes_per_patch = conditioning_size.numel() + len(card.classes) * size * -(-size // 8)
    count = min(count, max(_MIN_PATCHES, _MAX_FILE_BYTES // bytes_per_patch))
    test_count = round(count * _TEST_FRACTION) if validation else 0
    test_patches = grid_patches(_with_case_numbers(validation), card, test_count)
    patches = [*_sample_patches(train, count - len(test_patches), card, rng), *test_patches]
    conditioning = encode_images(method, torch.stack([p.image for p in patches]), compute)
    if not bool(conditioning.isfinite().all()):
        raise BadInput("replay", "the model gives values that are no numbers", "train it again")
    channel_values = conditioning.transpose(0, 1).flatten(1)
    low, high = channel_values.min(dim=1).values, channel_values.max(dim=1).values
    quantisation_step = ((high - low) / 255).clamp_min(1e-12)
    shape = (1, -1, *[1] * (conditioning.ndim - 2))
    masks = torch.stack([p.mask for p in patches]).to(torch.uint8).numpy()
    return bytes(
        save(
            {
                "conditions": ((conditioning - low.reshape(shape)) / quantisation_step.reshape(shape))
                .round()
                .byte()
                .contiguous(),
                "low": low,
                "step": quantisation_step,
                "masks": torch.from_numpy(np.packbits(masks, axis=-1)),
                "annotated": torch.tensor([p.annotated for p in patches]),
                "cases": torch.tensor([p.case for p in patches]),
                "learned_from": torch.tensor([i < count - len(test_patches) for i in range(len(patches))]),
            },
            metadata={"format": "1"},  # of several keys safetensors writes now this, now that first
        )
    )


def read_replay(folder: Path, card: ModelCard, spec: FineTuneSpec, compute: Compute) -> Replay | None:
    """Read the replay of a model folder; None where it has none.

    Raises
    ------
    BadInput
        If the file is not one of this model.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    path = Path(folder) / REPLAY_FILE
    if REPLAY_FILE not in card.files:
        return None
    try:
        stored = load_file(path)
        conditioning = stored["conditions"].float()
        shape = (1, -1, *[1] * (conditioning.ndim - 2))
        conditioning = conditioning * stored["step"].reshape(shape) + stored["low"].reshape(shape)
        size = card.preprocess.size
        masks = torch.from_numpy(np.unpackbits(stored["masks"].numpy(), axis=-1, count=size))
        annotated, cases = stored["annotated"], stored["cases"]
        if masks.shape[1:] != (len(card.classes), size, size) or len(masks) != len(conditioning):
            raise BadInput(path, "is that of another model", _REMEDY)
        all_patches = patches_from_conditioning(spec, conditioning, masks, annotated, cases, compute)
        is_training = stored["learned_from"].bool()
    except (SafetensorError, OSError, LookupError, TypeError, RuntimeError) as error:
        raise BadInput(path, "is damaged, or that of another model", _REMEDY) from error
    train_rows, held_out_rows = is_training.nonzero()[:, 0], (~is_training).nonzero()[:, 0]
    validation_rows, test_rows = _by_alternate_cases(held_out_rows, cases)
    if min(len(validation_rows), len(test_rows)) < _MIN_SELECTING:
        train_rows, validation_rows = _spare_some(train_rows)
        test_rows = held_out_rows
    return Replay(
        all_patches.select(train_rows), all_patches.select(validation_rows), all_patches.select(test_rows)
    )


def _by_alternate_cases(rows: Tensor, cases: Tensor) -> tuple[Tensor, Tensor]:
    """The rows of the first, third, ... case, and those of the others."""
    numbers = {case: i for i, case in enumerate(dict.fromkeys(cases[rows].tolist()))}
    is_even = torch.tensor([numbers[case] % 2 == 0 for case in cases[rows].tolist()], dtype=torch.bool)
    return rows[is_even], rows[~is_even]


def _spare_some(train_rows: Tensor) -> tuple[Tensor, Tensor]:
    """Some rows for training, and some for validation; where there are few, the same for both."""
    if len(train_rows) < 2 / _VALIDATION_FRACTION:
        return train_rows, train_rows
    # evenly among the patches, which are in the order in which their cases were drawn
    is_validation = torch.arange(len(train_rows)) % round(1 / _VALIDATION_FRACTION) == 0
    return train_rows[~is_validation], train_rows[is_validation]


def _with_case_numbers(slices: Sequence[TrainingSlice]) -> list[TrainingSlice]:
    """The slices with foreground, or all where there are none, each with the number of its case from 0."""
    numbers = {sha256: i for i, sha256 in enumerate(dict.fromkeys(s.content_sha256 for s in slices))}
    with_foreground = [s for s in slices if s.has_foreground] or slices
    return [replace(s, case=numbers[s.content_sha256]) for s in with_foreground]


def _sample_patches(
    slices: Sequence[TrainingSlice], count: int, card: ModelCard, rng: np.random.Generator
) -> list[Patch]:
    """Augmented patches, of every slice one before any has a second."""
    numbered = _with_case_numbers(slices)
    patches: list[Patch] = []
    while len(patches) < count:
        order = rng.permutation(len(numbered))[: count - len(patches)]
        patches += [next(augmented_patches([numbered[i]], card, rng)) for i in order]
    return patches
