"""A taught model beside the one that it was taught from: on the same cases, in figures and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.core.units import MM_PER_UNIT
from napari_latentseg.data.preprocess import resize
from napari_latentseg.finetuning.cases import AnnotatedCase, LoadedCase
from napari_latentseg.inference.tile_inference import sample_plane
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.training.patches import EncodedPatches
from napari_latentseg.training.scoring import CaseScorer, score_patches
from napari_latentseg.utils.device import Compute

__all__ = ["CaseScores", "MeanScores", "mean_patch_scores", "mean_scores", "score_case", "verdict"]

SCORING_SAMPLES = 3  # of a method that draws
_MIN_DSC_CHANGE = 0.005
_LOST = 0.01


@dataclass(frozen=True)
class CaseScores:
    """How a model did on one case.

    Attributes
    ----------
    dsc, hd95
        Means over its planes and the classes that were looked for; HD95 in `unit`.
    ece
        Expected calibration error over all of its pixels.
    unit
        ``"mm"`` where the image says how large its pixels are.
    """

    dsc: float
    hd95: float
    ece: float
    unit: str


@dataclass(frozen=True)
class MeanScores:
    """Means over cases; see `CaseScores`. HD95 is None where it has no meaning."""

    dsc: float
    hd95: float | None
    ece: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        hd95 = None if self.hd95 is None else round(self.hd95, 3)
        return {"dsc": round(self.dsc, 4), "hd95": hd95, "ece": round(self.ece, 5)}


def score_case(
    case: AnnotatedCase, card: ModelCard, method: Method, compute: Compute
) -> Iterator[CaseScores | float]:
    """Score a model on one case, at the size of its file; yields the fraction done, then the scores.

    Parameters
    ----------
    case
        The case.
    card
        Says how a plane is brought to working size, and where probabilities are cut.
    method, compute
        The model. Of one that draws, the mean of three samples is cut.
    """
    loaded_case = case.load()
    spacing, unit = _spacing_in_mm(loaded_case)
    scorer = CaseScorer(card.threshold, only_present=True, spacing=spacing, with_calibration=True)
    for index, plane_index in enumerate(loaded_case.annotated_planes):
        reference = loaded_case.label_mapping.class_masks(loaded_case.label_maps[plane_index]) > 0
        probability = _probability(
            loaded_case.planes[plane_index], loaded_case.planes.spacing, card, method, compute
        )
        scorer.add(probability, reference, loaded_case.label_mapping.annotated)
        yield (index + 1) / len(loaded_case.annotated_planes)
    yield CaseScores(
        dsc=float(np.mean(scorer.dsc)) if scorer.dsc else 1.0,
        hd95=float(np.mean(scorer.hd95)) if scorer.hd95 else 0.0,
        ece=scorer.ece,
        unit=unit,
    )


def mean_patch_scores(
    patches: EncodedPatches, spec: FineTuneSpec, card: ModelCard, method: Method, compute: Compute
) -> MeanScores:
    """Score a model on pieces of its own training: the figures of each image, and their means."""
    dsc, cases = score_patches(patches, spec, method, compute, card.threshold, with_calibration=True)
    return MeanScores(
        dsc=dsc,
        hd95=None,  # of a window it says nothing
        ece=float(np.mean([scorer.ece for scorer in cases.values() if scorer.has_calibration])),
    )


def mean_scores(scores: Sequence[CaseScores]) -> MeanScores:
    """Means over cases."""
    units = {s.unit for s in scores}
    return MeanScores(
        dsc=float(np.mean([s.dsc for s in scores])),
        hd95=float(np.mean([s.hd95 for s in scores])) if len(units) == 1 else None,
        ece=float(np.mean([s.ece for s in scores])),
    )


def verdict(
    validation: tuple[MeanScores, MeanScores] | None, replay: tuple[MeanScores, MeanScores] | None, cases: int
) -> tuple[str, str]:
    """Better, the same, worse or unknown; and the first line that a person reads.

    Parameters
    ----------
    validation
        Base and new on the cases kept apart; None where there were none.
    replay
        The same on the model's own images; None where it has none.
    cases
        How many were kept apart.
    """
    validation_gain = None if validation is None else validation[1].dsc - validation[0].dsc
    replay_loss = 0.0 if replay is None else replay[0].dsc - replay[1].dsc
    replay_text = "" if replay is None else f"; on the images it knew, {_dice_change(replay)}"
    if validation is None or validation_gain is None:
        if replay_loss > _LOST and replay is not None:
            return (
                "worse",
                f"Worse: on the images it knew, {_dice_change(replay)}; nothing was kept apart of yours",
            )
        return (
            "unknown",
            f"Not known whether it is better: nothing was kept apart to judge by{replay_text}",
        )
    validation_text = (
        f"{_dice_change(validation)} on {cases} {'case' if cases == 1 else 'cases'} kept apart{replay_text}"
    )
    if validation_gain < -_MIN_DSC_CHANGE:
        return "worse", f"Worse: {validation_text}"
    if replay_loss > _LOST:
        return "worse", f"Worse on what it knew: {validation_text}"
    if validation_gain < _MIN_DSC_CHANGE:
        return "same", f"No clear change: {validation_text}"
    return "better", f"Better: {validation_text}"


def _dice_change(before_after: tuple[MeanScores, MeanScores]) -> str:
    return f"Dice {before_after[0].dsc:.3f} to {before_after[1].dsc:.3f}"


def _probability(
    plane: NDArray[np.float32],
    spacing: tuple[float, float] | None,
    card: ModelCard,
    method: Method,
    compute: Compute,
) -> NDArray[np.float32]:
    """Probabilities `(K, H, W)` of a plane `(H, W, 3)`, at its own size; its spacing is in millimetres."""
    height, width = plane.shape[:2]
    x: Tensor = torch.from_numpy(np.ascontiguousarray(plane)).permute(2, 0, 1)
    x = resize(x[None].float(), card.preprocess.working_size(height, width, spacing))[0]
    seeds = range(1 if method.is_deterministic else SCORING_SAMPLES)
    samples = [sample_plane(method, x, card.preprocess, compute, seed=seed) for seed in seeds]
    mean = torch.stack(samples).mean(0)
    probability: NDArray[np.float32] = resize(mean[None], (height, width))[0].clamp(0, 1).numpy()
    return probability


def _spacing_in_mm(loaded_case: LoadedCase) -> tuple[tuple[float, float], str]:
    (row_spacing, column_spacing), unit = loaded_case.spacing
    if unit not in MM_PER_UNIT:
        return (1.0, 1.0), "pixel"
    return (row_spacing * MM_PER_UNIT[unit], column_spacing * MM_PER_UNIT[unit]), "mm"
