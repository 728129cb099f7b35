"""Segment scans, and score and calibrate models."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import as_path, shown
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.data.label_names import LabelsOption
    from napari_latentseg.evaluation.report import EvaluationReport
    from napari_latentseg.inference.run import Run
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.split import Split
    from napari_latentseg.models.store import LocatedModel

__all__ = ["calibrate", "evaluate", "segment", "start_run"]


def segment(
    scan: ImageLike,
    model: Model | LocatedModel | str | Path,
    *,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    threshold: float | None = None,
    device: str = "auto",
    precision: str = "auto",
    codec: str | Path | None = None,
    series: int | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: str | None = None,
    plane: str = "acquired",
    slices: tuple[int, int] | None = None,
    box: tuple[int, int, int, int] | None = None,
    classes: Sequence[str] | None = None,
    cleanup: PostProcess | None = None,
    tolerance: float | None = None,
    progress: Progress = no_progress,
) -> Segmentation:
    """Segment an image or a volume.

    Parameters
    ----------
    scan
        A `Scan`; the path of a file or folder; an array (NumPy, dask, torch, xarray, zarr); an image of
        SimpleITK, nibabel or Pillow; or an image layer of napari.
    model
        A loaded model, or the name or folder of one.
    samples
        How many samples are drawn, 1 to 1000; the model card's default where not given.
    source
        What makes the samples differ: ``"augment"``, ``"members"``, ``"noise"``, ``"posterior"`` or
        ``"dropout"``; ``"none"`` for a single prediction. The first of the model card is the default.
    seed
        The same seed gives the same result on the same machine; 0 or more.
    threshold
        A voxel belongs to a class where its mean probability is above this, in (0, 1); the model card's
        default where not given.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    codec
        The folder of the model's codec, where the codec is neither embedded nor installed.
    series
        Which image of a file or folder that holds several, counted from 1.
    channel
        Which channel of an image whose channels are not colours, counted from 1.
    spacing
        In mm, for an array, or an image whose file states none, such as a photograph: one number for square
        pixels or cubic voxels, or one for each axis of the array but time and channels.
    axes
        Of an array, one letter for each axis out of ``t z y x c``, such as ``"zyx"`` or ``"yxc"``. Not needed
        where the shape leaves no doubt.
    plane
        The orientation of the slices: ``"acquired"``, ``"axial"``, ``"coronal"`` or ``"sagittal"``. The
        result has the orientation of the scan in any case.
    slices
        The first and the last slice to segment, counted from 1; all where not given. Mask and probabilities
        are 0 in the other slices.
    box
        The crop box of each slice in pixels, counted from 0: top, left, bottom, right, the last two
        exclusive; at least 16 pixels a side. Nothing outside is read, and the result is 0 there.
    classes
        The names of the classes to segment; all where not given.
    cleanup
        Post-processing of the mask.
    tolerance
        Stop before `samples` once two samples in a row change the mask by no more than this (1 - Dice), in
        (0, 1); draw all samples where not given.
    progress
        Called with the fraction done, in [0, 1].

    Returns
    -------
    Segmentation
        Mask (uint8 labels, the spatial shape of the scan), mean and variance of the probabilities (float32,
        one map per class), the volumes of the samples, and the record of the run.

    Raises
    ------
    BadInput
        If there is no such model or scan, they do not fit each other, or a setting is not possible.

    Examples
    --------
    >>> from napari_latentseg import segment
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> result = segment(ultrasound_phantom().scan, "breast-ultrasound", samples=3)
    >>> result.mask.shape, result.mean.shape, result.record.samples
    ((256, 320), (1, 256, 320), 3)
    >>> result.record.volume_unit
    'mm2'

    An array becomes an image with its spacing:

    >>> import numpy as np
    >>> picture = np.random.default_rng(0).integers(0, 256, (96, 128), dtype=np.uint8)
    >>> segment(picture, "breast-ultrasound", source="none", spacing=0.2).geometry.spacing
    (0.2, 0.2)
    """
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.utils.argument_types import check_callable, whole_numbers

    check_callable("progress", progress)
    located_model = locate_chosen_model(model)
    if slices is not None:
        first, last = whole_numbers("slices", slices, 2)
        slices = (first - 1, last - 1)
    settings = InferenceSettings.for_model(
        located_model.card, samples=samples, source=source, seed=seed, threshold=threshold, device=device,
        precision=precision, slices=slices, box=box, classes=classes, cleanup=cleanup, tolerance=tolerance,
    )  # fmt: skip
    run = start_run(
        scan, located_model, settings, plane=plane, series=series, channel=channel, spacing=spacing,
        axes=axes, codec=codec,
    )  # fmt: skip
    return run.finish(progress)


def start_run(
    scan: ImageLike,
    model: Model | LocatedModel | str | Path,
    settings: InferenceSettings | None = None,
    *,
    plane: str = "acquired",
    series: int | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: str | None = None,
    codec: str | Path | None = None,
) -> Run:
    """Prepare a segmentation that is worked on step by step: for progress, previews, stopping, more samples.

    `segment`, the command line and the widgets all work through this function.

    Parameters
    ----------
    scan, model, plane, series, channel, spacing, axes, codec
        As for `segment`.
    settings
        The settings; those of the model card where not given.

    Returns
    -------
    Run
        Iterate over it to do the work; stop iterating to cancel. Its `result` may be asked for at any time,
        `extend` asks for further samples, and `state.original` is the scan that was read.

    Raises
    ------
    BadInput
        If there is no such model or scan, they do not fit each other, or a setting is not possible.

    Examples
    --------
    >>> from napari_latentseg import start_run
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> run = start_run(ultrasound_phantom(shape=(96, 128)).scan, "breast-ultrasound")
    >>> for progress in run:
    ...     if progress.is_sample_complete and progress.sample == 1:
    ...         break  # two of the samples are enough here
    >>> run.result().record.samples
    2
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.core.reorient import reorient
    from napari_latentseg.inference.settings import InferenceSettings

    located_model = locate_chosen_model(model)
    if settings is None:
        settings = InferenceSettings.for_model(located_model.card)
    if not isinstance(settings, InferenceSettings):
        raise BadInput(
            "settings", f"{shown(settings)} is no InferenceSettings", "see InferenceSettings.for_model"
        )
    input_scan = open_image(scan, series=series, channel=channel, spacing=spacing, axes=axes)
    reorient(input_scan, plane)  # raises where the scan has no such slices

    from napari_latentseg.inference.predictor import Predictor

    predictor = Predictor(load_chosen_model(located_model, codec), settings.device, settings.precision)
    return predictor.start(input_scan, settings, plane)


