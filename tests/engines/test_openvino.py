"""OpenVINO computes what torch computes, from the same modules, and is compiled once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.engines.compiled_engine import CompiledEngine
from napari_latentseg.engines.compiled_functions import CompiledFunctions, graph_name
from napari_latentseg.engines.graph_cache import CompiledPlan
from napari_latentseg.engines.torch_engine import TorchEngine
from napari_latentseg.inference.positional_noise import PositionalNoise
from napari_latentseg.methods.base import Method
from napari_latentseg.utils.device import Compute

pytest.importorskip("openvino")

SIZE = 48
EXACT = Compute("cpu", "float32")


def images(count: int, size: int = SIZE) -> np.ndarray:
    return np.random.default_rng(1).random((count, 3, size, size), np.float32)


def drawn(
    engine: TorchEngine | CompiledEngine, count: int, source: str = "noise", size: int = SIZE
) -> np.ndarray:
    noise = PositionalNoise(0, 0, [(0, 0)] * count) if engine.uses_noise(source) else None
    return engine.sample(engine.encode(images(count, size)), noise)


@pytest.mark.parametrize("name", ["gms", "gms, skips", "wave-gms", "sdseg", "medseglatdiff", "guided"])
def test_every_method_gives_what_torch_gives_whatever_the_batch(
    name: str, tiny_method: Callable[[str], Method], compiled_home: Path
) -> None:
    method = tiny_method(name)
    engine = TorchEngine(method, EXACT, CompiledFunctions("0" * 32, "float32"))
    plan = engine.compile(SIZE)
    assert plan.refusal == ""
    assert len(plan.graphs) >= 2
    assert plan.is_sequence == method.is_deterministic
    files = {path.name for path in compiled_home.rglob("*.graph")}
    assert plan.full_batches.keys() <= set(plan.graphs)
    for count in (1, 3, 18):  # a part of a full batch, and one with two more
        torch_gives = drawn(TorchEngine(method, EXACT), count)
        np.testing.assert_allclose(drawn(engine, count), torch_gives, atol=2e-4)
        assert torch_gives.std() > 0.005  # not the same everywhere
    assert {path.name for path in compiled_home.rglob("*.graph")} == files, "another batch was compiled anew"
    if name == "wave-gms":
        assert engine.uses_noise("posterior")
        assert not engine.uses_noise("augment")
        by_torch = drawn(TorchEngine(method, EXACT), 2, "posterior")
        np.testing.assert_allclose(drawn(engine, 2, "posterior"), by_torch, atol=2e-4)


def test_what_was_compiled_is_read_from_the_disk_and_needs_no_torch(
    tiny_method: Callable[[str], Method], compiled_home: Path
) -> None:
    engine = TorchEngine(tiny_method("gms"), EXACT, CompiledFunctions("0" * 32, "float32"))
    plans = {size: engine.compile(size) for size in (SIZE, 64)}
    later = CompiledFunctions("0" * 32, "float32")
    assert later.plan(SIZE) == plans[SIZE]
    assert later.plan(80) is None
    alone = CompiledEngine(later, plans)
    for size in (SIZE, 64):
        np.testing.assert_array_equal(drawn(alone, 2, size=size), drawn(engine, 2, size=size))
    some = alone.sample(alone.encode(images(1)), classes=[1])
    np.testing.assert_array_equal(some, drawn(engine, 1)[:, [1]])


def test_a_damaged_file_is_compiled_again(tiny_method: Callable[[str], Method], compiled_home: Path) -> None:
    method = tiny_method("gms")
    expected = drawn(TorchEngine(method, EXACT, CompiledFunctions("0" * 32, "float32")), 1)
    (encode,) = compiled_home.rglob("*encode*.graph")
    content = encode.read_bytes()
    for damaged in (content[:1000], content[:-50] + bytes(50), b"", None):
        if damaged is None:
            encode.unlink()
        else:
            encode.write_bytes(damaged)
        assert CompiledFunctions("0" * 32, "float32").find(encode.stem) is None
    again = TorchEngine(method, EXACT, CompiledFunctions("0" * 32, "float32"))
    np.testing.assert_array_equal(drawn(again, 1), expected)
    assert CompiledFunctions("0" * 32, "float32").find(encode.stem) is not None


def test_a_method_that_openvino_refuses_is_computed_by_torch_and_the_record_says_why(
    tiny_model_folder: Path, compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_latentseg import segment
    from napari_latentseg.engines import torch_engine
    from napari_latentseg.sample_data import ultrasound_phantom

    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    attempts = []

    def refuse(*arguments: object) -> None:
        attempts.append(arguments)
        raise RuntimeError("no rule for aten::imaginary\nand a long trace")

    monkeypatch.setattr(torch_engine, "convert_function", refuse)
    phantom = ultrasound_phantom(shape=(48, 64)).scan
    record = segment(phantom, tiny_model_folder, samples=3).record
    assert record.engine == "torch"
    (note,) = [note for note in record.input.notes if "OpenVINO" in note]
    assert "no rule for aten::imaginary" in note
    assert "\n" not in note
    segment(phantom, tiny_model_folder, samples=3)
    assert len(attempts) == 2, "each size of tile once; a refusal is remembered"


def test_segment_uses_it_and_says_so(
    tiny_model_folder: Path, compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from tests.helpers.predicted import same

    from napari_latentseg import segment
    from napari_latentseg.sample_data import ultrasound_phantom

    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    phantom = ultrasound_phantom(shape=(48, 64)).scan
    compiled = segment(phantom, tiny_model_folder, samples=4)
    by_torch = segment(phantom, tiny_model_folder, samples=4, engine="torch")
    assert (compiled.record.engine, by_torch.record.engine) == ("openvino", "torch")
    assert "openvino" in compiled.record.versions
    assert "openvino" not in by_torch.record.versions
    assert same(compiled, by_torch)


def test_weights_that_were_trained_since_are_not_taken_from_the_disk(
    tiny_model_folder: Path, compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch

    from napari_latentseg import load_model, segment
    from napari_latentseg.sample_data import ultrasound_phantom

    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    model, phantom = load_model(tiny_model_folder), ultrasound_phantom(shape=(48, 64)).scan
    before = segment(phantom, model, source="none")
    with torch.no_grad():
        next(model.method.trainable_modules.parameters()).mul_(1.5)
    assert not model.has_loaded_weights()
    after = segment(phantom, model, source="none")
    assert (before.record.engine, after.record.engine) == ("openvino", "torch")
    assert np.abs(after.mean - before.mean).max() > 1e-3


NO_CONNECTION = """
import socket, sys

