"""Device and arithmetic."""

from __future__ import annotations

import pytest
import torch

from napari_latentseg.errors import BadInput
from napari_latentseg.utils import device
from napari_latentseg.utils.device import Compute, available_devices, is_out_of_memory, resolve_compute


def test_the_processor_is_always_there() -> None:
    assert "cpu" in available_devices()
    assert resolve_compute("cpu", "float32") == Compute("cpu", "float32")
    assert resolve_compute().device in available_devices()


def test_auto_is_bfloat16_only_where_it_is_allowed_and_native(monkeypatch: pytest.MonkeyPatch) -> None:
    for is_native, precision in ((True, "bfloat16"), (False, "float32")):
        monkeypatch.setattr(device, "has_native_bfloat16", lambda _, native=is_native: native)
        assert resolve_compute("cpu").precision == "float32"
        assert resolve_compute("cpu", is_bfloat16_allowed=True).precision == precision
        assert resolve_compute("cpu", "bfloat16").precision == "bfloat16"


@pytest.mark.parametrize(("name", "precision"), [("gpu", "auto"), ("cpu", "float16"), ("", "auto")])
def test_what_no_machine_has_is_refused(name: str, precision: str) -> None:
    with pytest.raises(BadInput, match="is not known; use one of auto"):
        resolve_compute(name, precision)


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
