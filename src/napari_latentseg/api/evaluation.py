"""Score and calibrate models on annotated images."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import (
    check_without_prompts,
    load_chosen_model,
    locate_chosen_model,
)
from napari_latentseg.api.evaluation_options import Options, Other, run_evaluation, sample_counts
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.core.classes import ClassInfo
    from napari_latentseg.data.cases import Case
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.evaluation.protocols import Protocol
    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.split import Split
    from napari_latentseg.models.store import LocatedModel

__all__ = ["calibrate", "evaluate"]


def evaluate(
    model: Model | LocatedModel | str | Path,
    data: str | Path,
    *,
    samples: int | Sequence[int] | None = None,
    source: str | None = None,
    seed: int = 0,
    threshold: float | None = None,
    device: str = "auto",
    precision: str | None = None,
    subset: str = "all",
    split: str | Path | Sequence[str | Path] | None = None,
    protocol: str | None = None,
    stability: bool = False,
    objects: bool = False,
    readers: str | Sequence[str] | None = None,
    against: Model | LocatedModel | str | Path | None = None,
    patients: str | None = None,
    report: str | Path | None = None,
    worst_images: str | Path | None = None,
    labels: LabelsOption | None = None,
    codec: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> EvaluationReport:
    """Score a model on annotated images: Dice, IoU and HD95, with bootstrapped 95 % intervals.

    Number and source of the samples, threshold and precision are those of the model where they are not given,
    as `segment` uses it.

    Parameters
    ----------
    model
        A loaded model, or the name or folder of one.
    data
        A folder with `images/` and `masks/`, whose files have the same names; an nnU-Net raw data set; images
        beside their `_mask` files; or an annotation store.
    samples
        As for `segment`. Several numbers, as ``[1, 2, 5, 10]``, give the scores for each of them in
        `by_samples`, from one run of the largest.
    source, seed, threshold, device
        As for `segment`.
    precision
        ``"float32"``, ``"bfloat16"``, or ``"auto"`` for what `segment` would compute in. Where none is given,
        ``"auto"``, and with a protocol ``"float32"``, as the papers.
    subset
        ``"all"`` images, or ``"validation"``: those that were the model's validation images in training.
        With `split` a part of the lists: ``"train"``, ``"validation"`` or ``"test"``.
    split
        A file, or several, that names the images of each part: JSON, CSV, text with a name a line, or a
        pickle of names as that of GMS.
    protocol
        Score as a paper does: ``"gms"`` (of Wave-GMS too), ``"sdseg"``, ``"medseglatdiff"`` or ``"guided"``,
        see `napari_latentseg.evaluation.protocols`. Number and source of the samples and threshold are the
        paper's too, where not given.
    stability
        Whether the samples of each image are compared with each other (PSNR and SSIM).
    objects
        Whether the objects of the masks, such as nuclei, are matched with each other too, at an IoU above 0.5
        (see `napari_latentseg.evaluation.objects`).
    readers
        Compare the samples with the masks of several readers: the names of their folders beside `images/`, or
        ``"auto"`` for all that are called `masks_r1`, `masks_r2` and so on. The figures are in `readers`
        of the report.
    against
        Another model, which is scored on the same images, or the JSON file of an earlier evaluation of them.
        `paired` of the report has the differences image by image. Settings that are given hold for both
        models.
    patients
        A regular expression on the names of the images whose first group is the patient, such as
        ``"^(patient[0-9]+)"``: intervals and tests are then over patients, with all images of theirs.
    report
        An HTML file for a page with the scores, their distribution, the best and the worst image, and how
        reliable the probabilities are; that is in `calibration` of the report too. A file that is there is
        replaced.
    worst_images
        A new folder for the ten images with the lowest Dice: of each the result of the model, as
        `write_segmentation` writes it, and the reference mask, with a list of them, `worst.json`.
    labels
        What the labels of the masks mean, where that is not what the folder or the model says: see
        `parse_label_names`.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.
    on_note
        Called with a sentence on what was passed over in the folder.
    progress
        Called with the fraction done, in [0, 1], after each image and each sample of a slice; what it raises
        ends the evaluation, and nothing is written.

    Returns
    -------
    EvaluationReport
        Mean and standard deviation of Dice and IoU (in [0, 1]) and of HD95 (in pixels, or voxels of a volume,
        whatever their size in mm), their median and intervals, the scores of each image, and how many of the
        images the model has seen in training. An image that cannot be used is in `left_out` with the reason,
        and the others are scored.

    Raises
    ------
    BadInput
        If there is no such model or data, no image can be used, all masks are empty, `against` has scores of
        other images, or a setting is not possible.

    Examples
    --------
    >>> from napari_latentseg import evaluate
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> data = write_annotated_phantoms("phantoms", 2)
    >>> report = evaluate("breast-ultrasound", data, source="none", report="scores.html")
    >>> report.image_count, report.training_count
    (2, 0)
    >>> report.intervals.mean.dsc[0] <= report.mean.dsc <= report.intervals.mean.dsc[1]
    True
    >>> evaluate("breast-ultrasound", data, protocol="gms").protocol.size
    224
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.api.annotated_images import annotated_images
    from napari_latentseg.api.evaluation_statistics import case_pictures, patients_of, with_intervals
    from napari_latentseg.evaluation.paired import compare_paired
    from napari_latentseg.evaluation.protocols import find_protocol
    from napari_latentseg.report.evaluation_page import check_evaluation_page, write_evaluation_page

    page = None if report is None else check_evaluation_page(as_path("report", report))
    worst_folder = None if worst_images is None else as_path("worst_images", worst_images)
    located_model = locate_chosen_model(model)
    chosen = None if protocol is None else find_protocol(protocol)
    options = Options(
        counts=sample_counts(samples), source=source, threshold=threshold, seed=seed, device=device,
        precision=_default_precision(chosen) if precision is None else precision, protocol=chosen,
    )  # fmt: skip
    check_without_prompts(located_model.card)
    settings = options.settings(located_model.card)
    if worst_folder is not None:
        _check_worst_images(worst_folder, has_protocol=protocol is not None)
    if stability and settings.samples < 2:
        raise BadInput("stability", "one sample cannot be compared with others", "ask for 2 or more samples")
    _, cases, known_split = annotated_images(
        located_model, data, subset, "give the data it was trained on", labels, on_note, split
    )
    patients_of([case.name for case in cases], patients, on_note)
    other = None if against is None else Other(against, data, labels, cases, options)
    if readers is not None:
        cases = _with_readers(cases, as_path("data", data), readers, protocol)

    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.inference.predictor import Predictor

    evaluation = Evaluation(
        Predictor(load_chosen_model(located_model, codec), device, options.precision),
        settings, cases, known_split, protocol=chosen,
        sample_counts=options.counts if len(options.counts) > 1 else (),
        with_stability=stability, with_calibration=page is not None, with_objects=objects,
    )  # fmt: skip
    own_share = 0.5 if other is not None and other.report is None else 1.0  # share of the time
    _run_keeping_worst(
        evaluation, worst_folder, located_model.card.classes,
        lambda fraction: progress(own_share * fraction),
    )  # fmt: skip
    scores = evaluation.report()
    patient_names = patients_of([image.name for image in scores.images], patients)
    scores = with_intervals(scores if split is None else scores.replace(subset=subset), patient_names)
    pictures = [] if page is None else case_pictures(evaluation, scores)
    del evaluation  # with its networks, before those of the other model are loaded
    if other is not None:
        other_scores = other.scores(scores, lambda fraction: progress(own_share + (1 - own_share) * fraction))
        scores = scores.replace(paired=compare_paired(scores, other_scores, other.title, patient_names))
    if page is not None:
        write_evaluation_page(page, scores, located_model.card, pictures)
    return scores


