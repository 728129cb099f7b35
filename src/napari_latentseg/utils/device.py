"""Where networks run (CPU, CUDA, Apple GPU) and in which precision."""

from __future__ import annotations

import importlib.util
import os
import re
import sys
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.fork_guard import check_not_forked, note_computation

if TYPE_CHECKING:
    import torch

__all__ = [
    "Compute",
    "available_devices",
    "check_device_and_precision",
    "check_engine",
    "has_native_bfloat16",
    "is_out_of_memory",
    "move_to_device",
    "resolve_compute",
    "resolve_engine",
    "wanted_engine",
]

DEVICES = ("auto", "cpu", "cuda", "mps")
PRECISIONS = ("auto", "float32", "bfloat16")
ENGINES = ("auto", "torch", "openvino")

_OUT_OF_MEMORY = ("allocate memory", "out of memory", "bad_alloc", "bad allocation", "failed to allocate")

ENGINE_ENV_VAR = "NAPARI_LATENTSEG_ENGINE"
"""Environment variable with the engine that ``"auto"`` stands for; ``"torch"`` does without OpenVINO."""


@dataclass(frozen=True)
class Compute:
    """A device and the numerical precision used on it.

    Attributes
    ----------
    device
        ``"cpu"``, ``"cuda"``, ``"cuda:1"`` or ``"mps"``.
    precision
        ``"float32"`` or ``"bfloat16"``: autocast, in which weights stay float32.
    engine
        What computes the networks: ``"torch"``, or ``"openvino"`` where it can.
    """

    device: str
    precision: str
    engine: str = "torch"

    def autocast(self) -> AbstractContextManager[Any]:
        """The context in which networks run: autocast for bfloat16."""
        import torch

        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(self.device.partition(":")[0], torch.bfloat16)

    def torch_device(self) -> torch.device:
        """The device as a torch object."""
        import torch

        return torch.device(self.device)


def check_device_and_precision(device: str, precision: str) -> None:
    """Refuse an unknown device or precision, without importing torch.

    Raises
    ------
    BadInput
        If one of them is not in `DEVICES` or `PRECISIONS`; a GPU may have its number, as in ``"cuda:1"``.
    """
    if device not in DEVICES and not re.fullmatch(r"cuda:\d{1,3}", device):
        remedy = f"use one of {', '.join(DEVICES)}; cuda:1 is the second GPU"
        raise BadInput("device", f"{device!r} is not known", remedy)
    if precision not in PRECISIONS:
        raise BadInput("precision", f"{precision!r} is not known", f"use one of {', '.join(PRECISIONS)}")


def check_engine(engine: str) -> None:
    """Refuse an unknown engine, or one that is not installed.

    Raises
    ------
    BadInput
        If it is not in `ENGINES`, or is OpenVINO and that is missing.
    """
    if engine not in ENGINES:
        raise BadInput("engine", f"{engine!r} is not known", f"use one of {', '.join(ENGINES)}")
    if engine == "openvino" and importlib.util.find_spec("openvino") is None:
        raise BadInput("engine", "OpenVINO is not installed", "pip install openvino, or leave it out")


def wanted_engine(engine: str) -> str:
    """An engine, where ``"auto"`` is what the environment variable `ENGINE_ENV_VAR` says."""
    return os.environ.get(ENGINE_ENV_VAR) or "auto" if engine == "auto" else engine


def resolve_engine(engine: str, device: str, precision: str) -> Literal["torch", "openvino"]:
    """Resolve ``"auto"`` to what computes the networks.

    Parameters
    ----------
    engine
        One of `ENGINES`; ``"auto"`` is what the environment variable `ENGINE_ENV_VAR` says, or else OpenVINO
        where it is installed and the device is the CPU.
    device, precision
        As in `Compute`.

    Raises
    ------
    BadInput
        If it is unknown, not installed, or cannot compute on the device.
    """
    check_engine(engine)
    if engine == "openvino" and device != "cpu":
        raise BadInput("engine", "OpenVINO computes on the CPU alone", "use --device cpu, or another engine")
    if wanted_engine(engine) == "torch" or device != "cpu" or importlib.util.find_spec("openvino") is None:
        return "torch"
    # where the processor has no bfloat16, OpenVINO would compute in float32
    return "openvino" if precision == "float32" or has_native_bfloat16(device) else "torch"


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error means that memory ran out; each backend of torch, and OpenVINO, has its own words."""
    torch = sys.modules.get("torch")
    if isinstance(error, MemoryError) or (torch is not None and isinstance(error, torch.OutOfMemoryError)):
        return True
    message = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in message for words in _OUT_OF_MEMORY)


def available_devices() -> dict[str, str]:
    """The usable devices of this machine, each with a name for people."""
    import torch

    threads = torch.get_num_threads()
    names = {"cpu": f"CPU, {threads} thread{'s' if threads > 1 else ''}"}
    if torch.cuda.is_available():
        names["cuda"] = torch.cuda.get_device_name()
        count = torch.cuda.device_count()
        names |= {f"cuda:{i}": torch.cuda.get_device_name(i) for i in range(count) if count > 1}
    if torch.backends.mps.is_available():
        names["mps"] = "Apple GPU"
    return names


def move_to_device(network: torch.nn.Module, device: torch.device) -> None:
    """Move a network to a device, with its weights in the memory layout in which convolutions are fastest."""
    import torch

    network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]  # torch types it not


def resolve_compute(
    device: str = "auto", precision: str = "auto", *, is_bfloat16_allowed: bool = False
) -> Compute:
    """Resolve ``"auto"`` to the device and precision of this machine.

    Parameters
    ----------
    device
        One of `DEVICES`, or a GPU by its number; ``"auto"`` is the first available of cuda, mps and cpu.
    precision
        One of `PRECISIONS`; ``"auto"`` is bfloat16 where it is allowed and the hardware multiplies it
        natively, else float32.
    is_bfloat16_allowed
        Whether ``"auto"`` may be bfloat16: for a model whose card shows that its masks stay the same
        (`ModelCard.allows_bfloat16`), and for training steps, whose weights stay float32.

    Raises
    ------
    BadInput
        If one of them is unknown, the device is not available, or this process was forked from one in which
        torch had computed.
    """
    import torch

    check_device_and_precision(device, precision)
    check_not_forked()
    note_computation(torch.get_num_threads())
    available = available_devices()
    if device == "auto":
        device = next(d for d in ("cuda", "mps", "cpu") if d in available)
    elif device == "cuda:0" and "cuda" in available:
        pass  # also where it is the only GPU, which is listed without its number
    elif device not in available:
        raise BadInput("device", f"no {device} on this machine", f"use one of {', '.join(available)}")
    if precision == "auto":
        precision = "bfloat16" if is_bfloat16_allowed and has_native_bfloat16(device) else "float32"
    return Compute(device, precision)


def has_native_bfloat16(device: str) -> bool:
    """Whether the hardware multiplies bfloat16 natively; elsewhere it is slower than float32.

    Parameters
    ----------
    device
        One of `available_devices`.
    """
    import torch

    if device.startswith("cuda"):
        return torch.cuda.get_device_capability(device) >= (8, 0)  # Ampere and later
    if device == "mps":
        return False
    get_capabilities = getattr(torch.cpu, "get_capabilities", None)  # torch 2.10 and later
    capabilities = get_capabilities() if get_capabilities else {}
    return bool(capabilities.get("avx512_bf16") or capabilities.get("amx_bf16"))
