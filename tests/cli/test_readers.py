"""`train` on the masks of several readers."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tests.helpers.medseglatdiff import TINY_TRAINING

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


def test_the_command_trains_on_readers_and_the_card_says_so(cli, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY_TRAINING))
    ended = cli(
        "train", "--method", "medseglatdiff", "--data", folder, "--out", tmp_path / "model", "--config", path,
        "--readers", "masks_r1,masks_r2",
    )  # fmt: skip
    assert (ended.code, ended.errors) == (0, [])
    (record,) = load_model_folder(tmp_path / "model", lambda spec: pytest.fail("no codec")).card.training_data
    assert record.readers == 2
    saved = json.loads((tmp_path / "model" / "training.json").read_text("utf-8"))
    assert (saved["readers"], saved["reader_masks"]) == ("random", ["masks_r1", "masks_r2"])


def test_a_missing_folder_ends_the_command_in_one_line(cli, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "config.json"
    path.write_text(json.dumps(TINY_TRAINING))
    ended = cli(
        "train", "--method", "medseglatdiff", "--data", folder, "--out", tmp_path / "model", "--config", path,
        "--readers", "masks_r1,masks_r3",
    )  # fmt: skip
    assert ended.code == 2
    (line,) = ended.errors
    assert "has no folder masks_r3/ of a reader's masks" in line
    assert not (tmp_path / "model").exists()
