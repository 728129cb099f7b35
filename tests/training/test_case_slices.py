"""The slices of a training, in memory and in files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.helpers.made_ct import CT_CONFIG, CT_WINDOW, write_ct_set

from napari_latentseg.core.slices import Planes
from napari_latentseg.data.augment import augment
from napari_latentseg.data.cases import Case, rgb_slices
from napari_latentseg.data.slices import make_slice
from napari_latentseg.errors import BadInput
from napari_latentseg.training.batches import training_batches
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import Dataset, read_dataset
from napari_latentseg.training.datasets import find_datasets
from napari_latentseg.training.members import dataset_sha256
from napari_latentseg.training.stored_slices import StoredSlice


def config(**changes: Any) -> TrainingConfig:
    return TrainingConfig.model_validate(CT_CONFIG | changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ct_set(tmp_path_factory.mktemp("ct") / "btcv", 4, side=(60, 80), slices=(10, 14))


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_LATENTSEG_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def all_slices(data: Dataset) -> list[StoredSlice]:
    return [s for s in (*data.train, *data.validation) if isinstance(s, StoredSlice)]


def test_a_slice_is_what_the_whole_image_and_the_mask_of_each_class_give(folder: Path) -> None:
    settings = config()
    (dataset,) = find_datasets([folder], settings)
    stored = {s.content_sha256: [] for s in all_slices(read_dataset(folder, settings))}
    for s in all_slices(read_dataset(folder, settings)):
        stored[s.content_sha256].append(s)
    for case in dataset.cases:
        scan, numbers = case.read_scan(), case.read_class_numbers(dataset.label_map)
        spacing = Planes(scan, 0.0, 1.0).spacing
        expected = [
            make_slice(
                rgb, n, dataset.label_map, settings.preprocess, spacing, content_sha256=case.content_sha256
            )
            for rgb, n in zip(rgb_slices(scan, CT_WINDOW), numbers, strict=True)
        ]
        assert len(stored[case.content_sha256]) == len(expected)
        for ours, whole in zip(stored[case.content_sha256], expected, strict=True):
            assert torch.equal(ours.image, whole.image)
            assert torch.equal(ours.mask, whole.mask)
            assert ours.image_shape == whole.image_shape
            assert ours.has_foreground == whole.has_foreground
            assert ours.has_annotated_foreground == whole.has_annotated_foreground
            assert ours.read().shape[0] == 2  # grey, and the class: not 3 + 13


def test_moving_class_numbers_moves_every_mask(folder: Path) -> None:
    settings = config()
    ranges = settings.augment.replace(affine=1, jitter=1, quarter_turn=1)
    for number, s in enumerate(all_slices(read_dataset(folder, settings))[:8]):
        image, mask = augment(*s.to_float(), ranges, np.random.default_rng(number), size=64)
        moved, numbers = augment(*s.to_class_numbers(), ranges, np.random.default_rng(number), size=64)
        assert torch.equal(moved, image)
        assert torch.equal(s.masks_of(numbers), mask)


def test_what_is_too_much_for_memory_is_in_files_and_the_training_is_the_same(
    folder: Path, home: Path
) -> None:
    settings = config()
    in_memory = read_dataset(folder, settings)
    assert not (home / "planes").exists()
    on_disk = read_dataset(folder, settings, max_bytes_in_memory=0)
    assert len(list((home / "planes").glob("*.planes"))) == 4
    assert dataset_sha256(on_disk) == dataset_sha256(in_memory)
    for mine, other in zip(
        training_batches(in_memory.train, settings, np.random.default_rng(0)),
        training_batches(on_disk.train, settings, np.random.default_rng(0)),
        strict=True,
    ):
        assert torch.equal(mine.images, other.images)
        assert torch.equal(mine.masks, other.masks)


def test_files_are_found_again_and_no_image_is_decoded(
    folder: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = config()
    first = read_dataset(folder, settings, max_bytes_in_memory=0)
    first.close()
    written = {p: p.stat().st_mtime_ns for p in (home / "planes").glob("*.planes")}
    read = []
    whole = Case.read_scan
    monkeypatch.setattr(Case, "read_scan", lambda case: read.append(case.name) or whole(case))
    again = read_dataset(folder, settings, max_bytes_in_memory=0)
    assert len(read) == 1  # memory is known to be too small after the first
    assert dataset_sha256(again) == dataset_sha256(first)
    assert {p: p.stat().st_mtime_ns for p in (home / "planes").glob("*.planes")}.keys() == written.keys()


@pytest.mark.parametrize(
    "changes",
    [
        {"preprocess": CT_CONFIG["preprocess"] | {"window": [-100, 100]}},
        {"preprocess": CT_CONFIG["preprocess"] | {"spacing": 5.0}},
        {"slice_spacing": 5.0},
        {"split": {"likeness_bits": 4}},
    ],
)
def test_other_rules_make_other_files(folder: Path, home: Path, changes: dict[str, Any]) -> None:
    read_dataset(folder, config(), max_bytes_in_memory=0)
    read_dataset(folder, config(**changes), max_bytes_in_memory=0)
    assert len(list((home / "planes").glob("*.planes"))) == 8


def test_thin_slices_are_thinned_to_the_wanted_distance_and_thick_ones_kept(folder: Path) -> None:
    def counts(**changes: Any) -> dict[str, int]:
        slices = all_slices(read_dataset(folder, config(**changes)))
        return {
            key: sum(s.content_sha256 == key for s in slices) for key in {s.content_sha256 for s in slices}
        }

    whole, thinned = counts(), counts(slice_spacing=5.0)
    (dataset,) = find_datasets([folder], config())
    for case in dataset.cases:
        step = max(1, round(5.0 / case.read_scan().geometry.spacing[0]))
        assert thinned[case.content_sha256] == -(-whole[case.content_sha256] // step)
    assert sum(thinned.values()) < sum(whole.values())


def test_a_window_that_leaves_nothing_of_an_image_is_refused_with_its_values(folder: Path) -> None:
    settings = config(preprocess=CT_CONFIG["preprocess"] | {"window": [3000, 4000]})
    with pytest.raises(
        BadInput,
        match=r"ct0\.nii\.gz: has values from -\d+ to \d+, .* window from 3000 to 4000 leaves nothing",
    ):
        read_dataset(folder, settings)


def test_images_are_kept_in_the_detail_that_the_method_asks_for(folder: Path) -> None:
    settings = config()
    detailed = settings.replace(settings=settings.settings | {"detail": 2})
    ours, twice = (all_slices(read_dataset(folder, each)) for each in (settings, detailed))
    assert len(ours) == len(twice)
    height, width = ours[0].to_float()[0].shape[-2:]
    assert twice[0].to_float()[0].shape[-2:] == (2 * height, 2 * width)
    batch = next(training_batches(twice, detailed, np.random.default_rng(0)))
    assert batch.images.shape[-2:] == (2 * settings.preprocess.size,) * 2
