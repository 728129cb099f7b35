"""Annotated images in memory."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput, Cancelled
from napari_latentseg.training.batches import steps_per_epoch, training_batches
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset

NONE = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
SMALL = {"preprocess": {"mode": "whole", "size": 32}, "split": {"fraction": 0.3}}


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(SMALL | changes)


@pytest.fixture
def folder(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    return write_ellipses(tmp_path / "data")


def test_images_and_masks_come_at_working_size(folder: Path) -> None:
    data = read_dataset(folder, config())
    assert (len(data.train), len(data.validation)) == (4, 2)
    for example in (*data.train, *data.validation):
        assert example.image.shape == (3, 32, 32)
        assert example.mask.shape == (1, 32, 32)
        image, mask = example.to_float()
        assert 0 <= float(image.min()) <= float(image.max()) <= 1
        assert set(mask.unique().tolist()) == {0.0, 1.0}
        assert float(image[0][mask[0] > 0].mean()) > float(image[0][mask[0] == 0].mean())


def test_tiles_keep_the_shape_of_the_image(folder: Path) -> None:
    tiles = {"mode": "tiles", "size": 32, "long_side": 96, "overlap": 8}
    data = read_dataset(folder, config(preprocess=tiles))
    assert data.train[0].image.shape == (3, 72, 96)


def test_every_file_is_on_one_side_by_its_hash(folder: Path) -> None:
    data = read_dataset(folder, config())
    keys = data.content_hashes()
    assert len(keys["train"]) == 4
    assert not set(keys["train"]) & set(keys["validation"])
    assert set(keys["train"]) | set(keys["validation"]) == {p.content_sha256 for p in find_cases(folder)}
    assert keys == read_dataset(folder, config()).content_hashes()


def test_a_copy_under_another_name_does_not_cross_the_split(folder: Path) -> None:
    for part in ("images", "masks"):
        for number in range(6):
            shutil.copy(folder / part / f"case_{number}.png", folder / part / f"again_{number}.png")
    for seed in range(5):
        keys = read_dataset(folder, config(split={"fraction": 0.3, "seed": seed})).content_hashes()
        assert not set(keys["train"]) & set(keys["validation"])


def test_the_files_of_a_patient_stay_together(folder: Path) -> None:
    pattern = {"fraction": 0.3, "group_pattern": "^(case_[01])|^(?:case)"}
    keys = read_dataset(folder, config(split=pattern)).content_hashes()
    assert len(keys["train"]) + len(keys["validation"]) == 6


def test_a_mask_of_another_size_is_refused_by_name(folder: Path) -> None:
    Image.new("L", (10, 10)).save(folder / "masks" / "case_2.png")
    with pytest.raises(BadInput, match=r"case_2\.png: has shape \(1, 10, 10\), its image \(1, 48, 64\)"):
        read_dataset(folder, config())


def test_masks_that_are_all_empty_are_refused(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        Image.new("L", (64, 48)).save(path)
    with pytest.raises(BadInput, match="every mask is empty"):
        read_dataset(folder, config())


def full(path: Path, *, value: int = 255) -> None:
    Image.new("L", (64, 48), value).save(path)


def test_masks_that_all_mark_the_whole_image_are_refused(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        full(path)
    with pytest.raises(BadInput, match=r"masks: every mask marks the whole image; mark the target alone"):
        read_dataset(folder, config())
    labels = {"classes": [{"name": n, "color": "#ffb000"} for n in "ab"], "settings": {"classes": 2}}
    for path in (folder / "masks").iterdir():
        full(path, value=2)
    with pytest.raises(BadInput, match="every mask marks the whole image"):
        read_dataset(folder, config(**labels))
    full(folder / "masks" / "case_0.png", value=1)  # images of one class each can be told apart
    assert len(read_dataset(folder, config(**labels)).train) == 4


def test_some_masks_that_mark_the_whole_image_are_named(folder: Path) -> None:
    full(folder / "masks" / "case_1.png")
    assert read_dataset(folder, config()).notes == ("1 mask marks the whole image: case_1",)
    for number in range(5):
        full(folder / "masks" / f"case_{number}.png")
    expected = "5 masks mark the whole image: case_0, case_1, case_2, ..."
    assert read_dataset(folder, config()).notes == (expected,)


def test_the_same_mask_for_every_image_is_said(folder: Path) -> None:
    for path in (folder / "masks").iterdir():
        if path.name != "case_0.png":
            shutil.copy(folder / "masks" / "case_0.png", path)
    expected = "all 6 images have the same mask: check that each has its own"
    assert read_dataset(folder, config()).notes == (expected,)


def test_reading_can_be_stopped(folder: Path) -> None:
    seen = []

    def progress(done: int, total: int) -> bool:
        seen.append((done, total))
        return done < 3

    with pytest.raises(Cancelled):
        read_dataset(folder, config(), progress)
    assert seen == [(1, 6), (2, 6), (3, 6)]


@pytest.mark.parametrize(
    ("batch_size", "crops", "batches", "rows"),
    [(3, 1, 1, 3), (2, 1, 2, 2), (100, 1, 1, 4), (3, 2, 2, 3), (4, 5, 5, 4)],
)
def test_an_epoch_is_whole_batches(
    folder: Path, batch_size: int, crops: int, batches: int, rows: int
) -> None:
    settings = config(batch_size=batch_size, crops_per_image=crops)
    train = read_dataset(folder, settings).train
    found = list(training_batches(train, settings, np.random.default_rng(0)))
    assert len(found) == steps_per_epoch(train, settings) == batches
    for batch in found:
        assert batch.images.shape == (rows, 3, 32, 32)
        assert batch.masks.shape == (rows, 1, 32, 32)


def test_an_epoch_sees_every_image_in_an_order_of_its_own(folder: Path) -> None:
    settings = config(batch_size=4, augment=NONE)
    data: Dataset = read_dataset(folder, settings)
    rng = np.random.default_rng(0)
    orders = set()
    for _ in range(6):
        (batch,) = training_batches(data.train, settings, rng)
        order = tuple(
            next(i for i, e in enumerate(data.train) if torch.equal(e.to_float()[0], image))
            for image in batch.images
        )
        assert sorted(order) == [0, 1, 2, 3]
        orders.add(order)
    assert len(orders) > 1


def test_few_variants_come_back_as_they_were(folder: Path) -> None:
    settings = config(batch_size=4, augment_variants=2, augment={"affine": 1, "jitter": 1})
    data = read_dataset(folder, settings)
    rng = np.random.default_rng(0)
    seen: dict[bytes, bytes] = {}
    for _ in range(20):
        for batch in training_batches(data.train, settings, rng):
            for image, mask in zip(batch.images, batch.masks, strict=True):
                assert (
                    seen.setdefault(image.numpy().tobytes(), mask.numpy().tobytes()) == mask.numpy().tobytes()
                )
    assert len(seen) == 4 * 2
