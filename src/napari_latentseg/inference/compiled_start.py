"""Starting a run without torch, of a model that was compiled on this machine before."""

from __future__ import annotations

import importlib.util
import platform
import sys
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version

from napari_latentseg.core.scan import Scan
from napari_latentseg.inference.run import Run
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.inference.tile_sizes import tile_sizes
from napari_latentseg.models.layout import check_files
from napari_latentseg.models.store import LocatedModel
from napari_latentseg.utils.device import Compute, wanted_engine
from napari_latentseg.utils.fork_guard import check_not_forked, note_computation
from napari_latentseg.utils.threads import thread_count

__all__ = ["start_compiled_run"]


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
    if wanted_engine(settings.engine) == "torch" or importlib.util.find_spec("openvino") is None:
        return None
    if settings.source not in ("augment", "none") or settings.device not in ("auto", "cpu"):
        return None
    if settings.device == "auto" and _may_have_gpu():
        return None
    check_not_forked()
    from napari_latentseg.engines.compiled_engine import find_compiled_engine, find_plan
    from napari_latentseg.engines.openvino import has_native_bfloat16

    card = model.card
    precision = settings.precision
    if precision == "auto":
        precision = "bfloat16" if card.allows_bfloat16 and has_native_bfloat16() else "float32"
    if precision == "bfloat16" and not has_native_bfloat16():
        return None
    plan = find_plan(card, precision, card.preprocess.size)
    if plan is None:
        return None
    check_files(model.folder, card)
    engine = find_compiled_engine(card, precision, tile_sizes(card, settings, plan.size_multiple))
    if engine is None:
        return None
    note_computation(thread_count())
    return Run(model, [engine], Compute("cpu", precision, "openvino"), scan, settings, plane)


def _may_have_gpu() -> bool:
    """Whether torch might find a GPU here, as far as can be told without loading it."""
    if sys.platform == "darwin":
        return platform.machine() == "arm64"
    with suppress(PackageNotFoundError):
        if version("torch").endswith("+cpu"):
            return False
    from ctypes.util import find_library

    return any(find_library(name) is not None for name in ("cuda", "nvcuda", "amdhip64"))
