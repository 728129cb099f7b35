"""A command reads a scan once and a model card once, and looks through the models once."""

from __future__ import annotations

import json
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from napari_latentseg.data.folders import find_cases
from napari_latentseg.io import registry
from napari_latentseg.models.card import ModelCard
from napari_latentseg.models.layout import SPLIT_FILE
from napari_latentseg.sample_data import write_annotated_phantoms

MODEL = "tiny-taught"


@pytest.fixture
def reads(own_home: Path, monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Counts the scans and the cards that are read, and how often the models are listed."""
    counted: Counter[str] = Counter()
    read, parse, list_folder = registry._read_with, ModelCard.model_validate_json, Path.iterdir

    def counting_read(path: Path, *args: Any) -> Any:
        counted["scan"] += 1
        return read(path, *args)

    def counting_parse(text: str) -> ModelCard:
        counted["card"] += 1
        return parse(text)

    def counting_list(folder: Path) -> Iterator[Path]:
        counted["models"] += folder == own_home / "models"
        return list_folder(folder)

    monkeypatch.setattr(registry, "_read_with", counting_read)
    monkeypatch.setattr(ModelCard, "model_validate_json", staticmethod(counting_parse))
    monkeypatch.setattr(Path, "iterdir", counting_list)
    return counted


@pytest.fixture
def data(tmp_path: Path) -> Path:
    return write_annotated_phantoms(tmp_path / "data", 3, shape=(64, 80))


@pytest.fixture
def result(cli: Callable[..., Any], own_home: Path, data: Path, tmp_path: Path) -> Path:
    image = data / "images" / "phantom_0.png"
    assert cli("segment", image, "--model", MODEL, "--out", tmp_path / "result").code == 0
    return tmp_path / "result"


def test_segment_with_a_table_and_a_report(
    cli: Callable[..., Any], reads: Counter[str], data: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    ended = cli(
        "segment", data / "images" / "phantom_0.png", "--model", MODEL, "--out", out, "--table", "--report",
        out / "report.html",
    )  # fmt: skip
    assert ended.code == 0, ended
    assert (out / "report.html").is_file()
    assert reads == {"scan": 1, "card": 1, "models": 1}


def test_evaluate(cli: Callable[..., Any], reads: Counter[str], data: Path) -> None:
    ended = cli("evaluate", "--model", MODEL, "--data", data, "--sampling", "none")
    assert ended.code == 0, ended
    assert reads == {"scan": 2 * 3, "card": 1, "models": 1}  # each image and its mask


@pytest.mark.parametrize("command", ["evaluate", "calibrate"])
def test_validation_images_are_decoded_once(
    cli: Callable[..., Any], reads: Counter[str], data: Path, tiny_model_folder: Path, tmp_path: Path,
    command: str,
) -> None:  # fmt: skip
    """To know which they are, all images are decoded; of the validation images the masks are read too."""
    model = Path(shutil.copytree(tiny_model_folder, tmp_path / "split"))
    hashes = [case.content_sha256 for case in find_cases(data)]
    (model / SPLIT_FILE).write_text(json.dumps({"format": 2, "train": hashes[:1], "validation": hashes[1:]}))
    reads.clear()
    ended = cli(command, "--model", model, "--data", data, "-n", 3, "--subset", "validation")
    assert ended.code == 0, ended
    # to describe the training images, calibrate reads all of them once more
    assert reads["scan"] == 3 + 2 + (3 if command == "calibrate" else 0)


def test_calibrate(cli: Callable[..., Any], reads: Counter[str], data: Path) -> None:
    ended = cli("calibrate", MODEL, "--data", data, "-n", 3, "--subset", "all")
    assert ended.code == 0, ended
    # the card is read once more before it is changed
    assert reads == {"scan": 2 * 3, "card": 2, "models": 1}  # each image and its mask


@pytest.mark.parametrize("command", ["measure", "report"])
def test_a_result_is_worked_on(
    cli: Callable[..., Any], result: Path, data: Path, request: pytest.FixtureRequest, command: str
) -> None:
    reads = request.getfixturevalue("reads")  # after the result was made
    more = ("--out", result / "page.html") if command == "report" else ()
    ended = cli(command, result, "--image", data / "images" / "phantom_0.png", *more)
    assert ended.code == 0, ended
    assert (reads["card"], reads["models"]) == (1, 1)


def test_models(cli: Callable[..., Any], reads: Counter[str], tmp_path: Path) -> None:
    assert cli("models", "info", MODEL).code == 0
    assert reads == {"card": 1, "models": 1}
    assert cli("models", "export", MODEL, tmp_path / "model.zip").code == 0
    assert reads == {"card": 2, "models": 2}


def test_a_model_that_is_given_as_a_folder_is_not_looked_for(
    cli: Callable[..., Any], reads: Counter[str], own_home: Path, data: Path, tmp_path: Path
) -> None:
    from napari_latentseg import segment

    folder = shutil.copytree(own_home / "models" / MODEL, tmp_path / "elsewhere")
    segment(data / "images" / "phantom_0.png", folder, source="none")
    assert reads == {"scan": 1, "card": 1}
