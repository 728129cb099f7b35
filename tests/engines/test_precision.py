"""Which functions run in bfloat16, and how far a compiled function may be from torch."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from tests.helpers import guided
from torch import Tensor, nn

from napari_latentseg.engines.compiled_functions import CompiledFunctions, graph_name
from napari_latentseg.engines.torch_engine import TorchEngine, _CompiledFunction
from napari_latentseg.methods.base import Method
from napari_latentseg.methods.diffusion import Diffusion, DiffusionConfig
from napari_latentseg.utils.device import Compute

SIZE = 48


def guided_on_noise() -> Method:
    return guided.make(diffusion=guided.TINY["diffusion"] | {"prediction": "epsilon"}).eval()


def denoiser_types(method: Method, precision: str) -> set[torch.dtype]:
    """The types of the denoiser's activations in a prediction."""
    types = set()

    def note(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        types.add(output.dtype)

    hooks = [m.register_forward_hook(note) for m in method.denoiser.modules() if isinstance(m, nn.Conv2d)]
    engine = TorchEngine(method, Compute("cpu", precision))
    images = np.random.default_rng(1).random((1, 3, SIZE, SIZE), np.float32)
    engine.sample(engine.encode(images))
    for hook in hooks:
        hook.remove()
    return types


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("sdseg", torch.float32),
        ("medseglatdiff", torch.float32),
        ("guided on noise", torch.float32),
        ("guided", torch.bfloat16),
    ],
)
def test_no_noise_is_predicted_in_bfloat16(
    name: str, expected: torch.dtype, tiny_method: Callable[[str], Method]
) -> None:
    """Its error would be multiplied; a network that predicts the clean latent may run in it."""
    method = guided_on_noise() if name == "guided on noise" else tiny_method(name)
    assert denoiser_types(method, "bfloat16") == {expected}
    assert denoiser_types(method, "float32") == {torch.float32}
    assert method.float32_functions == (("denoise",) if expected == torch.float32 else ())


@pytest.mark.parametrize(
    ("settings", "gain"),
    [
        ({}, 157.4),
        ({"beta_schedule": "scaled_linear", "beta_start": 0.0015, "beta_end": 0.0155}, 38.7),
        ({"prediction": "sample"}, 1.0),
    ],
)
def test_the_gain_is_that_of_the_first_sampling_step(settings: dict[str, object], gain: float) -> None:
    diffusion = Diffusion(DiffusionConfig.model_validate(settings))
    assert diffusion.error_gain == pytest.approx(gain, rel=2e-3)
    assert diffusion.needs_float32 == (gain > 1)


@pytest.mark.parametrize(("name", "expected"), [("sdseg", "f32"), ("guided", "bf16")])
def test_the_denoiser_is_compiled_in_float32_and_read_back_so(
    name: str, expected: str, tiny_method: Callable[[str], Method], compiled_home: Path
) -> None:
    pytest.importorskip("openvino")
    from napari_latentseg.engines.openvino import has_native_bfloat16

    if not has_native_bfloat16():
        pytest.skip("OpenVINO computes in float32 on this processor")
    engine = TorchEngine(
        tiny_method(name), Compute("cpu", "bfloat16"), CompiledFunctions("0" * 32, "bfloat16")
    )
    plan = engine.compile(SIZE)
    assert plan.refusal == ""
    from_disk = CompiledFunctions("0" * 32, "bfloat16")
    precisions = {
        graph.split("-")[1]: str(from_disk.find(graph).get_property("INFERENCE_PRECISION_HINT").to_string())
        for graph in plan.graphs
    }
    assert precisions == {"encode": "bf16", "denoise": expected, "decode": "bf16"}


def test_a_name_tells_what_is_float32_whatever_the_others_are() -> None:
    functions = CompiledFunctions("0" * 32, "bfloat16")
    arrays = [np.zeros((2, 4, 8, 8), np.float32)]
    exact = graph_name(0, "denoise", arrays, in_float32=True)
    assert exact == "member0-denoise-exact-4x8x8-float32"
    assert functions.precision_of(exact) == functions.precision_of(f"{exact}-batch4") == "float32"
    assert functions.precision_of(graph_name(0, "denoise", arrays)) == "bfloat16"


def is_accepted(reference: float, output: float, precision: str) -> bool:
    """Whether a compiled function may give `output` where torch gives `reference`."""
    method = SimpleNamespace(decode=lambda latents: torch.full((1, 8), reference), float32_functions=())
    functions = SimpleNamespace(
        precision=precision, call=lambda compiled, arrays: [np.full((1, 8), output, np.float32)]
    )
    function = _CompiledFunction(functions, method, "decode", 0)  # type: ignore[arg-type]
    try:
        function._checked(object(), [torch.zeros(1)], precision)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize(
    ("precision", "reference", "output", "accepted"),
    [
        ("bfloat16", 0.3, 0.303, True),
        ("bfloat16", 0.3, 0.33, False),
        ("bfloat16", 3e-6, 3.4e-6, True),  # a tenth of nearly nothing changes no mask
        ("bfloat16", 3e-6, 0.001, False),
        ("bfloat16", 3e-6, 0.3, False),
        ("bfloat16", 0.3, float("nan"), False),
        ("float32", 0.3, 0.3002, True),
        ("float32", 0.3, 0.303, False),
        ("float32", 3e-6, 1.2e-5, True),
        ("float32", 3e-6, 3e-5, False),
    ],
)
def test_a_compiled_function_is_held_against_torch(
    precision: str, reference: float, output: float, accepted: bool
) -> None:
    assert is_accepted(reference, output, precision) == accepted
