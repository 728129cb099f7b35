"""`calibrate`."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.data.folders import find_cases
from napari_latentseg.io.read_results import read_segmentation
from napari_latentseg.models.card import CARD, read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.layout import SPLIT_FILE
from napari_latentseg.models.store import load_model


@pytest.fixture(scope="module")
def data(write_ellipses: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_ellipses(tmp_path_factory.mktemp("ellipses") / "data", count=22)


@pytest.fixture
def model(tiny_model_folder: Path, data: Path, tmp_path: Path) -> Path:
    """A tiny model that learned from the first two of the images."""
    folder = Path(shutil.copytree(tiny_model_folder, tmp_path / "tiny-whole"))
    keys = [p.content_sha256 for p in find_cases(data)]
    (folder / SPLIT_FILE).write_text(json.dumps({"train": keys[:2], "validation": keys[2:]}))
    return folder


def test_what_was_found_goes_into_the_card(cli, model: Path, data: Path) -> None:
    ended = cli("calibrate", model, "--data", data, "--samples", 3, "--device", "cpu")
    assert (ended.code, ended.errors) == (0, [])
    lines = ended.out.splitlines()
    assert lines[0].startswith("calibration error 0.")
    assert "20 images, never trained on; 3 samples from augment" in lines[0]
    assert any(line.startswith("target: 90 % intervals held in ") for line in lines)
    assert any(line.endswith("of 10 other images") for line in lines)
    assert any(line.startswith("target: the true edge lay between the 90 % contours in ") for line in lines)
    assert lines[-1].startswith("reviewing the fifth of the images with the lowest expected Dice finds ")
    card = read_card(model)
    assert card.reliability.images == 20
    assert (card.volume_interval.cases, card.volume_interval.tested_on) == (10, 10)
    assert card.contour_band.classes["target"].cases == card.expected_dice.classes["target"].cases == 20
    assert (card.contour_band.samples, card.contour_band.source) == (3, "augment")
    assert "true edge lies between the contours" in card_text(card)
    assert load_model(model).card == card


def test_the_temperature_goes_into_the_card_and_the_masks_stay(
    cli, model: Path, data: Path, tmp_path: Path
) -> None:
    """And every result of the model has it from then on."""
    image = next((data / "images").iterdir())
    cli("segment", image, "-m", model, "-n", 3, "--out", tmp_path / "before")
    ended = cli("calibrate", model, "--data", data, "-n", 3)
    card = read_card(model)
    assert f"temperature {card.temperature.describe()}: error {card.temperature_fit.describe()}" in ended.out
    assert [half.images for half in card.temperature_fit.halves] == [10, 10]
    assert card.raw_threshold == pytest.approx(0.5, abs=1e-4)
    assert card.reliability.ece < card.temperature_fit.ece_before
    assert f"Temperature:   {card.temperature.describe()}" in card_text(card)
    cli("segment", image, "-m", model, "-n", 3, "--out", tmp_path / "after")
    before, after = (
        read_segmentation(next((tmp_path / name).glob("*mask*"))) for name in ("before", "after")
    )
    assert after.record.temperature == card.temperature
    assert (after.mask != before.mask).mean() < 1e-3
    np.testing.assert_allclose(after.mean, card.temperature.calibrated(before.mean), atol=1e-3)
    np.testing.assert_allclose(after.variance, before.variance, atol=1e-3)


def test_it_is_the_same_twice_and_as_json(cli, model: Path, data: Path, tmp_path: Path) -> None:
    found = [
        cli("calibrate", model, "--data", data, "-n", 3, "--out", tmp_path / name, "--json")
        for name in ("one", "two")
    ]
    assert json.loads(found[0].out) == json.loads(found[1].out)
    assert json.loads(found[0].out)["volume_interval"]["level"] == 0.9
    assert read_card(model).reliability is None
    assert read_card(tmp_path / "one").reliability is not None


def test_too_few_images_have_a_curve_but_no_interval(cli, model: Path, data: Path) -> None:
    keys = [p.content_sha256 for p in find_cases(data)]
    (model / SPLIT_FILE).write_text(json.dumps({"train": keys[6:], "validation": keys[:6]}))
    ended = cli("calibrate", model, "--data", data, "-n", 3)
    assert ended.code == 0
    first = ended.out.splitlines()[0]
    assert first.startswith("no interval: cases: are 6, half of them to fit on; an interval of 90 % needs 9")
    card = read_card(model)
    assert card.reliability.images == 6
    assert card.volume_interval is card.contour_band is card.expected_dice is None
    assert "no contours: cases: are 6 with a class; contours need 20" in ended.out
    assert "no expected Dice: cases: are 6 with a class; an expected Dice needs 20" in ended.out


REFUSED: dict[str, tuple[list[str], str]] = {
    "trained on": (["--subset", "all"], "data: 2 of the 22 images were used to train the model"),
    "one pass": (["--sampling", "none"], "samples: 1 from 'none' are too few"),
    "two samples": (["-n", "2"], "samples: 2 from 'augment' are too few"),
    "a level": (["--coverage", "1.5"], "coverage: is 1.5; give one between 0 and 1"),
    "a subset": (["--subset", "some"], "subset: 'some' is not known"),
    "a source": (["--sampling", "noise"], "sampling: tiny-whole has no samples from 'noise'"),
}


@pytest.mark.parametrize(("args", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_what_makes_no_sense_is_refused(
    refused, model: Path, data: Path, args: list[str], message: str
) -> None:
    before = (model / CARD).read_bytes()
    assert refused("calibrate", model, "--data", data, *args).startswith(message)
    assert (model / CARD).read_bytes() == before


def test_data_of_another_model_is_refused(
    refused, model: Path, write_ellipses: Callable[..., Path], tmp_path: Path
) -> None:
    other = write_ellipses(tmp_path / "other", count=2, seed=9)
    assert "holds none of the validation images" in refused("calibrate", model, "--data", other, "-n", 3)


def test_an_embedded_model_needs_another_place(refused, data: Path) -> None:
    from napari_latentseg.models.store import list_cards

    if "retina-vessels" not in list_cards():
        pytest.skip("the embedded model retina-vessels is not in this checkout")
    told = refused("calibrate", "retina-vessels", "--data", data)
    assert told.startswith("retina-vessels: is embedded in the package and read-only; give --out FOLDER")
