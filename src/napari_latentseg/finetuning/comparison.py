"""A taught model beside the one that it was taught from: on the same cases, in figures and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.finetuning.cases import Lesson, Loaded
from napari_latentseg.inference.plane import sample_plane
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.models.card import ModelCard
from napari_latentseg.precision import Compute
from napari_latentseg.preprocess import resize
from napari_latentseg.training.pieces import Pieces
from napari_latentseg.training.scoring import CaseScorer, score_patches
from napari_latentseg.units import MILLIMETRES

__all__ = ["CaseScores", "Figures", "judge_case", "judge_pieces", "mean_of", "verdict"]

SAMPLES = 3  # of a method that draws
_NOTICED = 0.005
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
class Figures:
    """Means over cases; see `CaseScores`. HD95 is None where it has no meaning."""

    dsc: float
    hd95: float | None
    ece: float

    def as_dict(self) -> dict[str, float | None]:
        """For JSON."""
        hd95 = None if self.hd95 is None else round(self.hd95, 3)
        return {"dsc": round(self.dsc, 4), "hd95": hd95, "ece": round(self.ece, 5)}


def judge_case(
    lesson: Lesson, card: ModelCard, method: Method, compute: Compute
) -> Iterator[CaseScores | float]:
    """Score a model on one case, at the size of its file; yields the fraction done, then the scores.

    Parameters
    ----------
    lesson
        The case.
    card
        Says how a plane is brought to working size, and where probabilities are cut.
    method, compute
        The model. Of one that draws, the mean of three samples is cut.
    """
    loaded = lesson.load()
    spacing, unit = _in_millimetres(loaded)
    scorer = CaseScorer(card.threshold, only_present=True, spacing=spacing, with_calibration=True)
    for done, i in enumerate(loaded.which):
        truth = loaded.labels.masks(loaded.numbers[i]) > 0
        probability = _probability(loaded.planes[i], loaded.planes.spacing, card, method, compute)
        scorer.add(probability, truth, loaded.labels.annotated)
        yield (done + 1) / len(loaded.which)
    yield CaseScores(
        dsc=float(np.mean(scorer.dsc)) if scorer.dsc else 1.0,
        hd95=float(np.mean(scorer.hd95)) if scorer.hd95 else 0.0,
        ece=scorer.ece,
        unit=unit,
    )


def judge_pieces(
    pieces: Pieces, tuning: Tuning, card: ModelCard, method: Method, compute: Compute
) -> Figures:
    """Score a model on pieces of its own training: the figures of each image, and their means."""
    dsc, cases = score_patches(pieces, tuning, method, compute, card.threshold, with_calibration=True)
    return Figures(
        dsc=dsc,
        hd95=None,  # of a window it says nothing
        ece=float(np.mean([scorer.ece for scorer in cases.values() if scorer.has_calibration])),
    )


def mean_of(scores: Sequence[CaseScores]) -> Figures:
    """Means over cases."""
    units = {s.unit for s in scores}
    return Figures(
        dsc=float(np.mean([s.dsc for s in scores])),
        hd95=float(np.mean([s.hd95 for s in scores])) if len(units) == 1 else None,
        ece=float(np.mean([s.ece for s in scores])),
    )


def verdict(
    held_out: tuple[Figures, Figures] | None, own: tuple[Figures, Figures] | None, cases: int
) -> tuple[str, str]:
    """Better, the same, worse or unknown; and the first line that a person reads.

    Parameters
    ----------
    held_out
        Base and new on the cases kept apart; None where there were none.
    own
        The same on the model's own images; None where it has none.
    cases
        How many were kept apart.
    """
    gained = None if held_out is None else held_out[1].dsc - held_out[0].dsc
    lost = 0.0 if own is None else own[0].dsc - own[1].dsc
    old = "" if own is None else f"; on the images it knew, {_from_to(own)}"
    if held_out is None or gained is None:
        if lost > _LOST and own is not None:
            return "worse", f"Worse: on the images it knew, {_from_to(own)}; nothing was kept apart of yours"
        return (
            "unknown",
            f"Not known whether it is better: nothing was kept apart to judge by{old}",
        )
    told = f"{_from_to(held_out)} on {cases} {'case' if cases == 1 else 'cases'} kept apart{old}"
    if gained < -_NOTICED:
        return "worse", f"Worse: {told}"
    if lost > _LOST:
        return "worse", f"Worse on what it knew: {told}"
    if gained < _NOTICED:
        return "same", f"No clear change: {told}"
    return "better", f"Better: {told}"


def _from_to(two: tuple[Figures, Figures]) -> str:
    return f"Dice {two[0].dsc:.3f} to {two[1].dsc:.3f}"


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
    seeds = range(1 if method.is_deterministic else SAMPLES)
    drawn = [sample_plane(method, x, card.preprocess, compute, seed=seed) for seed in seeds]
    mean = torch.stack(drawn).mean(0)
    found: NDArray[np.float32] = resize(mean[None], (height, width))[0].clamp(0, 1).numpy()
    return found


def _in_millimetres(loaded: Loaded) -> tuple[tuple[float, float], str]:
    (down, right), unit = loaded.spacing
    if unit not in MILLIMETRES:
        return (1.0, 1.0), "pixel"
    return (down * MILLIMETRES[unit], right * MILLIMETRES[unit]), "mm"
