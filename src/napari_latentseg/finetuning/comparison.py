"""A taught model beside the one that it was taught from: on the same cases, in figures and in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.evaluation.calibration import ReliabilityCounts
from napari_latentseg.evaluation.metrics import dice, hd95
from napari_latentseg.finetuning.cases import Lesson, Loaded
from napari_latentseg.inference.noise import FieldNoise
from napari_latentseg.inference.plane import sample_plane
from napari_latentseg.methods.base import Method, Tuning
from napari_latentseg.models.card import ModelCard
from napari_latentseg.precision import Compute
from napari_latentseg.preprocess import resize
from napari_latentseg.training.pieces import Pieces
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


@dataclass
class _Sums:
    """The scores of the planes of one case."""

    dsc: list[float] = field(default_factory=list)
    hd95: list[float] = field(default_factory=list)
    counts: ReliabilityCounts = field(default_factory=ReliabilityCounts)

    def add(
        self,
        probability: NDArray[np.float32],
        truth: NDArray[np.bool_],
        annotated: Sequence[bool],
        threshold: float,
        spacing: tuple[float, float],
    ) -> None:
        """A plane `(K, H, W)`; where several classes are looked for, those count that are there or found."""
        found = probability > threshold
        pairs = [(f, t) for f, t, counts in zip(found, truth, annotated, strict=True) if counts]
        present = [(f, t) for f, t in pairs if f.any() or t.any()] or pairs[:1]
        if present:
            self.dsc.append(float(np.mean([dice(f, t) for f, t in present])))
            self.hd95.append(float(np.mean([hd95(f, t, spacing) for f, t in present])))
        for p, t, counts in zip(probability, truth, annotated, strict=True):
            if counts:
                self.counts.add(p, t)


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
    sums = _Sums()
    for done, i in enumerate(loaded.which):
        truth = loaded.labels.masks(loaded.numbers[i]) > 0
        probability = _probability(loaded.planes[i], loaded.planes.spacing, card, method, compute)
        sums.add(probability, truth, loaded.labels.annotated, card.threshold, spacing)
        yield (done + 1) / len(loaded.which)
    yield _scores(sums, unit)


def judge_pieces(
    pieces: Pieces, tuning: Tuning, card: ModelCard, method: Method, compute: Compute
) -> Figures:
    """Score a model on pieces of its own training: the figures of each image, and their means."""
    device = compute.torch_device()
    by_case: dict[int, _Sums] = {}
    dice_sums: dict[int, NDArray[np.float64]] = {}
    for rows in torch.arange(len(pieces)).split(8):
        some = pieces.rows(rows)
        noise = None
        if not method.is_deterministic:
            noise = FieldNoise(0, 0, [(37 * int(i), 0) for i in rows])
        with torch.inference_mode(), compute.autocast():
            found = tuning.draw(some.features.to(device, torch.float32), noise).float().cpu().numpy()
        truth, annotated = some.masks.numpy() > 0, some.annotated.numpy()
        for p, t, counts, case in zip(found, truth, annotated, some.cases.tolist(), strict=True):
            cut = p > card.threshold
            sums = dice_sums.setdefault(case, np.zeros((len(p), 2)))
            sums[:, 0] += np.where(counts, (cut & t).sum((1, 2)), 0)
            sums[:, 1] += np.where(counts, cut.sum((1, 2)) + t.sum((1, 2)), 0)
            for one, other, is_one in zip(p, t, counts, strict=True):
                if is_one:
                    by_case.setdefault(case, _Sums()).counts.add(one, other)
    scores = [2 * both / either for sums in dice_sums.values() for both, either in sums if either]
    return Figures(
        dsc=float(np.mean(scores)) if scores else 1.0,
        hd95=None,  # of a window it says nothing
        ece=float(np.mean([_ece(sums) for sums in by_case.values()])),
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


def _scores(sums: _Sums, unit: str) -> CaseScores:
    return CaseScores(
        dsc=float(np.mean(sums.dsc)) if sums.dsc else 1.0,
        hd95=float(np.mean(sums.hd95)) if sums.hd95 else 0.0,
        ece=_ece(sums),
        unit=unit,
    )


def _ece(sums: _Sums) -> float:
    return float(sums.counts.reliability(images=1, samples=1, source="none", data="one case").ece)


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
