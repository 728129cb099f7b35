"""Scores of a model on annotated images; here of models that answer what they are told."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_latentseg.core.classes import ClassInfo
from napari_latentseg.core.geometry import Geometry
from napari_latentseg.core.scan import Scan
from napari_latentseg.data.cases import Case
from napari_latentseg.data.folders import find_cases
from napari_latentseg.errors import BadInput
from napari_latentseg.evaluation.report import EvaluationReport
from napari_latentseg.evaluation.scores import score
from napari_latentseg.inference import segment_each as segmenting
from napari_latentseg.inference.evaluate import Evaluation
from napari_latentseg.inference.settings import InferenceSettings
from napari_latentseg.io import format_for
from napari_latentseg.models.card import MetricRecord
from napari_latentseg.models.split import Split

ONE = (ClassInfo(label=1, name="target", color="#ffb000"),)
TWO = (*ONE, ClassInfo(label=2, name="other", color="#00ffb0"))
REQUEST = InferenceSettings(samples=1, source="none")


class Told:
    """Answers with the masks that it was given, in their order."""

    def __init__(self, *masks: np.ndarray, classes: tuple[ClassInfo, ...] = ONE) -> None:
        card = SimpleNamespace(
            name="told", version="1", method_title="told", classes=classes, training_data=()
        )
        self.model = SimpleNamespace(card=card)
        self.compute = SimpleNamespace(precision="float32")
        self.masks = list(masks)

    def segment(self, scan: Scan, request: InferenceSettings) -> SimpleNamespace:
        return SimpleNamespace(mask=self.masks.pop(0), record=SimpleNamespace(engine="torch"))


def disc(y: float, x: float, r: float = 6, shape: tuple[int, int] = (24, 30)) -> np.ndarray:
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return (np.hypot(rows - y, columns - x) < r).astype(np.uint8)


def folder_of(folder: Path, *masks: np.ndarray) -> list[Case]:
    for part in ("images", "masks"):
        (folder / part).mkdir()
    for i, mask in enumerate(masks):
        Image.fromarray((mask * 50 + 10 * i).astype(np.uint8)).save(folder / "images" / f"{i}.png")
        Image.fromarray(mask).save(folder / "masks" / f"{i}.png")
    return find_cases(folder)


def run(evaluation: Evaluation) -> EvaluationReport:
    list(evaluation.run())
    return evaluation.report()


@pytest.fixture(autouse=True)
def segment_one_by_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """A model that answers what it is told is asked scan by scan."""

    def segment_each(
        predictor: Any, scans: Iterable[Any], settings: InferenceSettings, on_sample: Any
    ) -> Iterator[Any]:
        if not isinstance(predictor, Told):
            yield from segmenting.segment_each(predictor, scans, settings, on_sample)
            return
        for key, scan in scans:
            yield key, scan if isinstance(scan, BadInput) else predictor.segment(scan, settings)

    monkeypatch.setattr("napari_latentseg.inference.evaluate.segment_each", segment_each)


def test_one_class_is_scored_image_by_image(tmp_path: Path) -> None:
    truths = [disc(12, 12), disc(10, 15), np.zeros((24, 30), np.uint8)]
    found = [disc(12, 12), disc(12, 17), disc(5, 5, 2)]
    pairs = folder_of(tmp_path, *truths)
    split = Split(frozenset({pairs[1].content_sha256, "another"}), frozenset({pairs[2].content_sha256}))
    evaluation = Evaluation(Told(*found), REQUEST, pairs, split)
    assert list(evaluation.run()) == pytest.approx([1 / 3, 2 / 3, 1])
    report = evaluation.report()
    expected = [score(f > 0, t > 0) for f, t in zip(found, truths, strict=True)]
    assert [i.dsc for i in report.images] == [e.dsc for e in expected]
    assert [i.name for i in report.images] == ["0", "1", "2"]
    assert expected[0].dsc == 1
    assert 0 < expected[1].dsc < 1
    assert expected[2].dsc == 0
    for name in ("dsc", "iou", "hd95"):
        assert getattr(report.mean, name) == pytest.approx(np.mean([getattr(e, name) for e in expected]))
        std = np.std([getattr(e, name) for e in expected], ddof=1)
        assert getattr(report.std, name) == pytest.approx(std)
    assert report.empty == {"prediction": 0, "truth": 1, "both": 0}
    counts = (report.image_count, report.training_count, report.validation_count)
    assert counts == (3, 1, 1)
    json.dumps(report.to_json())


def test_any_class_of_a_mask_is_the_target_of_a_model_of_one(tmp_path: Path) -> None:
    truth = disc(12, 12) * 3
    report = run(Evaluation(Told(disc(12, 12)), REQUEST, folder_of(tmp_path, truth)))
    assert report.mean.dsc == 1
    assert report.std.dsc is None


def test_several_classes_are_averaged_over_those_that_are_there(tmp_path: Path) -> None:
    both = disc(8, 8, 5) + 2 * disc(16, 22, 5)
    one = disc(8, 8, 5)
    found = disc(9, 8, 5) + 2 * disc(16, 22, 5)
    report = run(Evaluation(Told(found, one, classes=TWO), REQUEST, folder_of(tmp_path, both, one)))
    first = score(disc(9, 8, 5) > 0, disc(8, 8, 5) > 0)
    assert report.images[0].dsc == pytest.approx((first.dsc + 1) / 2)
    assert report.images[0].iou == pytest.approx((first.iou + 1) / 2)
    assert report.images[1].dsc == 1
    assert report.mean.dsc == pytest.approx(np.mean([(first.dsc + 1) / 2, 1]))
    json.dumps(report.to_json())


def test_each_class_has_figures_of_its_own_over_the_images_that_hold_it(tmp_path: Path) -> None:
    both = disc(8, 8, 5) + 2 * disc(16, 22, 5)
    one = disc(8, 8, 5)
    found = disc(9, 8, 5) + 2 * disc(16, 22, 5)
    evaluation = Evaluation(Told(found, one, classes=TWO), REQUEST, folder_of(tmp_path, both, one))
    report = run(evaluation)
    shifted = score(disc(9, 8, 5) > 0, disc(8, 8, 5) > 0)
    assert report.images[0].classes["target"] == shifted
    assert report.images[1].classes["other"].empty == "both"
    assert {name: c.images for name, c in report.classes.items()} == {"target": 2, "other": 1}
    assert report.classes["target"].dsc == pytest.approx((shifted.dsc + 1) / 2)
    assert report.classes["target"].hd95 == pytest.approx(shifted.hd95 / 2)
    assert report.classes["other"].dsc == 1
    written = report.to_json()
    assert written["classes"]["other"] == {"images": 1, "dsc": 1.0, "iou": 1.0, "hd95": 0.0}
    assert written["images"][0]["classes"]["target"]["dsc"] == shifted.dsc
    record = MetricRecord.model_validate_json(evaluation.record("two").model_dump_json())
    assert record.classes["target"]["dsc"] == round((shifted.dsc + 1) / 2, 4)
    assert record.classes["other"]["images"] == 1


def test_a_model_of_one_class_has_no_figures_by_class(tmp_path: Path) -> None:
    report = run(Evaluation(Told(disc(12, 12)), REQUEST, folder_of(tmp_path, disc(12, 12))))
    assert report.classes == {}
    written = report.to_json()
    assert "classes" not in written
    assert "classes" not in written["images"][0]


def test_a_class_is_scored_in_a_volume_as_a_whole(tmp_path: Path) -> None:
    """Not slice by slice: a slice without the class is then no image of its own."""
    truth = np.stack([disc(8, 8, 5), disc(8, 8, 5), np.zeros((24, 30), np.uint8)]) * np.uint8(2)
    found = truth.copy()
    found[0] = 0
    geometry = Geometry.from_spacing("zyx", (1.0,) * 3, "mm")
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        format_for("nifti").write(tmp_path / part / "v.nii.gz", truth, "zyx", geometry, {})
    report = run(Evaluation(Told(found, classes=TWO), REQUEST, find_cases(tmp_path)))
    assert report.classes["other"].dsc == pytest.approx(2 / 3)
    assert list(report.classes) == ["other"]


@pytest.mark.parametrize("shape", [(4, 24, 30), (2, 3, 24, 30)])
def test_a_stack_is_scored_as_a_volume(tmp_path: Path, shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    truth, found = (
        np.stack([disc(*rng.uniform(8, 16, 2)) for _ in range(int(np.prod(shape[:-2])))]) for _ in range(2)
    )
    truth, found = truth.reshape(shape), found.reshape(shape)
    axes = "tzyx"[-len(shape) :]
    geometry = Geometry.from_spacing(axes, (1.0,) * len(shape), "mm")
    for part in ("images", "masks"):
        (tmp_path / part).mkdir()
        format_for("nifti").write(tmp_path / part / "v.nii.gz", truth, axes, geometry, {})
    report = run(Evaluation(Told(found), REQUEST, find_cases(tmp_path)))
    assert report.mean.dsc == pytest.approx(score(found > 0, truth > 0).dsc)


@pytest.mark.parametrize("shape", [(24, 29), (12, 60), (48, 30)])
def test_a_mask_of_another_size_is_named(tmp_path: Path, shape: tuple[int, int]) -> None:
    pairs = folder_of(tmp_path, disc(12, 12))
    Image.fromarray(np.zeros(shape, np.uint8)).save(tmp_path / "masks" / "0.png")
    with pytest.raises(BadInput, match=r"0\.png: has shape"):
        run(Evaluation(Told(disc(12, 12)), REQUEST, pairs))


def test_the_record_is_what_a_card_holds(tmp_path: Path) -> None:
    evaluation = Evaluation(
        Told(disc(12, 12), disc(12, 13)), REQUEST, folder_of(tmp_path, disc(12, 12), disc(12, 12))
    )
    list(evaluation.run())
    record = MetricRecord.model_validate_json(evaluation.record("two discs").model_dump_json())
    assert (record.data, record.images, record.samples, record.source) == ("two discs", 2, 1, "none")
    report = evaluation.report()
    assert record.values == {k: round(v, 4) for k, v in report.mean.model_dump().items()}
    assert record.conventions == report.conventions
    low, high = record.intervals["dsc"]
    assert low <= record.values["dsc"] <= high
    assert record.missed == sum(image.dsc < 0.1 for image in report.images)


@pytest.mark.parametrize("classes", [ONE, TWO])
def test_no_image_is_no_score(classes: tuple[ClassInfo, ...]) -> None:
    with pytest.raises(BadInput, match="there is no image to summarise"):
        run(Evaluation(Told(classes=classes), REQUEST, []))
