"""Whether a model was compiled on this machine, and starting a run of it without torch."""

from __future__ import annotations

import importlib.util
import platform
import sys
from contextlib import suppress
from functools import cache
from importlib.metadata import PackageNotFoundError, version

from napari_latentseg.core.scan import Scan
from napari_latentseg.engines.base import Engine
from napari_latentseg.inference.run import Run
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tile_sizes import tile_sizes
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.layout import check_files
from napari_latentseg.models.store import LocatedModel
from napari_latentseg.utils.device import Compute, wanted_engine
from napari_latentseg.utils.fork_guard import check_not_forked, note_computation
from napari_latentseg.utils.threads import thread_count

__all__ = ["is_compiled", "load_compiled", "start_compiled_run", "uses_openvino"]


def start_compiled_run(
    model: LocatedModel, scan: Scan, settings: InferenceSettings, plane: str = "acquired"
) -> Run | None:
    """As `Predictor.start`, where everything that the model computes was compiled before.

    Parameters
    ----------
    model
        The model; its files are checked against its card.
    scan, settings, plane
        As for `Predictor.start`.

    Returns
    -------
    Run or None
        None where torch is needed: for another device or engine, samples that need noise, or a model that is
        not compiled.

    Raises
    ------
    BadInput
        As `Predictor.start`, or if a file of the model is missing or damaged.
    """
    found = _find_engine(model, settings)
    if found is None:
        return None
    engine, precision = found
    note_computation(thread_count())
    return Run(model, [engine], Compute("cpu", precision, "openvino"), scan, settings, plane)


def load_compiled(model: LocatedModel, settings: InferenceSettings) -> bool:
    """Load the compiled functions that a run needs into memory, where it finds them.

    Parameters
    ----------
    model, settings
        As for `start_compiled_run`.

    Returns
    -------
    bool
        Whether `start_compiled_run` would start a run.

    Raises
    ------
    BadInput
        If a file of the model is missing or damaged.
    """
    return _find_engine(model, settings) is not None


def _find_engine(model: LocatedModel, settings: InferenceSettings) -> tuple[Engine, str] | None:
    """The engine of a model and its precision, where a run needs no torch."""
    if settings.source not in ("augment", "none") or not uses_openvino(settings.engine, settings.device):
        return None
    check_not_forked()
    from napari_latentseg.engines.compiled_engine import find_compiled_engine, find_plan

    card, precision = model.card, _precision(model.card, settings.precision)
    plan = None if precision is None else find_plan(card, precision, card.preprocess.size)
    if precision is None or plan is None:
        return None
    check_files(model.folder, card)
    engine = find_compiled_engine(card, precision, tile_sizes(card, settings, plan.size_multiple))
    return None if engine is None else (engine, precision)


def uses_openvino(engine: str, device: str) -> bool:
    """Whether OpenVINO would compute on this machine, as far as can be told without loading torch.

    Parameters
    ----------
    engine, device
        As in `InferenceSettings`.
    """
    if wanted_engine(engine) == "torch" or importlib.util.find_spec("openvino") is None:
        return False
    return device == "cpu" or (device == "auto" and not _may_have_gpu())


def is_compiled(card: ModelCard, precision: str) -> bool:
    """Whether a model was compiled for all its sampling sources, or is known to be refused.

    Parameters
    ----------
    card
        Of the model.
    precision
        As in `InferenceSettings`.
    """
    if card.takes_prompts:  # computed by torch alone: an answer to a click is one small network
        return True
    from napari_latentseg.engines.compiled_engine import find_plan

    known = _precision(card, precision)
    if known is None:
        return False
    plan = find_plan(card, known, card.preprocess.size)
    if plan is None or plan.refusal:
        return plan is not None
    settings = [InferenceSettings.for_model(card, source=source) for source in card.sources]
    sizes = {size for each in settings for size in tile_sizes(card, each, plan.size_multiple)}
    return all(find_plan(card, known, size) is not None for size in sizes)


def _precision(card: ModelCard, precision: str) -> str | None:
    """The precision that a model is computed in; None where OpenVINO cannot compute in it."""
    from napari_latentseg.engines.openvino import has_native_bfloat16

    if precision == "auto":
        precision = "bfloat16" if card.allows_bfloat16 and has_native_bfloat16() else "float32"
    return precision if precision == "float32" or has_native_bfloat16() else None


@cache
def _may_have_gpu() -> bool:
    """Whether torch might find a GPU here, as far as can be told without loading it."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    with suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return False
    from ctypes.util import find_library

    return any(find_library(name) is not None for name in ("cuda", "nvcuda", "amdhip64"))
