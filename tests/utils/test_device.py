"""Device and arithmetic."""

from __future__ import annotations

import pytest
import torch

from napari_latentseg.errors import BadInput
from napari_latentseg.utils.device import Compute, available_devices, is_out_of_memory, resolve_compute


def test_the_processor_is_always_there() -> None:
    assert "cpu" in available_devices()
    assert resolve_compute("cpu", "float32") == Compute("cpu", "float32")
    assert resolve_compute().device in available_devices()
    assert resolve_compute("cpu").precision in ("float32", "bfloat16")


@pytest.mark.parametrize(("device", "precision"), [("gpu", "auto"), ("cpu", "float16"), ("", "auto")])
def test_what_no_machine_has_is_refused(device: str, precision: str) -> None:
    with pytest.raises(BadInput, match="is not known; use one of auto"):
        resolve_compute(device, precision)


@pytest.mark.parametrize(("precision", "dtype"), [("float32", torch.float32), ("bfloat16", torch.bfloat16)])
def test_the_context_sets_the_arithmetic(precision: str, dtype: torch.dtype) -> None:
    x = torch.rand(4, 4)
    with Compute("cpu", precision).autocast():
        assert (x @ x).dtype == dtype
    assert (x @ x).dtype == torch.float32


@pytest.mark.parametrize(
    ("error", "ran_out"),
    [
        (MemoryError(), True),
        (torch.OutOfMemoryError(), True),
        (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), True),
        (RuntimeError("MPS backend out of memory (MPS allocated: 1 GB)"), True),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), True),
        (RuntimeError("mat1 and mat2 shapes cannot be multiplied"), False),
        (ValueError("out of memory"), False),
    ],
)
def test_running_out_of_memory_is_known_on_every_device(error: BaseException, ran_out: bool) -> None:
    assert is_out_of_memory(error) == ran_out
