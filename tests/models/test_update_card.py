"""A card that learns something about its model."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.bfloat16_check import Bfloat16Check
from napari_latentseg.evaluation.calibration import VolumeInterval
from napari_latentseg.evaluation.reliability import Reliability
from napari_latentseg.models import store
from napari_latentseg.models.card import CARD, ModelCard, read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.store import embedded_codec, load_model
from napari_latentseg.models.update_card import check_can_update_card, update_card

RELIABILITY = Reliability(
    predicted=(0.1, None, 0.9), observed=(0.2, None, 0.7), counts=(90, 0, 10), ece=0.11, ece_unsure=None,
    images=4, samples=8, source="augment", data="4 images of drawn, never trained on",
)  # fmt: skip
INTERVAL = VolumeInterval(
    factors={"lesion": 2.5}, cases=20, samples=8, source="augment", threshold=0.5,
    data="20 images of drawn, never trained on", coverage={"lesion": 0.9}, tested_on=10,
)  # fmt: skip


def hashes(folder: Path) -> dict[str, str]:
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in folder.iterdir() if p.name != CARD}


def test_the_card_is_written_and_the_rest_stays(lesions: Path) -> None:
    before, files = read_card(lesions), hashes(lesions)
    card = update_card(lesions, {"reliability": RELIABILITY, "volume_interval": INTERVAL})
    assert read_card(lesions) == card
    assert card == before.model_copy(update={"reliability": RELIABILITY, "volume_interval": INTERVAL})
    assert hashes(lesions) == files
    assert load_model(lesions).card == card
    assert sorted(p.name for p in lesions.iterdir()) == sorted([*files, CARD])


def test_a_copy_leaves_the_model_as_it_is(lesions: Path, tmp_path: Path) -> None:
    before = read_card(lesions)
    card = update_card(lesions, {"reliability": RELIABILITY}, tmp_path / "copy")
    assert read_card(lesions) == before
    assert load_model(tmp_path / "copy").card == card
    assert hashes(tmp_path / "copy") == hashes(lesions)


def test_a_place_that_is_taken_is_refused(lesions: Path, home: Path) -> None:
    with pytest.raises(BadInput, match="already exists"):
        update_card(lesions, {"reliability": RELIABILITY}, home)


def test_what_came_with_the_package_stays(lesions: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "napari_latentseg.models.update_card.embedded_codec", lambda: lesions.parent / "codec"
    )
    with pytest.raises(BadInput, match="lesions: is embedded in the package and read-only; give --out"):
        check_can_update_card(lesions, None)
    with pytest.raises(BadInput, match="is embedded in the package"):
        update_card(lesions, {"reliability": RELIABILITY})
    assert embedded_codec() == store.embedded_codec()


def test_a_change_that_no_card_can_have_is_refused(lesions: Path) -> None:
    before = (lesions / CARD).read_bytes()
    other = INTERVAL.model_copy(update={"factors": {"cyst": 1.0}})
    with pytest.raises(ValidationError, match="cyst, which is not a class"):
        update_card(lesions, {"volume_interval": other})
    assert (lesions / CARD).read_bytes() == before


def test_a_card_without_them_is_as_good_as_ever(lesions: Path) -> None:
    card = read_card(lesions)
    assert card.reliability is None
    assert card.volume_interval is None
    old = card.model_dump(mode="json", exclude={"reliability", "volume_interval"})
    assert ModelCard.model_validate(old) == card
    assert "Calibration" not in card_text(card)
    assert "Intervals" not in card_text(card)


def test_the_card_says_whether_bfloat16_is_used(lesions: Path) -> None:
    how: dict[str, Any] = {
        "images": 20,
        "samples": 5,
        "source": "augment",
        "device": "cpu",
        "engine": "torch",
    }
    check = Bfloat16Check(max_mask_change=0.00042, mean_change=0.0012, **how)
    card = read_card(lesions)
    assert not card.allows_bfloat16
    assert "bfloat16" not in card_text(card)
    equal = card.replace(bfloat16=check)
    assert equal.allows_bfloat16
    text = (
        "used by --precision auto: it changed up to 0.042 % of the pixels of a mask, and the mean by 0.0012"
    )
    assert f"bfloat16:      {text} on average (mean of 5 samples from augment, 20 images)" in card_text(equal)
    other = card.replace(bfloat16=check.replace(max_mask_change=0.0043, images=1))
    assert not other.allows_bfloat16
    assert "not used by --precision auto: it changed up to 0.43 %" in card_text(other)
    assert "1 image)" in card_text(other)
    assert ModelCard.model_validate_json(other.model_dump_json()) == other


def test_it_is_told_in_words(lesions: Path) -> None:
    card = read_card(lesions).model_copy(update={"reliability": RELIABILITY, "volume_interval": INTERVAL})
    text = card_text(card)
    error = "expected calibration error 0.1100 (mean of 8 samples from augment), on 4 images"
    assert f"Calibration:   {error}" in text
    assert (
        "Intervals:     90 % for areas and volumes of lesion (8 samples from augment), by 20 images" in text
    )
    assert "they held in 10 other images: lesion 90 %" in text
