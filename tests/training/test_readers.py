"""Training on the mask of a reader that is drawn anew in every step."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from tests.helpers.medseglatdiff import TINY_TRAINING

from napari_latentseg.codecs.loading import load_codec
from napari_latentseg.data.readers import parse_readers, reader_folders
from napari_latentseg.errors import BadInput
from napari_latentseg.methods.base import Batch
from napari_latentseg.models.folder import load_model_folder
from napari_latentseg.training import memory_estimate
from napari_latentseg.training.batches import training_batches
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.job import TrainingJob
from napari_latentseg.training.members import dataset_sha256
from napari_latentseg.training.trainer import Trainer
from napari_latentseg.utils.batch_share import Share
from napari_latentseg.utils.device import Compute

NONE = {"horizontal_flip": 0, "vertical_flip": 0, "quarter_turn": 0, "jitter": 0, "affine": 0}
SMALL = {
    "preprocess": {"mode": "whole", "size": 32}, "split": {"fraction": 0.3}, "augment": NONE,
    "readers": "random", "batch_size": 4,
}  # fmt: skip


def config(**changes: object) -> TrainingConfig:
    return TrainingConfig.model_validate(SMALL | changes)


@pytest.fixture
def folder(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    """Three readers: the first marks columns from the left, the second from the right, the third nothing."""
    folder = write_ellipses(tmp_path / "data", shape=(32, 32))
    for number in range(6):
        for reader, columns in (("masks_r1", slice(0, 8)), ("masks_r2", slice(24, 32)), ("masks_r10", None)):
            mask = np.zeros((32, 32), np.uint8)
            if columns is not None:
                mask[:, columns] = 255
            (folder / reader).mkdir(exist_ok=True)
            Image.fromarray(mask).save(folder / reader / f"case_{number}.png")
    return folder


def drawn_readers(data: Dataset, settings: TrainingConfig, epochs: int) -> list[int]:
    """Which reader's mask each image of some epochs had."""
    rng = np.random.default_rng(0)
    readers = []
    for _ in range(epochs):
        for batch in training_batches(data.train, settings, rng):
            for mask in batch.masks[:, 0]:
                readers.append(0 if mask[0, 0] else 1 if mask[0, -1] else 2)
                assert float(mask.sum()) in (0, 8 * 32)
    return readers


def test_every_step_has_the_mask_of_a_reader_drawn_at_random(folder: Path) -> None:
    data = read_dataset(folder, config())
    readers = np.bincount(drawn_readers(data, config(), epochs=150))
    assert readers.sum() == 600
    assert (abs(readers - 200) < 60).all()  # five standard deviations


def test_one_image_has_other_readers_in_other_steps(folder: Path) -> None:
    data = read_dataset(folder, config())
    one = Dataset(data.train[:1], data.validation)
    assert set(drawn_readers(one, config(batch_size=1), epochs=30)) == {0, 1, 2}


def test_validation_and_the_consensus_stay_those_of_masks(folder: Path) -> None:
    with_readers = read_dataset(folder, config())
    consensus = read_dataset(folder, config(readers="consensus"))
    for a, b in zip(with_readers.validation, consensus.validation, strict=True):
        assert torch.equal(a.mask, b.mask)
    assert all(s.reader_count == 3 for s in with_readers.train)
    assert all(s.reader_count == 0 for s in consensus.train)


def test_named_folders_are_those_of_the_readers(folder: Path) -> None:
    data = read_dataset(folder, config(reader_masks=["masks_r2"]))
    assert set(drawn_readers(data, config(), epochs=4)) == {1}


def test_a_data_set_may_name_its_own(folder: Path, write_ellipses, tmp_path: Path) -> None:
    other = write_ellipses(tmp_path / "other", shape=(32, 32), seed=1)
    settings = config(datasets={"data": {}, "other": {"reader_masks": ["masks"]}})
    data = read_dataset([folder, other], settings)
    assert {s.dataset: s.reader_count for s in data.train} == {"data": 3, "other": 1}
    (masks,) = {tuple(s.reader_masks[0].shape) for s in data.train if s.dataset == "other"}  # type: ignore[index]
    assert masks == (1, 32, 32)


def test_processes_that_share_a_batch_draw_the_same_readers(folder: Path) -> None:
    data = read_dataset(folder, config())
    whole = next(training_batches(data.train, config(), np.random.default_rng(3)))
    shares = [
        next(training_batches(data.train, config(), np.random.default_rng(3), Share(index, 2)))
        for index in range(2)
    ]
    assert torch.equal(torch.cat([share.masks for share in shares]), whole.masks)
    assert torch.equal(torch.cat([share.images for share in shares]), whole.images)


