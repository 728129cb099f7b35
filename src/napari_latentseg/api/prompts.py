"""Segment what a person points at."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.api.chosen_model import load_chosen_model, locate_chosen_model
from napari_latentseg.api.images import ImageLike, open_image
from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import shown

if TYPE_CHECKING:
    from napari_latentseg.core.prompts import Prompts
    from napari_latentseg.inference.prompt_run import PromptRun
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.card import ModelCard
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["check_acquired", "check_prompts", "check_takes_prompts", "start_prompt_run"]


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
        Points inside and outside the structure, and boxes around it, in voxels of the scan.
    settings
        Number of samples, threshold, crop box, post-processing; those of the model card where not given.
    through
        Whether the answer is carried on through the slices of a volume.

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
    prompts.on_plane(input_scan.spatial_shape)  # refused before torch is loaded

    from napari_latentseg.inference.prompt_run import PromptRun
    from napari_latentseg.utils.device import resolve_compute

    loaded_model = load_chosen_model(located_model, codec)
    compute = resolve_compute(
        settings.device, settings.precision, is_bfloat16_allowed=loaded_model.card.allows_bfloat16
    )
    return PromptRun(loaded_model, compute, input_scan, prompts, settings, through=through)


def check_prompts(card: ModelCard, prompts: Prompts, settings: InferenceSettings) -> None:
    """Refuse prompts for a model that takes none, and settings that prompts leave no room for.

    Raises
    ------
    BadInput
        Naming what is not possible.
    """
    from napari_latentseg.core.prompts import Prompts

    if not isinstance(prompts, Prompts):
        raise BadInput("prompts", f"{shown(prompts)} is no Prompts", "write Prompts(positive=[(y, x)])")
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
