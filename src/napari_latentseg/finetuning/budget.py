"""How the cases are split, and how many patches are encoded in the given time."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import numpy as np

from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.data.slices import Slice
from napari_latentseg.data.split import hold_out
from napari_latentseg.finetuning.unknown_classes import encode_for_training, encode_for_validation
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.split import Part
from napari_latentseg.training.events import Caching
from napari_latentseg.training.patches import EncodedPatches, augmented_patches, grid_patches
from napari_latentseg.utils.device import Compute

__all__ = ["VALIDATION_FRACTION", "CaseSplit", "Encoding", "split_cases"]

VALIDATION_FRACTION = 0.2  # usual in the field; of the five to twenty cases that people correct, one to four
_ROUNDING = 1e-9  # cases; a fraction of a number and back may come out a little above it
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
    all_known
        Whether the base model was trained on all cases, so that none of them can tell which model is better.
    """

    train: list[Slice]
    validation: list[Slice]
    validation_cases: tuple[int, ...]
    note: str
    all_known: bool = False


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
    focus
        See `FineTuneConfig.focus`.
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
    focus: float = 0.0

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
            patches = grid_patches(self.split.validation, self.card, _VALIDATION_PATCHES, focus=self.focus)
            validation = encode_for_validation(self.method, self.spec, patches, self.compute)
        train: list[EncodedPatches] = []
        made = 0
        while True:
            rng = np.random.default_rng([self.seed, made])
            drawn = augmented_patches(self.split.train, self.card, rng, focus=self.focus)
            patches = list(islice(drawn, _MAX_PATCHES))
            train.append(
                encode_for_training(self.method, self.spec, patches, self.compute, self.card.raw_threshold)
            )
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


def split_cases(
    keys: Sequence[str],
    slices: Sequence[Slice],
    seed: int,
    preprocess: Preprocess,
    parts: Sequence[Part] = (),
    *,
    keeps_all: bool = False,
) -> CaseSplit:
    """Keep a fifth of the cases for validation; of a single case, a part of it.

    A case that the base model was trained on is never one for validation: the base would be judged by what
    it has learned. A validation case of the base stays one, so that it can judge every later version.

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
    parts
        To which part of the base model's split each case belongs, in the same order; empty where the base
        knows none of them.
    keeps_all
        Whether all of the change is kept where no case can judge it, and not half; for the note.
    """
    kept = f"{'all' if keeps_all else 'half'} of the change is kept"
    numbers = sorted({s.case for s in slices})
    part_of = dict(enumerate(parts, start=1))
    all_known = all(part_of.get(n) == "train" for n in numbers)
    if all_known and len(numbers) > 1:
        note = f"both models know these cases, so none of them can judge; {kept}"
        return CaseSplit(list(slices), [], (), note, all_known=True)
    if len(numbers) > 1:
        validation_cases = _draw_validation_cases(numbers, keys, part_of, seed)
        count = len(validation_cases)
        plural = "case" if count == 1 else "cases"
        notes = [] if count > 2 else [f"only {count} validation {plural}, of {len(numbers)}"]
        if known := sum(part_of.get(n) == "train" for n in numbers):
            were = "1 case was" if known == 1 else f"{known} cases were"
            notes.append(f"{were} trained on before, and cannot judge")
        return CaseSplit(
            [s for s in slices if s.case not in validation_cases],
            [s for s in slices if s.case in validation_cases],
            validation_cases,
            "; ".join(notes),
        )
    note = "there is one case only, so there is no validation case"
    if all_known:
        note = "both models know the only case, so there is no validation case"
    count = len(slices)
    if count > 3:  # neighbouring slices are alike, so they stay together
        first_validation = count - max(1, count // _SINGLE_CASE_DIVISOR)
        train, validation = list(slices[:first_validation]), list(slices[first_validation:])
        text = f"{note}; the weights are selected on its last slices"
        return CaseSplit(train, validation, (), text, all_known)
    if preprocess.mode == "tiles" and count == 1:
        (only,) = slices
        width = only.image.shape[-1]
        column = width - width // _SINGLE_CASE_DIVISOR
        if width - column >= preprocess.size // 2:
            left, right = only.columns(0, column), only.columns(column, width)
            if left.has_foreground and right.has_foreground:
                text = f"{note}; the weights are selected on a quarter of the image"
                return CaseSplit([left], [right], (), text, all_known)
    return CaseSplit(list(slices), [], (), f"{note}; {kept}", all_known)


def _draw_validation_cases(
    numbers: Sequence[int], keys: Sequence[str], part_of: Mapping[int, Part], seed: int
) -> tuple[int, ...]:
    """The numbers of the validation cases: those of the base, and of new cases as many as a fifth needs."""
    kept = [n for n in numbers if part_of.get(n) == "validation"]
    new = [n for n in numbers if not part_of.get(n)]
    has_known = len(kept) + len(new) < len(numbers)
    if not has_known and not kept:
        return _drawn(new, keys, VALIDATION_FRACTION, seed)
    wanted = max(1.0, VALIDATION_FRACTION * len(numbers))
    if not has_known and not new:  # something must be trained on
        return _drawn(kept, keys, VALIDATION_FRACTION, seed)
    missing = wanted - len(kept)
    if missing <= 0 or not new:
        return tuple(kept)
    if len(new) == 1:  # without it nothing could judge, or else it is the only one to train on
        return tuple(kept if kept else new)
    return tuple(sorted([*kept, *_drawn(new, keys, (missing - _ROUNDING) / len(new), seed)]))


def _drawn(numbers: Sequence[int], keys: Sequence[str], fraction: float, seed: int) -> tuple[int, ...]:
    is_held_out = hold_out([keys[n - 1] for n in numbers], fraction, seed)
    return tuple(n for n, out in zip(numbers, is_held_out, strict=True) if out)


def _size_in_bytes(patches: EncodedPatches) -> int:
    tensors = (patches.features, patches.target, patches.masks)
    return sum(t.numel() * t.element_size() for t in tensors)
