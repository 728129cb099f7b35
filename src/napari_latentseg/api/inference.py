"""Segment scans."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import (
    check_without_prompts,
    load_chosen_model,
    locate_chosen_model,
)
from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.api.prompts import check_acquired, start_prompt_run
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import shown
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from napari_latentseg.core.postprocess import PostProcess
    from napari_latentseg.core.prompts import Prompts
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.inference.run import Run
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["segment", "start_run"]


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
    engine: str = "auto",
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
    prompts: Prompts | None = None,
    through: bool = False,
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
        The same seed gives the same result on the same machine, in bfloat16 with as many threads; 0 or more.
    threshold
        A voxel belongs to a class where its mean probability is above this, in (0, 1); the model card's
        default where not given.
    device
        ``"auto"``, ``"cpu"``, ``"cuda"`` or ``"mps"``.
    precision
        ``"auto"``, ``"float32"`` or ``"bfloat16"``.
    engine
        What computes the networks: ``"torch"``; ``"openvino"``, on the CPU; or ``"auto"``, OpenVINO where it
        is installed and can.
    codec
        The model's codec, where it is not kept on this machine: a folder or file, or the name of a kept one.
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
    prompts
        Where the structure is, for a model that is pointed at, such as ``"any-structure"``; see `Prompts`.
        Its samples are what the prompts may mean.
    through
        Whether what was pointed at is followed through the slices of a volume. The prompts may then be on
        several slices: each is answered from its own, the structure is filled between them, and carried on
        beyond the outermost until it ends or the model is much less sure. The record says where and why it
        stopped.
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
        precision=precision, engine=engine, slices=slices, box=box, classes=classes, cleanup=cleanup,
        tolerance=tolerance,
    )  # fmt: skip
    if prompts is not None:
        check_acquired(plane)
        prompt_run = start_prompt_run(
            scan, located_model, prompts, settings, through=through, series=series, channel=channel,
            spacing=spacing, axes=axes, codec=codec,
        )  # fmt: skip
        return prompt_run.finish(progress)
    if through:
        raise BadInput(
            "through", "follows a structure that prompts point at, and no prompts are given", "give prompts"
        )
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
    may_compile: bool = True,
) -> Run:
    """Prepare a segmentation that is worked on step by step: for progress, previews, stopping, more samples.

    `segment`, the command line and the widgets all work through this function.

    Parameters
    ----------
    scan, model, plane, series, channel, spacing, axes, codec
        As for `segment`.
    settings
        The settings; those of the model card where not given.
    may_compile
        Whether a model that OpenVINO has not compiled on this machine is compiled before the run, which takes
        some seconds once; otherwise torch computes this run.

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
    check_without_prompts(located_model.card)
    if settings is None:
        settings = InferenceSettings.for_model(located_model.card)
    if not isinstance(settings, InferenceSettings):
        raise BadInput(
            "settings",
            f"{shown(settings)} is not an InferenceSettings object",
            "see InferenceSettings.for_model",
        )
    input_scan = open_image(scan, series=series, channel=channel, spacing=spacing, axes=axes)
    oriented, _ = reorient(input_scan, plane)  # raises where the scan has no such slices
    settings.check_part(oriented)

    from napari_latentseg.inference.compiled_start import start_compiled_run
    from napari_latentseg.models.store import LocatedModel

    if isinstance(located_model, LocatedModel) and codec is None:
        run = start_compiled_run(located_model, input_scan, settings, plane)
        if run is not None:
            return run

    from napari_latentseg.inference.predictor import Predictor

    loaded_model = load_chosen_model(located_model, codec)
    predictor = Predictor(
        loaded_model, settings.device, settings.precision, settings.engine, may_compile=may_compile
    )
    return predictor.start(input_scan, settings, plane)
