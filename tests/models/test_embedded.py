"""The models that come with the package, and what their cards promise."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from napari_latentseg.models.card import read_card
from napari_latentseg.models.card_text import card_text
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import embedded_codec, load_model

EMBEDDED = embedded_codec().parent
NAMES = sorted(p.name for p in EMBEDDED.iterdir() if (p / "card.json").is_file())


OF_CLASSES = [name for name in NAMES if not read_card(EMBEDDED / name).takes_prompts]


@pytest.fixture(params=OF_CLASSES)
def folder(request: pytest.FixtureRequest) -> Path:
    return EMBEDDED / str(request.param)


@pytest.mark.parametrize("name", NAMES)
def test_it_loads_with_every_file_as_its_card_says(name: str) -> None:
    assert load_model(EMBEDDED / name).card.name == name


def test_the_card_of_any_structure_says_what_clicks_reach_and_claims_no_calibration() -> None:
    card = read_card(EMBEDDED / "any-structure")
    assert [c.name for c in card.classes] == ["structure"]
    assert card.unjudged == ""
    by_set: dict[str, list[float]] = {}
    for metric in card.metrics:
        by_set.setdefault(metric.data.split(":")[0], []).append(metric.values["dsc"])
    assert len(by_set) == 6
    assert all(scores[0] < scores[1] < scores[2] for scores in by_set.values())
    assert card.reliability is None
    assert card.volume_interval is None
    assert card.temperature is None


def test_any_structure_answers_a_click(data_dir: Path) -> None:
    """A mole on skin, a set that it was not trained on: three clicks."""
    from napari_latentseg import Prompts, segment
    from napari_latentseg.data.folders import find_cases
    from napari_latentseg.inference.click_scores import click_scores, objects_of, scored_planes

    case = find_cases(data_dir / "ph2")[0]
    ((_, plane_mask),) = scored_planes(case)
    (mask, *_) = objects_of(plane_mask)
    scan = case.read_scan()

    def answer(prompts: Prompts) -> np.ndarray:
        return segment(scan, "any-structure", prompts=prompts, samples=4).mean[0]

    assert click_scores(answer, mask, clicks=3)[-1] > 0.7


def validation_count(folder: Path) -> int:
    split = read_split(folder)
    return len(split.validation) + len(split.earlier_validation)  # the latter of an older form of the file


def test_its_card_says_what_its_doubt_is_worth(folder: Path) -> None:
    card = read_card(folder)
    curve, interval = card.reliability, card.volume_interval
    assert curve is not None
    assert (curve.samples, curve.source) == (card.default_samples, card.sources[0])
    assert curve.images == validation_count(folder)
    assert "Calibration:   expected calibration error" in card_text(card)
    if interval is None:  # too few images were kept apart to fit one
        assert curve.images < 18
        return
    assert set(interval.factors) == set(interval.coverage) == {c.name for c in card.classes}
    assert interval.cases + interval.tested_on == curve.images
    assert (interval.samples, interval.source) == (card.default_samples, card.sources[0])
    assert interval.threshold == card.threshold
    assert all(0.8 <= share <= 0.98 for share in interval.coverage.values())


def test_its_card_says_which_images_it_was_made_for(folder: Path) -> None:
    card = read_card(folder)
    assert card.fit is not None
    assert card.fit.latents is not None
    assert card.fit.sharpness is not None
    assert card.fit.validation_images == validation_count(folder)
    assert (card.fit.latents.volumes is None) == (card.fit.headers.dimensions == (2,))
    assert "\nMade for:      " in card_text(card)


@pytest.mark.parametrize(
    ("name", "own", "other"),
    [
        ("breast-ultrasound", "busi", "ph2"),
        ("hippocampus-mr", "msd_hippocampus", "acdc"),
        ("retina-vessels", "chase_db1", "ph2"),
    ],
)
def test_it_tells_its_own_images_from_others(data_dir: Path, name: str, own: str, other: str) -> None:
    from napari_latentseg import check_fit, read_scan
    from napari_latentseg.data.folders import find_cases

    model = load_model(name)
    split = read_split(model.folder)
    cases = [case for case in find_cases(data_dir / own) if split.part_of(case) == "validation"][:3]
    assert [fit.state for case in cases if (fit := check_fit(case.read_scan(), model))] == ["fits"] * 3
    for path in sorted((data_dir / other / "images").iterdir())[:2]:
        fit = check_fit(read_scan(path), model)
        assert fit is not None
        assert fit.state != "fits"


def test_the_hippocampus_of_volumes_that_were_kept_apart(data_dir: Path) -> None:
    """Over three of them, one pass; the card's figure is that of all."""
    from napari_latentseg.data.folders import find_cases
    from napari_latentseg.evaluation.metrics import dice
    from napari_latentseg.inference.predictor import Predictor
    from napari_latentseg.inference.settings import InferenceSettings
    from napari_latentseg.io import read_scan

    if "hippocampus-mr" not in NAMES:
        pytest.skip("the embedded model hippocampus-mr is not in this checkout")
    model = load_model("hippocampus-mr")
    split = read_split(model.folder)
    pairs = [p for p in find_cases(data_dir / "msd_hippocampus") if split.part_of(p) == "validation"][:3]
    assert len(pairs) == 3
    predictor = Predictor(model, "cpu")
    scores = []
    for pair in pairs:
        found = predictor.segment(
            read_scan(pair.image_file), InferenceSettings.for_model(model.card, source="none")
        )
        truth = pair.read_mask()
        scores.append([dice(found.mask == c.label, truth == c.label) for c in model.card.classes])
    assert (np.mean(scores, axis=0) > 0.75).all()
