"""What is learnt from and what is kept apart, and how much is encoded in the time that there is."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass

import numpy as np

from napari_latentseg.data.split import hold_out
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.dataset import AnnotatedSlice
from napari_latentseg.training.patches import EncodedPatches, augmented_patches, encode_patches, grid_patches
from napari_latentseg.utils.device import Compute

__all__ = ["VALIDATION_FRACTION", "Encoding", "Parts", "split_cases"]

VALIDATION_FRACTION = 0.2
_AUGMENTATION_ROUNDS = 4  # of variations, where the number of steps is given
_LOOKED_AT = 24  # pieces to choose by: enough to tell weights apart, few enough to look often
_MAX_PATCHES = 1024
_MOST_BYTES = 600 << 20
_ENCODING_SHARE = 0.2  # of the time, at most: what is left goes into steps


@dataclass(frozen=True)
class Parts:
    """Who learns and who judges.

    Attributes
    ----------
    train, choose
        Examples with the number of their case, to learn and to choose by.
    apart
        The numbers of the cases that are kept apart; none where there is one case only.
    note
        What a person should know of it.
    """

    train: list[tuple[int, AnnotatedSlice]]
    choose: list[tuple[int, AnnotatedSlice]]
    apart: tuple[int, ...]
    note: str


@dataclass
class Encoding:
    """Encodes the pieces, round after round of variations, for a fifth of the time at most.

    Parameters
    ----------
    method, tuning, card, compute
        What is taught.
    parts
        From `split_cases`.
    seed
        Draws the variations.
    begun
        When the fine-tuning began, by `time.perf_counter`.
    minutes
        For all of it.
    is_timed
        Whether the time says how many rounds there are; if not, the same number every time, so that a
        length that was given gives the same twice, however busy the machine.
    stop
        Asked after every round.
    """

    method: Method
    tuning: FineTuneSpec
    card: ModelCard
    compute: Compute
    parts: Parts
    seed: int
    begun: float
    minutes: float
    is_timed: bool
    stop: Callable[[], bool]

    def run(
        self, rounds: int | None
    ) -> Generator[float, None, tuple[EncodedPatches, EncodedPatches | None, int]]:
        """Encode; yields the fraction done.

        Parameters
        ----------
        rounds
            How many there were before the fine-tuning was stopped; None where it begins.

        Returns
        -------
        tuple
            The pieces to learn, those to choose by, and how many rounds there were.
        """
        choose = None
        if self.parts.choose:
            chosen = grid_patches(self.parts.choose, self.card, _LOOKED_AT)
            choose = encode_patches(self.method, self.tuning, chosen, self.compute)
        learn: list[EncodedPatches] = []
        made = 0
        while True:
            rng = np.random.default_rng([self.seed, made])
            pieces = list(augmented_patches(self.parts.train, self.card, rng))[:_MAX_PATCHES]
            learn.append(encode_patches(self.method, self.tuning, pieces, self.compute))
            made += 1
            if rounds is None:
                is_last, done = self._progress(learn, made)
            else:
                is_last, done = made >= rounds, made / rounds
            yield round(done, 3)
            if is_last:
                return EncodedPatches.concatenate(learn), choose, made

    def _progress(self, learn: list[EncodedPatches], made: int) -> tuple[bool, float]:
        """Whether that was the last round, and the fraction done."""
        count, size = sum(map(len, learn)), sum(map(_size_in_bytes, learn))
        spent = made / _AUGMENTATION_ROUNDS
        if self.is_timed:
            spent = (time.perf_counter() - self.begun) / (_ENCODING_SHARE * 60 * self.minutes)
        full = count + len(learn[-1]) > _MAX_PATCHES or size + _size_in_bytes(learn[-1]) > _MOST_BYTES
        is_last = full or spent >= 1 or self.stop() or made * len(self.parts.train) >= 4 * _MAX_PATCHES
        return is_last, 1.0 if is_last else min(0.99, max(spent, count / _MAX_PATCHES))


def split_cases(
    keys: Sequence[str], examples: list[tuple[int, AnnotatedSlice]], seed: int, card: ModelCard
) -> Parts:
    """Cases to learn from, and cases kept apart; of a single case, a part of it to choose by."""
    numbers = sorted({case for case, _ in examples})
    if len(numbers) > 1:
        chosen = hold_out([keys[n - 1] for n in numbers], VALIDATION_FRACTION, seed)
        apart = tuple(n for n, out in zip(numbers, chosen, strict=True) if out)
        few = "" if len(apart) > 2 else f"only {len(apart)} of {len(numbers)} cases to judge by"
        return Parts(
            [(c, e) for c, e in examples if c not in apart],
            [(c, e) for c, e in examples if c in apart],
            apart,
            few,
        )
    note = "there is one case only: it is learnt from, and nothing is kept apart to judge by"
    count = len(examples)
    if count > 3:  # neighbouring slices are alike, so they stay together
        cut = count - max(1, count // 4)
        return Parts(examples[:cut], examples[cut:], (), f"{note}; its last slices choose the weights")
    if card.preprocess.mode == "tiles" and count == 1:
        ((case, example),) = examples
        width = example.image.shape[-1]
        cut = width - width // 4
        if width - cut >= card.preprocess.size // 2:
            left, right = _crop_columns(example, 0, cut), _crop_columns(example, cut, width)
            if bool(left.mask.any()) and bool(right.mask.any()):
                text = f"{note}; a quarter of the image chooses the weights"
                return Parts([(case, left)], [(case, right)], (), text)
    return Parts(examples, [], (), f"{note}; half of the change is kept")


def _crop_columns(example: AnnotatedSlice, start: int, end: int) -> AnnotatedSlice:
    window = (slice(None), slice(None), slice(start, end))
    return AnnotatedSlice(example.image[window], example.mask[window], example.key, example.annotated)


def _size_in_bytes(patches: EncodedPatches) -> int:
    tensors = (patches.features, patches.target, patches.masks)
    return sum(t.numel() * t.element_size() for t in tensors)
