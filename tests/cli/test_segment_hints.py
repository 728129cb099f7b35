"""`segment` with hints, which weight the samples of any model."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import Hint, reweight, segment
from napari_latentseg.io.read_results import read_segmentation
from napari_latentseg.measure import interval_basis


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    values = np.random.default_rng(0).integers(0, 256, (60, 80), dtype=np.uint8)
    Image.fromarray(values).save(tmp_path / "picture.png")
    return tmp_path / "picture.png"


def test_the_result_is_that_of_reweight_and_its_record_says_so(
    cli: Callable[..., Any], picture: Path, tiny_model_folder: Path, tmp_path: Path
) -> None:
    options = ("-m", tiny_model_folder, "-o", tmp_path / "out", "--samples", 4)
    ended = cli("segment", picture, *options, "--hint", "30,40", "--hint-not", "5, 5", "--hint-not", "50,7")
    assert (ended.code, ended.errors) == (0, [])
    assert "3 hints re-weighted the 4 samples: effective number" in ended.out
    hints = [Hint(point=(30, 40)), Hint(point=(5, 5), inside=False), Hint(point=(50, 7), inside=False)]
    expected = reweight(segment(picture, str(tiny_model_folder), samples=4), hints)
    written = read_segmentation(tmp_path / "out" / "picture_run.json")
    assert written.record.hints == expected.record.hints
    np.testing.assert_allclose(written.mean, expected.mean, atol=1e-6)
    np.testing.assert_array_equal(written.mask, expected.mask)
    record = json.loads((tmp_path / "out" / "picture_run.json").read_text())
    assert len(record["hints"]["weights"]) == 4
    assert interval_basis(written, None).kind != "calibrated"
    assert "has a result already" in cli(
        "segment", picture, *options, "--hint", "30,40", "--hint-not", "5,5", "--hint-not", "50,7",
        "--skip-existing",
    ).out  # fmt: skip
    assert "re-weighted" not in cli("segment", picture, *options, "--skip-existing").out


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (("--hint", "3"), "'3' is none"),
        (("--hint", "nan,3"), "'nan,3' is none"),
        (("--hint-not", "3,inf"), "'3,inf' is none"),
        (("--hint", "60,5"), "outside the image of 60 x 80"),
        (("--hint", "1,2,3"), "3 numbers"),
        (("--hint", "3,4", "--hint-not", "3,4"), "both inside and outside"),
        (("--hint", "3,4", "--sampling", "none"), "single pass"),
    ],
)
def test_impossible_hints_write_nothing(
    refused: Callable[..., str],
    picture: Path,
    tiny_model_folder: Path,
    tmp_path: Path,
    options: tuple[str, ...],
    why: str,
) -> None:
    line = refused("segment", picture, "-m", tiny_model_folder, "-o", tmp_path / "out", *options)
    assert why in line
    assert not list((tmp_path / "out").glob("*"))
