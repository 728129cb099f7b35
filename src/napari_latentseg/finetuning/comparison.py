"""A fine-tuned model beside its base: scores on the same cases, and a verdict in words."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.core.temperature import NO_TEMPERATURE
from napari_latentseg.data.cases import UNKNOWN_CLASS, Case
from napari_latentseg.data.resize import resize
from napari_latentseg.finetuning.budget import CaseSplit
from napari_latentseg.finetuning.loop import Tuner
from napari_latentseg.inference.tile_inference import sample_planes
from napari_latentseg.methods.base import FineTuneSpec, Method
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.comparison import (
    MIN_DSC_CHANGE,
    CaseComparison,
    Comparison,
    ComparisonScores,
    ReplayComparison,
    ValidationComparison,
    Verdict,
    VersionName,
)
from napari_latentseg.training.events import FineTuneEvent, Judging
from napari_latentseg.training.patches import EncodedPatches
from napari_latentseg.training.replay import Replay
from napari_latentseg.training.scoring import CaseScorer, score_patches
from napari_latentseg.utils.device import Compute

__all__ = [
    "SCORING_SAMPLES",
    "CaseScores",
    "MeanScores",
    "compare_models",
    "mean_patch_scores",
    "mean_scores",
    "score_case",
    "verdict",
]

SCORING_SAMPLES = 3  # of a method that samples: fewer are noise, and each costs a run of the model
# The weights are chosen on these cases too, and a gain on one or two says little about others. By hand.
_MIN_CASES_TO_BE_SURE = 3
# Replay is a few dozen patches, whose mean is noisier than that of whole cases: twice the loss is tolerated.
_MAX_REPLAY_LOSS = 0.01


@dataclass(frozen=True)
class CaseScores:
    """The scores of a model on one case.

    Attributes
    ----------
    dsc, hd95
        Means over its slices and the annotated classes; Dice in [0, 1], HD95 in `unit`.
    ece
        Expected calibration error over all of its pixels, in [0, 1].
    unit
        ``"mm"`` where the spacing of the image is known, else ``"pixel"``.
    """

    dsc: float
    hd95: float
    ece: float
    unit: str

    def rounded(self) -> ComparisonScores:
        """As `comparison.json` has them."""
        return ComparisonScores(dsc=round(self.dsc, 4), hd95=round(self.hd95, 3), ece=round(self.ece, 5))


@dataclass(frozen=True)
class MeanScores:
    """Means over cases; see `CaseScores`. HD95 is None where it has no meaning."""

    dsc: float
    hd95: float | None
    ece: float

    def rounded(self) -> ComparisonScores:
        """As `comparison.json` has them."""
        hd95 = None if self.hd95 is None else round(self.hd95, 3)
        return ComparisonScores(dsc=round(self.dsc, 4), hd95=hd95, ece=round(self.ece, 5))


def score_case(case: Case, card: ModelCard, method: Method, compute: Compute) -> Iterator[CaseScores | float]:
    """Score a model on one case, at the size of its file; yields the fraction done, then the scores.

    Parameters
    ----------
    case
        Its `label_map` leads to the classes of the model.
    card
        Says how a slice is brought to working size, and the threshold of probabilities.
    method, compute
        The model. Of one that samples, the mean of three samples is scored.

    Raises
    ------
    BadInput
        If image or mask cannot be read any more.
    """
    scan = case.read_scan()
    class_numbers, annotated_slices = case.read_annotation(scan)
    assert case.label_map is not None
    planes = card.preprocess.planes(scan)
    unit = "pixel" if planes.spacing is None else "mm"
    scorer = CaseScorer(
        card.raw_threshold, only_present=True, spacing=planes.spacing or (1.0, 1.0), with_calibration=True,
        temperature=card.temperature or NO_TEMPERATURE,
    )  # fmt: skip
    for position, i in enumerate(annotated_slices, start=1):
        reference = case.label_map.class_masks(class_numbers[i]) > 0
        probability = _probability(planes[i], planes.spacing, card, method, compute)
        probability[:, class_numbers[i] == UNKNOWN_CLASS] = 0  # as in the reference: nothing is scored there
        scorer.add(probability, reference, case.label_map.annotated)
        yield position / len(annotated_slices)
    yield CaseScores(
        dsc=float(np.mean(scorer.dsc)) if scorer.dsc else 1.0,
        hd95=float(np.mean(scorer.hd95)) if scorer.hd95 else 0.0,
        ece=scorer.ece,
        unit=unit,
    )


def mean_patch_scores(
    patches: EncodedPatches, spec: FineTuneSpec, card: ModelCard, method: Method, compute: Compute
) -> MeanScores:
    """Score a model on patches of its own training (replay): means over the cases."""
    dsc, cases = score_patches(
        patches, spec, method, compute, card.raw_threshold, with_calibration=True,
        temperature=card.temperature or NO_TEMPERATURE,
    )  # fmt: skip
    return MeanScores(
        dsc=dsc,
        hd95=None,  # within a patch, the distance to the boundary outside is not known
        ece=float(np.mean([scorer.ece for scorer in cases.values() if scorer.has_calibration])),
    )


def mean_scores(scores: Sequence[CaseScores]) -> MeanScores:
    """Means over cases; no HD95 where some are in mm and others in pixels."""
    units = {s.unit for s in scores}
    return MeanScores(
        dsc=float(np.mean([s.dsc for s in scores])),
        hd95=float(np.mean([s.hd95 for s in scores])) if len(units) == 1 else None,
        ece=float(np.mean([s.ece for s in scores])),
    )


def compare_models(
    tuner: Tuner,
    cases: Sequence[Case],
    split: CaseSplit,
    replay: Replay | None,
    *,
    card: ModelCard,
    new_card: ModelCard,
    new: VersionName,
    notes: Sequence[str],
) -> Generator[FineTuneEvent, None, Comparison]:
    """Score the base and the new model on the same validation cases and replay; yields the progress.

    Parameters
    ----------
    tuner
        After `select_interpolation`; carries the new weights afterwards.
    cases
        All, in the order of their numbers from 1.
    split
        Says which are the validation cases.
    replay
        Of the base; None where it has none.
    card, new_card
        Of the base, and of the new model, which may have another threshold.
    new
        What the new model is called.
    notes
        What is to be said beside what is found here.
    """
    scores = yield from _validation_scores(tuner, cases, split, card, new_card)
    replay_scores, own = None, None
    if replay is not None:
        replay_scores, own = _replay_scores(tuner, replay, card, new_card)
    tuner.load_best_weights()
    validation_scores, held_out = None, None
    if split.validation_cases:
        before, after = scores
        validation_scores = (mean_scores(before), mean_scores(after))
        held_out = ValidationComparison(
            cases=len(split.validation_cases),
            before=validation_scores[0].rounded(),
            after=validation_scores[1].rounded(),
            unit=after[0].unit,
        )
        notes = [*notes, "the weights were selected on the validation cases, so its scores are optimistic"]
    if not tuner.method.is_deterministic:
        notes = [*notes, f"scored by the mean of {SCORING_SAMPLES} samples"]
    word, line = verdict(
        validation_scores, replay_scores, len(split.validation_cases), all_known=split.all_known
    )
    return Comparison(
        line=line,
        verdict=word,
        base=VersionName(name=card.name, version=card.version),
        new=new,
        share=tuner.alpha,
        held_out=held_out,
        own=own,
        cases=_case_comparisons(split, scores),
        notes=tuple(notes),
    )


def _validation_scores(
    tuner: Tuner, cases: Sequence[Case], split: CaseSplit, card: ModelCard, new_card: ModelCard
) -> Generator[FineTuneEvent, None, tuple[list[CaseScores], list[CaseScores]]]:
    """The scores of each validation case, of the base and of the new model."""
    scores: tuple[list[CaseScores], list[CaseScores]] = ([], [])
    run_count = 2 * len(split.validation_cases)
    for is_new, scored_card in enumerate((card, new_card)):
        tuner.load_best_weights() if is_new else tuner.load_base_weights()
        for number in split.validation_cases:
            finished = len(scores[0]) + len(scores[1])
            for score_or_progress in score_case(cases[number - 1], scored_card, tuner.method, tuner.compute):
                if isinstance(score_or_progress, CaseScores):
                    scores[is_new].append(score_or_progress)
                else:
                    yield Judging(done=round((finished + score_or_progress) / run_count, 3))
    return scores


def _replay_scores(
    tuner: Tuner, replay: Replay, card: ModelCard, new_card: ModelCard
) -> tuple[tuple[MeanScores, MeanScores], ReplayComparison]:
    """The scores of the base and of the new model on what the base was trained on, or kept apart from it."""
    is_kept_apart = len(replay.test) > 0
    patches = replay.test if is_kept_apart else replay.validation
    description = (
        f"{len(patches)} patches of validation images of its first training"
        if is_kept_apart
        else f"{len(patches)} patches of its own training images, so the scores of the base are optimistic"
    )
    tuner.load_base_weights()
    before = mean_patch_scores(patches, tuner.spec, card, tuner.method, tuner.compute)
    tuner.load_best_weights()
    after = mean_patch_scores(patches, tuner.spec, new_card, tuner.method, tuner.compute)
    comparison = ReplayComparison(
        what=description, items=len(patches), before=before.rounded(), after=after.rounded()
    )
    return (before, after), comparison


def _case_comparisons(
    split: CaseSplit, scores: tuple[list[CaseScores], list[CaseScores]]
) -> tuple[CaseComparison, ...]:
    return tuple(
        CaseComparison(
            case=number,
            before=before.rounded(),
            after=after.rounded(),
            change=round(after.dsc - before.dsc, 4),
        )
        for number, before, after in zip(split.validation_cases, *scores, strict=True)
    )


def verdict(
    validation: tuple[MeanScores, MeanScores] | None,
    replay: tuple[MeanScores, MeanScores] | None,
    cases: int,
    *,
    all_known: bool = False,
) -> tuple[Verdict, str]:
    """The verdict, and the first line that a person reads.

    Parameters
    ----------
    validation
        Base and new model on the validation cases; None where there are none.
    replay
        The same on the model's own images; None where it has no replay.
    cases
        How many validation cases there are.
    all_known
        Whether there are none because the base was trained on every case before.
    """
    no_validation = "both models know these cases" if all_known else "there was no validation case"
    validation_gain = None if validation is None else validation[1].dsc - validation[0].dsc
    replay_loss = 0.0 if replay is None else replay[0].dsc - replay[1].dsc
    replay_text = "" if replay is None else f"; on images of its first training, {_dice_change(replay)}"
    if validation is None or validation_gain is None:
        if replay_loss > _MAX_REPLAY_LOSS and replay is not None:
            return (
                "worse",
                f"Worse: on images of its first training, {_dice_change(replay)}; {no_validation}",
            )
        return (
            "unknown",
            f"Not known whether it is better: {no_validation}{replay_text}",
        )
    validation_text = (
        f"{_dice_change(validation)} on {cases} validation {'case' if cases == 1 else 'cases'}{replay_text}"
    )
    if validation_gain < -MIN_DSC_CHANGE:
        return "worse", f"Worse: {validation_text}"
    if replay_loss > _MAX_REPLAY_LOSS:
        return "worse", f"Worse on images of its first training: {validation_text}"
    if validation_gain < MIN_DSC_CHANGE:
        return "same", f"No clear change: {validation_text}"
    if cases < _MIN_CASES_TO_BE_SURE:
        return "unknown", f"Perhaps better: {validation_text}; too few cases to be sure"
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
    """Probabilities `(K, H, W)` of a slice `(H, W, 3)` at its own size; its spacing is in millimetres."""
    height, width = plane.shape[:2]
    channels = np.ascontiguousarray(plane.transpose(2, 0, 1), dtype=np.float32)
    image = resize(channels, card.preprocess.working_size(height, width, spacing))
    seeds = range(1 if method.is_deterministic else SCORING_SAMPLES)
    (samples,) = sample_planes(method, [image], card.preprocess, compute, seeds=seeds)
    return resize(np.mean(samples, axis=0), (height, width)).clip(0, 1)
