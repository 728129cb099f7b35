"""Segment what a person points at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.api.mask_files import read_mask
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import shown
from napari_latentseg.utils.progress import Progress, no_progress

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from napari_latentseg.core.prompts import Prompts
    from napari_latentseg.core.segmentation import Segmentation
    from napari_latentseg.inference.fill_run import FillRun
    from napari_latentseg.inference.prompt_run import PromptRun
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = [
    "check_acquired",
    "check_prompts",
    "check_takes_prompts",
    "fill_between",
    "start_fill_run",
    "start_prompt_run",
]


def start_prompt_run(
    scan: ImageLike,
    model: Model | LocatedModel | str | Path,
    prompts: Prompts,
    settings: InferenceSettings | None = None,
    *,
    through: bool = False,
    series: int | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: str | None = None,
    codec: str | Path | None = None,
) -> PromptRun:
    """Prepare the segmentation of what prompts point at; `segment` works through this function.

    Parameters
    ----------
    scan, series, channel, spacing, axes, codec
        As for `segment`.
    model
        One that takes prompts, such as ``"any-structure"``.
    prompts
        Points inside and outside the structure, and boxes around it, in voxels of the scan; on several slices
        of a volume where it is followed through them.
    settings
        Number of samples, threshold, crop box, post-processing; those of the model card where not given.
    through
        Whether the structure is followed through the slices of a volume: filled between slices that are
        pointed at, and carried on beyond them.

    Returns
    -------
    PromptRun
        Iterate over it to do the work; its `result` may be asked for at any time.

    Raises
    ------
    BadInput
        If there is no such model or scan, the model takes no prompts, or they do not fit the scan.

    Examples
    --------
    >>> from napari_latentseg import Prompts, start_prompt_run
    >>> from napari_latentseg.sample_data import ultrasound_phantom
    >>> scan = ultrasound_phantom(shape=(96, 128)).scan
    >>> run = start_prompt_run(scan, "any-structure", Prompts(positive=[(48, 64)]))
    >>> run.finish().record.source
    'readings'
    """
    from napari_latentseg.inference.settings import InferenceSettings

    located_model = locate_chosen_model(model)
    if settings is None:
        settings = InferenceSettings.for_model(located_model.card)
    check_prompts(located_model.card, prompts, settings)
    input_scan = open_image(scan, series=series, channel=channel, spacing=spacing, axes=axes)
    # refused before torch is loaded
    for part in map(prompts.of_plane, prompts.planes) if through and prompts.planes else (prompts,):
        part.on_plane(input_scan.spatial_shape)

    from napari_latentseg.inference.prompt_run import PromptRun
    from napari_latentseg.utils.device import resolve_compute

    loaded_model = load_chosen_model(located_model, codec)
    compute = resolve_compute(
        settings.device, settings.precision, is_bfloat16_allowed=loaded_model.card.allows_bfloat16
    )
    return PromptRun(loaded_model, compute, input_scan, prompts, settings, through=through)


def start_fill_run(
    scan: ImageLike,
    model: Model | LocatedModel | str | Path,
    mask: NDArray[Any] | str | Path,
    settings: InferenceSettings | None = None,
    *,
    label: int | None = None,
    beyond: bool = False,
    series: int | None = None,
    channel: int | None = None,
    spacing: float | Sequence[float] | None = None,
    axes: str | None = None,
    codec: str | Path | None = None,
) -> FillRun:
    """Prepare to fill a structure between slices; `fill_between` works through this function.

    Parameters
    ----------
    scan, series, channel, spacing, axes, codec
        As for `segment`; a volume.
    model
        One that takes prompts, such as ``"any-structure"``.
    mask
        Labels of the volume, `(D, H, W)`, or a file of them: the slices that are labelled stay as they are.
    settings
        Number of samples and threshold; those of the model card where not given.
    label
        Which label is the structure; all that are not 0 where not given.
    beyond
        Whether the structure is followed beyond the outermost slices as well.

    Returns
    -------
    FillRun
        Iterate over it to do the work; its `result` may be asked for at any time.

    Raises
    ------
    BadInput
        If there is no such model or scan, the model takes no prompts, the mask is of another image, or there
        is nothing to fill.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import start_fill_run
    >>> volume = np.zeros((5, 64, 64), np.uint8)
    >>> volume[:, 20:40, 20:40] = 200
    >>> mask = (volume > 0) & np.isin(np.arange(5), [0, 4])[:, None, None]
    >>> run = start_fill_run(volume, "any-structure", mask)
    >>> bool(run.finish().mask[2, 30, 30])
    True
    """
    from napari_latentseg.evaluation.label_maps import check_labels, placed_on
    from napari_latentseg.inference.settings import InferenceSettings

    located_model = locate_chosen_model(model)
    if settings is None:
        settings = InferenceSettings.for_model(located_model.card)
    check_takes_prompts(located_model.card)
    input_scan = open_image(scan, series=series, channel=channel, spacing=spacing, axes=axes)
    name, geometry = "mask", None
    given: Any = mask
    if isinstance(mask, str | Path):
        mask_scan = read_mask(Path(mask))
        name, geometry, given = Path(mask).name, mask_scan.geometry, mask_scan.array
    labels = placed_on(
        name, check_labels(name, given), geometry, input_scan.geometry, input_scan.spatial_shape,
        target_name="the image", remedy="give the mask of this image",
    )  # fmt: skip
    chosen = labels != 0 if label is None else labels == label
    if not chosen.any():
        what = "is empty" if label is None else f"has no label {label}"
        raise BadInput(name, what, "label the structure on two slices or more")
    decided = {plane: chosen[plane] for plane in range(len(chosen)) if chosen[plane].any()}
    if not beyond and max(decided) - min(decided) + 1 == len(decided):
        why = "leaves no slice to fill between those that are labelled"
        raise BadInput(name, why, "label two slices with others between them, or fill beyond them")

    from napari_latentseg.inference.fill_run import FillRun
    from napari_latentseg.utils.device import resolve_compute

    loaded_model = load_chosen_model(located_model, codec)
    compute = resolve_compute(
        settings.device, settings.precision, is_bfloat16_allowed=loaded_model.card.allows_bfloat16
    )
    return FillRun(loaded_model, compute, input_scan, decided, settings, beyond=beyond)


def fill_between(
    scan: ImageLike,
    model: Model | LocatedModel | str | Path,
    mask: NDArray[Any] | str | Path,
    *,
    label: int | None = None,
    beyond: bool = False,
    samples: int | None = None,
    progress: Progress = no_progress,
    **image: Any,
) -> Segmentation:
    """Fill a structure of a volume between the slices on which it is labelled.

    The distances to its edge are interpolated between the labelled slices. In a band around the interpolated
    edge the model and what the labelled slices look like decide.

    Parameters
    ----------
    scan, model, mask, label, beyond
        As for `start_fill_run`.
    samples
        How many answers are drawn for each slice; that of the model card where not given.
    progress
        Called with the fraction that is done.
    **image
        Series, channel, spacing, axes and codec, as for `segment`.

    Returns
    -------
    Segmentation
        Of the labelled slices and those between; the labelled ones are as they were given.

    Raises
    ------
    BadInput
        As `start_fill_run`.

    Examples
    --------
    >>> import numpy as np
    >>> from napari_latentseg import fill_between
    >>> volume = np.zeros((5, 64, 64), np.uint8)
    >>> volume[:, 20:40, 20:40] = 200
    >>> mask = (volume > 0) & np.isin(np.arange(5), [0, 4])[:, None, None]
    >>> result = fill_between(volume, "any-structure", mask, samples=1)
    >>> bool(result.mask[2, 30, 30]), bool(result.mask[2, 5, 5])
    (True, False)
    """
    from napari_latentseg.inference.settings import InferenceSettings

    located_model = locate_chosen_model(model)
    settings = InferenceSettings.for_model(located_model.card, samples=samples)
    run = start_fill_run(scan, located_model, mask, settings, label=label, beyond=beyond, **image)
    return run.finish(progress)


def check_prompts(card: ModelCard, prompts: Prompts, settings: InferenceSettings) -> None:
    """Refuse prompts for a model that takes none, and settings that prompts leave no room for.

    Raises
    ------
    BadInput
        Naming what is not possible.
    """
    from napari_latentseg.core.prompts import Prompts

    if not isinstance(prompts, Prompts):
        raise BadInput(
            "prompts", f"{shown(prompts)} is not a Prompts object", "write Prompts(positive=[(y, x)])"
        )
    check_takes_prompts(card)
    if settings.slices is not None:
        raise BadInput("slices", "are chosen by the prompts", "leave them out")
    if settings.tolerance is not None:
        raise BadInput("tolerance", "is for runs without prompts", "leave it out")


def check_takes_prompts(card: ModelCard) -> None:
    """Refuse a model that cannot be pointed at.

    Raises
    ------
    BadInput
        If it takes no prompts.
    """
    if not card.takes_prompts:
        remedy = "choose a model that takes some, such as any-structure, or leave them out"
        raise BadInput(f"model {card.name!r}", "takes no prompts", remedy)


def check_acquired(plane: str) -> None:
    """Refuse another orientation of the slices than that of the prompts.

    Raises
    ------
    BadInput
        If it is not ``"acquired"``.
    """
    if plane != "acquired":
        raise BadInput("plane", "prompts are on acquired slices", "leave it out")
