"""The size of a structure, given with a click on a heart that the model has never seen."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from napari_latentseg import Prompts, load_model, read_scan, segment
from napari_latentseg.core.pointed_object import PointedObject
from napari_latentseg.evaluation.metrics import dice
from napari_latentseg.inference.prompt_image import PromptImage
from napari_latentseg.inference.slice_part import SlicePart
from napari_latentseg.methods.simulated_prompts import deepest_point

_SAMPLES = 4
_VENTRICLE = 3  # label of the left ventricle


def test_window_python_and_command_line_find_the_ventricle_or_something_larger(
    data_dir: Path, cli: Callable[..., Any], tmp_path: Path
) -> None:
    file = data_dir / "acdc" / "images" / "patient001_frame01.nii.gz"
    if not file.is_file():
        pytest.skip("the hearts are not here")
    scan = read_scan(file)
    labels = np.asarray(read_scan(data_dir / "acdc" / "masks" / file.name).array)
    plane = int((labels == _VENTRICLE).sum(axis=(1, 2)).argmax())
    ventricle = labels[plane] == _VENTRICLE
    row, column = deepest_point(ventricle)
    size = longer_side(ventricle)
    answers = [
        segment(
            scan, "any-structure", prompts=Prompts(positive=[(plane, row, column)], size=asked),
            samples=_SAMPLES, device="cpu",
        ).mask[plane] > 0
        for asked in (size, 2.5 * size)
    ]  # fmt: skip
    assert dice(answers[0], ventricle) > 0.8
    assert longer_side(answers[1]) > 1.5 * longer_side(answers[0])

    pointed = PointedObject()
    pointed.add_points([(row, column)], is_inside=True)
    pointed.choose_size(size)
    image = PromptImage(scan, load_model("any-structure"), "cpu")
    answer = image.answer(SlicePart(plane, (0, 0, *ventricle.shape)), pointed, _SAMPLES)
    assert answer is not None
    np.testing.assert_array_equal(answer.mean > answer.threshold, answers[0])
    ended = cli(
        "segment", file, "-m", "any-structure", "-o", tmp_path, "-n", _SAMPLES, "--device", "cpu",
        "--point", f"{plane},{row},{column}", "--structure-size", size,
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    written = np.asarray(read_scan(next(tmp_path.glob("*_mask.nii.gz"))).array)
    np.testing.assert_array_equal(written[plane] > 0, answers[0])


def longer_side(mask: np.ndarray[Any, Any]) -> float:
    rows, columns = np.nonzero(mask)
    return float(max(np.ptp(rows), np.ptp(columns)) + 1)
