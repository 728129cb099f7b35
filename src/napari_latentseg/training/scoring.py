"""How a model does on a case while it is trained: one way to predict, one to count, for all that ask."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.evaluation.calibration import ReliabilityAccumulator
from napari_latentseg.evaluation.metrics import hd95
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.training.patches import EncodedPatches
from napari_latentseg.utils.device import Compute

__all__ = ["CaseScorer", "predicted_patches", "score_patches"]

_AT_ONCE = 8
_APART = 37  # positions between the noise of two patches, so that no two have the same


@dataclass
class CaseScorer:
    """Scores of one case, from its slices or patches.

    Parameters
    ----------
    threshold
        Probabilities above it are in the mask.
    only_present
        Whether, of several classes of a slice, those count alone that are in the mask or in the prediction;
        the first of them where none is.
    spacing
        Distance between rows and columns, for HD95; None for no HD95.
    with_calibration
        Whether the calibration is counted.

    Attributes
    ----------
    dsc, hd95
        Of every slice so far, means over its classes.
    counts
        For the calibration error.
    overlap
        Of each class over all slices: twice the intersection, and the sum of both sizes; `(K, 2)`.
    """

    threshold: float
    only_present: bool = False
    spacing: tuple[float, float] | None = None
    with_calibration: bool = False
    dsc: list[float] = field(init=False, default_factory=list)
    hd95: list[float] = field(init=False, default_factory=list)
    counts: ReliabilityAccumulator = field(init=False, default_factory=ReliabilityAccumulator)
    overlap: NDArray[np.int64] | None = field(init=False, default=None)
    _calibrated: int = field(init=False, default=0)

    def add(
        self, probability: NDArray[np.float32], truth: NDArray[np.bool_], annotated: Sequence[bool]
    ) -> None:
        """Count a slice or patch.

        Parameters
        ----------
        probability, truth
            `(K, H, W)`, probabilities in [0, 1] and what is right.
        annotated
            For each class, whether it was looked for; what was not is not background, and is not counted.
        """
        mask = probability > self.threshold
        both, total = 2 * (mask & truth).sum((1, 2)), mask.sum((1, 2)) + truth.sum((1, 2))
        if self.overlap is None:
            self.overlap = np.zeros((len(mask), 2), np.int64)
        self.overlap += np.where(np.asarray(annotated)[:, None], np.stack([both, total], axis=1), 0)
        classes = [k for k, counts in enumerate(annotated) if counts]
        if self.only_present:
            classes = [k for k in classes if total[k]] or classes[:1]
        if classes:
            self.dsc.append(float(np.mean([both[k] / total[k] if total[k] else 1.0 for k in classes])))
            if self.spacing is not None:
                self.hd95.append(float(np.mean([hd95(mask[k], truth[k], self.spacing) for k in classes])))
        if self.with_calibration:
            for p, t, counts in zip(probability, truth, annotated, strict=True):
                if counts:
                    self.counts.add(p, t)
                    self._calibrated += 1

    @property
    def pooled_dsc(self) -> list[float]:
        """The DSC over all slices together, of each class that is in a mask or in a prediction."""
        return (
            [] if self.overlap is None else [both / total for both, total in self.overlap.tolist() if total]
        )

    @property
    def has_calibration(self) -> bool:
        """Whether any class was looked for, so that there is a calibration error."""
        return self.with_calibration and self._calibrated > 0

    @property
    def ece(self) -> float:
        """Expected calibration error over all of its pixels."""
        return float(self.counts.reliability(images=1, samples=1, source="none", data="one case").ece)


def predicted_patches(
    pieces: EncodedPatches, tuning: FineTuneSpec, method: Method, compute: Compute
) -> Iterator[tuple[EncodedPatches, NDArray[np.float32]]]:
    """Probabilities `(B, K, S, S)` of encoded patches, some at a time.

    Of a method that draws, one sample, of the same noise every time.
    """
    device = compute.torch_device()
    for rows in torch.arange(len(pieces)).split(_AT_ONCE):
        some = pieces.select(rows)
        noise = None
        if not method.is_deterministic:
            noise = PositionalNoise(0, 0, [(_APART * int(i), 0) for i in rows])
        with torch.inference_mode(), compute.autocast():
            drawn: Tensor = tuning.sample(some.features.to(device, torch.float32), noise).float().cpu()
        yield some, drawn.numpy()


def score_patches(
    pieces: EncodedPatches,
    tuning: FineTuneSpec,
    method: Method,
    compute: Compute,
    threshold: float,
    *,
    with_calibration: bool = False,
) -> tuple[float, dict[int, CaseScorer]]:
    """Score a model on encoded patches, case by case.

    Parameters
    ----------
    pieces
        Of one or several cases.
    tuning, method, compute
        The model.
    threshold
        Probabilities above it are in the mask.
    with_calibration
        Whether the calibration is counted.

    Returns
    -------
    dsc
        Mean over the cases and classes of the DSC over all patches of a case; 1 where there is nothing to
        find and nothing was found.
    cases
        The scores of each, by its number, in the order of the numbers.
    """
    cases: dict[int, CaseScorer] = {}
    for some, probability in predicted_patches(pieces, tuning, method, compute):
        truth, annotated = some.masks.numpy() > 0, some.annotated.numpy()
        for i, case in enumerate(some.cases.tolist()):
            scorer = cases.setdefault(case, CaseScorer(threshold, with_calibration=with_calibration))
            scorer.add(probability[i], truth[i], annotated[i])
    cases = dict(sorted(cases.items()))
    scores = [dsc for scorer in cases.values() for dsc in scorer.pooled_dsc]
    return float(np.mean(scores)) if scores else 1.0, cases
