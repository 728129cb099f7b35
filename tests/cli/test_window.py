"""Scans that the intensity window of a configuration or of a model leaves empty."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

from tests.helpers.made_ct import CT_CONFIG, write_ct_set


def test_a_training_is_refused_in_one_line_and_writes_nothing(refused, tmp_path: Path) -> None:
    data = write_ct_set(tmp_path / "btcv", 2, side=(40, 44), slices=(3, 4))
    window = CT_CONFIG["preprocess"] | {"window": [3000, 4000]}
    (tmp_path / "config.json").write_text(json.dumps(CT_CONFIG | {"preprocess": window}))
    message = refused(
        "train", "--method", "guided", "--data", data, "--config", tmp_path / "config.json",
        "--out", tmp_path / "m", "--device", "cpu",
    )  # fmt: skip
    assert "ct0.nii.gz: has values from -" in message
    assert "window from 3000 to 4000 leaves nothing; give the scan in the unit of the window" in message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["btcv", "config.json"]


def test_a_scan_is_refused_in_one_line_and_no_mask_is_written(
    refused, make_tiny_model: Callable[..., Path], tmp_path: Path
) -> None:
    preprocess = {"mode": "whole", "size": 64, "window": [3000, 4000]}
    model = make_tiny_model("tiny-empty-window", preprocess=preprocess)
    data = write_ct_set(tmp_path / "btcv", 1, side=(40, 44), slices=(3, 4))
    message = refused(
        "segment", data / "images" / "ct0.nii.gz", "--model", model, "--out", tmp_path / "mask.nii.gz"
    )
    assert "window from 3000 to 4000 leaves nothing" in message
    assert [path.name for path in tmp_path.iterdir()] == ["btcv"]
