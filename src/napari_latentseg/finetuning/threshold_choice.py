"""Choosing the threshold of a fine-tuned model, beside the interpolation of its weights.

On images of another device a model often ranks the pixels as well as on its own, but its threshold is too
high or too low: at 0.3 it finds vessels of another camera that 0.5 left out (docs/benchmarks/teaching.md).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch
from numpy.typing import NDArray

from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.comparison import MIN_DSC_CHANGE
from napari_latentseg.training.patches import EncodedPatches
from napari_latentseg.training.scoring import UNKNOWN_PIXEL, predicted_patches
from napari_latentseg.utils.device import Compute

if TYPE_CHECKING:
    from napari_latentseg.finetuning.loop import Tuner

__all__ = ["THRESHOLDS", "best_threshold", "choose_threshold", "dice_by_threshold"]

THRESHOLDS = (0.2, 0.25, 0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7)
"""Candidates, of probabilities before they are calibrated."""

_FARTHEST = 0.2  # from the threshold of the base: a model that needs more is not shifted but wrong
_TRAINING_PATCHES = 48  # of which the Dice is taken: their mean is known to half a hundredth


def choose_threshold(tuner: Tuner) -> float:
    """The best threshold for the new weights, on probabilities before they are calibrated.

    Parameters
    ----------
    tuner
        After `select_interpolation`. Without validation patches the threshold stays as it is.
    """
    if tuner.validation_patches is None or not len(tuner.validation_patches):
        return tuner.threshold
    near = (t for t in THRESHOLDS if abs(t - tuner.threshold) <= _FARTHEST)
    thresholds = sorted({*near, tuner.threshold})
    rows = torch.arange(len(tuner.train_patches))
    some_rows = rows[:: max(1, len(rows) // _TRAINING_PATCHES)]

    def dice(patches: EncodedPatches) -> NDArray[np.float64]:
        return dice_by_threshold(patches, tuner.spec, tuner.method, tuner.compute, thresholds)

    replay = tuner.replay_validation
    return best_threshold(
        thresholds,
        tuner.threshold,
        dice(tuner.validation_patches),
        dice(tuner.train_patches.select(some_rows)),
        None if replay is None or not len(replay) else dice(replay),
        _least_replay_dice(tuner),
    )


def _least_replay_dice(tuner: Tuner) -> float:
    """The lowest Dice on replay that is tolerated, from that of the base."""
    base = tuner.base_validation
    return 0.0 if base is None or base.replay is None else base.replay - tuner.config.tolerated


def dice_by_threshold(
    patches: EncodedPatches,
    spec: FineTuneSpec,
    method: Method,
    compute: Compute,
    thresholds: Sequence[float],
) -> NDArray[np.float64]:
    """Mean Dice at each threshold, `(T,)`: over cases and classes, pooled over the patches of a case.

    Parameters
    ----------
    patches, spec, method, compute
        As for `napari_latentseg.training.scoring.score_patches`.
    thresholds
        T of them.
    """
    overlaps: dict[tuple[int, int], NDArray[np.int64]] = {}
    for batch, probability in predicted_patches(patches, spec, method, compute):
        masks, annotated = batch.masks.numpy(), batch.annotated.numpy()
        probability = np.where(masks == UNKNOWN_PIXEL, 0, probability)
        truth = masks == 1
        for i, case in enumerate(batch.cases.tolist()):
            for k in np.flatnonzero(annotated[i]):
                counts = overlaps.setdefault((case, int(k)), np.zeros((len(thresholds), 2), np.int64))
                for number, threshold in enumerate(thresholds):
                    mask = probability[i, k] > threshold
                    counts[number] += (2 * (mask & truth[i, k]).sum(), mask.sum() + truth[i, k].sum())
    scores = [
        np.divide(counts[:, 0], counts[:, 1], out=np.ones(len(thresholds)), where=counts[:, 1] > 0)
        for counts in overlaps.values()
        if counts[:, 1].any()
    ]
    return np.mean(scores, axis=0) if scores else np.ones(len(thresholds))


def best_threshold(
    thresholds: Sequence[float],
    present: float,
    validation: NDArray[np.float64],
    training: NDArray[np.float64],
    replay: NDArray[np.float64] | None = None,
    least_replay: float = 0.0,
) -> float:
    """The threshold to use: another than the present one only where the images clearly ask for it.

    Parameters
    ----------
    thresholds
        T of them, the present one among them.
    present
        That of the base.
    validation, training, replay
        Mean Dice at each, `(T,)`; `replay` is None where the model has none.
    least_replay
        The Dice on replay below which no other threshold is taken.

    Returns
    -------
    float
        Better on validation and on training patches together by half a hundredth of Dice at least, and worse
        on neither. A threshold is one number, so that training patches say as much of it as others.

    Examples
    --------
    >>> import numpy as np
    >>> validation, training = np.array([0.70, 0.78, 0.74]), np.array([0.72, 0.80, 0.77])
    >>> best_threshold([0.2, 0.3, 0.5], 0.5, validation, training)
    0.3
    >>> best_threshold([0.2, 0.3, 0.5], 0.5, validation, training, np.array([0.5, 0.6, 0.8]), 0.795)
    0.5
    """
    base = list(thresholds).index(present)
    is_better = (validation >= validation[base]) & (training >= training[base])
    scores = (validation + training) / 2
    if replay is not None:
        is_better &= replay >= least_replay
        is_better[base] = True
    scores = np.where(is_better, scores, -np.inf)
    best = int(np.argmax(scores))
    return float(thresholds[best]) if scores[best] >= scores[base] + MIN_DSC_CHANGE else present
