"""The Python API."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import napari_latentseg
from napari_latentseg import api
from napari_latentseg.errors import BadInput
from napari_latentseg.sample_data import ultrasound_phantom
from napari_latentseg.training.events import TrainEvent


def test_the_package_gives_the_functions_out() -> None:
    for name in api.__all__:
        assert getattr(napari_latentseg, name) is getattr(api, name)
        assert name in dir(napari_latentseg)
    with pytest.raises(AttributeError, match="paint"):
        getattr(napari_latentseg, "paint")  # noqa: B009


def test_a_scan_and_a_model_may_be_given_or_named(tiny_model_folder: Path, tmp_path: Path) -> None:
    scan = ultrasound_phantom().scan
    Image.fromarray(scan.array).save(tmp_path / "phantom.png")
    model = api.load_model(tiny_model_folder)
    asked = {"samples": 3, "device": "cpu", "precision": "float32", "seed": 2}
    given = api.segment(scan, model, **asked)
    for one in (
        tmp_path / "phantom.png",
        str(tmp_path / "phantom.png"),
        api.read_scan(tmp_path / "phantom.png"),
    ):
        named = api.segment(one, str(tiny_model_folder), **asked)
        assert np.array_equal(named.mean, given.mean)
        assert np.array_equal(named.variance, given.variance)
    assert given.geometry == scan.geometry


def test_progress_comes_to_one(tiny_model_folder: Path) -> None:
    seen: list[float] = []
    api.segment(ultrasound_phantom().scan, tiny_model_folder, samples=4, progress=seen.append)
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert {0.25, 0.5, 0.75} <= set(seen)


def test_a_model_finds_its_codec_in_a_place_of_its_own(
    tiny_model_folder: Path, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path))
    with pytest.raises(BadInput, match="tiny-codec"):
        api.segment(ultrasound_phantom().scan, tiny_model_folder, samples=1)
    found = api.segment(ultrasound_phantom().scan, tiny_model_folder, samples=1, codec=tiny_codec_folder)
    assert found.record.complete


def test_listing_is_by_name() -> None:
    assert all(name == card.name for name, card in api.list_models().items())


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"samples": 0}, "samples"),
        ({"seed": -1}, "seed"),
        ({"source": "magic"}, "source"),
        ({"device": "tpu"}, "device"),
    ],
)
def test_what_makes_no_sense_is_refused(
    tiny_model_folder: Path, asked: dict[str, object], message: str
) -> None:
    with pytest.raises(BadInput, match=message):
        api.segment(ultrasound_phantom().scan, tiny_model_folder, **asked)


@pytest.mark.parametrize(
    ("part", "why"),
    [
        ({"slices": (1, 3)}, "slices: end at 3, but the scan has 1"),
        ({"box": (0, 0, 20, 9999)}, "box: rows 0-20"),
    ],
)
def test_a_part_that_the_scan_has_not_is_refused_before_the_model_is_loaded(
    tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch, part: dict[str, object], why: str
) -> None:
    for loads in ("inference.compiled_start.start_compiled_run", "api.inference.load_chosen_model"):
        monkeypatch.setattr(f"napari_latentseg.{loads}", lambda *args, **options: pytest.fail("was loaded"))
    with pytest.raises(BadInput, match=why):
        api.segment(ultrasound_phantom(shape=(96, 128)).scan, tiny_model_folder, **part)


def test_a_file_that_is_missing_is_named(tiny_model_folder: Path) -> None:
    with pytest.raises(BadInput, match=r"nowhere\.png: no such file"):
        api.segment("nowhere.png", tiny_model_folder)


def test_training_and_scoring(
    write_ellipses: Callable[..., Path], tiny_codec_folder: Path, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "data")
    events: list[TrainEvent] = []
    changes = {
        "epochs": 1,
        "batch_size": 4,
        "warmup_epochs": 0,
        "settings": {"width": 16},
        "preprocess": {"mode": "whole", "size": 32},
        "split": {"fraction": 0.3},
    }
    card = api.train(
        data, tmp_path / "m", config="gms-small", codec="tiny-codec", changes=changes, device="cpu",
        on_event=events.append,
    )  # fmt: skip
    assert card.name == "m"
    assert events[-1].event == "saved"
    seen: list[float] = []
    report = api.evaluate(tmp_path / "m", data, source="none", device="cpu", progress=seen.append)
    assert report.image_count == 6
    assert report.training_count == 4
    assert seen == sorted(seen)
    assert sorted(set(seen)) == pytest.approx([i / 6 for i in range(7)])
    with pytest.raises(BadInput, match="already exists"):
        api.train(data, tmp_path / "m", changes=changes, codec="tiny-codec")