def _default_precision(protocol: Protocol | None) -> str:
    """That of `segment`; with a protocol the papers' own."""
    return "auto" if protocol is None else "float32"


def _run_keeping_worst(
    evaluation: Evaluation, folder: Path | None, classes: Sequence[ClassInfo], progress: Progress
) -> None:
    """Score all images, and keep those with the lowest Dice in a folder if there is one.

    Raises
    ------
    BadInput
        If all masks are empty or full, or the folder cannot be written.
    """
    from napari_latentseg.api.worst_images import worst_images_folder

    with worst_images_folder(folder, classes) as worst:
        if worst is not None:
            evaluation.on_scored = worst.add
        run_evaluation(evaluation, progress)
        evaluation.mask_content.check()


def _check_worst_images(folder: Path, *, has_protocol: bool) -> None:
    """Refuse a folder that is in use, and scores that do not belong to the images as they are written.

    Raises
    ------
    BadInput
        In both cases.
    """
    from napari_latentseg.utils.atomic import check_unused_folder

    check_unused_folder(folder)
    if has_protocol:
        why = "are written at the size of the files, and a protocol scores at its own"
        raise BadInput("worst images", why, "leave out the protocol")


def _with_readers(
    cases: list[Case], folder: Path, readers: str | Sequence[str], protocol: str | None
) -> list[Case]:
    """The cases with the masks of several readers.

    Raises
    ------
    BadInput
        If there is no such folder, an image has no mask of one of the readers, or a paper's protocol is
        asked for too.
    """
    from napari_latentseg.data.readers import parse_readers, with_readers

    if protocol is not None:
        raise BadInput("readers", "are compared at the size of the files", "leave out the protocol")
    names = parse_readers(readers if isinstance(readers, str) else ",".join(readers))
    return with_readers(cases, folder, names)


