"""Which engine computes a model, and why."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from napari_latentseg.engines.base import Engine
from napari_latentseg.engines.compiled_functions import compiled_functions
from napari_latentseg.engines.encodings import RememberingEngine
from napari_latentseg.engines.model_key import weights_key
from napari_latentseg.engines.torch_engine import TorchEngine
from napari_latentseg.models.folder import Model
from napari_latentseg.utils.device import Compute

__all__ = ["open_engines"]


def open_engines(
    model: Model, compute: Compute, tile_sizes: Iterable[int], *, may_compile: bool = True
) -> tuple[list[Engine], str]:
    """The engine of each member of a model.

    Parameters
    ----------
    model
        The model; it is moved to the device.
    compute
        Device, precision, and the engine to use if it can.
    tile_sizes
        Sides of the tiles, in pixels.
    may_compile
        Whether a model that is not compiled yet is compiled now, which takes seconds; otherwise torch
        computes it.

    Returns
    -------
    engines : list of Engine
        One for each member; they remember what they encoded, for each other where they share the encoder.
    refusal : str
        Why OpenVINO was to compute the model and cannot; empty otherwise.
    """
    model.to(compute)
    if compute.engine == "openvino" and model.has_loaded_weights():
        functions = compiled_functions(model.card, compute.precision)
        sizes = list(tile_sizes)
        members = range(len(model.members))
        if may_compile or all(functions.plan(size, i) is not None for i in members for size in sizes):
            engines = [
                TorchEngine(method, compute, functions, i, _encoding_member(model, i))
                for i, method in enumerate(model.members)
            ]
            refusals = [
                plan.refusal for plan in (engine.compile(size) for engine in engines for size in sizes)
            ]
            if not any(refusals):
                return _remembering(model, compute, engines), ""
            return _torch_engines(model, compute), next(filter(None, refusals))
    return _torch_engines(model, compute), ""


def _torch_engines(model: Model, compute: Compute) -> list[Engine]:
    return _remembering(model, compute, [TorchEngine(method, compute) for method in model.members])


def _remembering(model: Model, compute: Compute, engines: Sequence[TorchEngine]) -> list[Engine]:
    if not model.has_loaded_weights():
        return list(engines)
    key = f"{weights_key(model.card)} {compute.device} {compute.precision}"
    return [
        RememberingEngine(engine, f"{key} {engine.name} {_encoding_member(model, i)}")
        for i, engine in enumerate(engines)
    ]


def _encoding_member(model: Model, index: int) -> int:
    """The member that an image is encoded with for another, by their index."""
    return 0 if model.card.member_parts == "predictor" else index