def evaluate(
    model: Model | LocatedModel | str | Path,
    data: str | Path,
    *,
    samples: int | None = None,
    source: str | None = None,
    seed: int = 0,
    threshold: float | None = None,
    device: str = "auto",
    subset: str = "all",
    labels: LabelsOption | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> EvaluationReport:
    """Score a model on annotated images: Dice, IoU and HD95.

    Parameters
    ----------
    model
        A loaded model, or the name or folder of one.
    data
        A folder with `images/` and `masks/`, whose files have the same names; an nnU-Net raw data set; images
        beside their `_mask` files; or an annotation store.
    samples, source, seed, threshold, device
        As for `segment`.
    subset
        ``"all"`` images, or ``"validation"``: those that were the model's validation images in training.
    labels
        What the labels of the masks mean, where that is not what the folder or the model says: see
        `parse_label_names`.
    on_note
        Called with a sentence on what was passed over in the folder.
    progress
        Called with the fraction done, in [0, 1].

    Returns
    -------
    EvaluationReport
        Mean and standard deviation of Dice and IoU (in [0, 1]) and of HD95 (in pixels), the scores of each
        image, and how many of the images the model has seen in training. An image that cannot be used is in
        `left_out` with the reason, and the others are scored.

    Raises
    ------
    BadInput
        If there is no such model or data, no image can be used, or a setting is not possible.

    Examples
    --------
    >>> from napari_latentseg import evaluate
    >>> from napari_latentseg.sample_data import write_annotated_phantoms
    >>> report = evaluate("breast-ultrasound", write_annotated_phantoms("phantoms", 2), source="none")
    >>> report.image_count, report.training_count
    (2, 0)
    >>> report.mean.dsc > 0.5
    True
    """
    # what can be refused cheaply is refused before torch is loaded
    from napari_latentseg.api.annotated_images import annotated_images
    from napari_latentseg.inference.settings import InferenceSettings

    located_model = locate_chosen_model(model)
    settings = InferenceSettings.for_model(
        located_model.card, samples=samples, source=source, seed=seed, threshold=threshold, device=device
    )
    _, cases, split = annotated_images(
        located_model, data, subset, "give the data it was trained on", labels, on_note
    )

    from napari_latentseg.inference.evaluate import Evaluation
    from napari_latentseg.inference.predictor import Predictor

    evaluation = Evaluation(Predictor(load_chosen_model(located_model), device), settings, cases, split)
    for fraction in evaluation.run():
        progress(fraction)
    return evaluation.report()


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
    out: str | Path | None = None,
    on_note: Callable[[str], None] = lambda text: None,
    on_left_out: Callable[[str], None] = lambda text: None,
    progress: Progress = no_progress,
) -> ModelCard:
    """Measure how reliable a model's probabilities and volumes are, and write that into its card.

    The calibration of the mean probabilities is measured on all of the images. The intervals for areas and
    volumes are fitted to one half of them and tested on the other. The contours that enclose the true edge,
    and the expected Dice, are fitted to all of them and tested by leaving each image out; they need 20. Where
    the folder holds the training images of the model, they are described in the card too, so that it can be
    told whether another image is like them (see `check_fit`).

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
        The card as written, with `reliability` and, where there are enough images, `volume_interval`,
        `contour_band` and `expected_dice`. `fit` is measured anew where the folder holds the training images
        too; of a fine-tuned model, those of its base among them.

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

    calibration = Calibration(Predictor(load_chosen_model(located_model), device), settings, cases, split)
    for left_out in calibration.left_out:
        on_left_out(left_out.reason)
    for fraction in calibration.run():
        progress(fraction)
    card_updates: dict[str, Any] = {"reliability": calibration.reliability()}
    fits: tuple[tuple[str, str, Callable[[float], Any]], ...] = (
        ("volume_interval", "interval", calibration.volume_interval),
        ("contour_band", "contours", calibration.contour_band),
        ("expected_dice", "expected Dice", calibration.expected_dice),
    )
    for field, words, fit in fits:
        try:
            card_updates[field] = fit(level)
        except BadInput as error:
            card_updates[field] = None
            on_note(f"no {words}: {error}")
    training, validation = cases_by_part(all_cases, split)
    if why_not := _why_reference_stays(located_model.card, len(training), split):
        on_note(f"what the training images are like stays as it is: {why_not}")
    elif training:
        from napari_latentseg.inference.fit import fit_reference

        predictor = calibration.predictor
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