def test_the_parts_of_a_batch_have_the_readers_of_the_whole(
    folder: Path, tiny_codec_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config(epochs=2, settings={"width": 16, "levels": ["out"]})
    data = read_dataset(folder, settings)
    masks_by_part_bytes = []
    for part_bytes in (2**40, 1):
        monkeypatch.setattr(memory_estimate, "_CPU_PART_BYTES", part_bytes)
        trainer = Trainer(settings, data, load_codec(tiny_codec_folder), Compute("cpu", "float32"))
        seen: list[torch.Tensor] = []
        loss = trainer.method.loss

        def noted(batch: Batch, generator: torch.Generator | None, seen=seen, loss=loss):
            seen.append(batch.masks)
            return loss(batch, generator)

        trainer.method.loss = noted
        list(trainer.run())
        masks_by_part_bytes.append(seen[1:])  # the first measures the memory
    whole, parts = masks_by_part_bytes
    assert (len(whole), len(parts)) == (2, 8)
    assert torch.equal(torch.cat(whole), torch.cat(parts))


def test_random_numbers_of_a_training_with_one_mask_stay_as_they_were(folder: Path) -> None:
    settings = config(readers="consensus", augment={"affine": 1})
    data = read_dataset(folder, settings)
    order = np.random.default_rng(5).permutation(len(data.train))
    rng = np.random.default_rng(5)
    (batch,) = training_batches(data.train, settings, rng)
    after = np.random.default_rng(5)
    after.permutation(len(data.train))
    # nothing but the order was drawn before the first image
    from napari_latentseg.data.augment import augment

    image, mask = augment(*data.train[order[0]].to_float(), settings.augment, after, size=32)
    assert torch.equal(batch.images[0], image)
    assert torch.equal(batch.masks[0], mask)


def test_a_training_with_other_masks_of_a_reader_is_another(folder: Path) -> None:
    before = dataset_sha256(read_dataset(folder, config()))
    Image.new("L", (32, 32), 255).save(folder / "masks_r2" / "case_3.png")
    assert dataset_sha256(read_dataset(folder, config())) != before


def test_the_folders_are_in_the_order_of_their_numbers(folder: Path) -> None:
    assert reader_folders(folder) == ("masks_r1", "masks_r2", "masks_r10")


def test_a_missing_mask_of_a_reader_is_named(folder: Path) -> None:
    (folder / "masks_r2" / "case_3.png").unlink()
    with pytest.raises(BadInput, match=r"case_3\.png: has no mask of the same name in masks_r2/"):
        read_dataset(folder, config())


def test_a_mask_of_another_size_is_named(folder: Path) -> None:
    Image.new("L", (32, 16)).save(folder / "masks_r2" / "case_3.png")
    with pytest.raises(
        BadInput, match=r"masks_r2/case_3\.png: has shape \(1, 16, 32\), its image \(1, 32, 32\)"
    ):
        read_dataset(folder, config())


def test_a_data_set_without_readers_is_refused(write_ellipses, tmp_path: Path) -> None:
    folder = write_ellipses(tmp_path / "one")
    with pytest.raises(BadInput, match=r"has no folders masks_r1/, masks_r2/, \.\.\. of readers' masks"):
        read_dataset(folder, config())
    with pytest.raises(BadInput, match="has no folder masks_2nd/ of a reader's masks"):
        read_dataset(folder, config(reader_masks=["masks_2nd"]))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("masks_r1,", "one has no name"),
        ("masks_r1,masks_r1", "masks_r1 is there twice"),
        ("../masks_r1", "is a path"),
    ],
)
def test_names_that_are_none_are_refused(text: str, message: str) -> None:
    with pytest.raises(BadInput, match=message):
        parse_readers(text)


def test_crops_of_one_scale_warn_of_another(folder: Path, tmp_path: Path) -> None:
    from napari_latentseg.evaluation.header_fit import HeaderFacts, header_fit
    from napari_latentseg.io import read_scan

    settings = TrainingConfig.model_validate(
        TINY_TRAINING | {"readers": "random", "card": {"images_are_crops": True}}
    )
    list(TrainingJob(folder, tmp_path / "model", settings, None, None, device="cpu"))
    card = load_model_folder(tmp_path / "model", lambda spec: pytest.fail("no codec")).card
    assert card.fit is not None
    assert card.fit.headers.are_crops
    same = read_scan(folder / "images" / "case_0.png")
    assert HeaderFacts.of(same).sides == (32, 32)
    verdict = header_fit(same, "", card.fit.headers)
    assert verdict is not None
    assert verdict.state == "fits"
    Image.new("L", (80, 80), 90).save(tmp_path / "large.png")
    verdict = header_fit(read_scan(tmp_path / "large.png"), "", card.fit.headers)
    assert verdict is not None
    assert verdict.state == "unusual"
    assert "crops with sides of 32 pixels" in verdict.reasons[0]
