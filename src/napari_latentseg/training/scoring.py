"""Scores of a model on cases during training and fine-tuning."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.core.temperature import NO_TEMPERATURE, Temperature
from napari_latentseg.evaluation.metrics import hd95
from napari_latentseg.evaluation.reliability import ReliabilityAccumulator
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.training.patches import EncodedPatches
from napari_latentseg.utils.device import Compute

__all__ = ["UNKNOWN_PIXEL", "CaseScorer", "predicted_patches", "score_patches"]

UNKNOWN_PIXEL = 2  # in masks of encoded patches, beside 0 and 1

_BATCH_SIZE = 8  # patches predicted at once; chosen by hand, as in `patches`
_NOISE_DISTANCE = 37  # latent positions between the noise of two patches, so that no two have the same noise


@dataclass
class CaseScorer:
    """Scores of one case, from its slices or patches.

    Parameters
    ----------
    threshold
        Probabilities above it are in the predicted mask.
    only_present
        Whether only those classes of a slice count that are in the reference or in the prediction; the first
        annotated class where none is.
    spacing
        Distance between rows and between columns, for HD95; None for no HD95.
    with_calibration
        Whether the calibration error is computed too.
    temperature
        What probabilities are calibrated with, for the calibration error.

    Attributes
    ----------
    dsc, hd95
        For every slice so far, the mean over its classes.
    counts
        For the calibration error.
    overlap
        Of each class over all slices: twice the intersection, and the sum of both sizes; `(K, 2)`.
    """

    threshold: float
    only_present: bool = False
    spacing: tuple[float, float] | None = None
    with_calibration: bool = False
    temperature: Temperature = NO_TEMPERATURE
    dsc: list[float] = field(init=False, default_factory=list)
    hd95: list[float] = field(init=False, default_factory=list)
    counts: ReliabilityAccumulator = field(init=False, default_factory=ReliabilityAccumulator)
    overlap: NDArray[np.int64] | None = field(init=False, default=None)
    _calibrated: int = field(init=False, default=0)

    def add(
        self, probability: NDArray[np.float32], truth: NDArray[np.bool_], annotated: Sequence[bool]
    ) -> None:
        """Add a slice or patch.

        Parameters
        ----------
        probability, truth
            `(K, H, W)`, probabilities in [0, 1] and the reference masks.
        annotated
            For each class, whether it was annotated; one that was not is unknown, and is not scored.
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
                    self.counts.add(self.temperature.calibrated(p), t)
                    self._calibrated += 1

    @property
    def pooled_dsc(self) -> list[float]:
        """The Dice over all slices together, of each class that is in a reference or in a prediction."""
        return (
            [] if self.overlap is None else [both / total for both, total in self.overlap.tolist() if total]
        )

    @property
    def has_calibration(self) -> bool:
        """Whether any class was annotated, so that there is a calibration error."""
        return self.with_calibration and self._calibrated > 0

    @property
    def ece(self) -> float:
        """Expected calibration error over all of its pixels."""
        return float(self.counts.reliability(images=1, samples=1, source="none", data="one case").ece)


def predicted_patches(
    patches: EncodedPatches, spec: FineTuneSpec, method: Method, compute: Compute
) -> Iterator[tuple[EncodedPatches, NDArray[np.float32]]]:
    """Probabilities `(B, K, S, S)` of encoded patches, in batches, each with its patches.

    Of a method that samples, one sample, with the same noise every time.
    """
    device = compute.torch_device()
    for rows in torch.arange(len(patches)).split(_BATCH_SIZE):
        batch = patches.select(rows)
        noise = None
        if not method.is_deterministic:
            noise = PositionalNoise(0, 0, [(_NOISE_DISTANCE * int(i), 0) for i in rows])
        with torch.inference_mode(), compute.autocast():
            drawn: Tensor = spec.sample(batch.features.to(device, torch.float32), noise).float().cpu()
        yield batch, drawn.numpy()


def score_patches(
    patches: EncodedPatches,
    spec: FineTuneSpec,
    method: Method,
    compute: Compute,
    threshold: float,
    *,
    with_calibration: bool = False,
    temperature: Temperature = NO_TEMPERATURE,
) -> tuple[float, dict[int, CaseScorer]]:
    """Score a model on encoded patches, case by case.

    Parameters
    ----------
    patches
        Of one or several cases. Where a mask is 2 the class is not known, and nothing is scored.
    spec, method, compute
        The model.
    threshold
        Probabilities above it are in the mask.
    with_calibration, temperature
        As for `CaseScorer`.

    Returns
    -------
    dsc
        Mean over cases and classes of the Dice over all patches of a case; 1 where reference and prediction
        are empty everywhere.
    cases
        The scores of each case, by its number, in ascending order.
    """
    cases: dict[int, CaseScorer] = {}
    for batch, probability in predicted_patches(patches, spec, method, compute):
        masks, annotated = batch.masks.numpy(), batch.annotated.numpy()
        truth = masks == 1
        probability = np.where(masks == UNKNOWN_PIXEL, 0, probability)
        for i, case in enumerate(batch.cases.tolist()):
            scorer = cases.setdefault(
                case,
                CaseScorer(threshold, with_calibration=with_calibration, temperature=temperature),
            )
            scorer.add(probability[i], truth[i], annotated[i])
    cases = dict(sorted(cases.items()))
    scores = [dsc for scorer in cases.values() for dsc in scorer.pooled_dsc]
    return float(np.mean(scores)) if scores else 1.0, cases
