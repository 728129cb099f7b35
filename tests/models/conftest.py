"""A small model with its codec, written as this project writes them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.helpers.autoencoders import write_compact

from napari_latentseg.codecs.loading import weights_hash
from napari_latentseg.codecs.spec import CodecSpec
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.augmentation_config import AugmentationConfig
from napari_latentseg.data.preprocess import Preprocess
from napari_latentseg.methods.registry import build_method
from napari_latentseg.models.card import MetricRecord, ModelCard, TrainingData
from napari_latentseg.models.folder import save_model_folder
from napari_latentseg.models.layout import SPLIT_FILE


@pytest.fixture(scope="session")
def _written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The user's folder: codecs `lab-codec` and `other-codec`, and a model `lesions` on the first."""
    home = tmp_path_factory.mktemp("home")
    codec = write_compact(home / "codecs" / "lab-codec", 1)
    write_compact(home / "codecs" / "other-codec", 2)
    method = build_method("gms", codec, {"width": 16})
    spec = CodecSpec(
        kind="compact", name="lab-codec", channels=8, sha256=weights_hash(home / "codecs" / "lab-codec")
    )
    card = ModelCard(
        name="lesions",
        title="Lesions",
        method="gms",
        settings={"width": 16},
        codec=spec,
        preprocess=Preprocess(size=64),
        augment=AugmentationConfig(),
        modality="US",
        classes=(ClassInfo(label=1, name="lesion", color="#ff8c00"),),
        sources=("augment", "none"),
        training_data=(
            TrainingData(name="drawn", licence="CC0", images=8, validation_images=2, split="20%"),
        ),
        metrics=(
            MetricRecord(
                data="the 2 kept apart", images=2, samples=1, source="none",
                values={"dsc": 0.8125, "iou": 0.75, "hd95": 3.25}, conventions={"empty": "counts as right"},
            ),
        ),
    )  # fmt: skip
    split = json.dumps({"train": ["a", "b"], "validation": ["c"]}).encode()
    save_model_folder(home / "models" / "lesions", method, card, {SPLIT_FILE: split})
    return home


@pytest.fixture
def home(_written: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of it that is the user's for the time of a test."""
    from napari_latentseg.models import codec_lookup

    folder = Path(shutil.copytree(_written, tmp_path / "home"))
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(folder))
    yield folder
    codec_lookup._load_cached.cache_clear()


@pytest.fixture
def lesions(home: Path) -> Path:
    """The folder of the model."""
    return home / "models" / "lesions"
