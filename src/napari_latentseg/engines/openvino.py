"""OpenVINO: tensor functions of a method as graphs for the CPU.

A graph is traced from the very function that torch runs, so there is no second copy of a network. Nothing is
sent anywhere: OpenVINO's Python package would load a telemetry client, which is shut out before the import.
"""

from __future__ import annotations

import importlib.util
import platform
import sys
import threading
import warnings
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, Any

from napari_latentseg.utils.threads import core_count, thread_count

if TYPE_CHECKING:
    from torch import Tensor, nn

__all__ = [
    "compile_graph",
    "convert_function",
    "cpu_name",
    "has_native_bfloat16",
    "import_openvino",
    "is_available",
    "is_faster_for_one_size",
    "load_compiled",
]

_TELEMETRY_MODULE = "openvino_telemetry"
_PRECISIONS = {"float32": "f32", "bfloat16": "bf16"}
_import_lock = threading.Lock()


def is_available() -> bool:
    """Whether OpenVINO is installed; it is not imported."""
    return importlib.util.find_spec("openvino") is not None


def import_openvino() -> Any:
    """The package, without its telemetry client.

    OpenVINO's converter uses the client of the package openvino-telemetry where it can be imported, and a
    stand-in that does nothing where it cannot. Once openvino is imported, the entry is taken back, so that
    other programs in this process find that package as it is.
    """
    with _import_lock:
        if "openvino" in sys.modules:
            return sys.modules["openvino"]
        before = sys.modules.get(_TELEMETRY_MODULE)
        sys.modules[_TELEMETRY_MODULE] = None  # type: ignore[assignment]  # makes the import fail
        try:
            import openvino
        finally:
            del sys.modules[_TELEMETRY_MODULE]
            if before is not None:
                sys.modules[_TELEMETRY_MODULE] = before
        return openvino


@cache
def _core() -> Any:
    return import_openvino().Core()


@cache
def cpu_name() -> str:
    """The processor and what it can do: a compiled function is for this one alone."""
    core = _core()
    capabilities = " ".join(sorted(core.get_property("CPU", "OPTIMIZATION_CAPABILITIES")))
    return f"{platform.machine()} {core.get_property('CPU', 'FULL_DEVICE_NAME')} {capabilities}"


def has_native_bfloat16() -> bool:
    """Whether this processor multiplies bfloat16 in hardware."""
    return "BF16" in cpu_name().split()


def convert_function(module: nn.Module, function: Callable[..., Any], examples: Sequence[Tensor]) -> Any:
    """OpenVINO's graph of a tensor function, from torch's trace of it.

    `openvino.convert_model` does the same, by way of its command line's parser and telemetry.

    Parameters
    ----------
    module
        Holds the weights.
    function
        A method of it, from tensors to a tensor or a tuple of them, with the batch along the first axis.
    examples
        Its arguments.

    Returns
    -------
    openvino.Model

    Raises
    ------
    Exception
        Of many kinds, if OpenVINO refuses the function.
    """
    import torch
    from torch.jit._trace import TracerWarning

    import_openvino()
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    class Traceable(torch.nn.Module):
        """The function as a module, as `torch.jit.trace` wants it."""

        def __init__(self) -> None:
            super().__init__()
            self.module = module

        def forward(self, *tensors: Tensor) -> Any:
            return function(*tensors)

    # sizes that a network compares become constants in the trace; `_CompiledFunction` checks what that gives
    warnings.filterwarnings("ignore", category=TracerWarning)
    # two of each: what a batch of one would make constant stays a size of the batch
    inputs = tuple(example.detach()[:1].repeat(2, *[1] * (example.ndim - 1)) for example in examples)
    with torch.no_grad():
        traced = torch.jit.trace(Traceable(), inputs, check_trace=False)
    decoder = TorchScriptPythonDecoder(traced, example_input=inputs)
    front_end = FrontEndManager().load_by_framework("pytorch")
    graph = front_end.convert(front_end.load(decoder))
    graph.validate_nodes_and_infer_types()
    return graph


def compile_graph(graph: Any, examples: Sequence[Tensor], precision: str, batch: int = -1) -> Any:
    """Compile a graph for the CPU and for arguments of some sizes.

    Parameters
    ----------
    graph
        From `convert_function`.
    examples
        Arguments; all sizes but that of the batch stay as they are here.
    precision
        ``"float32"``, or ``"bfloat16"``, in which the arithmetic is done where the machine can.
    batch
        The size of every batch; -1 where it may change from call to call.

    Returns
    -------
    openvino.CompiledModel

    Raises
    ------
    Exception
        Of many kinds, if OpenVINO refuses the graph, or these sizes of the arguments.
    """
    partial_shape = import_openvino().PartialShape
    graph.reshape(
        {
            port: partial_shape([batch, *example.shape[1:]])
            for port, example in zip(graph.inputs, examples, strict=True)
        }
    )
    return _core().compile_model(graph, "CPU", _properties(precision))


def is_faster_for_one_size(graph: Any) -> bool:
    """Whether a function is worth compiling for batches of one size, beside that for any size.

    Only then does OpenVINO compute normalisation and activation in one go: 3 % (192 x 192) to 14 % (64 x 64)
    of the time of a decoder. Functions of convolutions alone gain nothing. Those of timesteps, too, stay as
    they are: OpenVINO 2026.4 crashes where it folds the embedding of a fixed number of timesteps.
    """
    return len(graph.inputs) == 1 and any(
        op.get_type_name() in ("GroupNormalization", "MVN") for op in graph.get_ops()
    )


def load_compiled(exported: bytes, precision: str) -> Any:
    """A compiled function from what its `export_model` gave, on the same processor and version.

    Raises
    ------
    RuntimeError
        If OpenVINO cannot read it.
    """
    return _core().import_model(exported, "CPU", _properties(precision))


def _properties(precision: str) -> dict[str, Any]:
    threads = thread_count()
    return {
        "INFERENCE_PRECISION_HINT": _PRECISIONS[precision],
        "INFERENCE_NUM_THREADS": threads,
        "PERFORMANCE_HINT": "LATENCY",
        # A tenth faster. But the threads of processes that have some of the cores each, such as the workers
        # of a batch, would all be pinned to the first ones.
        "ENABLE_CPU_PINNING": threads >= core_count(),
    }
