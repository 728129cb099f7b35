"""A store of its own, and a tiny model that has learnt a little of bright ellipses, with its replay."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def own_home(tmp_path: Path, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store that holds the codec and nothing else."""
    home = tmp_path / "home"
    shutil.copytree(tiny_codec_folder, home / "codecs" / tiny_codec_folder.name)
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(home))
    return home


@pytest.fixture(scope="session")
def taught_base(
    write_ellipses: Callable[..., Path], tiny_codec_folder: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """The folder of a model that `train` made: it has replay, a split and figures."""
    from napari_latentseg.models.store import open_codec
    from napari_latentseg.training.config import TrainingConfig
    from napari_latentseg.training.job import TrainingJob

    data = write_ellipses(tmp_path_factory.mktemp("base-data") / "data", 8)
    codec, spec = open_codec(tiny_codec_folder.name)
    config = TrainingConfig.model_validate(
        {
            "settings": {"width": 16, "levels": ["out"], "conditioner": "trained"},
            "preprocess": {"mode": "whole", "size": 32},
            "split": {"fraction": 0.25},
            "epochs": 12,
            "batch_size": 4,
            "warmup_epochs": 0,
            "schedule_by": "step",
            "card": {"title": "Ellipses", "class_name": "ellipse"},
        }
    )
    out = tmp_path_factory.mktemp("base") / "ellipses"
    list(TrainingJob(data, out, config, codec, spec, device="cpu"))
    return out
