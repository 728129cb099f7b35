"""A method's own code as an engine; functions of its networks may be compiled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext, suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from napari_latentseg.engines.compiled_functions import CompiledFunctions, full_name, graph_name
from napari_latentseg.engines.graph_cache import CompiledPlan
from napari_latentseg.engines.openvino import compile_graph, convert_function, is_faster_for_one_size
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.noise import Noise, random_noise
from napari_latentseg.utils.device import Compute, is_out_of_memory, move_to_device

__all__ = ["TorchEngine"]

# Mean difference from torch, relative to the mean of the values: 1e-5 was seen in float32 and 1e-2 in
# bfloat16. A graph of another network, or with a size that became a constant, is far off.
_MAX_ERROR = {"float32": 1e-3, "bfloat16": 5e-2}
# Values that are nearer to 0 on average are compared as if they were this large. A decoder gives a mean
# probability of a few millionths where it sees no object, as in the noise that functions are checked with; of
# a number so small bfloat16 loses several hundredths, and no mask changes by it.
_MIN_SCALE = 1e-2

# Of a batch that functions are compiled for once more: small enough that most batches of a run hold one or
# more, and large enough to be computed as fast as a large one (16 of 64 x 64 pixels, 4 of 192 x 192).
_FULL_BATCH_PIXELS = 4 * 192 * 192
_MIN_FULL_BATCH, _MAX_FULL_BATCH = 4, 16
_NO_MEMORY = "memory ran out while it was compiled"
_CRASHED = "its compiler ended this program twice"
_MAX_WEIGHTS = 25_000_000  # each function holds its own copy of them: 100 MB


class TorchEngine:
    """Computes with torch; see `Engine`.

    Parameters
    ----------
    method
        On the device of `compute`.
    compute
        Device and precision.
    functions
        Compiled functions of the method's model, which compute its networks; None for torch alone.
    member
        Which member of the model it is, from 0.
    encoding_member
        The member whose encoder it uses, from 0; its own where not given.
    """

    def __init__(
        self,
        method: Method,
        compute: Compute,
        functions: CompiledFunctions | None = None,
        member: int = 0,
        encoding_member: int | None = None,
    ) -> None:
        encoding_member = member if encoding_member is None else encoding_member
        self.name = "torch" if functions is None else "openvino"
        self.downsampling_factor = method.downsampling_factor
        self.size_multiple = method.size_multiple
        self._compute = compute
        self._device = compute.torch_device()
        self._functions = functions
        self._member = member
        self._original = method
        self._method = method
        self._compiled: list[_CompiledFunction] = []
        if functions is not None:
            # shares all modules with the method, and has other functions of the same names
            self._method = copy.copy(method)
            for name in method.network_functions:
                owner = encoding_member if name == "encode" else member
                compiled = _CompiledFunction(functions, method, name, owner)
                self._compiled.append(compiled)
                self._method.__dict__[name] = compiled

    def activate(self) -> None:
        if any(weight.device != self._device for weight in self._original.parameters()):
            move_to_device(self._original, self._device)

    def uses_noise(self, source: str) -> bool:
        return source in self._method.sampling_sources or not self._method.is_deterministic

    def encode(self, images: NDArray[np.float32]) -> list[Tensor]:
        with self._context():
            return list(self._method.encode(self._to_device(images)))

    def as_array(self, conditioning: Tensor | NDArray[np.float32]) -> NDArray[np.float32]:
        array: NDArray[np.float32] = torch.as_tensor(conditioning).float().cpu().numpy()
        return array

    def sample(
        self,
        conditioning: Sequence[Tensor | NDArray[np.float32]],
        noise: Noise | None = None,
        classes: Sequence[int] | None = None,
    ) -> NDArray[np.float32]:
        with self._context():
            # arrays where a `CompiledEngine` of the same functions has encoded
            stacked = torch.stack([torch.as_tensor(latents) for latents in conditioning])
            if classes is None:
                probabilities = self._method.sample(stacked, noise)
            else:
                probabilities = self._method.sample_classes(classes, stacked, noise)
            array: NDArray[np.float32] = probabilities.float().cpu().numpy()
            return array

    def compile(self, tile_size: int) -> CompiledPlan:
        """Compile what tiles of a size need, by drawing a sample of a tile of noise; kept for the next time.

        Returns
        -------
        CompiledPlan
            Its `refusal` says so where OpenVINO does not compute the model.
        """
        assert self._functions is not None
        if (plan := self._functions.plan(tile_size, self._member)) is not None:
            return plan
        with self._functions.attempt() as may_try:
            if (plan := self._functions.plan(tile_size, self._member)) is not None:
                return plan  # another process has compiled it meanwhile
            plan = self._compile(tile_size) if may_try else self._plan(refusal=_CRASHED)
            if plan.refusal != _NO_MEMORY:  # another time there may be enough
                self._functions.add_plan(tile_size, self._member, plan)
        return plan

    def _compile(self, tile_size: int) -> CompiledPlan:
        method, calls = self._method, list[_Call]()
        for compiled in self._compiled:
            compiled.calls = calls
        try:
            with self._context():
                random = np.random.default_rng(0)
                images = self._to_device(random.random((1, 3, tile_size, tile_size), np.float32))
                noise = None if method.is_deterministic else random_noise(torch.Generator().manual_seed(0))
                probabilities = method.sample(method.encode(images), noise)
        except Exception as error:  # of many kinds; whatever it is, torch can compute the networks
            if is_out_of_memory(error):
                return self._plan(refusal=_NO_MEMORY)
            return self._plan(refusal=f"{type(error).__name__}: {error}".splitlines()[0][:200])
        finally:
            for compiled in self._compiled:
                compiled.calls = None
        first_calls = {call.name: call for call in reversed(calls)}
        return self._plan(
            graphs=tuple(dict.fromkeys(call.name for call in calls)),
            is_sequence=method.is_deterministic and _is_sequence(calls, images, probabilities),
            full_batches=self._build_full_batches(first_calls, tile_size),
        )

    def _plan(self, graphs: tuple[str, ...] = (), is_sequence: bool = False, **fields: Any) -> CompiledPlan:
        return CompiledPlan(graphs, self.downsampling_factor, self.size_multiple, is_sequence, **fields)

    def _build_full_batches(self, calls: Mapping[str, _Call], tile_size: int) -> dict[str, int]:
        """Compile functions for full batches, too, where that pays; the size of the batch by their names."""
        if sum(weight.numel() for weight in self._method.parameters()) > _MAX_WEIGHTS:
            return {}
        batch = max(_MIN_FULL_BATCH, min(_MAX_FULL_BATCH, _FULL_BATCH_PIXELS // tile_size**2))
        with self._context():
            built = {
                name: call.function.build_for_batch(name, call.inputs, batch) for name, call in calls.items()
            }
        return {name: batch for name, is_built in built.items() if is_built}

    @contextmanager
    def _context(self) -> Iterator[None]:
        """The context in which networks run."""
        # compiled functions have their precision in them; what is left between them is little
        autocast = self._compute.autocast() if self._functions is None else nullcontext()
        with torch.inference_mode(), autocast:
            yield

    def _to_device(self, images: NDArray[np.float32]) -> Tensor:
        tensor = torch.from_numpy(images)
        if self._functions is not None:
            return tensor
        if self._device.type == "cuda":
            tensor = tensor.pin_memory()  # is copied without waiting for the device
        return tensor.to(self._device, non_blocking=True).contiguous(memory_format=torch.channels_last)


@dataclass(frozen=True, eq=False)
class _Call:
    """One call of a compiled function."""

    function: _CompiledFunction
    name: str
    inputs: tuple[Tensor, ...]
    output: Tensor | tuple[Tensor, ...]


class _CompiledFunction:
    """Stands in for a method's function, and computes what it computes."""

    def __init__(self, functions: CompiledFunctions, method: Method, name: str, member: int) -> None:
        self.calls: list[_Call] | None = None
        self._functions = functions
        self._method = method
        self._name = name
        self._function: Callable[..., Any] = getattr(method, name)
        self._in_float32 = functions.precision != "float32" and name in method.float32_functions
        self._member = member
        self._graph: Any = None

    def __call__(self, *tensors: Tensor) -> Tensor | tuple[Tensor, ...]:
        """What the function returns, float32 on the CPU."""
        name = graph_name(self._member, self._name, tensors, in_float32=self._in_float32)
        precision = self._functions.precision_of(name)
        arrays = self._functions.compute(name, _arrays(tensors), lambda: self._build(tensors, precision))
        outputs = tuple(torch.from_numpy(array) for array in arrays)
        output = outputs if len(outputs) > 1 else outputs[0]
        if self.calls is not None:
            self.calls.append(_Call(self, name, tensors, output))
        return output

    def build_for_batch(self, name: str, tensors: Sequence[Tensor], batch: int) -> bool:
        """Compile the function once more, for batches of one size, where that pays and succeeds."""
        graph = self._graph
        if graph is None or not is_faster_for_one_size(graph):
            return False
        several = [tensor[:1].repeat(batch, *[1] * (tensor.ndim - 1)) for tensor in tensors]
        precision = self._functions.precision_of(name)
        with suppress(Exception):
            self._functions.find_or_build(
                full_name(name, batch),
                lambda: self._checked(compile_graph(graph, several, precision, batch), several, precision),
            )
            return True
        return False

    def _build(self, tensors: Sequence[Tensor], precision: str) -> Any:
        """Compile the function for arguments of these sizes, and see that it computes what torch computes.

        Raises
        ------
        Exception
            Of many kinds, if OpenVINO refuses the function or computes something else.
        """
        if self._graph is not None:
            # a graph that was traced at another size holds for this one, unless it made the size a constant
            with suppress(Exception):
                return self._checked(compile_graph(self._graph, tensors, precision), tensors, precision)
        self._graph = convert_function(self._method, self._function, tensors)
        return self._checked(compile_graph(self._graph, tensors, precision), tensors, precision)

    def _checked(self, compiled: Any, tensors: Sequence[Tensor], precision: str) -> Any:
        expected = self._function(*tensors)
        outputs = self._functions.call(compiled, _arrays(tensors))
        references = (expected,) if isinstance(expected, Tensor) else expected
        for output, reference in zip(map(torch.from_numpy, outputs), references, strict=True):
            scale = reference.abs().mean().clamp_min(_MIN_SCALE)
            error = (output - reference).abs().mean() / scale
            if not error <= _MAX_ERROR[precision]:
                raise ValueError(f"{self._name} differs from torch by {float(error):.1e}")
        return compiled


def _arrays(tensors: Sequence[Tensor]) -> list[NDArray[Any]]:
    return [tensor.detach().numpy() for tensor in tensors]


def _is_sequence(calls: Sequence[_Call], images: Tensor, probabilities: Tensor) -> bool:
    """Whether the prediction is the second function of what the first gave for the images, and no more."""
    if len(calls) != 2:
        return False
    encode, predict = calls
    return (
        len(encode.inputs) == len(predict.inputs) == 1
        and encode.inputs[0] is images
        and predict.inputs[0] is encode.output
        and probabilities is predict.output
    )