def refuse(*arguments, **options):
    raise AssertionError(f"a connection was opened: {arguments}")

socket.socket.connect = socket.socket.connect_ex = socket.socket.sendto = refuse
socket.create_connection = socket.getaddrinfo = refuse
from napari_latentseg import segment
from napari_latentseg.sample_data import ultrasound_phantom

record = segment(ultrasound_phantom(shape=(48, 64)).scan, sys.argv[1], samples=2).record
assert record.engine == "openvino", record.engine
loaded = [name for name in sys.modules if name.split(".")[0] == "openvino_telemetry"]
assert not loaded, loaded
"""


def test_conversion_and_inference_open_no_connection(tiny_model_folder: Path, compiled_home: Path) -> None:
    command = [sys.executable, "-c", NO_CONNECTION, str(tiny_model_folder)]
    trace = compiled_home.parent / "trace"
    if shutil.which("strace"):
        command = ["strace", "-f", "-qq", "-e", "trace=connect,sendto", "-o", str(trace), *command]
    environment = os.environ | {"NAPARI_LATENTSEG_ENGINE": "openvino"}
    ended = subprocess.run(command, capture_output=True, text=True, env=environment, check=False)
    assert ended.returncode == 0, ended.stderr
    if trace.exists():
        calls = [line for line in trace.read_text("utf-8").splitlines() if "AF_INET" in line]
        assert calls == []


def test_names_of_functions_tell_sizes_and_types() -> None:
    arrays = [np.zeros((2, 4, 6, 6), np.float32), np.zeros(2, np.int64)]
    assert graph_name(1, "denoise", arrays) == "member1-denoise-4x6x6-float32-scalar-int64"


def test_after_two_crashes_of_the_compiler_torch_computes(
    tiny_method: Callable[[str], Method], compiled_home: Path
) -> None:
    functions = CompiledFunctions("0" * 32, "float32")
    folder = compiled_home / ("0" * 32)
    folder.mkdir(parents=True)
    (folder / "attempts").write_text("2", "utf-8")  # as two processes leave it that end while they compile
    assert "twice" in TorchEngine(tiny_method("gms"), EXACT, functions).compile(SIZE).refusal
    shutil.rmtree(folder)
    functions = CompiledFunctions("0" * 32, "float32")
    assert TorchEngine(tiny_method("gms"), EXACT, functions).compile(SIZE).refusal == ""
    assert not (folder / "attempts").exists()


def test_processes_that_compile_at_once_are_no_crashes(
    tiny_method: Callable[[str], Method], compiled_home: Path
) -> None:
    plans: list[CompiledPlan] = []

    def compile_it() -> None:
        functions = CompiledFunctions("0" * 32, "float32")  # as another process has them
        plans.append(TorchEngine(tiny_method("gms"), EXACT, functions).compile(SIZE))

    threads = [threading.Thread(target=compile_it) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [plan.refusal for plan in plans] == [""] * 4
    assert len(list(compiled_home.rglob("*encode*.graph"))) == 1


def test_where_memory_runs_out_another_run_tries_again(
    tiny_method: Callable[[str], Method], compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_latentseg.engines import torch_engine

    def fail(*arguments: object) -> None:
        raise MemoryError

    with monkeypatch.context() as patch:
        patch.setattr(torch_engine, "convert_function", fail)
        refused = TorchEngine(tiny_method("gms"), EXACT, CompiledFunctions("0" * 32, "float32"))
        assert "memory" in refused.compile(SIZE).refusal
    again = TorchEngine(tiny_method("gms"), EXACT, CompiledFunctions("0" * 32, "float32"))
    assert again.compile(SIZE).refusal == ""


def test_full_batches_have_functions_of_their_own(
    tiny_method: Callable[[str], Method], compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    functions = CompiledFunctions("0" * 32, "float32")
    engine = TorchEngine(tiny_method("gms"), EXACT, functions)
    (name, batch), *_ = engine.compile(SIZE).full_batches.items()
    assert batch == 16
    assert "predict_masks" in name
    sizes: list[int] = []
    call = CompiledFunctions.call

    def noted(self: CompiledFunctions, compiled: object, arrays: list[np.ndarray]) -> list[np.ndarray]:
        sizes.append(len(arrays[0]))
        return call(self, compiled, arrays)

    conditioning = engine.encode(images(37))
    monkeypatch.setattr(CompiledFunctions, "call", noted)
    together = engine.sample(conditioning)
    assert sizes == [16, 16, 5]
    np.testing.assert_allclose(together[:2], engine.sample(conditioning[:2]), atol=1e-5)


def test_a_plan_of_a_file_that_is_no_plan_is_none(compiled_home: Path) -> None:
    folder = compiled_home / ("0" * 32)
    folder.mkdir(parents=True)
    for content in ("", "[]", json.dumps({"graphs": ["a"]}), json.dumps({"graphs": 3})):
        (folder / "member0-tile64.json").write_text(content, "utf-8")
        assert CompiledFunctions("0" * 32, "float32").plan(64) is None
