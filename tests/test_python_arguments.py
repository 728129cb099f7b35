"""Python as people write it: a wrong argument is one line that names it, and nothing prints a network."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import napari_latentseg as latentseg
from napari_latentseg import BadInput
from napari_latentseg.core.given_spacing import GIVEN_SPACING_NOTE

PLANE = np.random.default_rng(0).integers(0, 256, (37, 53), dtype=np.uint8)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("samples", "3"), ("samples", 3.0), ("samples", True), ("samples", -1), ("samples", [3]),
        ("seed", "1"), ("seed", 1.5), ("seed", -1), ("threshold", "0.5"), ("threshold", float("nan")),
        ("threshold", 2), ("device", 1), ("device", "cuda:x"), ("precision", 32), ("source", 3),
        ("classes", "lesion"), ("classes", 3), ("classes", ["tumour"]), ("slices", 3), ("slices", "1-2"),
        ("slices", (1.0, 2)), ("box", [1, 2]), ("box", (0, 0, 32.5, 32)), ("cleanup", "x"), ("cleanup", {}),
        ("tolerance", "a"), ("plane", 3), ("plane", ["axial"]), ("series", "1"), ("channel", "red"),
        ("spacing", "0.2"), ("spacing", None.__class__), ("spacing", (0.2, "0.2")), ("axes", 3), ("codec", 3),
        ("progress", 3),
    ],
)  # fmt: skip
def test_a_wrong_argument_is_named_in_one_line(tiny_model_folder: Path, name: str, value: Any) -> None:
    with pytest.raises(BadInput) as caught:
        latentseg.segment(PLANE, tiny_model_folder, **{name: value})
    assert caught.value.what == name
    assert len(str(caught.value).splitlines()) == 1


def test_numbers_of_numpy_are_numbers(tiny_model_folder: Path) -> None:
    spacing = np.array([0.2, 0.3])
    result = latentseg.segment(
        PLANE, tiny_model_folder, samples=np.int64(1), seed=np.uint8(2), threshold=np.float32(0.5),
        box=np.array([0, 0, 32, 32]), spacing=spacing,
    )  # fmt: skip
    assert result.geometry.spacing == (0.2, 0.3)
    assert (result.record.seed, result.record.box) == (2, (0, 0, 32, 32))
    assert GIVEN_SPACING_NOTE in result.record.input.notes
    assert latentseg.segment(
        PLANE, tiny_model_folder, samples=1, spacing=np.float64(0.2)
    ).geometry.spacing == (
        0.2,
        0.2,
    )


def test_an_array_gives_what_its_file_gives(tiny_model_folder: Path, tmp_path: Path) -> None:
    from PIL import Image

    Image.fromarray(PLANE).save(tmp_path / "a.png")
    from_file = latentseg.segment(tmp_path / "a.png", tiny_model_folder, samples=2)
    from_array = latentseg.segment(PLANE, tiny_model_folder, samples=2)
    assert np.array_equal(from_array.mean, from_file.mean)
    assert from_array.record.input.sha256 == from_file.record.input.sha256


@pytest.mark.parametrize("model", [None, 3, object(), "", "no-such", "x" * 300, "a\0b", ["retina-vessels"]])
@pytest.mark.parametrize(
    "function", ["segment", "check_fit", "evaluate", "calibrate", "load_model", "finetune"]
)
def test_what_is_no_model_is_refused_everywhere(function: str, model: object, tmp_path: Path) -> None:
    call: Callable[..., Any] = getattr(latentseg, function)
    arguments = {
        "segment": (PLANE, model),
        "check_fit": (PLANE, model),
        "load_model": (model,),
    }.get(function, (model, tmp_path))
    with pytest.raises(BadInput) as caught:
        call(*arguments)
    assert caught.value.what == "model"


@pytest.mark.parametrize("data", [None, 3, "", object()])
def test_what_is_no_folder_is_refused_everywhere(
    tiny_model_folder: Path, data: object, tmp_path: Path
) -> None:
    calls: list[Callable[[], Any]] = [
        lambda: latentseg.evaluate(tiny_model_folder, data),
        lambda: latentseg.calibrate(tiny_model_folder, data),
        lambda: latentseg.train(data, tmp_path / "out"),
        lambda: latentseg.finetune(tiny_model_folder, data),
        lambda: latentseg.export_model(tiny_model_folder, data),
        lambda: latentseg.install_model(data),
    ]
    for call in calls:
        with pytest.raises(BadInput, match="is not a path"):
            call()


def test_a_typing_error_in_a_name_gets_a_suggestion() -> None:
    with pytest.raises(BadInput, match="did you mean 'retina-vessels'"):
        latentseg.load_model("retina-vessel")


def test_every_representation_is_one_short_line(tiny_model_folder: Path, tmp_path: Path) -> None:
    model = latentseg.load_model(tiny_model_folder)
    scan = latentseg.Scan(
        PLANE, "yx", latentseg.Geometry.from_spacing("yx"), source=tmp_path / "Doe_Jane.png"
    )
    result = latentseg.segment(scan, model, samples=1)
    located = latentseg.locate_model("breast-ultrasound")
    objects = [
        model, located, located.card, scan, scan.geometry, result, result.record,
        latentseg.start_run(scan, model), located.card.classes[0],
        latentseg.MethodInfo.model_construct(name="gms", title="GMS"),
        latentseg.PostProcess(), latentseg.model_history("breast-ultrasound")[0],
        latentseg.InferenceSettings.for_model(model.card),
    ]  # fmt: skip
    for item in objects:
        for text in (repr(item), str(item)):
            assert len(text) < 400
            assert "\n" not in text
            assert "Doe" not in text
    assert repr(scan) == "Scan(yx 37 x 53 uint8, 1 x 1 pixel)"
    assert (
        repr(result)
        == "Segmentation(yx 37 x 53 uint8, 1 x 1 pixel, target; 1 sample from augment, tiny-whole 1)"
    )
