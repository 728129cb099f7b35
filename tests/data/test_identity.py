"""One image, one identity: as a file, saved again, and as a case of an annotation store."""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg import api
from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.scan import Scan
from napari_latentseg.core.segmentation import ClassInfo
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.finetuning.cases import collect_cases
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.io import read_scan
from napari_latentseg.models.card import read_card
from napari_latentseg.models.layout import SPLIT_FILE
from napari_latentseg.models.split import read_split
from napari_latentseg.training.config import TrainingConfig
from napari_latentseg.training.dataset import read_dataset

TARGET = (ClassInfo(label=1, name="target", color="#ffb000"),)


def approved(folder: Path, store: Path) -> Path:
    """A store in which every image of a folder was approved."""
    with AnnotationStore(store) as opened:
        for pair in find_cases(folder):
            opened.approve(pair.read_scan(), (pair.read_mask()[0] > 0).astype(np.uint8), classes=TARGET)
    return store


def saved_again(folder: Path, other: Path) -> Path:
    """The same pictures, packed otherwise, under other names."""
    for part in ("images", "masks"):
        (other / part).mkdir(parents=True)
        for path in (folder / part).iterdir():
            Image.open(path).save(other / part / f"again_{path.name}", compress_level=1)
    return other


@pytest.fixture
def four(write_ellipses: Callable[..., Path], tmp_path: Path) -> Path:
    return write_ellipses(tmp_path / "four", 4)


@pytest.fixture
def base(own_home: Path) -> Path:
    return own_home / "models" / "tiny-taught"


def finetuned(base: Path, data: Path | Sequence[Path], out: Path) -> list[dict[str, Any]]:
    job = FineTuneJob(base, data, out, minutes=1.0, device="cpu", steps=2, name="mine")
    return [event.as_dict() for event in job]


def test_what_was_learned_from_a_store_is_known_in_a_folder(base: Path, four: Path, tmp_path: Path) -> None:
    """Of four cases three are learned from, and one is kept apart: both are said."""
    out = tmp_path / "candidate"
    events = finetuned(base, approved(four, tmp_path / "store"), out)
    assert (events[0]["train"], events[0]["apart"]) == (3, 1)
    for folder in (four, saved_again(four, tmp_path / "again")):
        report = api.evaluate(out, folder, source="none", device="cpu")
        assert (report.image_count, report.training_count, report.validation_count) == (4, 3, 1)
    apart = api.evaluate(out, four, source="none", device="cpu", subset="validation")
    assert (apart.image_count, apart.training_count, apart.validation_count) == (1, 0, 1)
    with pytest.raises(BadInput, match="3 of the 4 images were used to train the model"):
        api.calibrate(out, four, samples=3, device="cpu", subset="all")


def test_one_picture_in_three_places_is_one_case(base: Path, four: Path, tmp_path: Path) -> None:
    folders = [four, saved_again(four, tmp_path / "again"), approved(four, tmp_path / "store")]
    cases = collect_cases(folders, read_card(base))
    assert [case.copies for case in cases] == [2] * 4
    assert {case.content_sha256 for case in cases} == {pair.content_sha256 for pair in find_cases(folders[1])}
    out = tmp_path / "candidate"
    first = finetuned(base, folders, out)[0]
    assert (first["cases"], first["planes"], first["train"], first["apart"]) == (4, 4, 3, 1)
    assert "8 copies of images under other names were left out" in first["note"]
    split = json.loads((out / SPLIT_FILE).read_text())
    assert (split["format"], len(split["train"]), len(split["validation"])) == (2, 3, 1)
    assert set(split["train"]).isdisjoint(split["validation"])


def test_a_training_keeps_copies_on_one_side_and_says_so(four: Path, tmp_path: Path) -> None:
    again = saved_again(four, tmp_path / "again")
    config = TrainingConfig.model_validate({"preprocess": {"mode": "whole", "size": 32}})
    data = read_dataset([four, again], config)
    assert data.copies == 4
    assert set(data.content_hashes()["train"]).isdisjoint(data.content_hashes()["validation"])
    assert len(data.train) + len(data.validation) == 8


