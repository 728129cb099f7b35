"""`train` on the masks of several readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_latentseg.models.folder import load_model_folder


@pytest.fixture
def folder(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    folder = write_ellipses(tmp_path / "data", shape=(32, 32))
    for reader, size in (("masks_r1", 8), ("masks_r2", 12)):
        (folder / reader).mkdir()
        for number in range(6):
            mask = np.zeros((32, 32), np.uint8)
            mask[8 : 8 + size, 8 : 8 + size] = 255
            Image.fromarray(mask).save(folder / reader / f"case_{number}.png")
    return folder


@pytest.fixture
def tiny_config() -> dict[str, object]:
    widths = {"widths": [8, 8], "norm_groups": 8}
    return {
        "method": "medseglatdiff", "codec": None, "preprocess": {"mode": "whole", "size": 32},
        "split": {"fraction": 0.3}, "epochs": 1, "batch_size": 2, "warmup_epochs": 0,
        "schedule_by": "step", "select": "last",
        "settings": {
            "autoencoder": widths | {"layers_per_block": 1, "codes": 8},
            "denoiser": widths | {"layers_per_block": 1, "head_width": 8},
            "steps": 2,
        },
        "card": {"default_samples": 3},
    }  # fmt: skip


def test_the_command_trains_on_readers_and_the_card_says_so(
    cli, folder: Path, tmp_path: Path, tiny_config: dict[str, object]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_config))
    ended = cli(
        "train", "--method", "medseglatdiff", "--data", folder, "--out", tmp_path / "model", "--config", path,
        "--readers", "masks_r1,masks_r2",
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    (record,) = load_model_folder(tmp_path / "model", lambda spec: pytest.fail("no codec")).card.training_data
    assert record.readers == 2
    saved = json.loads((tmp_path / "model" / "training.json").read_text("utf-8"))
    assert (saved["readers"], saved["reader_masks"]) == ("random", ["masks_r1", "masks_r2"])


def test_a_missing_folder_ends_the_command_in_one_line(
    cli, folder: Path, tmp_path: Path, tiny_config: dict[str, object]
) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(tiny_config))
    ended = cli(
        "train", "--method", "medseglatdiff", "--data", folder, "--out", tmp_path / "model", "--config", path,
        "--readers", "masks_r1,masks_r3",
    )  # fmt: skip
    assert ended.code == 2
    (line,) = ended.errors
    assert "has no folder masks_r3/ of a reader's masks" in line
    assert not (tmp_path / "model").exists()
