"""What is said and kept over several rounds of fine-tuning, and of unusual data."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_latentseg.annotations import AnnotationStore
from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.data.cases import UNKNOWN_CLASS
from napari_latentseg.data.folders import find_cases
from napari_latentseg.data.slices import Slice
from napari_latentseg.finetuning.cases import collect_cases, read_slices
from napari_latentseg.finetuning.job import FineTuneJob
from napari_latentseg.finetuning.unknown_classes import encode_for_training, encode_for_validation
from napari_latentseg.io import read_scan
from napari_latentseg.models.candidates import adopt
from napari_latentseg.models.card import read_card
from napari_latentseg.models.layout import COMPARISON_FILE
from napari_latentseg.models.split import read_split
from napari_latentseg.models.store import load_model
from napari_latentseg.models.versions import list_versions
from napari_latentseg.training.patches import augmented_patches, grid_patches
from napari_latentseg.training.scoring import UNKNOWN_PIXEL, predicted_patches, score_patches
from napari_latentseg.utils.device import resolve_compute

Write = Callable[..., Path]


def tuned(base: str | Path, data: Path, **more: Any) -> list[dict[str, Any]]:
    given = {"minutes": 1.0, "device": "cpu", "steps": 2, "name": "mine"} | more
    return [event.as_dict() for event in FineTuneJob(base, data, **given)]


def part_of(folder: Path, names: list[str], source: Path) -> Path:
    """A folder with some of the images of another."""
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
        for name in names:
            shutil.copy(source / part / name, folder / part)
    return folder


def judged(events: list[dict[str, Any]]) -> dict[str, Any]:
    return next(e for e in events if e["event"] == "judged")


def test_the_second_round_is_not_judged_on_what_the_first_learned(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    shutil.copytree(taught_base, own_home / "models" / "ellipses")
    source = write_ellipses(tmp_path / "source", 4, seed=11)
    first = part_of(tmp_path / "round1", ["case_0.png"], source)
    for seed in range(4):  # whichever case the seed draws
        tuned("ellipses", first, seed=seed)
        adopt("mine")
        taught = read_split(list_versions("ellipses")[-1].folder)
        second = part_of(tmp_path / f"round2-{seed}", ["case_0.png", "case_1.png"], source)
        events = tuned("ellipses", second, seed=seed)
        assert (events[0]["train"], events[0]["apart"]) == (1, 1)
        assert "1 case was trained on before, and cannot judge" in events[0]["note"]
        new_split = read_split(own_home / "candidates" / "mine")
        for case in find_cases(second):
            was_taught = taught.part_of(case) == "train"
            assert new_split.part_of(case) == ("train" if was_taught else "validation")
        shutil.rmtree(own_home / "candidates")
        shutil.rmtree(own_home / "versions")


def test_where_both_know_every_case_nothing_is_claimed(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    shutil.copytree(taught_base, own_home / "models" / "ellipses")
    source = write_ellipses(tmp_path / "source", 3, seed=11)
    for number in range(3):
        tuned("ellipses", part_of(tmp_path / f"r{number}", [f"case_{number}.png"], source))
        adopt("mine")
    events = tuned("ellipses", source)
    assert "both models know these cases" in events[0]["note"]
    assert judged(events)["verdict"] in ("unknown", "worse")
    assert "both models know these cases" in judged(events)["line"]
    assert judged(events)["comparison"]["held_out"] is None
    assert read_card(own_home / "candidates" / "mine").metrics == ()


def test_validation_cases_stay_so_over_the_rounds(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    shutil.copytree(taught_base, own_home / "models" / "ellipses")
    source = write_ellipses(tmp_path / "source", 6, seed=11)
    tuned("ellipses", part_of(tmp_path / "r1", [f"case_{n}.png" for n in range(3)], source))
    adopt("mine")
    validation = read_split(list_versions("ellipses")[-1].folder).validation
    own = {case.content_sha256 for case in find_cases(source)}
    for seed in (1, 2):
        tuned("ellipses", source, seed=seed)
        adopt("mine")
        split = read_split(list_versions("ellipses")[-1].folder)
        assert validation & own <= split.validation
        validation = split.validation


def test_a_figure_stands_beside_that_of_the_base_on_the_same_cases(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    events = tuned(taught_base, write_ellipses(tmp_path / "d", 3))
    (metric,) = read_card(own_home / "candidates" / "mine").metrics
    scores = judged(events)["comparison"]["held_out"]
    assert metric.images == scores["cases"] == 1
    assert metric.base_values["dsc"] == scores["before"]["dsc"]
    assert metric.values["dsc"] == scores["after"]["dsc"]


def test_a_second_reader_is_named_on_the_screen_and_not_in_the_files(
    own_home: Path, taught_base: Path, write_ellipses: Write, tmp_path: Path
) -> None:
    data = write_ellipses(tmp_path / "d", 3)
    shutil.copy(data / "images" / "case_1.png", data / "images" / "case_1_reader2.png")
    mask = np.asarray(Image.open(data / "masks" / "case_1.png"))
    Image.fromarray(np.roll(mask, 5, 0)).save(data / "masks" / "case_1_reader2.png")
    shutil.copy(data / "images" / "case_2.png", data / "images" / "case_2_again.png")
    shutil.copy(data / "masks" / "case_2.png", data / "masks" / "case_2_again.png")
    events = tuned(taught_base, data)
    note = events[0]["note"]
    assert events[0]["cases"] == 3
    assert "case_1_reader2.png is the same image as case_1.png; its mask is left out" in note
    assert "2 copies of images under other names were left out" in note
    assert "1 copy has another mask" in note
    assert "case_2_again" not in note
    kept = (own_home / "candidates" / "mine" / COMPARISON_FILE).read_text()
    assert "1 copy has another mask" in kept
    assert "reader2" not in kept
    assert "reader2" not in json.dumps(events[1:])


ELLIPSE = ClassInfo(label=1, name="ellipse", color="#ff0000")
VESSEL = ClassInfo(label=2, name="vessel", color="#00ff00")


def store_of(folder: Path, source: Path, *, with_vessel: int) -> Path:
    """A store of images of a folder, in the first `with_vessel` of which a vessel is marked."""
    with AnnotationStore(folder) as store:
        for i, case in enumerate(find_cases(source)):
            mask = (case.read_mask()[0] > 0).astype(np.uint8)
            classes = (ELLIPSE,)
            if i < with_vessel:
                mask[:6, :20], classes = 2, (ELLIPSE, VESSEL)
            store.approve(read_scan(source / "images" / f"{case.name}.png"), mask, classes=classes)
    return folder


@pytest.fixture
def store(write_ellipses: Write, tmp_path: Path) -> Path:
    return store_of(tmp_path / "store", write_ellipses(tmp_path / "source", 4, seed=11), with_vessel=2)


def test_a_class_that_the_model_does_not_know_is_left_out_and_said(
    own_home: Path, taught_base: Path, store: Path
) -> None:
    events = tuned(taught_base, store)
    assert (events[0]["cases"], events[-1]["event"]) == (4, "saved")
    why = "the model does not know the class 'vessel' (in 2 cases): what is marked so is left out of training"
    assert why in events[0]["note"]
    assert why in judged(events)["comparison"]["notes"]


def test_an_unknown_class_that_nothing_uses_any_more_is_not_in_the_way(
    own_home: Path, taught_base: Path, store: Path
) -> None:
    with AnnotationStore(store) as opened:
        for approval in opened.approvals()[:2]:
            opened.revoke(approval)
    events = tuned(taught_base, store)
    assert (events[0]["cases"], events[-1]["event"]) == (2, "saved")
    assert "vessel" not in events[0]["note"]


def test_what_is_exported_for_nnunet_is_learned_from_alike(
    own_home: Path, taught_base: Path, store: Path, tmp_path: Path
) -> None:
    with AnnotationStore(store) as opened:
        folder = opened.export_nnunet(tmp_path / "Dataset001")
    assert "does not know the class 'vessel' (in 2 cases)" in tuned(taught_base, folder)[0]["note"]


def marked_slices(taught_base: Path, store: Path) -> list[Slice]:
    card = read_card(taught_base)
    cases = collect_cases([store], card)
    numbers, _ = cases[0].read_annotation(cases[0].read_scan())
    assert (numbers[0][:6, :20] == UNKNOWN_CLASS).all()
    slices = [s for n, case in enumerate(cases, start=1) for s in read_slices(case, card, n)]
    assert [s.unknown is not None for s in slices] == [True, True, False, False]
    assert not (slices[0].mask[0][slices[0].unknown > 0]).any()
    return slices


def test_unknown_pixels_are_moved_with_the_image(own_home: Path, taught_base: Path, store: Path) -> None:
    card = read_card(taught_base)
    for patch in augmented_patches(marked_slices(taught_base, store)[:2], card, np.random.default_rng(0)):
        assert patch.mask.shape[0] == 1
        assert patch.unknown is not None
        assert patch.unknown.shape == patch.mask.shape[1:]
        assert set(patch.unknown.unique().tolist()) <= {0.0, 1.0}
    assert all(p.unknown is None for p in grid_patches(marked_slices(taught_base, store)[2:], card, 9))


def test_at_unknown_pixels_there_is_nothing_to_learn_and_nothing_is_scored(
    own_home: Path, taught_base: Path, store: Path
) -> None:
    model, compute = load_model(taught_base), resolve_compute("cpu", "auto")
    spec, card = model.method.fine_tune_spec(), model.card
    patches = grid_patches(marked_slices(taught_base, store), card, 9)
    train = encode_for_training(model.method, spec, patches, compute, card.threshold)
    validation = encode_for_validation(model.method, spec, patches, compute)
    predicted = np.concatenate([p for _, p in predicted_patches(train, spec, model.method, compute)])
    for i, patch in enumerate(patches):
        if patch.unknown is None:
            assert bool((train.masks[i] == patch.mask).all())
            assert bool((validation.masks[i] == patch.mask).all())
            continue
        where = patch.unknown > 0
        base = torch.from_numpy(predicted[i] > card.threshold)
        assert bool((train.masks[i][:, where] == base[:, where]).all())
        assert bool((train.masks[i][:, ~where] == patch.mask[:, ~where]).all())
        assert bool((validation.masks[i][:, where] == UNKNOWN_PIXEL).all())
    # whatever is predicted there, the score is the same
    first, _ = score_patches(validation, spec, model.method, compute, card.threshold)
    assert 0 <= first <= 1
