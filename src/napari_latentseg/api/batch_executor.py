"""The executor that computes the cases of a batch, as it was asked for."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import TYPE_CHECKING

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.argument_types import whole_number

if TYPE_CHECKING:
    from napari_latentseg.batches.executors import CaseFunction, Executor
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.models.folder import Model
    from napari_latentseg.models.store import LocatedModel

__all__ = ["choose_executor"]


def choose_executor(
    segment_case: CaseFunction,
    model: Model | LocatedModel,
    settings: InferenceSettings,
    codec: Path | None,
    *,
    workers: int,
    scheduler: str | None,
) -> Executor:
    """Choose this process for a single worker, else processes on this machine or workers of a scheduler.

    Parameters
    ----------
    segment_case
        Segments one case.
    model, settings, codec
        What it segments with.
    workers
        How many processes on this machine; they share its threads.
    scheduler
        The address of a scheduler of dask.

    Raises
    ------
    BadInput
        If an argument is not possible, or dask.distributed is needed and not installed.
    """
    count = whole_number("workers", workers)
    if count < 1:
        raise BadInput("workers", f"is {count}", "give 1 or more")
    if scheduler is None and count == 1:
        from napari_latentseg.batches.executors import InProcess

        return InProcess(segment_case)
    from napari_latentseg import __version__
    from napari_latentseg.batches.workers import Workers
    from napari_latentseg.utils.threads import thread_count

    if scheduler is not None:
        if count > 1:
            raise BadInput("workers", "go without a scheduler", "the scheduler has workers: leave one out")
        return Workers(segment_case, __version__, scheduler=str(scheduler))
    threads = max(1, thread_count() // count)
    return Workers(
        segment_case,
        __version__,
        count=count,
        threads=threads,
        prepare=lambda: _compile_once(model, settings, codec),
    )


def _compile_once(model: Model | LocatedModel, settings: InferenceSettings, codec: Path | None) -> None:
    """Compile the model if it is the first time on this machine: else every worker would do it at once."""
    from napari_latentseg.engines.compiled_engine import find_plan
    from napari_latentseg.utils.device import wanted_engine

    if wanted_engine(settings.engine) == "torch" or importlib.util.find_spec("openvino") is None:
        return
    card = model.card
    if any(find_plan(card, precision, card.preprocess.size) for precision in ("float32", "bfloat16")):
        return
    from napari_latentseg.api.chosen_model import load_chosen_model
    from napari_latentseg.inference.predictor import Predictor

    predictor = Predictor(
        load_chosen_model(model, codec), settings.device, settings.precision, settings.engine
    )
    if predictor.compute.engine == "openvino":
        predictor.compile()
