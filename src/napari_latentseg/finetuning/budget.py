"""How the cases are split, and how many patches are encoded in the given time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.slices import Slice
from napari_latentseg.data.split import hold_out
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.events import Caching
from napari_latentseg.training.patches import EncodedPatches, augmented_patches, encode_patches, grid_patches
from napari_latentseg.utils.device import Compute

__all__ = ["VALIDATION_FRACTION", "CaseSplit", "Encoding", "split_cases"]

VALIDATION_FRACTION = 0.2  # usual in the field; of the five to twenty cases that people correct, one to four
_SINGLE_CASE_DIVISOR = 4  # a quarter of a single case: less of it shows too little to choose weights by
_AUGMENTATION_ROUNDS = 4  # where the number of steps is given, so that the same seed gives the same patches
_VALIDATION_PATCHES = 24  # enough to tell weights apart, few enough to be scored sixteen times in a run
_MAX_PATCHES = 1024  # 64 batches of 16: of more, few would be drawn twice in a run of some minutes
_MAX_BYTES = 600 << 20  # of encoded patches, so that a laptop with 8 GB stays usable
_ENCODING_SHARE = 0.2  # of the time at most: the rest goes into steps, without which no patch is learned


@dataclass(frozen=True)
class CaseSplit:
    """Training and validation slices of a fine-tuning.

    Attributes
    ----------
    train, validation
        Slices, each with the number of its case. With a single case both may be parts of it.
    validation_cases
        The numbers of the validation cases; empty for a single case.
    note
        What a person should know of it.
    """

    train: list[Slice]
    validation: list[Slice]
    validation_cases: tuple[int, ...]
    note: str


@dataclass
class Encoding:
    """Encodes patches, in rounds of new augmentation, for a fifth of the time at most.

    Parameters
    ----------
    method, spec, card, compute
        The model, and device and arithmetic.
    split
        From `split_cases`.
    seed
        Draws the augmentation.
    begun
        When the fine-tuning began, by `time.perf_counter`.
    minutes
        For the whole fine-tuning.
    is_timed
        Whether the time sets the number of rounds. If not, it is fixed, so that a given number of steps
        gives the same model however busy the machine is.
    stop
        Called after every round; True makes it the last.
    """

    method: Method
    spec: FineTuneSpec
    card: ModelCard
    compute: Compute
    split: CaseSplit
    seed: int
    begun: float
    minutes: float
    is_timed: bool
    stop: Callable[[], bool]

    def run(
        self, rounds: int | None
    ) -> Generator[Caching, None, tuple[EncodedPatches, EncodedPatches | None, int]]:
        """Encode; yields the progress.

        Parameters
        ----------
        rounds
            How many there were before a stop, where the fine-tuning is resumed; None for a new one.

        Returns
        -------
        tuple
            Training patches, validation patches (None without any), and the number of rounds.
        """
        validation = None
        if self.split.validation:
            patches = grid_patches(self.split.validation, self.card, _VALIDATION_PATCHES)
            validation = encode_patches(self.method, self.spec, patches, self.compute)
        train: list[EncodedPatches] = []
        made = 0
        while True:
            rng = np.random.default_rng([self.seed, made])
            patches = list(augmented_patches(self.split.train, self.card, rng))[:_MAX_PATCHES]
            train.append(encode_patches(self.method, self.spec, patches, self.compute))
            made += 1
            if rounds is None:
                is_last, done = self._progress(train, made)
            else:
                is_last, done = made >= rounds, made / rounds
            yield Caching(done=round(done, 3))
            if is_last:
                return EncodedPatches.concatenate(train), validation, made

    def _progress(self, train: list[EncodedPatches], made: int) -> tuple[bool, float]:
        """Whether that was the last round, and the fraction done."""
        count, size = sum(map(len, train)), sum(map(_size_in_bytes, train))
        spent = made / _AUGMENTATION_ROUNDS
        if self.is_timed:
            spent = (time.perf_counter() - self.begun) / (_ENCODING_SHARE * 60 * self.minutes)
        full = count + len(train[-1]) > _MAX_PATCHES or size + _size_in_bytes(train[-1]) > _MAX_BYTES
        is_last = full or spent >= 1 or self.stop() or made * len(self.split.train) >= 4 * _MAX_PATCHES
        return is_last, 1.0 if is_last else min(0.99, max(spent, count / _MAX_PATCHES))


def split_cases(keys: Sequence[str], slices: Sequence[Slice], seed: int, preprocess: Preprocess) -> CaseSplit:
    """Keep a fifth of the cases for validation; of a single case, a part of it.

    Parameters
    ----------
    keys
        What each case is drawn by, in the order of their numbers from 1; see `Case.split_key`.
    slices
        Of all cases, each with the number of its case.
    seed
        Draws the validation cases.
    preprocess
        Says how wide a part of an image must be.
    """
    numbers = sorted({s.case for s in slices})
    if len(numbers) > 1:
        is_held_out = hold_out([keys[n - 1] for n in numbers], VALIDATION_FRACTION, seed)
        validation_cases = tuple(n for n, out in zip(numbers, is_held_out, strict=True) if out)
        count = len(validation_cases)
        plural = "case" if count == 1 else "cases"
        note = "" if count > 2 else f"only {count} validation {plural}, of {len(numbers)}"
        return CaseSplit(
            [s for s in slices if s.case not in validation_cases],
            [s for s in slices if s.case in validation_cases],
            validation_cases,
            note,
        )
    note = "there is one case only, so there is no validation case"
    count = len(slices)
    if count > 3:  # neighbouring slices are alike, so they stay together
        first_validation = count - max(1, count // _SINGLE_CASE_DIVISOR)
        train, validation = list(slices[:first_validation]), list(slices[first_validation:])
        return CaseSplit(train, validation, (), f"{note}; the weights are selected on its last slices")
    if preprocess.mode == "tiles" and count == 1:
        (only,) = slices
        width = only.image.shape[-1]
        column = width - width // _SINGLE_CASE_DIVISOR
        if width - column >= preprocess.size // 2:
            left, right = only.columns(0, column), only.columns(column, width)
            if left.has_foreground and right.has_foreground:
                text = f"{note}; the weights are selected on a quarter of the image"
                return CaseSplit([left], [right], (), text)
    return CaseSplit(list(slices), [], (), f"{note}; half of the change is kept")


def _size_in_bytes(patches: EncodedPatches) -> int:
    tensors = (patches.features, patches.target, patches.masks)
    return sum(t.numel() * t.element_size() for t in tensors)
