"""By which replay patches a fine-tuning is steered, and by which it is judged."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_latentseg.models.folder import Model
from napari_latentseg.models.store import load_model
from napari_latentseg.training.replay import Replay, read_replay
from napari_latentseg.utils.device import resolve_compute


@pytest.fixture(scope="module")
def model() -> Model:
    return load_model("breast-ultrasound")


def replay_of(model: Model, folder: Path) -> Replay:
    compute = resolve_compute("cpu", "float32")
    replay = read_replay(folder, model.card, model.method.fine_tune_spec(), compute)
    assert replay is not None
    return replay


def cases(patches) -> list[int]:
    return patches.cases.tolist()


def test_every_second_validation_case_selects_and_the_others_judge(model: Model) -> None:
    stored = load_file(model.folder / "replay.safetensors")
    held_out = stored["cases"][~stored["learned_from"].bool()].tolist()
    replay = replay_of(model, model.folder)
    assert cases(replay.validation) == held_out[::2]  # each of another image
    assert cases(replay.test) == held_out[1::2]
    assert len(replay.train) == int(stored["learned_from"].sum())  # none is spared


@pytest.mark.parametrize(("case_count", "selects_by_validation_images"), [(1, False), (2, True)])
def test_patches_of_one_validation_case_all_judge(
    model: Model, tmp_path: Path, case_count: int, selects_by_validation_images: bool
) -> None:
    stored = load_file(model.folder / "replay.safetensors")
    is_held_out = ~stored["learned_from"].bool()
    count = int(is_held_out.sum())
    stored["cases"][is_held_out] = torch.arange(count) % case_count
    save_file(stored, tmp_path / "replay.safetensors")
    replay = replay_of(model, tmp_path)
    trained_on = len(stored["cases"]) - count
    if selects_by_validation_images:
        assert (len(replay.validation), len(replay.test)) == (count // 2, count // 2)
        assert len(replay.train) == trained_on
        return
    assert len(replay.test) == count
    assert len(replay.validation) == -(-trained_on // 4)  # every fourth
    assert len(replay.train) + len(replay.validation) == trained_on