def calibrate(
    model: LocatedModel | str | Path,
    data: str | Path,
    *,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    level: float = 0.9,
    device: str = "auto",
    subset: str = "validation",
    labels: LabelsOption | None = None,
    codec: str | Path | None = None,
    out: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    on_left_out: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> ModelCard:
    """Measure how reliable a model's probabilities and volumes are, and write that into its card.

    A temperature of the mean probability is fitted to all of the images where there are five or more, and
    tested by halves, each at the temperature of the other; threshold and masks stay what they are. How
    reliable the mean then is, is measured on all of the images. The intervals for areas and
    volumes are fitted to one half of them and tested on the other. The contours that enclose the true edge,
    and the expected Dice, are fitted to all of them and tested by leaving each image out; they need 20. Where
    the folder holds the training images of the model, they are described in the card too, so that it can be
    told whether another image is like them (see `check_fit`).

    Everything is computed in float32. Where the hardware multiplies bfloat16 natively, up to 20 images are
    segmented in bfloat16 too: if their masks stay the same, the precision ``"auto"`` is bfloat16 for this
    model from then on.

    Parameters
    ----------
    model
        The name or the folder of a model.
    data
        A folder with `images/` and `masks/`, whose files have the same names; an nnU-Net raw data set; images
        beside their `_mask` files; or an annotation store.
    samples, source, seed, device
        As for `segment`; at least three samples. The intervals are valid for this number and source alone.
    level
        The share of true volumes that the intervals are to contain, of true edges that are to lie between
        the contours, and of images whose Dice is to be at least the lower bound; in (0, 1).
    subset
        ``"validation"``: the model's own validation images; ``"all"``: all images, if the model was trained
        on none of them.
    labels
        What the labels of the masks mean, where that is not what the folder or the model says: see
        `parse_label_names`.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.
    out
        A folder for a copy of the model with the new card. Required for an embedded model, which is not
        changed.
    on_note
        Called with a sentence on what could not be computed or used, and why.
    on_left_out
        Called with the reason for each image that cannot be used; the others are.
    progress
        Called with the fraction done, in [0, 1].

    Returns
    -------
    ModelCard
        The card as written, with `reliability` and, where there are enough images, `temperature`,
        `volume_interval`, `contour_band` and `expected_dice`; with `bfloat16` where that was measured. `fit`
        is measured anew where the folder holds the training images too; of a fine-tuned model, those of its
        base among them.

    Raises
    ------
    BadInput
        If there is no such model or data, the model was trained on some of the images, or a setting is
        not possible; nothing is written then.

    Examples
    --------
    >>> from napari_latentseg import calibrate
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> data = write_annotated_phantoms("phantoms", 2)
    >>> card = calibrate("breast-ultrasound", data, samples=3, subset="all", out="calibrated", on_note=print)
    no temperature: cases: ...
    no interval: cases: ...
    no contours: cases: ...
    no expected Dice: cases: ...
    >>> 0 < card.reliability.ece < 1
    True
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.api.annotated_images import annotated_images, cases_by_part
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.update_card import check_can_update_card, update_card

    located_model, output_folder = locate_chosen_model(model), None if out is None else as_path("out", out)
    check_without_prompts(located_model.card)
    settings = InferenceSettings.for_model(
        located_model.card, samples=samples, source=source, seed=seed, device=device
    )
    if not 0 < level < 1:
        raise BadInput("level", f"is {level:g}", "give one between 0 and 1, such as 0.9")
    check_can_update_card(located_model.folder, output_folder)
    remedy = "give the data it was trained on, or use the subset all with images that are new to it"
    all_cases, cases, split = annotated_images(located_model, data, subset, remedy, labels, on_note)

    from napari_latentseg.inference.calibrate import Calibration
    from napari_latentseg.inference.predictor import Predictor

    predictor = Predictor(load_chosen_model(located_model, codec), device, "float32")
    calibration = Calibration(predictor, settings, cases, split)
    for left_out in calibration.left_out:
        on_left_out(left_out.reason)
    for fraction in calibration.run():
        progress(fraction)
    card_updates, notes = calibration.card_updates(level)
    for note in notes:
        on_note(note)
    training, validation = cases_by_part(all_cases, split)
    if why_not := _why_reference_stays(located_model.card, len(training), split):
        on_note(f"what the training images are like stays as it is: {why_not}")
    elif training:
        from napari_latentseg.inference.fit import fit_reference

        card_updates["fit"] = fit_reference(predictor.model, predictor.compute, training, validation)
    # reads the card again: it may have changed in the minutes since
    return update_card(located_model.folder, card_updates, output_folder)


def _why_reference_stays(card: ModelCard, training_count: int, split: Split) -> str:
    """Why a folder with so many training images cannot tell what they are like; empty where it can.

    A fine-tuned model has learned from the images of its base too, which are rarely in the folder. The few
    that it was taught would make every other image look foreign.
    """
    if not training_count:
        return ""
    if card.lineage:
        total = len(split.train) + len(split.earlier_train)
    else:
        total = card.fit.images if card.fit is not None else 0
    return f"the folder holds {training_count} of {total} of them" if training_count < total else ""
