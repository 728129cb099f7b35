"""The keys of JSON output are those of version 0.1.0, whatever the fields are called."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from napari_latentseg.sample_data import write_annotated_phantoms

MODEL = "tiny-taught"
MEASUREMENT = ["title", "name", "label", "object", "time", "value", "unit", "length_unit", "samples", "mean",
               "std", "low", "high", "interval_is", "probability", "centroid", "longest", "across", "box",
               "intensity", "mask_state", "interval_reason", "fraction", "segmented", "model_value",
               "includes", "ml"]  # fmt: skip
FINDING = ["kind", "index", "box", "name", "label", "number", "why", "uncertainty", "measure"]
COMPARISON = ["name", "label", "time", "dsc", "iou", "hd95", "assd", "unit", "empty", "segmented"]
VERSION = [
    "name", "version", "parent", "folder", "current", "origin", "dsc", "line", "dsc_images", "base_dsc",
]  # fmt: skip
REPORT = ["model", "mean", "std", "empty", "count", "trained_on", "kept_apart", "samples", "source", "seed",
          "threshold", "conventions", "images", "engine", "median", "intervals"]  # fmt: skip
METHOD = ["name", "title", "paper", "configurations", "parameters", "sources"]


@pytest.fixture
def keys(cli: Callable[..., Any], own_home: Path) -> Callable[..., list[str]]:
    """The keys of a command's output, of the first record where there are several."""

    def of(*arguments: object, part: str | None = None) -> list[str]:
        ended = cli(*arguments, "--json")
        assert ended.code == 0, ended
        output = json.loads(ended.out)
        records = output if part is None else output[part]
        return list(records[0] if isinstance(records, list) else records)

    return of


def test_a_result(cli: Callable[..., Any], keys: Callable[..., list[str]], tmp_path: Path) -> None:
    data = write_annotated_phantoms(tmp_path / "data", 1, shape=(64, 80))
    out = tmp_path / "out"
    image = data / "images" / "phantom_0.png"
    assert cli("segment", image, "--model", MODEL, "--out", out, "-n", 3).code == 0
    mask = out / "phantom_0_mask.tif"
    assert keys("measure", out) == MEASUREMENT
    assert keys("rank", out, "--measure", "entropy", part="findings") == FINDING
    assert keys("compare", mask, mask) == COMPARISON


def test_models_and_methods(keys: Callable[..., list[str]]) -> None:
    assert keys("models", "history", MODEL) == VERSION
    assert keys("methods") == METHOD
    assert {"name", "variant", "training_data", "volume_interval"} <= set(keys("models", "info", MODEL))


def test_a_report(cli: Callable[..., Any], own_home: Path, tmp_path: Path) -> None:
    data = write_annotated_phantoms(tmp_path / "data", 2, shape=(64, 80))
    assert cli("evaluate", "--model", MODEL, "--data", data, "--out", tmp_path / "report.json").code == 0
    report = json.loads((tmp_path / "report.json").read_text())
    assert list(report) == REPORT
    assert list(report["images"][0]) == ["name", "dsc", "iou", "hd95", "empty", "image_sha256", "mask_sha256"]
    assert list(report["mean"]) == list(report["std"]) == ["dsc", "iou", "hd95"]
