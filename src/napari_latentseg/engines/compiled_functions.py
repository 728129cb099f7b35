"""The compiled functions of a model: built once, kept on the disk and in memory."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_latentseg.engines.graph_cache import CompiledPlan, GraphCache
from napari_latentseg.engines.model_key import compiled_model_key
from napari_latentseg.engines.openvino import load_compiled
from napari_latentseg.models.card import ModelCard

__all__ = ["CompiledFunctions", "compiled_functions", "full_name", "graph_name"]

_IN_FLOAT32 = "exact"  # in the name of a function that is float32 whatever the precision of the others


class CompiledFunctions:
    """The compiled functions of a model in one precision.

    Parameters
    ----------
    key
        From `compiled_model_key`.
    precision
        ``"float32"`` or ``"bfloat16"``.
    """

    def __init__(self, key: str, precision: str) -> None:
        self.precision = precision
        self._cache = GraphCache(key)
        self._cache.note_use()
        self._loaded: dict[str, Any] = {}
        self._plans: dict[str, CompiledPlan] = {}
        self._full_batches: dict[str, int] = {}
        self._lock = threading.RLock()  # one function computes at a time: two would fight for the cores

    def precision_of(self, name: str) -> str:
        """The precision of a function, by the name that `graph_name` gave it."""
        return "float32" if _IN_FLOAT32 in name.split("-") else self.precision

    def plan(self, tile_size: int, member: int = 0) -> CompiledPlan | None:
        """What tiles of a size need of a member of the model; None where that is not compiled yet."""
        name = _plan_name(tile_size, member)
        if name not in self._plans and (plan := self._cache.read_plan(name)) is not None:
            self._plans[name] = plan
            self._full_batches |= plan.full_batches
        return self._plans.get(name)

    def add_plan(self, tile_size: int, member: int, plan: CompiledPlan) -> None:
        """Keep a plan whose functions are compiled."""
        name = _plan_name(tile_size, member)
        self._plans[name] = plan
        self._full_batches |= plan.full_batches
        self._cache.write_plan(name, plan)

    def attempt(self) -> AbstractContextManager[bool]:
        """See `GraphCache.attempt`."""
        return self._cache.attempt()

    def find(self, name: str) -> Any:
        """A compiled function, from memory or from the disk; None where there is none that can be read."""
        with self._lock:
            if name not in self._loaded and (exported := self._cache.read(name)) is not None:
                try:
                    self._loaded[name] = load_compiled(exported, self.precision_of(name))
                except RuntimeError:  # whatever is wrong with the file, the function can be compiled again
                    return None
            return self._loaded.get(name)

    def find_or_build(self, name: str, build: Callable[[], Any]) -> Any:
        """A compiled function; where there is none, it is built and kept.

        Parameters
        ----------
        name
            From `graph_name`.
        build
            Compiles it; what it raises is passed on.
        """
        with self._lock:
            if (compiled := self.find(name)) is None:
                compiled = self._loaded[name] = build()
                self._cache.write(name, compiled.export_model().getvalue())
            return compiled

    def compute(
        self, name: str, arrays: Sequence[NDArray[Any]], build: Callable[[], Any] | None = None
    ) -> list[NDArray[np.float32]]:
        """The outputs of a function for a batch of any size, float32.

        Parameters
        ----------
        name
            From `graph_name`.
        arrays
            Its arguments.
        build
            Compiles it where it is not yet; what it raises is passed on.

        Raises
        ------
        LookupError
            If it is not compiled and cannot be built.
        """
        count, full, start = len(arrays[0]), self._full_batches.get(name, 0), 0
        parts: list[list[NDArray[np.float32]]] = []
        if full and count >= full and (compiled := self.find(full_name(name, full))) is not None:
            for start in range(0, count - full + 1, full):
                parts.append(self.call(compiled, [array[start : start + full] for array in arrays]))
            start += full
        if start < count:
            compiled = self.find(name) if build is None else self.find_or_build(name, build)
            if compiled is None:
                raise LookupError(f"{name} is not compiled")
            parts.append(self.call(compiled, [array[start:] for array in arrays]))
        return (
            parts[0] if len(parts) == 1 else [np.concatenate(outputs) for outputs in zip(*parts, strict=True)]
        )

    def call(self, compiled: Any, arrays: Sequence[NDArray[Any]]) -> list[NDArray[np.float32]]:
        """The outputs of a compiled function, float32."""
        with self._lock:
            outputs = compiled([np.ascontiguousarray(array) for array in arrays])
            return [outputs[i] for i in range(len(compiled.outputs))]


def full_name(name: str, batch: int) -> str:
    """The name of a function that is compiled for batches of one size alone."""
    return f"{name}-batch{batch}"


def _plan_name(tile_size: int, member: int) -> str:
    return f"member{member}-tile{tile_size}"


# A few models, so that a second run finds its functions in memory; each takes as much as its weights.
@lru_cache(maxsize=4)
def _functions_for(key: str, precision: str) -> CompiledFunctions:
    return CompiledFunctions(key, precision)


def compiled_functions(card: ModelCard, precision: str) -> CompiledFunctions:
    """The compiled functions of a model, the same object as long as it is in use.

    Parameters
    ----------
    card
        Of the model.
    precision
        ``"float32"`` or ``"bfloat16"``.
    """
    return _functions_for(compiled_model_key(card, precision), precision)


def graph_name(member: int, function: str, arrays: Sequence[Any], *, in_float32: bool = False) -> str:
    """The name of a function for arrays of these sizes and types, whatever the size of the batch.

    Parameters
    ----------
    member
        Which member of the model, from 0.
    function
        As in `Method.network_functions`.
    arrays
        Its arguments: arrays or tensors.
    in_float32
        Whether it is computed in float32 where the others are not, see `Method.float32_functions`.

    Examples
    --------
    >>> graph_name(0, "encode", [np.zeros((5, 3, 192, 192), np.float32)])
    'member0-encode-3x192x192-float32'
    """
    shapes = ["x".join(map(str, array.shape[1:])) or "scalar" for array in arrays]
    types = [str(array.dtype).removeprefix("torch.") for array in arrays]
    exact = [_IN_FLOAT32] if in_float32 else []
    arguments = (f"{s}-{t}" for s, t in zip(shapes, types, strict=True))
    return "-".join([f"member{member}", function, *exact, *arguments])
