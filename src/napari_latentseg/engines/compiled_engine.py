"""A model whose prediction is nothing but compiled functions: torch is not imported."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.engines.base import Engine
from napari_latentseg.engines.compiled_functions import CompiledFunctions, compiled_functions
from napari_latentseg.engines.encodings import RememberingEngine
from napari_latentseg.engines.graph_cache import CompiledPlan
from napari_latentseg.engines.model_key import weights_key

if TYPE_CHECKING:
    from napari_latentseg.methods.noise import Noise
    from napari_latentseg.models.card import ModelCard

__all__ = ["CompiledEngine", "find_compiled_engine", "find_plan"]


class CompiledEngine:
    """Computes with OpenVINO alone; see `Engine`.

    Parameters
    ----------
    functions
        The compiled functions of the model.
    plans
        For each size of a tile in pixels, the plan; `is_sequence` in all of them.
    """

    name = "openvino"

    def __init__(self, functions: CompiledFunctions, plans: dict[int, CompiledPlan]) -> None:
        any_plan = next(iter(plans.values()))
        self.downsampling_factor = any_plan.downsampling_factor
        self.size_multiple = any_plan.size_multiple
        self._functions = functions
        self._plans = plans

    def activate(self) -> None:
        pass

    def uses_noise(self, source: str) -> bool:
        return False

    def encode(self, images: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        return list(self._call(0, images.shape[-1], images))

    def as_array(self, conditioning: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(conditioning)  # a tensor where a `TorchEngine` of the same functions has encoded

    def sample(
        self,
        conditioning: Sequence[NDArray[np.float32]],
        noise: Noise | None = None,
        classes: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        stacked = np.stack(conditioning)
        probabilities = self._call(1, stacked.shape[-1] * self.downsampling_factor, stacked)
        return probabilities if classes is None else probabilities[:, list(classes)]

    def _call(self, position: int, tile_size: int, batch: NDArray[Any]) -> NDArray[np.float32]:
        (output,) = self._functions.compute(self._plans[tile_size].graphs[position], [batch])
        return output


def find_plan(card: ModelCard, precision: str, tile_size: int) -> CompiledPlan | None:
    """What tiles of a size need of a model; None where it was not compiled for them.

    Parameters
    ----------
    card
        Of the model.
    precision
        ``"float32"`` or ``"bfloat16"``.
    tile_size
        Side of a tile, in pixels.
    """
    return compiled_functions(card, precision).plan(tile_size)


def find_compiled_engine(card: ModelCard, precision: str, tile_sizes: Iterable[int]) -> Engine | None:
    """The engine of a model that was compiled before, if its prediction needs nothing else.

    Parameters
    ----------
    card
        Of the model, whose files were checked against it.
    precision
        ``"float32"`` or ``"bfloat16"``.
    tile_sizes
        Sides of the tiles, in pixels.

    Returns
    -------
    Engine or None
        None where a function is missing, damaged, or of another version, processor or model.
    """
    functions = compiled_functions(card, precision)
    plans: dict[int, CompiledPlan] = {}
    for size in tile_sizes:
        plan = functions.plan(size)
        if plan is None or not plan.is_sequence or plan.refusal:
            return None
        if any(functions.find(name) is None for name in plan.graphs):
            return None
        plans[size] = plan
    if not plans:
        return None
    return RememberingEngine(
        CompiledEngine(functions, plans), f"{weights_key(card)} cpu {precision} openvino 0"
    )
