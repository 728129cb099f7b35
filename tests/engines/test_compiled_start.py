"""A model that was compiled before needs no torch."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_latentseg import InferenceSettings, load_model, segment, start_run
from napari_latentseg.inference.compiled_start import start_compiled_run
from napari_latentseg.models.store import LocatedModel, locate_model
from napari_latentseg.sample_data import ultrasound_phantom

pytest.importorskip("openvino")


def test_a_second_run_takes_the_compiled_functions_alone(
    tiny_model_folder: Path, compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    monkeypatch.setattr("napari_latentseg.inference.compiled_start._may_have_gpu", lambda: False)
    phantom, located = ultrasound_phantom(shape=(48, 64)).scan, locate_model(tiny_model_folder)
    settings = InferenceSettings.for_model(located.card, samples=3)

    def started(**changes: object) -> object:
        return start_compiled_run(located, phantom, settings.model_copy(update=changes))

    assert started() is None, "nothing is compiled yet"
    run = start_run(phantom, located, settings, may_compile=False)
    assert (run.state.compute.engine, started()) == ("torch", None)
    compiled = segment(phantom, load_model(tiny_model_folder), samples=3)
    run = start_run(phantom, located, settings)
    assert isinstance(run.model, LocatedModel)
    again = run.finish()
    assert again.record.engine == "openvino"
    np.testing.assert_array_equal(again.mean, compiled.mean)
    run.extend(2)  # shifted samples need tiles of another size, which are compiled, too
    assert run.finish().record.samples == 5
    for other in ({"engine": "torch"}, {"device": "cuda"}, {"source": "noise"}):
        assert started(**other) is None
    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "torch")
    assert started() is None


def test_the_files_of_a_compiled_model_are_checked(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from napari_latentseg.errors import BadInput

    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    phantom = ultrasound_phantom(shape=(48, 64)).scan
    segment(phantom, "tiny-taught", source="none")
    weights = own_home / "models" / "tiny-taught" / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))
    with pytest.raises(BadInput, match=r"weights\.safetensors: is not the file listed in the card"):
        segment(phantom, "tiny-taught", source="none")


def test_what_the_window_asks_before_it_compiles_in_the_background(
    own_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_latentseg import compile_model, needs_compiling

    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    monkeypatch.setattr("napari_latentseg.inference.compiled_start._may_have_gpu", lambda: False)
    assert needs_compiling("tiny-taught")
    assert not needs_compiling("tiny-taught", engine="torch")
    assert compile_model("tiny-taught") == ""
    assert not needs_compiling("tiny-taught")


def test_what_one_engine_has_encoded_serves_the_other(
    tiny_model_folder: Path, compiled_home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With and without torch, the same functions encode: arrays for the one, tensors for the other."""
    from tests.helpers.predicted import same

    monkeypatch.setenv("NAPARI_LATENTSEG_ENGINE", "auto")
    monkeypatch.setattr("napari_latentseg.inference.compiled_start._may_have_gpu", lambda: False)
    phantom, located = ultrasound_phantom(shape=(40, 72), seed=9).scan, locate_model(tiny_model_folder)

    def without_torch(samples: int) -> object:
        run = start_compiled_run(located, phantom, InferenceSettings.for_model(located.card, samples=samples))
        assert run is not None
        return run.finish()

    segment(phantom, load_model(tiny_model_folder), samples=2)
    compiled = without_torch(4)
    assert same(segment(phantom, load_model(tiny_model_folder), samples=4), compiled)
    assert same(segment(phantom, load_model(tiny_model_folder), samples=6), without_torch(6))