def test_an_image_is_decoded_once_to_be_learned_from(
    four: Path, tiny_model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []

    def counted(path: Path) -> Scan:
        read.append(path.parent.name)
        return read_scan(path)

    monkeypatch.setattr("napari_latentseg.data.cases.read_scan", counted)
    cases = collect_cases([four], read_card(tiny_model_folder))
    assert [case.read_annotation(case.read_scan())[1] for case in cases] == [(0,)] * 4
    assert read.count("images") == 4
    assert [case.read_annotation(case.read_scan())[1] for case in cases] == [
        (0,)
    ] * 4  # as often as it is needed
    assert read.count("images") == 8


def test_a_split_with_hashes_of_files_is_understood(base: Path, four: Path, tmp_path: Path) -> None:
    """As models of the versions before have it; a store's cases stood in it by their content then too."""
    first, second, third, fourth = find_cases(four)
    (base / SPLIT_FILE).write_text(
        json.dumps({"train": [first.file_sha256, second.content_sha256], "validation": [third.file_sha256]})
    )
    report = api.evaluate(base, four, source="none", device="cpu")
    assert (report.training_count, report.validation_count) == (2, 1)
    assert api.evaluate(base, four, source="none", device="cpu", subset="validation").image_count == 1
    with pytest.raises(BadInput, match="2 of the 4 images were used to train"):
        api.calibrate(base, four, samples=3, device="cpu", subset="all")
    # a model that is taught further says the same of what its base saw
    only, out = tmp_path / "only", tmp_path / "candidate"
    for path in (third.image_file, third.mask_file):
        (only / path.parent.name).mkdir(parents=True)
        shutil.copy(path, only / path.parent.name)
    finetuned(base, only, out)
    split = read_split(out)
    assert [split.part_of(pair) for pair in (first, second, third, fourth)] == ["train", "train", "train", ""]


def test_the_seed_keeps_apart_what_it_always_did(base: Path, four: Path, tmp_path: Path) -> None:
    """Drawn by the hashes of files, as the versions before did, so that a fine-tuning can be made again."""
    out = tmp_path / "candidate"
    finetuned(base, four, out)
    pairs, split = find_cases(four), read_split(out)
    first = min(pairs, key=lambda p: hashlib.sha256(f"0:{p.file_sha256}".encode()).hexdigest())
    assert [p for p in pairs if split.part_of(p) == "validation"] == [first]


PICTURES = {
    "grey": np.arange(48, dtype=np.uint8).reshape(6, 8),
    "colours": np.arange(144, dtype=np.uint8).reshape(6, 8, 3),
    "colours and alpha": np.arange(192, dtype=np.uint8).reshape(6, 8, 4),
    "16 bits": (np.arange(48, dtype=np.uint16) * 1000).reshape(6, 8),
}


@pytest.mark.parametrize("values", PICTURES.values(), ids=PICTURES.keys())
def test_a_picture_is_the_same_image_in_a_store(values: np.ndarray, tmp_path: Path) -> None:
    for name, level in (("a.png", 9), ("b.png", 0)):
        Image.fromarray(values).save(tmp_path / name, compress_level=level)
    assert (tmp_path / "a.png").read_bytes() != (tmp_path / "b.png").read_bytes()
    scan, again = (read_scan(tmp_path / name) for name in ("a.png", "b.png"))
    with AnnotationStore(tmp_path / "store") as store:
        store.approve(scan, np.ones(scan.spatial_shape, np.uint8), classes=TARGET)
        (case,), (record,) = store.annotated_cases(), store.case_records()
    assert case.content_sha256 == record.pixels
    assert (
        scan.content_sha256 == again.content_sha256 == case.content_sha256 == case.read_scan().content_sha256
    )
